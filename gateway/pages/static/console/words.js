/** The console's words for what the API calls by a code. */

import { dateTime, duration, number } from "../core/format.js";

const REASONS = {
  not_enough_tickets: "Not enough tickets",
  all_held: "All on hold",
  over_user_limit: "Over the limit per buyer",
  sale_not_open: "Before the opening",
  sale_closed: "After the end",
  sale_paused: "While paused",
  too_many_requests: "Too many requests",
  too_many_expired_holds: "Too many expired holds",
};

const MARKS = {
  opening: "opens",
  paused: "paused",
  resumed: "resumed",
  sold_out: "sold out",
  closing: "closes",
};

export function reason(code) {
  const words = code.replaceAll("_", " ");
  return REASONS[code] ?? words[0].toUpperCase() + words.slice(1);
}

/** @param {string} name of its ticket type; "" where it goes without saying */
export function markLabel({ kind, change }, name = "") {
  const what = kind === "capacity" ? signed(change) : MARKS[kind];
  return name ? `${name} ${what}` : what;
}

export function signed(change) {
  return (change > 0 ? "+" : "−") + number(Math.abs(change));
}

export function tickets(count) {
  return count === 1 ? "1 ticket" : `${number(count)} tickets`;
}

/** @param {number | null} n null: too many to be counted */
export function count(n) {
  return n === null ? "–" : number(n);
}

/** A wait as the console writes it: "38 ms", "1.2 s", then in Intl's words. */
export function wait(seconds) {
  if (seconds === null) return "–";
  if (seconds < 1) return `${number(Math.round(seconds * 1000))} ms`;
  return seconds < 60 ? `${seconds.toFixed(1)} s` : duration(seconds);
}

/** A rate per second: whole numbers from ten on. */
export function rate(perSecond) {
  if (perSecond === null) return "–";
  return perSecond > 0 && perSecond < 10 ? perSecond.toFixed(1) : number(Math.round(perSecond));
}

const STALE_AFTER_SECONDS = 4;

/** Why figures are not current, or null where they are. @param {number} now in milliseconds */
export function staleness({ at, stale }, now) {
  const age = Math.max(0, Math.round((now - Date.parse(at)) / 1000));
  if (!stale && age <= STALE_AFTER_SECONDS) return null;
  const why = stale ? "The database does not answer" : "Connection lost";
  return `${why}: figures as of ${age < 120 ? `${age} s` : duration(age)} ago. Trying again…`;
}

export function verdict({ status, summary }) {
  if (status === "queued") return "Waiting for its turn…";
  return status === "running" ? "Reading the ledger…" : summary;
}

export function audited({ entries, seconds, finished_at: at }) {
  const read = `${number(entries)} entries in ${wait(seconds)}`;
  return entries === null ? dateTime(at) : `${dateTime(at)}, ${read}`;
}

export function webhooks({ count, failing, behind_entries: entries, behind_seconds: seconds }) {
  const all = count === 1 ? "1 webhook" : `${number(count)} webhooks`;
  const behind = entries
    ? `${number(entries)} entries behind (${wait(seconds)})` : "everything is delivered";
  return `${all}: ${behind}${failing ? `; ${number(failing)} failing` : ""}.`;
}

/** When the next ticket type opens, or "". @param {number} now in milliseconds */
export function opening(ticketTypes, now) {
  const starts = ticketTypes.map((type) => Date.parse(type.sales_start)).filter((at) => at > now);
  if (starts.length === 0) return "";
  const verb = starts.length < ticketTypes.length ? "another type opens" : "opens";
  return `${verb} in ${duration((Math.min(...starts) - now) / 1000)}`;
}

export function saleWindow({ sales_start: start, sales_end: end }) {
  if (!start) return end && `until ${dateTime(end)}`;
  return end ? `${dateTime(start)} to ${dateTime(end)}` : `from ${dateTime(start)}`;
}
