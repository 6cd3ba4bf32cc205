/** Puts into the page what the rules and words say. */

import { $, clone, el, fill } from "../core/dom.js";
import { money, number, stateWords } from "../core/format.js";
import { isChoosable, most, paymentAddress, saleState, stateAt } from "./rules.js";
import { nameOf } from "./words.js";

/** @param {object} words - by `data-part`; a part without words is hidden */
export function say(words) {
  for (const [part, text] of Object.entries(words)) {
    for (const element of document.querySelectorAll(`[data-part="${part}"]`)) {
      fill(element, text);
      element.hidden = !text;
    }
  }
}

function showBadge(badge, state, hidden = false) {
  badge.dataset.state = state;
  badge.hidden = hidden;
  fill(badge, stateWords(state));
}

export function showTypes(sale, cart, now) {
  const list = $("#types");
  const { state } = saleState(sale, now);
  showBadge($("#badge"), state);
  $("#cart").dataset.state = state;
  sale.ticket_types.forEach((type, index) => {
    const row = list.children[index] ?? list.appendChild(clone("type"));
    const [quantity, its] = [cart.get(type.id) ?? 0, stateAt(type, now)];
    fill($("h3", row), type.name);
    fill($(".price", row), money(type.price, sale.currency));
    fill($(".left", row), type.left !== null && its === "on_sale" && `${number(type.left)} left`);
    // What the whole sale is, is said above.
    showBadge($(".badge", row), its, its === state);
    row.classList.toggle("gone", !isChoosable(type));
    $(".stepper", row).setAttribute("aria-label", type.name);
    fill($("output", row), quantity);
    showStep($(".fewer", row), type, quantity > 0);
    showStep($(".more", row), type, quantity < most(type, sale, cart));
  });
  while (list.children.length > sale.ticket_types.length) list.lastChild.remove();
}

function showStep(button, { id, name }, enabled) {
  button.value = id;
  button.ariaLabel = `${button.dataset.by > 0 ? "One more" : "One less"}: ${name}`;
  // Not `disabled`, which loses the focus.
  button.ariaDisabled = !enabled;
}

/** Shows the part of the panel for this phase, and returns it. */
export function showPhase({ phase, purchase }, sale) {
  const panel = $("#panel");
  panel.hidden = false;
  for (const part of panel.children) part.hidden = part.dataset.phase !== phase;
  const shown = $(`[data-phase="${phase}"]`);
  const list = $(".bill", shown);
  if (list !== null) fill(list, bill(purchase, sale));
  return shown;
}

/** The organiser may correct the address at any time. */
export function showPayment({ purchase }, { payment_url: address }) {
  const pay = $("#pay");
  pay.hidden = !address;
  $("#pay-elsewhere").hidden = !pay.hidden;
  if (purchase?.id && address) pay.href = paymentAddress(address, purchase.id);
}

export function showTickets(purchases, sale) {
  $("#mine").hidden = purchases.length === 0;
  const card = (purchase) =>
    el("li", { class: "card" },
      el("ul", { class: "bill" }, bill(purchase, sale)),
      el("p", { class: "small faint id" }, purchase.id));
  fill($("#purchases"), purchases.map(card));
}

function bill({ items, total_price, currency }, sale) {
  const line = (what, amount) =>
    el("li", {}, what, el("span", { class: "number" }, amount && money(amount, currency)));
  const what = ({ ticket_type, quantity, cancelled_quantity: gone }) => {
    const tickets = `${number(quantity)} × ${nameOf(ticket_type, sale)}`;
    return gone > 0 ? `${tickets}, ${number(gone)} cancelled` : tickets;
  };
  const total = total_price && line("Total", total_price);
  return [items.map((item) => line(what(item), item.total_price)), total];
}
