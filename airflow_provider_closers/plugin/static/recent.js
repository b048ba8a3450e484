// The recent pushes of all DAGs that the user may read, newest first.

import { ask } from "./ask.js";
import { pushPath, tabOf } from "./airflow_links.js";
import { cell, count, duration, link, make, table, time } from "./dom.js";
import { bar } from "./outcomes.js";
import { alarm, instanceName } from "./push.js";
import { stateChip } from "./state.js";

const OPERATIONS = ["create", "update", "upsert", "delete", "sync"];
const HEADS = [
  { text: "Started" }, { text: "Push" }, { text: "Operation" }, { text: "State" }, { text: "Records", number: true },
  { text: "Outcomes" }, { text: "Rejected", number: true }, { text: "Unresolved", number: true },
  { text: "Took", number: true }, { text: "" },
];

export async function showRecent(main) {
  const query = new URLSearchParams(location.search);
  const answer = await ask(`pushes?${query}`);
  main.replaceChildren(
    make("header", "top", make("div", "", make("h1", "", "Closers pushes"),
      make("p", "soft", "Of the DAGs that you may read, the newest run first.")), filter(query)),
    answer.pushes.length ? make("section", "card", table("Recent pushes", HEADS, answer.pushes.map(row), "pushes")) : nothing(query, answer),
    pager(query, answer));
}

function row(push) {
  const { report } = push;
  const name = link(pushPath(push), "name", push.task_id, instanceName(push));
  const numbers = report
    ? [cell("number", count(report.total)), cell("bars", bar(report)), alarm(report.rejected, "bad"),
      alarm(report.preview ? 0 : report.unresolved, "warn"), cell("number", duration(report.seconds))]
    : [cell("number soft", "–"), cell("soft", "no report"), cell(), cell(), cell()];
  const run = make("div", "soft run", push.run_id);
  run.title = push.run_id;
  const out = tabOf(push, "In Airflow");
  out.setAttribute("aria-label", `${push.dag_id} ${push.task_id}${instanceName(push)} in Airflow`);
  return make("tr", "",
    cell("when", time(push.start_date)),
    cell("", name, make("div", "soft", push.dag_id), run),
    cell("", report ? `${report.operation} ` : "–", report?.preview ? make("span", "chip info", "preview") : null),
    cell("", stateChip(push.state)),
    ...numbers,
    cell("", out));
}

function filter(query) {
  const form = make("form", "filter");
  form.setAttribute("role", "search");
  const dag = make("input");
  Object.assign(dag, { name: "dag_id", type: "search", value: query.get("dag_id") ?? "", placeholder: "exact id" });
  const operation = make("select", "", new Option("any", ""), ...OPERATIONS.map((name) => new Option(name, name)));
  Object.assign(operation, { name: "operation", value: query.get("operation") ?? "" });
  form.append(make("label", "", "DAG ", dag), make("label", "", "Operation ", operation), make("button", "", "Show"));
  const go = (event) => {
    event.preventDefault();
    const asked = new URLSearchParams();
    if (dag.value.trim()) asked.set("dag_id", dag.value.trim());
    if (operation.value) asked.set("operation", operation.value);
    location.assign(addressOf(asked));
  };
  form.addEventListener("submit", go);
  operation.addEventListener("change", go);
  return form;
}

function addressOf(query) {
  const text = query.toString();
  return new URL(text ? `?${text}` : "./", document.baseURI).href;
}

function nothing(query, answer) {
  const text = answer.older
    ? "None among the tasks looked at; there are older ones."
    : query.size ? "No push of the DAGs that you may read is so." : "They show up here once a task has pushed into Closers.";
  return make("section", "card notice", make("h2", "", "No pushes"), make("p", "", text));
}

function pager(query, answer) {
  const links = [];
  if (query.has("before")) {
    const first = new URLSearchParams(query);
    first.delete("before");
    links.push(link(addressOf(first), "", "Newest"));
  }
  if (answer.older) {
    const older = new URLSearchParams(query);
    older.set("before", answer.older);
    links.push(link(addressOf(older), "", "Older"));
  }
  const nav = make("nav", "links pager", ...links);
  nav.setAttribute("aria-label", "Pages");
  return links.length ? nav : "";
}
