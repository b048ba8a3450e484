// A task instance's state, in a word and a colour near Airflow's own.

import { make } from "./dom.js";

const TONES = { success: "good", failed: "bad", running: "run", up_for_retry: "warn", upstream_failed: "warn" };

export function stateChip(state) {
  return make("span", `chip ${TONES[state] ?? ""}`, state ? state.replaceAll("_", " ") : "no state");
}
