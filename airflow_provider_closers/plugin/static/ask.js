// Asking the application for JSON.

export class Refused extends Error {
  constructor(status) {
    super(`Airflow answered ${status}`);
    this.status = status;
  }
}

export async function ask(path) {
  const answer = await fetch(new URL(`api/${path}`, document.baseURI), { headers: { Accept: "application/json" } });
  if (!answer.ok) throw new Refused(answer.status);
  return answer.json();
}
