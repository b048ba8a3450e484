// Making elements, and the words for numbers and times. Text goes in as text, never as markup.

const SVG = "http://www.w3.org/2000/svg";

export function make(tag, classes = "", ...children) {
  const element = document.createElement(tag);
  if (classes) element.className = classes;
  element.append(...children.filter((child) => child !== null && child !== undefined));
  return element;
}

export function draw(tag, attributes, ...children) {
  const element = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(...children);
  return element;
}

export function link(href, classes, ...children) {
  const element = make("a", classes, ...children);
  element.href = href;
  return element;
}

export function table(caption, heads, rows, classes = "") {
  const title = make("caption", "visually-hidden", caption);
  const head = make("tr", "", ...heads.map(({ text, number }) => {
    const cell = make("th", number ? "number" : "", text);
    cell.scope = "col";
    return cell;
  }));
  const element = make("table", classes, title, make("thead", "", head), make("tbody", "", ...rows));
  return make("div", "scroll", element);
}

export function cell(classes, ...children) {
  return make("td", classes, ...children);
}

export const count = (value) => Math.round(value).toLocaleString("en-US");

export function share(part, whole) {
  if (!whole) return "0%";
  const percent = (100 * part) / whole;
  if (percent > 0 && percent < 0.1) return "<0.1%";
  if (percent < 100 && percent > 99.9) return ">99.9%";
  return `${Number(percent.toFixed(1))}%`;
}

export function rate(value) {
  return value >= 100 ? count(value) : value.toFixed(value >= 10 ? 0 : 1);
}

export function duration(seconds) {
  if (seconds < 10) return `${seconds.toFixed(1)} s`;
  const whole = Math.round(seconds);
  if (whole < 60) return `${whole} s`;
  const [hours, minutes, rest] = [Math.floor(whole / 3600), Math.floor(whole / 60) % 60, whole % 60];
  return hours ? `${hours} h ${minutes} min` : rest ? `${minutes} min ${rest} s` : `${minutes} min`;
}

export function time(text) {
  if (!text) return make("span", "soft", "–");
  const moment = new Date(text);
  const element = make("time", "", moment.toLocaleString("en-GB", {
    day: "numeric", month: "short", hour: "2-digit", minute: "2-digit", second: "2-digit",
  }));
  element.dateTime = text;
  element.title = moment.toLocaleString();
  return element;
}
