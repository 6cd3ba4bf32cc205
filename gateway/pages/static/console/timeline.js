/**
 * The past of a sale and what is sampled now, as one list of samples, oldest first. Pure.
 *
 * A sample: `at` in milliseconds; tickets `left`, `held`, `confirmed`; purchases `queued`;
 * `decided`, `accepted` and `refused` (by code) per second. Null: not known.
 */

/** Of a chart; beyond that they are merged into steps. */
const SAMPLES_MAX = 1200;
const STEPS = 400;
/** A live sample that comes later than this after the last one leaves a gap in the lines. */
const GAP_MS = 15_000;

const NOTHING = { decided: 0, accepted: 0, refused: {} };
const LEVELS = ["left", "held", "confirmed", "queued"];

/**
 * The levels of a point are those at the end of its step; the last step may not be over.
 *
 * @param {boolean} isWhole it begins with the first purchase
 */
export function fromHistory({ points, step_seconds: step, now: nowText }, isWhole) {
  if (!points.length) return [];
  const now = Date.parse(nowText);
  const samples = points.map((point) => {
    const began = Date.parse(point.at);
    const at = Math.min(began + step * 1000, now);
    const seconds = Math.max((at - began) / 1000, step / 2);
    return {
      ...pick(point, LEVELS),
      at,
      decided: point.decided / seconds,
      accepted: point.accepted / seconds,
      refused: mapValues(point.refused, (count) => count / seconds),
    };
  });
  const { left, held, confirmed } = samples[0];
  const unsold = { left: left + held + confirmed, held: 0, confirmed: 0, queued: 0 };
  const before = isWhole ? [{ ...unsold, ...NOTHING, at: Date.parse(points[0].at) }] : [];
  // It ends with the last purchase.
  const last = samples.at(-1);
  const end = last.at + step * 1000;
  const after = end < now ? [end, now] : [];
  return [...before, ...samples, ...after.map((at) => ({ ...last, ...NOTHING, at }))];
}

/** @param before earlier live figures, or none: what was refused since is not known */
export function fromLive(live, before) {
  const at = Date.parse(live.at);
  const seconds = before ? (at - Date.parse(before.at)) / 1000 : 0;
  const since = (count, code) => Math.max(0, count - (before.refusals[code] ?? 0)) / seconds;
  return {
    ...pick(live, LEVELS),
    at,
    decided: live.decided_per_second,
    accepted: live.accepted_per_second,
    refused: seconds > 0 ? mapValues(live.refusals, since) : {},
  };
}

/** Two lists as one: of the later one what is newer, after a gap where there is one. */
export function join(earlier, later) {
  const last = earlier.at(-1);
  const [next, ...others] = last ? later.filter(({ at }) => at > last.at) : later;
  if (!next) return earlier;
  const afterGap = last !== undefined && next.at - last.at > GAP_MS;
  const all = [...earlier, afterGap ? { ...next, afterGap } : next, ...others];
  return all.length > SAMPLES_MAX ? thinned(all) : all;
}

/** From a moment on; what was before it holds there, too. */
export function since(samples, from) {
  const count = samples.filter(({ at }) => at < from).length;
  const newer = samples.slice(count);
  return count ? [{ ...samples[count - 1], at: from }, ...newer] : newer;
}

/** Fewer samples, of equal steps, as far as they were not longer. The first one stays. */
function thinned([first, ...others]) {
  const step = (others.at(-1).at - first.at) / STEPS;
  const kept = [first];
  let began = first.at;
  for (const sample of others) {
    const last = kept.at(-1);
    if (last !== first && sample.at - began <= step) kept[kept.length - 1] = merged(last, sample);
    else {
      began = last.at;
      kept.push(sample);
    }
  }
  return kept;
}

/** One of two: the later figures, and the means of rates. */
function merged(earlier, later) {
  const [m, n] = [earlier.count ?? 1, later.count ?? 1];
  const mean = (a = 0, b = 0) => (a * m + b * n) / (m + n);
  const codes = { ...earlier.refused, ...later.refused };
  return {
    ...later,
    count: m + n,
    afterGap: earlier.afterGap || later.afterGap,
    decided: mean(earlier.decided, later.decided),
    accepted: mean(earlier.accepted, later.accepted),
    refused: mapValues(codes, (_, code) => mean(earlier.refused[code], later.refused[code])),
  };
}

/** What happened between two live figures, as marks of a history. */
export function marksBetween(before, live) {
  const were = new Map(before.ticket_types.map((type) => [type.id, type]));
  return live.ticket_types.flatMap((type) => {
    const was = were.get(type.id);
    if (!was) return [];
    const change = type.issued - was.issued;
    const kinds = was.state === type.state ? [] : kindsOf(was.state, type.state);
    if (change) kinds.push("capacity");
    return kinds.map((kind) => ({
      at: live.at,
      kind,
      ticket_type: type.id,
      change: kind === "capacity" ? change : null,
    }));
  });
}

function kindsOf(was, is) {
  const kinds = [];
  if (was === "not_open" && is !== "closed") kinds.push("opening");
  if (was === "paused") kinds.push("resumed");
  if (is === "paused") kinds.push("paused");
  if (is === "sold_out") kinds.push("sold_out");
  if (is === "closed") kinds.push("closing");
  return kinds;
}

/** The index of the sample that is nearest to a time; -1 where there is none. */
export function nearest(samples, at) {
  let low = 0;
  let high = samples.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (samples[middle].at < at) low = middle + 1;
    else high = middle;
  }
  const before = samples[low - 1];
  return before && (low === samples.length || at - before.at < samples[low].at - at)
    ? low - 1
    : low < samples.length ? low : -1;
}

/** The codes of all refusals, the most frequent first. */
export function refusalCodes(samples) {
  const sums = {};
  for (const { refused } of samples) {
    for (const [code, perSecond] of Object.entries(refused)) {
      sums[code] = (sums[code] ?? 0) + perSecond;
    }
  }
  return Object.keys(sums).filter((code) => sums[code] > 0).sort((a, b) => sums[b] - sums[a]);
}

function pick(from, names) {
  return Object.fromEntries(names.map((name) => [name, from[name]]));
}

function mapValues(from, change) {
  return Object.fromEntries(Object.entries(from).map(([key, value]) => [key, change(value, key)]));
}
