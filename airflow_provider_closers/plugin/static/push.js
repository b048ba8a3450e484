// One push: its outcomes, its pace, what was rejected and why; or a mapped task, with a row per instance.

import { ask } from "./ask.js";
import { leaving, pushPath, tabOf } from "./airflow_links.js";
import { cell, count, duration, link, make, rate, table, time } from "./dom.js";
import { bar, legend } from "./outcomes.js";
import { paceChart } from "./pace.js";
import { stateChip } from "./state.js";

const UNDER_WAY = new Set(["running", "queued", "scheduled", "restarting", "deferred", "up_for_retry", "up_for_reschedule"]);
const LOOK_AGAIN_MS = 5000;

export async function showPush(main, path) {
  const query = new URLSearchParams(location.search);
  const asked = new URLSearchParams();
  if (query.has("map_index")) asked.set("map_index", query.get("map_index"));
  const inTab = query.has("tab");
  let shown = "";
  async function refresh() {
    const answer = await ask(`${path}?${asked}`);
    const now = JSON.stringify(answer);
    if (now !== shown) {
      shown = now;
      document.title = `${answer.push.task_id}: Closers push`;
      main.replaceChildren(...view(answer, inTab));
    }
    return [answer.push, ...answer.instances].some((push) => UNDER_WAY.has(push.state));
  }
  async function lookAgain() {
    await new Promise((resolve) => { setTimeout(resolve, LOOK_AGAIN_MS); });
    // A hidden page waits, and one answer that did not come is not the end.
    if (document.hidden || await refresh().catch(() => true)) lookAgain();
  }
  if (await refresh()) lookAgain();
}

function view({ push, instances }, inTab) {
  const { report } = push;
  if (!report) return [heading(push, instances, inTab), nothingYet(push, instances), mapped(instances, inTab)].filter(Boolean);
  return [
    heading(push, instances, inTab),
    notes(report, push),
    outcomes(report),
    tiles(report),
    pace(report, instances),
    mapped(instances, inTab),
    reasons(report),
    rejects(report),
  ].filter(Boolean);
}

function heading(push, instances, inTab) {
  const what = push.report ? `${push.report.preview ? "Preview of " : ""}${push.report.operation}` : "Push";
  const where = make("p", "where soft");
  if (!inTab) where.append(push.dag_id, " › ", push.run_id, " › ", make("b", "", push.task_id), instanceName(push), " · ");
  if (instances.length) where.append(`${count(instances.length)} mapped instances · `);
  where.append(time(push.start_date));
  if (push.try_number > 1) where.append(` · try ${push.try_number}`);
  const links = [inTab ? leaving("plugin/closers-pushes", "Recent pushes") : link("./", "", "Recent pushes")];
  if (!inTab && !instances.length) links.unshift(tabOf(push, "Open in Airflow"));
  if (push.map_index >= 0) links.unshift(link(`${pushPath({ ...push, map_index: -1 })}${inTab ? "?tab=1" : ""}`, "", "All instances"));
  return make("header", "top",
    make("div", "", make("h1", "", what, " ", push.state ? stateChip(push.state) : ""), where),
    make("nav", "links", ...links));
}

export function instanceName({ map_index, label }) {
  if (map_index < 0) return "";
  return label && label !== String(map_index) ? `[${map_index}: ${label}]` : `[${map_index}]`;
}

function nothingYet(push, instances) {
  const states = (instances.length ? instances : [push]).map((each) => each.state);
  const [title, text] = states.some((state) => UNDER_WAY.has(state))
    ? ["No report yet", "A push reports when its try ends. This page looks again every few seconds."]
    : states.every((state) => state === null || state === "removed")
      ? ["Not started yet", "A push reports when its try ends."]
      : states.every((state) => state === "skipped" || state === "upstream_failed")
        ? ["Nothing was pushed", "The task did not run, or had no records and skipped."]
        : ["No report of a push", "Either this task pushes nothing into Closers, or it ended before it could report "
          + "(the log says why), or its report is not in Airflow's database: do_xcom_push is off, or an XCom backend keeps it elsewhere."];
  return make("section", "card notice", make("h2", "", title), make("p", "", text));
}

