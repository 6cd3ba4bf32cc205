// Sells tickets and buys them, with the client of @hey-api/openapi-ts; prints what came of it.

import { randomUUID } from "node:crypto";

import {
  type CartCreate,
  type Purchase,
  type PurchaseCreate,
  type PurchaseCreateCode,
  accountsCreate,
  eventsCreate,
  purchasesConfirm,
  purchasesCreate,
  purchasesList,
  purchasesRead,
  ticketTypesCreate,
  ticketTypesPause,
  tokensCreate,
} from "./hey-api/index.js";
import { type Client, createClient } from "./hey-api/client/index.js";

const PASSWORD = "four lamps in june";
const DAY = 24 * 60 * 60 * 1000;

/** What a request was answered with, where it has to succeed. */
function data<T>(answer: { data?: T; error?: unknown }): NonNullable<T> {
  if (answer.data === undefined || answer.data === null) {
    throw new Error(JSON.stringify(answer.error));
  }
  return answer.data;
}

/** Why it was refused, where it has to be. */
function code<Code extends string>(answer: { error?: { code: Code } }): Code {
  if (answer.error === undefined) {
    throw new Error("It succeeded.");
  }
  return answer.error.code;
}

async function signUp(baseUrl: string, username: string): Promise<Client> {
  const client = createClient({ baseUrl });
  const body = { username, password: PASSWORD };
  data(await accountsCreate({ client, body }));
  const { access } = data(await tokensCreate({ client, body }));
  return createClient({ baseUrl, auth: access });
}

/** An event with ten standing places, and five seats that are held for their payment. */
async function putOnSale(client: Client) {
  const inDays = (days: number) => new Date(Date.now() + days * DAY).toISOString();
  const concert = { title: "Concert", start_time: inDays(30), end_time: inDays(31) };
  const event = data(await eventsCreate({ client, body: concert }));
  const places = { event: event.id, name: "Standing", price: "25.00", capacity: 10 };
  const standing = data(await ticketTypesCreate({ client, body: places }));
  const seats = { event: event.id, name: "Seat", price: "40.00", capacity: 5, hold_seconds: 600 };
  const seat = data(await ticketTypesCreate({ client, body: seats }));
  return { event, standing, seat };
}

type Wanted = PurchaseCreate | CartCreate;

function request(client: Client, body: Wanted, key: string, wait?: number) {
  const headers = { "Idempotency-Key": `"${key}"`, ...(wait && { Prefer: `wait=${wait}` }) };
  return purchasesCreate({ client, body, headers });
}

async function buy(client: Client, body: Wanted, key: string): Promise<Purchase> {
  let purchase = data(await request(client, body, key));
  while (purchase.status === "queued") {
    const path = { id: purchase.id };
    purchase = data(await purchasesRead({ client, path, query: { wait: 20 } }));
  }
  return purchase;
}

/** What a buyer's program does next. */
function advice(code: PurchaseCreateCode): string {
  switch (code) {
    case "not_enough_tickets":
    case "over_user_limit":
    case "sale_closed":
      return "stop";
    case "all_held":
    case "sale_not_open":
    case "sale_paused":
    case "too_many_expired_holds":
    case "too_many_requests":
    case "body_too_slow":
    case "server_error":
    case "unavailable":
      return "retry";
    case "not_authenticated":
    case "token_expired":
    case "token_malformed":
    case "token_not_valid":
      return "sign in";
    case "body_too_large":
    case "cross_site_request":
    case "idempotency_key_reused":
    case "invalid":
    case "malformed_body":
    case "not_your_event":
    case "out_of_scope":
    case "unsupported_content_encoding":
      return "fix the program";
    // @ts-expect-error Were it no error, the compiler would report that none was there.
    case "sale_pausd":
      return "";
  }
}

async function main(baseUrl: string, name: string): Promise<void> {
  const seller = await signUp(baseUrl, `${name}-seller`);
  const buyer = await signUp(baseUrl, `${name}-buyer`);
  const { event, standing, seat } = await putOnSale(seller);

  const items = [standing, seat].map(({ id }) => ({ ticket_type: id, quantity: 1 }));
  const cart = await buy(buyer, { items }, randomUUID());
  if (cart.status !== "held") {
    throw new Error(cart.status);
  }
  const confirm = (reference: string) =>
    purchasesConfirm({
      client: seller,
      path: { id: cart.id },
      body: { payment_reference: reference, amount: cart.total_price, currency: cart.currency },
    });
  const paid = data(await confirm(`${name}-1`));

  const key = randomUUID();
  const some = (quantity: number) => ({ ticket_type: standing.id, quantity });
  const two = await buy(buyer, some(2), key);

  const codes = [
    code(await request(buyer, some(3), key, 20)),
    code(await request(buyer, some(8), randomUUID(), 20)),
    code(await request(buyer, some(11), randomUUID(), 20)),
  ];
  data(await ticketTypesPause({ client: seller, path: { id: standing.id } }));
  codes.push(code(await request(buyer, some(1), randomUUID())));
  const nobody = createClient({ baseUrl, auth: "none" });
  codes.push(code(await request(nobody, some(1), randomUUID())));

  const wrong = { username: `${name}-buyer`, password: "wrong" };
  const others = [
    code(await confirm(`${name}-2`)),
    code(await purchasesRead({ client: buyer, path: { id: randomUUID() } })),
    code(await tokensCreate({ client: buyer, body: wrong })),
  ];

  const own = data(await purchasesList({ client: buyer }));
  const sold = data(await purchasesList({ client: seller, query: { event: event.id } }));
  const report = {
    event: event.id,
    cart: [cart.id, paid.status],
    two: [two.id, two.status, two.total_price],
    advice: codes.map((one) => [one, advice(one)]),
    others,
    own: own.results.map(({ id }) => id),
    sold: sold.results.map(({ id }) => id),
  };
  process.stdout.write(JSON.stringify(report));
}

const [url = "", name = ""] = process.argv.slice(2);
void main(url, name);
