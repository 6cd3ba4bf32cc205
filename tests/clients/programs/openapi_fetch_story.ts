// Sells tickets and buys them, with openapi-fetch over the types of openapi-typescript; prints what came of it.

import { randomUUID } from "node:crypto";

import createClient, { type Client } from "openapi-fetch";

import type { components, paths } from "./openapi-typescript.js";

type Schemas = components["schemas"];
type Api = Client<paths>;

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

async function signUp(baseUrl: string, username: string): Promise<Api> {
  const credentials = { username, password: PASSWORD };
  const api = createClient<paths>({ baseUrl });
  data(await api.POST("/api/users/", { body: credentials }));
  const { access } = data(await api.POST("/api/token/", { body: credentials }));
  return createClient<paths>({ baseUrl, headers: { Authorization: `Bearer ${access}` } });
}

/** An event with ten standing places, and five seats that are held for their payment. */
async function putOnSale(seller: Api) {
  const inDays = (days: number) => new Date(Date.now() + days * DAY).toISOString();
  const concert = { title: "Concert", start_time: inDays(30), end_time: inDays(31) };
  const event = data(await seller.POST("/api/events/", { body: concert }));
  const standing = data(
    await seller.POST("/api/ticket-types/", {
      body: { event: event.id, name: "Standing", price: "25.00", capacity: 10 },
    }),
  );
  const seat = data(
    await seller.POST("/api/ticket-types/", {
      body: { event: event.id, name: "Seat", price: "40.00", capacity: 5, hold_seconds: 600 },
    }),
  );
  return { event, standing, seat };
}

type Wanted = Schemas["PurchaseCreate"] | Schemas["CartCreate"];

function request(api: Api, body: Wanted, key: string, wait?: number) {
  const header = { "Idempotency-Key": `"${key}"`, ...(wait && { Prefer: `wait=${wait}` }) };
  return api.POST("/api/ticket-purchases/", { params: { header }, body });
}

async function buy(api: Api, body: Wanted, key: string): Promise<Schemas["Purchase"]> {
  let purchase = data(await request(api, body, key));
  while (purchase.status === "queued") {
    const params = { path: { id: purchase.id }, query: { wait: 20 } };
    purchase = data(await api.GET("/api/ticket-purchases/{id}/", { params }));
  }
  return purchase;
}

/** What a buyer's program does next. */
function advice(code: Schemas["PurchaseCreateCode"]): string {
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

async function main(url: string, name: string): Promise<void> {
  const seller = await signUp(url, `${name}-seller`);
  const buyer = await signUp(url, `${name}-buyer`);
  const { event, standing, seat } = await putOnSale(seller);

  const items = [standing, seat].map(({ id }) => ({ ticket_type: id, quantity: 1 }));
  const cart = await buy(buyer, { items }, randomUUID());
  if (cart.status !== "held") {
    throw new Error(cart.status);
  }
  const confirm = (reference: string) =>
    seller.POST("/api/ticket-purchases/{id}/confirm/", {
      params: { path: { id: cart.id } },
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
  const standingPath = { params: { path: { id: standing.id } } };
  data(await seller.POST("/api/ticket-types/{id}/pause/", standingPath));
  codes.push(code(await request(buyer, some(1), randomUUID())));
  const nobody = createClient<paths>({ baseUrl: url, headers: { Authorization: "Bearer none" } });
  codes.push(code(await request(nobody, some(1), randomUUID())));

  const unknown = { params: { path: { id: randomUUID() } } };
  const wrong = { username: `${name}-buyer`, password: "wrong" };
  const others = [
    code(await confirm(`${name}-2`)),
    code(await buyer.GET("/api/ticket-purchases/{id}/", unknown)),
    code(await buyer.POST("/api/token/", { body: wrong })),
  ];

  const own = data(await buyer.GET("/api/ticket-purchases/"));
  const ofEvent = { params: { query: { event: event.id } } };
  const sold = data(await seller.GET("/api/ticket-purchases/", ofEvent));
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