function notes(report, push) {
  const said = [];
  const goesOn = UNDER_WAY.has(push.state);
  if (report.error) said.push(goesOn ? note("warn", "Stopped for now", report.error) : note("bad", "Stopped before its end", report.error));
  if (report.preview) said.push(note("info", "A preview", "Everything was read, checked and counted; nothing was sent."));
  if (report.total === 0) said.push(note("info", "No records", "The source had nothing to push."));
  if (report.unresolved && !report.preview) {
    said.push(note("warn", `${count(report.unresolved)} unresolved`,
      push.state === "deferred" ? "The API asked for a long wait. The push goes on with these by itself."
        : goesOn ? "A try stopped before it knew of these; the next one sees to them."
        : "The push stopped before it knew what became of these records. Clear the task to push them again; that is harmless for the others."));
  }
  return said.length ? make("div", "notes", ...said) : null;
}

function note(tone, title, text) {
  const element = make("p", `note ${tone}`, make("b", "", title), " ", text);
  element.setAttribute("role", "note");
  return element;
}

function card(title, ...children) {
  return make("section", "card", make("h2", "", title), ...children);
}

function outcomes(report) {
  if (!report.total) return null;
  return card("Outcomes", bar(report, "tall"), legend(report));
}

function tiles(report) {
  const settled = report.total - report.unresolved;
  const numbers = [
    ["Records", count(report.total)],
    ["Records/s", report.seconds > 0 && !report.preview ? rate(settled / report.seconds) : "–"],
    ["Took", duration(report.seconds)],
    ["Requests", count(report.requests)],
    ["Retries", count(report.retries), report.retries && "warn"],
    ["Answered 429", count(report.throttled), report.throttled && "warn"],
    ["Flags withheld", count(report.withheld_flags)],
  ];
  return make("dl", "card tiles", ...numbers.map(([name, value, tone]) =>
    make("div", `tile ${tone || ""}`, make("dt", "", name), make("dd", value === "0" ? "soft" : "", value))));
}

function pace(report, instances) {
  const chart = instances.length || report.preview ? null : paceChart(report.pace);
  return chart && card("Pace", make("p", "soft key", "Records settled per second; below, ",
    make("span", "retries", "▲"), " requests sent again and ", make("span", "throttled", "◆"), " answers 429."), chart);
}

function mapped(instances, inTab) {
  if (!instances.length) return null;
  const heads = [{ text: "Instance" }, { text: "State" }, { text: "Records", number: true }, { text: "Outcomes" },
    { text: "Rejected", number: true }, { text: "Unresolved", number: true }, { text: "Took", number: true }];
  return card("Mapped instances", table("Mapped instances", heads, instances.map((each) => {
    const name = instanceName(each);
    const { report } = each;
    return make("tr", "",
      cell("", inTab ? tabOf(each, name) : link(pushPath(each), "", name)),
      cell("", stateChip(each.state)),
      ...(report
        ? [cell("number", count(report.total)), cell("bars", bar(report)), alarm(report.rejected, "bad"),
          alarm(report.preview ? 0 : report.unresolved, "warn"), cell("number", duration(report.seconds))]
        : [cell("number soft", "–"), cell("soft", "no report"), cell(), cell(), cell()]));
  })));
}

export function alarm(value, tone) {
  return cell(`number ${value ? tone : "soft"}`, count(value));
}

function reasons(report) {
  const found = report.reject_reasons;
  if (!found.length) return null;
  const most = Math.max(...found.map((each) => each.count), 1);
  return card("Why records were rejected", make("ul", "reasons", ...found.map((each) => {
    const length = make("i", "length");
    length.style.width = `${(100 * each.count) / most}%`;
    return make("li", "", make("b", "", count(each.count)), make("div", "", make("span", "", each.reason), length));
  })));
}

function rejects(report) {
  if (!report.rejected) return null;
  const heads = [{ text: "Record", number: true }, { text: "Email" }, { text: "Reason" }];
  const rows = report.rejects.map((each) => make("tr", "",
    cell("number", String(each.index)), cell("mono", each.email ?? "–"), cell("", each.reason)));
  const more = report.rejected - rows.length;
  const where = report.rejects_path
    ? make("p", "soft", "All of them, in full: ", make("code", "", report.rejects_path))
    : rows.length && more > 0 ? make("p", "soft", `And ${count(more)} more. With rejects_path the task keeps all of them.`) : null;
  if (!rows.length && !where) return null;
  return card(`The first rejects`, rows.length ? table("The first rejects", heads, rows) : null, where);
}
