/** The words of a sale's state, and of the time until it opens. */

import { duration } from "../core/format.js";

const STATES = {
  on_sale: "On sale",
  all_held: "All on hold",
  paused: "Paused",
  not_open: "Not open yet",
  sold_out: "Sold out",
  closed: "Sale ended",
};

export function stateWords(state) {
  return STATES[state] ?? state;
}

/** "2 days 3 hours", and below a day "3:05:09" or "0:45". */
export function timeLeft(milliseconds) {
  const seconds = Math.max(0, Math.ceil(milliseconds / 1_000) || 0);
  if (seconds >= 86_400) return duration(seconds);
  // Of "03:05:09" or "00:00:45".
  return new Date(seconds * 1_000).toISOString().slice(11, 19).replace(/^0(0:0?)?/, "");
}
