/** Numbers, money and times, as people write them. */

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

function inUnit(count, unit) {
  const style = { style: "unit", unit, unitDisplay: "long" };
  return count.toLocaleString(document.documentElement.lang || "en", style);
}
