// The outcomes of a push as one bar, with a legend. Colours after Okabe and Ito, which the colour-blind can
// tell apart; what needs somebody's attention stands out by a pattern or an outline, too.

import { count, make, share } from "./dom.js";

// From what went well to what did not.
export const OUTCOMES = [
  ["created", "the API confirmed it"],
  ["updated", "the API confirmed it"],
  ["deleted", "the API confirmed it"],
  ["unchanged", "as at the last sync, nothing sent"],
  ["kept", "gone from the source, left alone"],
  ["postponed", "gone from the source, to be dealt with next time"],
  ["existing", "was there already, skipped"],
  ["missing", "no such prospect, skipped"],
  ["suppressed", "on the suppression list, not sent"],
  ["filtered", "dropped by the DAG's transform"],
  ["rejected", "unusable, or refused for good"],
  ["unresolved", "the push stopped before it"],
];
const WOULD_BE_SENT = "would be sent";

function wordFor(outcome, report) {
  return report.preview && outcome === "unresolved" ? WOULD_BE_SENT : outcome;
}

export function inWords(report) {
  const parts = OUTCOMES.filter(([name]) => report[name])
    .map(([name]) => `${count(report[name])} ${wordFor(name, report)}`);
  return parts.join(", ") || "no records";
}

function classOf(name, report) {
  return `part ${report.preview && name === "unresolved" ? "to-send" : name}`;
}

export function bar(report, classes = "") {
  const element = make("div", `bar ${classes}`);
  element.setAttribute("role", "img");
  element.setAttribute("aria-label", inWords(report));
  element.title = inWords(report);
  for (const [name] of OUTCOMES) {
    if (!report[name]) continue;
    const part = make("span", classOf(name, report));
    part.style.flexGrow = report[name];
    element.append(part);
  }
  if (!element.childElementCount) element.classList.add("empty");
  return element;
}

export function legend(report) {
  const items = OUTCOMES.filter(([name]) => report[name]).map(([name, meaning]) => {
    const word = wordFor(name, report);
    const item = make("li", "",
      make("i", classOf(name, report)),
      make("b", "", count(report[name])),
      make("span", "", ` ${word} `),
      make("span", "soft", share(report[name], report.total)));
    item.title = word === WOULD_BE_SENT ? "a preview sends nothing" : meaning;
    return item;
  });
  return make("ul", "legend", ...items);
}
