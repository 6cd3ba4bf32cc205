/** What stands around every view: the title, and what became of an action. */

import { ApiError } from "../core/api.js";
import { $ } from "../core/dom.js";
import { explain } from "../core/errors.js";

// Browsers do not load it again, and after an update it has another address.
export const NOT_LOADED = {
  title: "A part of this page could not be loaded.",
  next: "Reload the page and try again.",
};
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

/** Does something at a click. What goes wrong is announced, and the view stays. */
export function onClick(element, act) {
  element.addEventListener("click", (event) => attempt(() => act(event)));
}

export async function attempt(act) {
  try {
    await act();
  } catch (error) {
    if (error.name === "AbortError") return;
    const isOfApi = error instanceof ApiError;
    if (!isOfApi) console.error(error);
    const { title, next } = isOfApi ? explain(error) : NOT_LOADED;
    announce(`${title} ${next}`);
  }
}
