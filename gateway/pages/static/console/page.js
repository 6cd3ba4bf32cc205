/** What stands around every view: the title, and what became of an action. */

import { $ } from "../core/dom.js";

const OUTCOME_SHOWN_MS = 12_000;
let hiding;

/** Names a view: its heading and the window. */
export function entitle(view, words) {
  $("h1", view).textContent = words;
  document.title = `${words} · Console`;
}

/** Shown and read out, until the next one or for a while. */
export function announce(sentence) {
  const outcome = $("#outcome");
  outcome.textContent = sentence;
  clearTimeout(hiding);
  hiding = setTimeout(() => {
    outcome.textContent = "";
  }, OUTCOME_SHOWN_MS);
}
