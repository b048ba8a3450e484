// The entry: which view the address asks for, the colours that Airflow has, and what to say when it fails.

import { make } from "./dom.js";
import { Refused } from "./ask.js";
import { showPush } from "./push.js";
import { showRecent } from "./recent.js";

const main = document.getElementById("main");
const below = location.pathname.slice(new URL(document.baseURI).pathname.length);

// Airflow keeps the choice of its theme switch here; without one the system's own is taken.
function takeTheme() {
  const theme = localStorage.getItem("theme");
  if (theme === "dark" || theme === "light") document.documentElement.dataset.theme = theme;
  else delete document.documentElement.dataset.theme;
}

function explain(error) {
  const [title, text] = !(error instanceof Refused)
    ? ["Airflow does not answer", "Reload the page to try again."]
    : {
        401: ["You are logged out", "Log in to Airflow, then reload the page."],
        403: ["This DAG is not yours to read", "Airflow lets only those see a push who may read the DAG's XComs."],
        404: ["There is no such task", "The run may have been deleted, or the task renamed."],
      }[error.status] ?? ["Airflow could not answer", `It said ${error.status}; its log says why.`];
  main.replaceChildren(make("section", "card notice", make("h1", "", title), make("p", "", text)));
}

takeTheme();
addEventListener("storage", takeTheme);
const view = below.startsWith("push/") ? showPush(main, below) : showRecent(main);
view.catch(explain).finally(() => main.setAttribute("aria-busy", "false"));
