/** The chart of a sale: panels over one time axis, a moment to read out, and a table of it all. */

import { $, el, fill } from "../core/dom.js";
import { number } from "../core/format.js";
import { area, axis, line, rowsFor, timeLabel, timeTicks } from "./scales.js";
import { nearest, refusalCodes, since } from "./timeline.js";
import { markLabel, rate, reason } from "./words.js";

const WIDE = 560;
const TITLES = 130;
const GUTTER = { left: 44, right: 12 };
const PANEL_GAP = 14;
const ROW = 18;
const CHARACTER = 6.7;
/** The time axis goes on to now; what is not known since the last sample is grey. */
const UNKNOWN_MS = 3000;
const MARK_ROWS = 3;
/** Reasons with a colour of their own; the others are one. */
const REASONS_SHOWN = 3;

const level = (name, label) => ({ name, label, value: (sample) => sample[name], words: number });
const perSecond = (name, label) => ({ ...level(name, label), words: rate });
const PANELS = [
  {
    title: "Tickets",
    height: 190,
    stacked: true,
    series: [level("confirmed", "Confirmed"), level("held", "On hold"), level("left", "Left")],
  },
  { title: "Queue", height: 64, filled: true, series: [level("queued", "Requests queued")] },
  {
    title: "Per second",
    height: 80,
    series: [perSecond("decided", "Decided"), perSecond("accepted", "Accepted")],
  },
];

function refusals(codes) {
  const shown = codes.length > REASONS_SHOWN + 1 ? codes.slice(0, REASONS_SHOWN) : codes;
  const others = codes.slice(shown.length);
  const sum = (of) => (sample) => of.reduce((all, code) => all + (sample.refused[code] ?? 0), 0);
  const series = shown.map((code, i) => ({
    name: `refused-${i}`, label: reason(code), value: sum([code]), words: rate,
  }));
  if (others.length) {
    series.push({ name: "refused-3", label: "Other", value: sum(others), words: rate });
  }
  return { title: "Refused per second", height: 80, stacked: true, series };
}

export class SaleChart {
  #figure;
  #surface;
  #moments = [];
  #drawn = null;
  #pickedAt = null;

  /** @param figure from the template: an svg, a surface to point at, an output and a table */
  constructor(figure) {
    this.#figure = figure;
    this.#surface = $("[role=slider]", figure);
    this.#surface.addEventListener("pointermove", (event) => this.#point(event));
    this.#surface.addEventListener("pointerdown", (event) => this.#point(event));
    this.#surface.addEventListener("pointerleave", () => this.#pick(-1));
    this.#surface.addEventListener("keydown", (event) => this.#press(event));
    this.#surface.addEventListener("blur", () => this.#pick(-1));
    $("details", figure).addEventListener("toggle", () => this.fillTable());
    new ResizeObserver(() => this.#redraw()).observe(this.#surface.parentElement);
  }

  /**
   * @param samples see timeline.js
   * @param marks of a history
   * @param names of ticket types by id; empty where one name goes without saying
   * @param from @param to the time axis, in milliseconds
   */
  draw(samples, marks, names, from, to) {
    const moments = since(samples, from);
    this.#moments = moments;
    this.#drawn = {
      panels: [...PANELS, refusals(refusalCodes(moments))],
      marks: merged(marks, names).filter(({ at }) => at >= from && at <= to),
      from,
      to: Math.max(to, from + 1000),
    };
    this.#redraw();
  }

