/** Webhooks: where the entries of a ledger are sent, and how that goes. */

import { request } from "../core/api.js";
import { $, clone, el, fill } from "../core/dom.js";
import { dateTime, number } from "../core/format.js";
import { ask, showSecret } from "./dialog.js";
import { announce, attempt, entitle, onClick, refill } from "./page.js";
import { badge } from "./stock.js";

const PATH = "api/webhooks/";
const TESTED_MS = 1000;
const DISABLED = {
  owner: "Disabled by you",
  gone: "Disabled: the receiver answered 410 (gone)",
  failing: "Disabled: deliveries failed for too long",
};
const FAILURES = {
  address: "the address is not public",
  dns: "the name does not resolve",
  connection: "the connection failed",
  tls: "the certificate is not valid",
  timeout: "no answer in time",
  redirect: "it answered with a redirect",
  status: "it answered with an error",
  gone: "it answered 410: gone",
};
const NO_SECRET = "The response with the secret was lost: rotate the secret to get another.";

export async function show({ main, signal }) {
  const view = clone("webhooks");
  main.replaceChildren(view);
  entitle(view, "Webhooks");
  const load = async () => {
    // An account has at most twenty.
    const { body } = await request("GET", `${PATH}?page_size=100`, { signal });
    refill($(".list", view), body.results.map((webhook) => cardOf(webhook, load, signal)));
    $(".empty", view).hidden = body.count > 0;
  };
  onClick($(".create", view), async () => {
    if (await create(signal)) await load();
  });
  await load();
}

function cardOf(webhook, changed, signal) {
  const card = clone("webhook");
  card.dataset.id = webhook.id;
  const on = (selector, act) => onClick($(selector, card), async () => {
    if (await act(webhook, signal)) await changed();
  });
  $("h2", card).textContent = webhook.url;
  $(".of", card).textContent =
    `${webhook.event === null ? "All events" : `Event ${webhook.event}`}: ${
      webhook.kinds.join(", ")}`;
  fill($(".state", card), stateOf(webhook));
  $(".since", card).textContent = sinceOf(webhook);
  $(".enable", card).textContent = webhook.enabled ? "Disable" : "Enable";
  on(".enable", webhook.enabled ? disable : enable);
  on(".edit", edit);
  on(".rotate", rotate);
  on(".rewind", rewind);
  on(".delete", remove);
  const deliveries = $("details", card);
  const show = () => deliveries.open && attempt(
    () => showDeliveries(deliveries, webhook, signal));
  deliveries.addEventListener("toggle", show);
  onClick($(".test", card), async () => {
    if (await test(webhook)) setTimeout(show, TESTED_MS);
  });
  return card;
}

function stateOf({ enabled, failing_since: failing }) {
  if (!enabled) return badge("paused", "Disabled");
  return failing ? badge("failed", "Failing") : badge("on_sale", "Enabled");
}

function sinceOf({ enabled, disabled_at, disabled_reason: reason, failing_since: failing }) {
  if (!enabled) return `${DISABLED[reason] ?? "Disabled"}, ${dateTime(disabled_at)}`;
  return failing ? `Deliveries fail since ${dateTime(failing)}; they are tried again.` : "";
}

async function showDeliveries(place, webhook, signal) {
  const { body } = await request(
    "GET", `${PATH}${webhook.id}/deliveries/?page_size=20`, { signal });
  fill($("tbody", place), body.results.map((delivery) => {
    const row = clone("delivery-row");
    const shown = {
      at: dateTime(delivery.at),
      entries: entriesOf(delivery),
      attempt: delivery.attempt ?? "–",
      result: resultOf(delivery),
      time: `${number(delivery.milliseconds)} ms`,
    };
    for (const [name, value] of Object.entries(shown)) {
      $(`[data-figure=${name}]`, row).textContent = value;
    }
    return row;
  }));
  $(".empty", place).hidden = body.count > 0;
}

