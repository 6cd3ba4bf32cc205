/** Where a chart's values and times stand. Pure. */

const SECOND = 1000;
const MINUTE = 60 * SECOND;
const HOUR = 60 * MINUTE;
const DAY = 24 * HOUR;
const STEPS = [
  ...[1, 2, 5, 10, 15, 30].map((n) => n * SECOND),
  ...[1, 2, 5, 10, 15, 30].map((n) => n * MINUTE),
  ...[1, 2, 3, 6, 12].map((n) => n * HOUR),
  ...[1, 2, 7, 14, 28, 91, 364].map((n) => n * DAY),
];

/** Ends of axes between 1 and 10, and into how many parts with short labels each divides. */
const ENDS = [
  ...[[1, 5], [1.2, 4], [1.6, 4], [2, 4], [2.4, 4]],
  ...[[3, 3], [4, 4], [5, 5], [6, 3], [8, 4], [10, 5]],
];

/** An axis from 0 to at least `value`: its end, and its parts. */
export function axis(value) {
  // A few are counted one by one.
  const few = Math.max(1, Math.ceil(value));
  if (few <= 4) return { end: few, parts: few };
  const power = 10 ** Math.floor(Math.log10(value));
  const [end, parts] = ENDS.find(([one]) => one * power >= value);
  return { end: end * power, parts };
}

/** Times to label, in whole steps of the reader's own clock. */
export function timeTicks(from, to, most) {
  const step = STEPS.find((one) => (to - from) / one <= most) ?? STEPS.at(-1);
  const offset = new Date(from).getTimezoneOffset() * MINUTE;
  const ticks = [];
  for (let at = Math.ceil((from - offset) / step) * step + offset; at <= to; at += step) {
    ticks.push(at);
  }
  return { ticks, step };
}

export function timeLabel(step) {
  const form =
    step >= DAY ? { day: "numeric", month: "short" }
    : step >= MINUTE ? { hour: "2-digit", minute: "2-digit" }
    : { hour: "2-digit", minute: "2-digit", second: "2-digit" };
  const format = new Intl.DateTimeFormat(undefined, form);
  return (at) => format.format(at);
}

/** The d of an SVG path through points [x, y]; null breaks it. */
export function line(points) {
  let pen = "M";
  let path = "";
  for (const point of points) {
    if (point === null) pen = "M";
    else {
      path += `${pen}${point[0].toFixed(1)} ${point[1].toFixed(1)}`;
      pen = "L";
    }
  }
  return path;
}

/** Areas between two lines of the same points; null breaks both. */
export function area(upper, lower) {
  let path = "";
  let from = 0;
  for (let i = 0; i <= upper.length; i++) {
    if (i < upper.length && upper[i] !== null) continue;
    const top = upper.slice(from, i);
    if (top.length > 1) {
      const bottom = lower.slice(from, i).reverse();
      path += `${line(top)}L${line(bottom).slice(1)}Z`;
    }
    from = i + 1;
  }
  return path;
}

/** Rows for labels that must not overlap: of each its row, or -1 where none of `most` is free. */
export function rowsFor(labels, most) {
  const ends = [];
  return labels.map(({ x, width }) => {
    for (let row = 0; row < most; row++) {
      if ((ends[row] ?? -Infinity) <= x) {
        ends[row] = x + width;
        return row;
      }
    }
    return -1;
  });
}
