/** What the page of an event says, by its parts: `data-part` in the HTML. */

import { explain } from "../core/errors.js";
import { dateTime, duration, money, number, stateWords, timeLeft } from "../core/format.js";
import { order, saleState, whatWasLeft } from "./rules.js";

const EXACT_POSITIONS = 1_000;
// A queue that has not moved for so long stands still.
const STALLED_MS = 20_000;
const WAITS = [
  [10, "a few seconds"],
  [50, "less than a minute"],
  [90, "about a minute"],
  [3_600, "about * minutes"],
];

export function userWords({ user, isUnknown }) {
  const sign = user ? "Sign out" : !isUnknown && "Sign in";
  return { user: user?.username, sign, invitation: !user && sign };
}

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
    opens: opens && dateTime(opens),
  };
}

/** @param {object} ordered - as `order` in rules.js has it */
export function orderWords({ count, total, obstacle }, currency) {
  const tickets = count === 1 ? "1 ticket" : `${number(count)} tickets`;
  return {
    hint: count === 0 ? "Choose tickets" : obstacle ? stateWords(obstacle) : tickets,
    sum: money(total, currency),
    buy: count === 0 ? "Buy" : `Buy ${tickets}`,
  };
}

/** @param {object} state - of the Buyer */
export function purchaseWords({ phase, purchase, place, trouble, error }, sale, now) {
  const why = purchase?.reason && explain({ code: purchase.reason });
  const left = purchase?.short && order(whatWasLeft(purchase), sale, now).count;
  return {
    place: place && placeWords(place),
    ahead: place?.ahead > 0 && "ahead of you",
    wait: place && waitWords(purchase.estimated_wait_seconds, place, now),
    left: phase === "held" && timeLeft(Date.parse(purchase.held_until) - now),
    trouble: trouble && `${explain(trouble).title} We try again by ourselves.`,
    refusal: error && refusal(error),
    why: why?.title,
    next: why?.next,
    short: purchase?.short?.map((line) => shortWords(line, sale)).join("\n"),
    chooseLeft: left && `Choose the ${number(left)} left`,
    number: purchase?.id,
  };
}

/** Why nothing was bought, and what to do. */
export function refusal(error) {
  const { title, next } = explain(error);
  const seconds = error.retryAfter;
  const later = seconds > 60 ? Math.ceil(seconds / 60) * 60 : seconds;
  const advice = seconds > 5 ? `Try again in about ${duration(later)}.` : next;
  return [title, ...Object.values(error.errors ?? {}).flat(), advice].join(" ");
}

function placeWords({ ahead }) {
  if (ahead === 0) return "You are next";
  return ahead <= EXACT_POSITIONS ? number(ahead) : `About ${number(rounded(ahead, 2))}`;
}

function rounded(n, digits) {
  return Number(n.toPrecision(digits));
}

/** @param {number | null} seconds - as the server estimates */
export function waitWords(seconds, { movedAt }, now) {
  if (now - movedAt > STALLED_MS) {
    return "The queue is not moving right now. We cannot say yet how long it takes.";
  }
  if (seconds === null) return "We cannot say yet how long it takes.";
  const words = WAITS.find(([most]) => seconds < most)?.[1] ?? "more than an hour";
  return `It takes ${words.replace("*", Math.round(seconds / 60))}.`;
}

export function nameOf(ticketType, { ticket_types }) {
  const type = ticket_types.find(({ id }) => id === ticketType);
  return type?.name ?? `Ticket type ${ticketType}`;
}

function shortWords({ ticket_type, quantity, left }, sale) {
  return `${nameOf(ticket_type, sale)}: you wanted ${number(quantity)}, ${number(left)} left.`;
}

/** To screen readers: rarely, and never the seconds. */
export function announcement({ state, notice, trouble }, { place }) {
  const ahead = place && `In the queue behind about ${number(rounded(place.ahead, 1))}`;
  return [state, notice, trouble, ahead].filter(Boolean).join(". ");
}

/** Of the window: it is seen from another one, too. @param {object} says - all of the above */
export function windowTitle({ place, ahead, left, countdown, title }) {
  const first =
    [place, ahead].filter(Boolean).join(" ") ||
    (left && `${left} to pay`) ||
    (countdown && `in ${countdown}`);
  return first ? `${first} · ${title}` : title;
}
