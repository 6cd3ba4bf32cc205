/** What stands around every view: the title, and what became of an action. */

import { ApiError } from "../core/api.js";
import { $, fill } from "../core/dom.js";
import { explain } from "../core/errors.js";

// Browsers do not load it again, and after an update it has another address.
export const NOT_LOADED = {
  title: "A part of this page could not be loaded.",
  next: "Reload the page and try again.",
};
const OUTCOME_SHOWN_MS = 12_000;
// What is behind a dialog is not read out: by then the one that acted is closed.
const OUTCOME_AFTER_MS = 100;
let timer;

/** Names a view: its heading and the window. */
export function entitle(view, words) {
  $("h1", view).textContent = words;
  document.title = `${words} · Console`;
}

/** Shown and read out, until the next one or for a while. */
export function announce(sentence) {
  const write = (words) => {
    $("#outcome p").textContent = words;
  };
  clearTimeout(timer);
  timer = setTimeout(() => {
    write(sentence);
    timer = setTimeout(write, OUTCOME_SHOWN_MS, "");
  }, OUTCOME_AFTER_MS);
}

/** Does something at a click, once at a time. What goes wrong is announced, and the view stays. */
export function onClick(element, act) {
  let isBusy = false;
  element.addEventListener("click", async (event) => {
    if (isBusy) return;
    isBusy = true;
    await attempt(() => act(event));
    isBusy = false;
  });
}

/**
 * Fills a list anew. The details of an item (`data-id`) stay open, and the focus stays at its
 * control, or goes to the heading of the page where the item is gone.
 */
export function refill(list, items) {
  const controls = (item) => [...item.querySelectorAll("button, summary")];
  const focused = document.activeElement;
  const before = list.contains(focused) ? focused.closest("[data-id]") : null;
  const nth = before && controls(before).indexOf(focused);
  const open = new Set([...list.querySelectorAll("[data-id]:has(details[open])")]
    .map((item) => item.dataset.id));
  fill(list, items);
  for (const item of items) if (open.has(item.dataset.id)) $("details", item).open = true;
  if (!before) return;
  const same = items.find((item) => item.dataset.id === before.dataset.id);
  (same ? controls(same)[nth] : $("main h1")).focus();
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
