/** How a sale stands, in little: the badge of its state and the bar of its tickets. */

import { el } from "../core/dom.js";
import { SALE_STATES, number } from "../core/format.js";

/** As buyers read them, but for what has ended: the organiser may open it again. */
const STATES = { ...SALE_STATES, closed: "Closed" };

/** @returns {[string, string]} code and words */
export function stateOfEvent(ticketTypes) {
  const state = Object.keys(STATES).find((one) => ticketTypes.some((type) => type.state === one));
  return state ? [state, STATES[state]] : ["draft", "No ticket types"];
}

export function badge(state, words = STATES[state] ?? state) {
  return el("span", { class: "badge", "data-state": state }, words);
}

/** Confirmed, on hold and left, as shares of what was issued. */
export function stockBar({ issued, confirmed, held, left }) {
  const words = `${number(confirmed)} confirmed, ${number(held)} on hold, ${number(left)} left`;
  const bar = el("span", { class: "stock", role: "img", "aria-label": words, title: words });
  for (const [name, count] of Object.entries({ confirmed, held, left })) {
    const part = el("span", { class: count ? name : "none" });
    part.style.flexGrow = issued ? count / issued : 0;
    bar.append(part);
  }
  return bar;
}
