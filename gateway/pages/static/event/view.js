/** Puts into the page what the rules and words say. */

import { $, clone, el, fill } from "../core/dom.js";
import { dateTime, money, number } from "../core/format.js";
import { stateWords } from "../storefront/words.js";
import { isChoosable, most, paymentAddress, saleState, stateAt, whatWasLeft } from "./rules.js";
import { namesIn, shortWords } from "./words.js";

/** @param {object} words - by `data-part`; a part without words is hidden */
export function showParts(words) {
  for (const [part, text] of Object.entries(words)) {
    for (const element of document.querySelectorAll(`[data-part="${part}"]`)) {
      // What is written again is read out again.
      if (element.textContent !== (text || "")) fill(element, text || "");
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

/** The one of the parts with `data-phase` that is shown now, and what is not only words in it. */
export function showPhase({ phase, purchase }, sale) {
  $("#panel").hidden = false;
  for (const each of $("#panel").children) each.hidden = each.dataset.phase !== phase;
  const shown = $(`[data-phase="${phase}"]`);
  if (purchase === null) return shown;
  const nameOf = namesIn(sale);
  if (phase === "held") {
    const pay = $("#pay-now");
    pay.hidden = sale.payment_url === null;
    $("#pay-elsewhere").hidden = !pay.hidden;
    if (!pay.hidden) pay.href = paymentAddress(sale.payment_url, purchase.id);
  }
  if (phase === "rejected") {
    const short = (purchase.short ?? []).map((line) => shortWords(line, nameOf(line)));
    fill($("#short"), short.map((text) => el("li", {}, text)));
    const count = [...whatWasLeft(purchase).values()].reduce((sum, quantity) => sum + quantity, 0);
    $("#choose-left").hidden = short.length === 0 || count === 0;
    fill($("#choose-left"), `Choose the ${number(count)} left`);
  } else {
    fill($(".bill", shown), bill(purchase, nameOf));
  }
  return shown;
}

function bill({ items, total_price, currency }, nameOf) {
  const line = (what, amount, kind) =>
    el(
      "li",
      { class: kind },
      el("span", {}, what),
      el("span", { class: "number" }, money(amount, currency)),
    );
  return [
    items.map((item) => line(`${number(item.quantity)} × ${nameOf(item)}`, item.total_price)),
    line("Total", total_price, "sum"),
  ];
}

export function showTickets(purchases, sale) {
  const nameOf = namesIn(sale);
  const kept = ({ quantity, cancelled_quantity = 0 }) => quantity - cancelled_quantity;
  $("#mine").hidden = purchases.length === 0;
  fill(
    $("#purchases"),
    purchases.map(({ id, items, created_at }) =>
      el(
        "li",
        { class: "card" },
        items.map((item) =>
          el("p", {}, el("strong", {}, `${number(kept(item))} × ${nameOf(item)}`)),
        ),
        el("p", { class: "small faint" }, dateTime(created_at)),
        el("p", { class: "small faint id" }, id),
      ),
    ),
  );
}
