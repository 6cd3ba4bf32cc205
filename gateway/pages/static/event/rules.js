/** The rules of a buyer's page, without the page: what can be chosen, and what it costs. */

// As the API has it.
const LINES_MAX = 10;
const BEST_FIRST = ["on_sale", "all_held", "paused", "not_open", "sold_out", "closed"];

/** A type's state: a sale opens by the clock, whatever the last document said. */
export function stateAt({ state, sales_start }, now) {
  return state === "not_open" && Date.parse(sales_start) <= now ? "on_sale" : state;
}

/** The best state of all types; `opens`: when the first of them does, where none is open. */
export function saleState({ ticket_types }, now) {
  const states = ticket_types.map((type) => stateAt(type, now));
  const state = BEST_FIRST.find((each) => states.includes(each)) ?? "closed";
  if (state !== "not_open") return { state, opens: null };
  const opening = ticket_types.filter((type) => type.state === state);
  return { state, opens: Math.min(...opening.map((type) => Date.parse(type.sales_start))) };
}

/** Whether it may be put into the cart: also before the sale opens, and while it is paused. */
export function isChoosable({ state }) {
  return ["on_sale", "not_open", "paused"].includes(state);
}

/** How many of `type` the cart may have. @param {Map<number, number>} cart - quantities by type */
export function most(type, sale, cart) {
  const others = [...cart].filter(([id]) => id !== type.id);
  if (!isChoosable(type) || others.length >= LINES_MAX) return 0;
  const taken = others.reduce((sum, [, quantity]) => sum + quantity, 0);
  const all = (sale.max_per_user ?? Infinity) - taken;
  const limits = [type.max_per_purchase, type.max_per_user, type.left, all];
  return Math.max(0, Math.min(...limits.map((limit) => limit ?? Infinity)));
}

/** The cart without what can no longer be had. */
export function mended(cart, sale) {
  const kept = new Map();
  for (const type of sale.ticket_types) {
    const quantity = Math.min(cart.get(type.id) ?? 0, most(type, sale, kept));
    if (quantity > 0) kept.set(type.id, quantity);
  }
  return kept;
}

/** What is in the cart; `obstacle`: the state of a type that cannot be bought now. */
export function order(cart, { ticket_types }, now) {
  const types = ticket_types.filter(({ id }) => cart.has(id));
  const items = types.map(({ id }) => ({ ticket_type: id, quantity: cart.get(id) }));
  const lines = types.map(({ id, price }) => [price, cart.get(id)]);
  const count = items.reduce((sum, { quantity }) => sum + quantity, 0);
  const obstacle = types.map((type) => stateAt(type, now)).find((state) => state !== "on_sale");
  const canBuy = count > 0 && !obstacle;
  return { items, count, total: total(lines), obstacle, canBuy };
}

/** A decimal, exact. @param {[string, number][]} lines - unit price and quantity */
export function total(lines) {
  const cents = lines.reduce(
    (sum, [price, quantity]) => sum + BigInt(price.replace(".", "")) * BigInt(quantity),
    0n,
  );
  return String(cents).padStart(3, "0").replace(/(..)$/, ".$1");
}

/** Seconds until the sale is asked for again; `busy`: this buyer's purchase is under way. */
export function pollSeconds(sale, now, busy) {
  const { state, opens } = saleState(sale, now);
  if (state === "closed") return 60;
  if (state === "sold_out" || busy) return 5;
  if (state === "not_open") return opens - now < 120_000 ? 3 : 30;
  return state === "paused" ? 3 : 1;
}

/**
 * A place in the queue, which never moves back: positions above a thousand are upper estimates.
 *
 * @param {undefined | null | {first: number, ahead: number, movedAt: number}} place - that before
 */
export function moved(place, position, now) {
  if (place && position >= place.ahead) return place;
  return { first: place?.first ?? position, ahead: position, movedAt: now };
}

/** From 0 to 1, which only the decision reaches. */
export function progress({ first, ahead }) {
  return (first - ahead) / (first + 1);
}

/** The shop's address, with the purchase that is to be paid. */
export function paymentAddress(paymentUrl, purchaseId) {
  const address = new URL(paymentUrl);
  address.searchParams.set("purchase", purchaseId);
  return address.href;
}

/** The cart that a rejected purchase could have been. */
export function whatWasLeft({ items, short }) {
  const cart = new Map(items.map(({ ticket_type, quantity }) => [ticket_type, quantity]));
  for (const { ticket_type, left } of short) cart.set(ticket_type, left);
  return cart;
}
