/** Numbers, money, times and the states of sales, as people write them. */

/** @param {string} amount - a decimal, such as "100.00" */
export function money(amount, currency) {
  return new Intl.NumberFormat(undefined, { style: "currency", currency }).format(amount);
}

export function number(n) {
  return new Intl.NumberFormat().format(n);
}

/** @param {string} iso - shown in the time zone of this machine */
export function dateTime(iso) {
  return new Date(iso).toLocaleString(undefined, { dateStyle: "medium", timeStyle: "short" });
}

const UNITS = [
  ["day", 86_400],
  ["hour", 3_600],
  ["minute", 60],
  ["second", 1],
];

/** The two largest units, "2 hours 5 minutes", in the language of the page's own sentences. */
export function duration(seconds) {
  let rest = Math.max(0, Math.round(seconds));
  const largest = UNITS.findIndex(([, size]) => rest >= size);
  if (largest === -1) return inUnit(0, "second");
  const parts = [];
  for (const [unit, size] of UNITS.slice(largest, largest + 2)) {
    const count = Math.floor(rest / size);
    rest %= size;
    if (count > 0) parts.push(inUnit(count, unit));
  }
  return parts.join(" ");
}

/** "2 days 3 hours", and below a day "3:05:09" or "0:45". */
export function timeLeft(milliseconds) {
  const seconds = Math.max(0, Math.ceil(milliseconds / 1_000) || 0);
  if (seconds >= 86_400) return duration(seconds);
  // Of "03:05:09" or "00:00:45".
  return new Date(seconds * 1_000).toISOString().slice(11, 19).replace(/^0(0:0?)?/, "");
}

function inUnit(count, unit) {
  const style = { style: "unit", unit, unitDisplay: "long" };
  return count.toLocaleString(document.documentElement.lang, style);
}

/** In this order: the first that any ticket type has is the state of its event. */
export const SALE_STATES = {
  on_sale: "On sale",
  all_held: "All on hold",
  paused: "Paused",
  not_open: "Not open yet",
  sold_out: "Sold out",
  closed: "Sale ended",
};

export function stateWords(state) {
  return SALE_STATES[state] ?? state;
}
