/** The page of an event. */

import "../core/sign-in.js";
import { clock } from "../core/clock.js";
import { $, fill } from "../core/dom.js";
import { session } from "../core/session.js";
import { everySecond, jittered, pause, poll } from "../storefront/polling.js";
import { Buyer } from "./buyer.js";
import { isChoosable, mended, most, order, pollSeconds, progress, whatWasLeft } from "./rules.js";
import { showParts, showPhase, showTickets, showTypes } from "./view.js";
import * as words from "./words.js";

const event = Number(/\/events\/([0-9]+)\/$/.exec(location.pathname)[1]);
const buyer = new Buyer(event);
const giveBack = $("#give-back");
let sale = null;
let cart = new Map();
// The phase and purchase that are shown.
let shown = null;

const acts = {
  again: () => buyer.acknowledge(),
  retry: () => buyer.buy(),
  chooseLeft() {
    cart = whatWasLeft(buyer.state.purchase);
    buyer.acknowledge();
  },
  sign: () => (session.user ? session.signOut() : signIn("")),
  signEarly: () => signIn("Be ready when the sale opens."),
  giveBack: () => giveBack.showModal(),
  keep: () => giveBack.close(),
  async release() {
    try {
      await buyer.release();
    } catch (error) {
      showParts({ releaseError: words.refusal(error) });
    }
  },
  step({ value, dataset }) {
    const type = sale.ticket_types.find(({ id }) => id === Number(value));
    const quantity = (cart.get(type.id) ?? 0) + Number(dataset.by);
    if (quantity < 0 || quantity > most(type, sale, cart)) return;
    cart.set(type.id, quantity);
    show();
  },
};

function signIn(reason) {
  return $("sign-in-dialog").ask(reason);
}

async function buy() {
  const { items, count, obstacle } = order(cart, sale, clock.now());
  if (count === 0 || obstacle !== null) return;
  if (await signIn("Sign in or make an account to buy tickets.")) buyer.buy(items);
}

function learn(document_) {
  const { ticket_types } = document_;
  const choosable = ticket_types.filter(isChoosable);
  if (sale === null && choosable.length === 1) cart.set(choosable[0].id, 1);
  if (sale === null) setTimeout(listTickets);
  sale = document_;
  show();
  return pollSeconds(sale, clock.now(), buyer.state.phase !== "none");
}

function fail(error) {
  if (error.status === 404) {
    showParts({ title: "There is no such event", stale: "It may have been taken off sale." });
  } else if (sale === null) {
    showParts({ stale: words.refusal(error) });
  }
}

/** Everything, by what is known and the clock. */
function show() {
  const { user } = session;
  const sign = user ? "Sign out" : "Sign in";
  showParts({ user: user?.username, sign, signEarly: !user && sign });
  if (sale === null) return;
  const [now, { state }] = [clock.now(), buyer];
  cart = mended(cart, sale);
  const ordered = order(cart, sale, now);
  showTypes(sale, cart, now);
  const says = {
    ...words.saleWords(sale, now),
    ...words.orderWords(ordered, sale.currency),
    ...words.purchaseWords(state, now),
  };
  showParts(says);
  $("#buy").ariaDisabled = ordered.count === 0 || ordered.obstacle !== null;
  if (state.place) $("#progress").value = progress(state.place);
  document.title = words.windowTitle(state, sale, now);
  announce(says, state);
  showChange(state);
}

/** Another phase takes the focus to its heading, but for the first one. */
function showChange(state) {
  const now = `${state.phase} ${state.purchase?.id} ${state.error?.code}`;
  if (now === shown) return;
  giveBack.close();
  const heading = $("h2", showPhase(state, sale));
  if (shown !== null) (state.error ? $("#refusal") : heading).focus();
  if (["none", "confirmed"].includes(state.phase)) listTickets();
  shown = now;
}

/** To screen readers: rarely, and never the seconds. */
function announce({ state, notice, trouble }, { place }) {
  const ahead = place && `About ${words.rounded(place.ahead, 1)} ahead of you.`;
  const text = [state, notice, trouble, ahead].filter(Boolean).join(" ");
  if ($("#status").textContent !== text) fill($("#status"), text);
}

async function listTickets() {
  const purchases = await buyer.purchases();
  if (sale) showTickets(purchases.filter(({ status }) => status === "confirmed"), sale);
}

async function restore() {
  try {
    await session.restore();
    show();
  } catch {
    await pause(jittered(3));
    await restore();
  }
}

document.addEventListener("click", ({ target }) => {
  const pressed = target.closest("[data-act]");
  if (pressed && pressed.ariaDisabled !== "true") acts[pressed.dataset.act](pressed);
});
$("#cart").addEventListener("submit", (submitted) => {
  submitted.preventDefault();
  buy();
});
buyer.addEventListener("change", show);
session.addEventListener("change", () => {
  buyer.resume(session.user);
  listTickets();
});
poll(`api/sales/${event}/`, learn, fail);
everySecond(() => clock.now(), show);
restore();
