/** What the page of an event says, by its parts: `data-part` in the HTML. */

import { explain } from "../core/errors.js";
import { dateTime, duration, money, number } from "../core/format.js";
import { stateWords, timeLeft } from "../storefront/words.js";
import { saleState } from "./rules.js";

const EXACT_POSITIONS = 1_000;
// A queue that has not moved for so long stands still.
const STALLED_MS = 20_000;

export function saleWords(sale, now) {
  const { state, opens } = saleState(sale, now);
  return {
    title: sale.title,
    when: dateTime(sale.start_time),
    description: sale.description,
    notice: sale.notice,
    stale: sale.stale && "These figures may be a minute old. We keep trying.",
    state: stateWords(state),
    countdown: opens && timeLeft(opens - now),
    opens: opens && dateTime(new Date(opens).toISOString()),
  };
}

/** @param {object} order - as `order` in rules.js has it */
export function orderWords({ count, total, obstacle }, currency) {
  const tickets = count === 1 ? "1 ticket" : `${number(count)} tickets`;
  return {
    hint: count === 0 ? "Choose tickets" : obstacle ? stateWords(obstacle) : tickets,
    sum: money(total, currency),
    buy: count === 0 ? "Buy" : `Buy ${tickets}`,
  };
}

/** @param {object} state - of the Buyer */
export function purchaseWords({ purchase, place, trouble, error }, now) {
  return {
    place: place && placeWords(place),
    wait: place && waitWords(purchase.estimated_wait_seconds, place, now),
    left: purchase?.held_until && timeLeft(Date.parse(purchase.held_until) - now),
    trouble: trouble && `${explain(trouble).title} We try again by ourselves.`,
    refusal: error && refusal(error),
    why: purchase?.reason && explain(purchase.reason).title,
    next: purchase?.reason && explain(purchase.reason).next,
    number: purchase?.id,
  };
}

/** Why nothing was bought, and what to do. */
export function refusal(error) {
  const { title, next } = explain(error);
  const seconds = error.retryAfter;
  const later = seconds > 60 ? Math.ceil(seconds / 60) * 60 : seconds;
  const advice = seconds > 5 ? `Try again in about ${duration(later)}.` : next;
  return [title, ...Object.values(error.errors).flat(), advice].join(" ");
}

export function placeWords({ ahead }) {
  if (ahead === 0) return "You are next";
  if (ahead <= EXACT_POSITIONS) return `${number(ahead)} ahead of you`;
  return `About ${number(rounded(ahead, 2))} ahead of you`;
}

export function rounded(n, digits) {
  return Number(n.toPrecision(digits));
}

/** @param {number | null} seconds - as the server estimates */
export function waitWords(seconds, { movedAt }, now) {
  if (now - movedAt > STALLED_MS) {
    return "The queue is not moving right now. We cannot say yet how long it takes.";
  }
  if (seconds === null) return "We cannot say yet how long it takes.";
  if (seconds < 10) return "It takes a few seconds.";
  if (seconds < 50) return "It takes less than a minute.";
  if (seconds < 90) return "It takes about a minute.";
  if (seconds > 3_600) return "It takes more than an hour.";
  return `It takes about ${Math.round(seconds / 60)} minutes.`;
}

/** @returns {(item: {ticket_type: number}) => string} */
export function namesIn(sale) {
  const names = new Map(sale.ticket_types.map(({ id, name }) => [id, name]));
  return ({ ticket_type }) => names.get(ticket_type) ?? `Ticket type ${ticket_type}`;
}

export function shortWords({ quantity, left }, name) {
  const had = left === 0 ? "none was left" : `${number(left)} ${left > 1 ? "were" : "was"} left`;
  return `${name}: you wanted ${number(quantity)}, ${had}.`;
}

/** Of the window: it is seen from another tab, too. */
export function windowTitle({ phase, purchase, place }, sale, now) {
  const { opens } = saleState(sale, now);
  const first = {
    queued: place && `${number(place.ahead)} ahead`,
    held: purchase?.held_until && `${timeLeft(Date.parse(purchase.held_until) - now)} to pay`,
    confirmed: "Bought",
    none: opens && `in ${timeLeft(opens - now)}`,
  };
  return [first[phase], sale.title].filter(Boolean).join(" · ");
}