  #redraw() {
    const width = this.#surface.parentElement.clientWidth;
    if (!this.#drawn || !width) return;
    const { from, to, panels, marks } = this.#drawn;
    const right = width - GUTTER.right;
    const x = (at) => GUTTER.left + ((at - from) / (to - from)) * (right - GUTTER.left);
    const picked = this.#picked();
    const labels = marks.map((mark) => {
      const at = x(mark.at);
      const width = mark.label.length * CHARACTER + 8;
      // At the right edge a label stands to the left of its mark.
      return { at, width, x: at + width > right ? at - width : at };
    });
    const rows = rowsFor(labels, MARK_ROWS);
    const flags = (Math.max(-1, ...rows) + 1) * ROW;
    const content = [];
    let y = 0;
    let plotsFrom = 0;
    for (const [i, panel] of panels.entries()) {
      const legend = legendOf(panel, y + 12, width, picked);
      y = legend.bottom + (i === 0 ? flags : 0);
      if (i === 0) plotsFrom = y;
      content.push(...legend.nodes, ...plot(panel, this.#moments, x, y, right));
      y += panel.height + PANEL_GAP;
    }
    const bottom = y - PANEL_GAP;
    const last = this.#moments.at(-1);
    const isCurrent = !last || to - last.at < UNKNOWN_MS;
    if (!isCurrent) {
      content.unshift(svg("rect", {
        class: "unknown", x: x(last.at), y: plotsFrom,
        width: x(to) - x(last.at), height: bottom - plotsFrom,
      }));
    }
    const lines = [];
    for (const [i, mark] of marks.entries()) {
      const top = rows[i] < 0 ? plotsFrom : plotsFrom - flags + rows[i] * ROW;
      lines.push(svg("path", { class: "mark", d: `M${labels[i].at} ${top}V${bottom}` }));
      if (rows[i] >= 0) content.push(text(mark.label, labels[i].x + 4, top + 11, "mark-label"));
    }
    content.unshift(...lines);
    const { ticks, step } = timeTicks(from, to, Math.max(2, (right - GUTTER.left) / 70));
    const label = timeLabel(step);
    for (const at of ticks.filter((one) => x(one) < right - 16)) {
      content.push(text(label(at), x(at), bottom + 16, "tick middle"));
    }
    if (this.#pickedAt !== null && picked) {
      content.push(svg("path", { class: "cursor", d: `M${x(picked.at)} ${plotsFrom}V${bottom}` }));
    }
    const image = $("svg", this.#figure);
    image.setAttribute("viewBox", `0 0 ${width} ${bottom + 22}`);
    image.setAttribute("height", bottom + 22);
    image.replaceChildren(...content);
    $("output", this.#figure).textContent =
      !picked || (this.#pickedAt === null && isCurrent) ? "Now" : clockTime(picked.at);
  }

  #picked() {
    return this.#moments[this.#pickedAt === null ? this.#moments.length - 1 : this.#index()];
  }

  #index() {
    return this.#pickedAt === null
      ? this.#moments.length - 1
      : nearest(this.#moments, this.#pickedAt);
  }

  #point({ clientX }) {
    if (!this.#drawn) return;
    const { left, width } = this.#surface.getBoundingClientRect();
    const share = (clientX - left - GUTTER.left) / (width - GUTTER.left - GUTTER.right);
    const { from, to } = this.#drawn;
    this.#pick(nearest(this.#moments, from + share * (to - from)));
  }

  #press(event) {
    const last = this.#moments.length - 1;
    const page = Math.max(1, Math.round(last / 10));
    const at = {
      ArrowLeft: this.#index() - 1, ArrowDown: this.#index() - 1,
      ArrowRight: this.#index() + 1, ArrowUp: this.#index() + 1,
      PageDown: this.#index() - page, PageUp: this.#index() + page,
      Home: 0, End: last, Escape: -1,
    }[event.key];
    if (at === undefined || last < 0) return;
    event.preventDefault();
    this.#pick(at < 0 && event.key !== "Escape" ? 0 : Math.min(at, last));
    // Not at each new sample: a screen reader would never be silent.
    const moment = this.#picked();
    this.#surface.setAttribute("aria-valuenow", this.#index());
    this.#surface.setAttribute("aria-valuemax", last);
    this.#surface.setAttribute("aria-valuetext", this.#sentence(moment));
  }

  /** @param index of a moment; -1: the last one, always */
  #pick(index) {
    this.#pickedAt = index < 0 ? null : this.#moments[index].at;
    this.#redraw();
  }

  #sentence(moment) {
    const values = this.#drawn.panels.flatMap((panel) => panel.series.map(
      (series) => `${series.label} ${inWords(series, moment)}`));
    return `${clockTime(moment.at)}: ${values.join(", ")}`;
  }

  /** Not at each new sample: it is to be read. */
  fillTable() {
    const details = $("details", this.#figure);
    if (!details.open || !this.#drawn) return;
    const { panels, marks } = this.#drawn;
    const columns = panels.flatMap(
      ({ title, series }) => series.map((one) => ({ ...one, title })));
    const heading = (words) => el("th", { scope: "col" }, words);
    const head = el("tr", {}, heading("Time"), columns.map((column) => heading(nameOf(column))),
      heading("What happened"));
    const happened = new Map();
    for (const mark of marks) {
      const index = nearest(this.#moments, mark.at);
      happened.set(index, [...(happened.get(index) ?? []), mark.label]);
    }
    const rows = this.#moments.map((moment, i) => el("tr", {},
      el("th", { scope: "row" }, clockTime(moment.at)),
      ...columns.map((series) => el("td", {}, inWords(series, moment))),
      el("td", {}, (happened.get(i) ?? []).join(", "))));
    fill($("thead", details), head);
    fill($("tbody", details), ...rows.reverse());
  }
}

