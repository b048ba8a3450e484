// Links to a push's view here, and out of the frame into Airflow's own pages.

import { link } from "./dom.js";

const airflow = new URL("..", document.baseURI);
const part = encodeURIComponent;

export function pushPath({ dag_id, run_id, task_id, map_index }) {
  const path = `push/${part(dag_id)}/${part(run_id)}/${part(task_id)}`;
  return map_index >= 0 ? `${path}?map_index=${map_index}` : path;
}

export function tabOf({ dag_id, run_id, task_id, map_index }, text) {
  const mapped = map_index >= 0 ? `/mapped/${map_index}` : "";
  return leaving(`dags/${part(dag_id)}/runs/${part(run_id)}/tasks/${part(task_id)}${mapped}/plugin/closers-push`, text);
}

export function leaving(path, text) {
  const element = link(new URL(path, airflow).href, "leaving", text);
  element.target = "_top";
  element.addEventListener("click", followAbove);
  return element;
}

// Airflow's frame is sandboxed without leave to navigate the window, so that "_top" does nothing in it.
// The window's own document has that leave; it is of this origin, and the link is followed there.
function followAbove(event) {
  if (window.parent === window) return;
  let above;
  try {
    above = window.parent.document;
  } catch {
    return; // another site's frame
  }
  event.preventDefault();
  const twin = above.createElement("a");
  twin.href = event.currentTarget.href;
  twin.click();
}
