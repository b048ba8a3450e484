// Pace over time: settled records per second of each interval, and on the same axis the retries and the
// requests that were answered 429. The report's points are cumulative.

import { cell, count, draw, duration, make, rate, table } from "./dom.js";

const HEIGHT = 190;
const LEFT = 58;
const RIGHT = 12;
const TOP = 12;
const LANE = 20;
const LANES = [["Retries", "retries"], ["429", "throttled"]];

export function intervals(points) {
  const known = points[0]?.[0] === 0 ? points : [[0, 0, 0, 0, 0], ...points];
  const result = [];
  for (let i = 1; i < known.length; i += 1) {
    const [start, ...before] = known[i - 1];
    const [end, ...after] = known[i];
    if (!(end > start)) continue;
    const [settled, requests, retries, throttled] = after.map((value, n) => Math.max(0, value - before[n]));
    result.push({ start, end, settled, requests, retries, throttled, rate: settled / (end - start) });
  }
  return result;
}

export function paceChart(points) {
  const parts = intervals(points);
  if (parts.length < 2) return null; // no more than the average, which is said elsewhere
  const chart = make("div", "chart");
  const redraw = () => chart.replaceChildren(picture(parts, Math.max(260, chart.clientWidth || 640)));
  new ResizeObserver(redraw).observe(chart);
  return make("div", "", chart, make("details", "", make("summary", "", "As a table"), asTable(parts)));
}

function picture(parts, width) {
  const end = parts.at(-1).end;
  const [step, top] = scale(Math.max(...parts.map((part) => part.rate)));
  const floor = HEIGHT - 24 - LANE * LANES.length;
  const x = (seconds) => LEFT + (seconds / end) * (width - LEFT - RIGHT);
  const y = (value) => floor - (value / top) * (floor - TOP);
  const sum = (name) => parts.reduce((total, part) => total + part[name], 0);
  const svg = draw("svg", {
    viewBox: `0 0 ${width} ${HEIGHT}`, width, height: HEIGHT, role: "img",
    "aria-label": `Pace over ${duration(end)}: up to ${rate(Math.max(...parts.map((part) => part.rate)))} records per `
      + `second; ${count(sum("retries"))} retries and ${count(sum("throttled"))} answers 429.`,
  });
  for (let value = 0; value <= top + step / 2; value += step) {
    svg.append(draw("line", { class: "grid", x1: LEFT, x2: width - RIGHT, y1: y(value), y2: y(value) }),
      draw("text", { class: "tick", x: LEFT - 8, y: y(value) + 4, "text-anchor": "end" }, shortRate(value)));
  }
  const [secondsStep] = scale(end, Math.max(2, Math.floor(width / 130)));
  for (let seconds = 0; seconds <= end + 1e-9; seconds += secondsStep) {
    svg.append(draw("text", { class: "tick", x: x(seconds), y: HEIGHT - 6, "text-anchor": "middle" },
      tickTime(seconds)));
  }
  const outline = parts.map((part) => `${x(part.start)},${y(part.rate)} ${x(part.end)},${y(part.rate)}`).join(" ");
  svg.append(draw("polygon", { class: "area", points: `${x(parts[0].start)},${floor} ${outline} ${x(end)},${floor}` }),
    draw("polyline", { class: "stroke", points: outline }));
  LANES.forEach(([label, name], lane) => {
    const middle = floor + LANE * (lane + 0.5) + 4;
    svg.append(draw("text", { class: "tick", x: LEFT - 8, y: middle + 4, "text-anchor": "end" }, label),
      draw("line", { class: "grid", x1: LEFT, x2: width - RIGHT, y1: middle, y2: middle }));
    const most = Math.max(...parts.map((part) => part[name]));
    for (const part of parts.filter((each) => each[name])) {
      const size = 4 + 5 * Math.sqrt(part[name] / most);
      svg.append(mark(name, (x(part.start) + x(part.end)) / 2, middle, size));
    }
  });
  for (const part of parts) {
    // Something to point at, for the numbers.
    svg.append(draw("rect", {
      class: "pointed", x: x(part.start), y: TOP, width: x(part.end) - x(part.start), height: HEIGHT - 24 - TOP,
    }, draw("title", {}, describe(part))));
  }
  return svg;
}

// Two shapes, for those who can't go by the colour.
function mark(name, x, y, size) {
  const points = name === "retries"
    ? [[x, y - size], [x + size, y + size * 0.8], [x - size, y + size * 0.8]]
    : [[x, y - size], [x + size, y], [x, y + size], [x - size, y]];
  return draw("polygon", { class: `mark ${name}`, points: points.map((point) => point.join(",")).join(" ") });
}

function describe(part) {
  return `${tickTime(part.start)} to ${tickTime(part.end)}: ${rate(part.rate)} records/s, `
    + `${count(part.requests)} requests, ${count(part.retries)} retries, ${count(part.throttled)} answered 429`;
}

function asTable(parts) {
  const heads = ["From", "To", "Records", "Records/s", "Requests", "Retries", "429"].map((text) => ({ text, number: true }));
  return table("Pace", heads, parts.map((part) => make("tr", "", ...[
    tickTime(part.start), tickTime(part.end), count(part.settled), rate(part.rate), count(part.requests),
    count(part.retries), count(part.throttled),
  ].map((text) => cell("number", text)))));
}

// A round step, and the first multiple of it that is not below the value.
function scale(value, ticks = 3) {
  if (!(value > 0)) return [1, 1];
  const rough = value / ticks;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map((factor) => factor * power).find((candidate) => candidate >= rough);
  return [step, Math.ceil(value / step - 1e-9) * step];
}

function shortRate(value) {
  return value && value < 10 ? String(Number(value.toPrecision(2))) : count(value);
}

function tickTime(seconds) {
  if (seconds < 60) return `${Number(seconds.toFixed(seconds < 10 ? 1 : 0))} s`;
  const whole = Math.round(seconds);
  const two = (value) => String(value).padStart(2, "0");
  const [hours, minutes] = [Math.floor(whole / 3600), Math.floor(whole / 60) % 60];
  return hours ? `${hours}:${two(minutes)}:${two(whole % 60)}` : `${minutes}:${two(whole % 60)}`;
}