/**
 * Marks with their labels: those of one kind and moment are one. A ticket type that sells out again
 * and again, because holds come back, is marked once.
 */
function merged(marks, names) {
  const kept = new Map();
  const kinds = new Map();
  for (const mark of [...marks].sort((a, b) => Date.parse(a.at) - Date.parse(b.at))) {
    const { kind, ticket_type: type, change } = mark;
    const isRepeated = kind === "sold_out" && kinds.get(type) === kind;
    kinds.set(type, kind);
    if (isRepeated) continue;
    const at = Date.parse(mark.at);
    const key = `${kind} ${change} ${Math.round(at / 2000)}`;
    const { types } = kept.get(key) ?? kept.set(key, { mark, at, types: new Set() }).get(key);
    types.add(type);
  }
  return [...kept.values()].map(({ mark, at, types }) => {
    const several = types.size < names.size ? `${types.size} types` : "";
    const name = types.size > 1 ? several : names.get(mark.ticket_type);
    return { at, label: markLabel(mark, name) };
  });
}

/** A panel's title and what its lines are, with their values at a moment; wrapped. */
function legendOf({ title, series }, top, width, moment) {
  const nodes = [text(title, 0, top, "panel-title")];
  const from = width < WIDE ? 0 : TITLES;
  let x = from;
  let y = width < WIDE ? top + ROW : top;
  // From the top of a stack down, as it is seen.
  for (const one of [...series].reverse()) {
    const words = moment ? inWords(one, moment) : "–";
    const needed = (one.label.length + words.length) * CHARACTER + 34;
    if (x > from && x + needed > width) {
      x = from;
      y += ROW;
    }
    nodes.push(
      svg("rect", { class: one.name, x, y: y - 9, width: 10, height: 10, rx: 2 }),
      svg("text", { x: x + 15, y }, `${one.label} `, svg("tspan", { class: "value" }, words)),
    );
    x += needed;
  }
  if (!series.length) nodes.push(text("Nobody", x, y, ""));
  return { nodes, bottom: y + 10 };
}

function plot({ series, height, stacked, filled }, moments, x, top, right) {
  const sums = moments.map(() => 0);
  const lines = series.map((one) => moments.map((moment, i) => {
    const value = one.value(moment);
    if (value === null || value === undefined) return null;
    return stacked ? (sums[i] += value) : value;
  }));
  const { end: most, parts } = axis(Math.max(0, ...lines.flat()));
  const y = (value) => top + height - (value / most) * height;
  const nodes = [];
  const labels = height > 100 ? parts : 2;
  for (let i = 0; i <= labels; i++) {
    const value = (most * i) / labels;
    nodes.push(svg("path", { class: "grid", d: `M${GUTTER.left} ${y(value)}H${right}` }));
    if (Number.isInteger(value) || most > 10) {
      nodes.push(text(compact(value), GUTTER.left - 6, y(value) + 4, "tick end"));
    }
  }
  const points = (values) => moments.flatMap((moment, i) => {
    const point = values[i] === null ? null : [x(moment.at), y(values[i])];
    return moment.afterGap ? [null, point] : [point];
  });
  lines.forEach((values, i) => {
    const upper = points(values);
    if (stacked || filled) {
      const below = stacked && i > 0 ? lines[i - 1] : moments.map(() => 0);
      nodes.push(svg("path", { class: `area ${series[i].name}`, d: area(upper, points(below)) }));
    }
    nodes.push(svg("path", { class: `line ${series[i].name}`, d: line(upper) }));
  });
  return nodes;
}

function nameOf({ label, words, title }) {
  const name = title.startsWith("Refused") ? `Refused: ${label}` : label;
  return words === rate ? `${name}/s` : name;
}

function inWords({ value, words }, moment) {
  const found = value(moment);
  return found === null || found === undefined ? "–" : words(found);
}

const compact = (value) =>
  new Intl.NumberFormat(undefined, { notation: "compact", maximumFractionDigits: 1 }).format(value);

const clockTime = (at) => new Intl.DateTimeFormat(undefined, {
  hour: "2-digit", minute: "2-digit", second: "2-digit",
  ...(Date.now() - at > 43_200_000 && { day: "numeric", month: "short" }),
}).format(at);

function text(words, x, y, name) {
  return svg("text", { class: name, x, y }, words);
}

function svg(tag, attributes, ...children) {
  const node = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  node.append(...children);
  return node;
}
