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
  const seconds = Math.max(0, Math.ceil(milliseconds / 1_000));
  if (seconds >= 86_400) return duration(seconds);
  const [hours, minutes] = [Math.floor(seconds / 3_600), Math.floor(seconds / 60) % 60];
  const rest = String(seconds % 60).padStart(2, "0");
  return hours > 0 ? `${hours}:${String(minutes).padStart(2, "0")}:${rest}` : `${minutes}:${rest}`;
}