function entriesOf({ attempt, event, first, last }) {
  if (attempt === null) return "test";
  return first === null ? `event ${event}: a new epoch` : `event ${event}: ${first}–${last}`;
}

function resultOf({ status, failure }) {
  return [status, failure ? FAILURES[failure] ?? failure : "received"].filter(Boolean).join(", ");
}

/** The events that a form of the templates offers: the hundred that start last. */
async function offerEvents(templateId, signal) {
  const { body } = await request(
    "GET", "api/events/?owner=me&ordering=-start_time&page_size=100", { signal });
  const events = body.results.map(({ id, title }) => el("option", { value: id }, title));
  const select = $("select", document.getElementById(templateId).content);
  fill(select, $("option", select), events);
  return templateId;
}

async function create(signal) {
  const fields = await offerEvents("webhook-fields", signal);
  const made = await ask("New webhook", [
    "Every entry of your ledger is sent to it, in order, at least once.",
  ], async (values, key) => (await request("POST", PATH, { body: values, key })).body,
  { confirm: "Create the webhook", fields });
  if (made) await secretOf(made, "Your receiver verifies each request by it.");
  return made;
}

function edit(webhook) {
  return ask("Edit the webhook", ["What is not received yet goes to the new address."],
    async ({ url, kinds }) => {
      await request("PATCH", `${PATH}${webhook.id}/`, { body: { url, kinds } });
      announce("Saved.");
    }, { confirm: "Save", fields: "webhook-edit-fields", values: webhook });
}

function disable(webhook) {
  return ask("Disable the webhook?", [
    "Nothing is sent until you enable it; then it continues where it stopped.",
  ], () => request("PATCH", `${PATH}${webhook.id}/`, { body: { enabled: false } }),
  { confirm: "Disable" });
}

function enable(webhook) {
  return ask("Enable the webhook?", ["It continues where it stopped: no entry is skipped."],
    () => request("PATCH", `${PATH}${webhook.id}/`, { body: { enabled: true } }),
    { confirm: "Enable" });
}

function test(webhook) {
  return ask("Send a test?", [`A delivery of type webhook.test is sent to ${webhook.url}.`],
    async (_, key) => {
      await request("POST", `${PATH}${webhook.id}/test/`, { key });
      announce("The test is on its way; its result is among the deliveries in a second.");
    }, { confirm: "Send the test" });
}

async function rotate(webhook) {
  const made = await ask("Rotate the secret?", [
    "You get a new secret. The former one also signs for 24 hours, so that you can change your"
      + " receiver meanwhile. If it has leaked, delete the webhook and create another instead.",
  ], async (_, key) =>
    (await request("POST", `${PATH}${webhook.id}/rotate-secret/`, { key })).body,
  { confirm: "Rotate the secret" });
  if (made) await secretOf(made, "Give it to your receiver within 24 hours.");
  return made;
}

async function rewind(webhook, signal) {
  const isOfAll = webhook.event === null;
  const fields = isOfAll ? await offerEvents("rewind-all-fields", signal) : "rewind-fields";
  return ask("Rewind the webhook", [
    "All entries after a number are sent again, in new deliveries; 0 sends everything.",
  ], async ({ after, event }, key) => {
    const body = isOfAll ? { after, event } : { after };
    await request("POST", `${PATH}${webhook.id}/rewind/`, { body, key });
    announce(`Rewound: entries after ${number(after)} are sent again.`);
  }, { confirm: "Rewind", fields, values: { after: 0 } });
}

function remove(webhook) {
  return ask("Delete the webhook?", [
    `Nothing more is sent to ${webhook.url}. This cannot be undone.`,
  ], async () => {
    await request("DELETE", `${PATH}${webhook.id}/`);
    announce("Deleted.");
  }, { confirm: "Delete the webhook", danger: true });
}

async function secretOf({ secret }, advice) {
  if (secret) await showSecret("Secret of the webhook", secret, `It is shown only now. ${advice}`);
  else announce(NO_SECRET);
}
