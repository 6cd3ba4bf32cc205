/** The page of an event. */

import { clock } from "../core/clock.js";
import { $ } from "../core/dom.js";
import { session } from "../core/session.js";
import { everySecond, pause, poll, retrySeconds } from "../storefront/polling.js";
import { Buyer } from "./buyer.js";
import { isChoosable, mended, order, pollSeconds, progress, whatWasLeft } from "./rules.js";
import { say, showPayment, showPhase, showTickets, showTypes } from "./view.js";
import * as words from "./words.js";

$("#late").remove();
const event = Number(decodeURI(location.pathname).split("/").at(-2));
const buyer = new Buyer(event);
const giveBack = $("#give-back");
let sale = null;
// Also what cannot be had at the moment: it may come back.
let cart = new Map();
// The phase, purchase and error that are shown.
let shown = null;
let isReleasing = false;
// Why it is not known yet who is signed in.
let trouble = null;
// Who signs out by the button: not asked to sign in again.
let leaves = null;
// Whether an earlier press is sent once somebody has signed in; otherwise they are asked.
let goesOn = true;

const acts = {
  again: () => buyer.acknowledge(),
  retry: () => buyer.buy(),
  chooseLeft() {
    cart = whatWasLeft(buyer.state.purchase);
    buyer.acknowledge();
  },
  sign: () => (session.user ? (leaves ??= session.signOut().catch(refuse)) : signIn()),
  giveBack: () => giveBack.showModal(),
  keep: () => giveBack.close(),
  async release() {
    isReleasing = true;
    show();
    await buyer.release().catch(refuse);
    isReleasing = false;
    show();
  },
  step({ value, dataset }) {
    cart = mended(cart, sale);
    const type = Number(value);
    cart.set(type, (cart.get(type) ?? 0) + Number(dataset.by));
    show();
  },
};

/** The dialog is loaded after the page, and before it is needed. */
async function signIn(reason, goingOn) {
  if (session.user) return session.user;
  goesOn = goingOn;
  try {
    await import("../core/sign-in.js");
  } catch {
    // Browsers do not load it again, and after an update it has another address. Only a press
    // leads here, so that nothing reloads for ever; who is offline keeps the page.
    return navigator.onLine && location.reload();
  }
  return (goesOn = await $("sign-in-dialog").ask(reason));
}

/** Says why nothing came of a press, until the next. */
function refuse(error) {
  say({ failure: words.refusal(error) });
  leaves = null;
}

async function buy() {
  const { items, canBuy } = order(mended(cart, sale), sale, clock.now());
  if (canBuy && (await signIn("Sign in or register to buy tickets."))) buyer.buy(items);
}

function learn(latest) {
  const choosable = latest.ticket_types.filter(isChoosable);
  if (sale === null && choosable.length === 1) cart.set(choosable[0].id, 1);
  sale = latest;
  show();
  return pollSeconds(sale, clock.now(), buyer.state.phase !== "none");
}

function fail(error, failures) {
  if (sale === null) {
    say({ title: error.status === 404 && "There is no such event", stale: words.refusal(error) });
    // A copy, because the poll hands the same object out again. It is shown within the second.
  } else if (failures) sale = { ...sale, stale: true };
}

/** Everything, by what is known and the clock. */
function show() {
  say(words.userWords(session));
  if (sale === null) return;
  const state = session.isUnknown ? { phase: "loading", trouble } : { ...buyer.state };
  if (isReleasing && state.phase === "held") state.phase = "releasing";
  const now = clock.now();
  const possible = mended(cart, sale);
  const ordered = order(possible, sale, now);
  const button = $("#buy");
  const wasDisabled = button.ariaDisabled === "true";
  button.ariaDisabled = !ordered.canBuy;
  // A refusal for what is over. Nobody pressed, so the focus stays.
  if (wasDisabled && ordered.canBuy && /^sale_/.test(state.error?.code)) {
    shown = null;
    return buyer.acknowledge();
  }
  const says = {
    ...words.saleWords(sale, now),
    ...words.orderWords(ordered, sale.currency),
    ...words.purchaseWords(state, sale, now),
  };
  showTypes(sale, possible, now);
  say({ ...says, status: words.announcement(says, state) });
  showPayment(state, sale);
  if (state.place) $("#progress").value = progress(state.place);
  document.title = words.windowTitle(says);
  showChange(state);
}

/** Another phase takes the focus to its heading, but for the first one. */
function showChange(state) {
  const { phase, purchase, error } = state;
  const change = `${phase} ${purchase?.id} ${error?.code}`;
  if (change === shown) return;
  giveBack.close();
  const place = $(error ? "#refusal" : "h2", showPhase(state, sale));
  // Later, because what is behind a dialog takes no focus.
  if (shown !== null) queueMicrotask(() => place.focus());
  if (phase === "none" || phase === "confirmed") listTickets();
  // What is bought is chosen no more.
  if (phase === "confirmed") cart.clear();
  if (!session.isUnknown) shown = change;
}

async function listTickets() {
  const purchases = await buyer.purchases();
  showTickets(purchases.filter(({ status }) => status === "confirmed"), sale);
}

async function start(failures = 0) {
  try {
    await session.restore();
    show();
    if (session.user === null) await import("../core/sign-in.js");
  } catch (error) {
    trouble = error;
    await pause(retrySeconds(error, failures));
    start(failures + 1);
  }
}

document.addEventListener("click", ({ target }) => {
  const pressed = target.closest("button");
  if (!pressed) return;
  say({ failure: null });
  if (pressed.ariaDisabled !== "true") acts[pressed.dataset.act]?.(pressed);
});
$("#cart").addEventListener("submit", (submitted) => {
  submitted.preventDefault();
  buy();
});
buyer.addEventListener("change", show);
session.addEventListener("change", () => {
  if (!session.user && !leaves && buyer.state.phase !== "none") signIn("Sign in to go on.", true);
  buyer.resume(session.user, goesOn);
  leaves = null;
  if (sale) listTickets();
});
poll(`api/sales/${event}/`, learn, fail);
everySecond(show);
start();
