/** API keys: for servers that act as their owner. */

import { request } from "../core/api.js";
import { $, clone } from "../core/dom.js";
import { dateTime } from "../core/format.js";
import { ask, showSecret } from "./dialog.js";
import { announce, entitle, onClick, refill } from "./page.js";

export async function show({ main, signal }) {
  const view = clone("keys");
  main.replaceChildren(view);
  entitle(view, "API keys");
  const load = async () => {
    // An account has at most a hundred.
    const { body } = await request("GET", "api/keys/?page_size=100", { signal });
    $("table", view).hidden = body.count === 0;
    refill($("tbody", view), body.results.map((key) => rowOf(key, load)));
    $(".empty", view).hidden = body.count > 0;
  };
  onClick($(".create", view), async () => {
    if (await create()) await load();
  });
  await load();
}

function rowOf(key, changed) {
  const row = clone("key-row");
  row.dataset.id = key.id;
  const shown = {
    name: key.name,
    scopes: key.scopes.join(", "),
    created: dateTime(key.created_at),
    used: key.last_used_at ? dateTime(key.last_used_at) : "never",
    expires: key.expires_at ? dateTime(key.expires_at) : "never",
  };
  for (const [name, value] of Object.entries(shown)) {
    $(`[data-figure=${name}]`, row).textContent = value;
  }
  $("button", row).ariaLabel = `Revoke: ${key.name}`;
  onClick($("button", row), async () => {
    if (await revoke(key)) await changed();
  });
  return row;
}

async function create() {
  const made = await ask("New API key", [
    "A server with it acts as you, within what you allow. Give each server its own.",
  ], async (values, key) => (await request("POST", "api/keys/", { body: values, key })).body,
  { confirm: "Create the key", fields: "key-fields" });
  if (!made) return false;
  if (made.key) {
    await showSecret(`API key “${made.name}”`, made.key,
      "It is shown only now. Store it where your server reads it, never in a page or an app.");
  } else announce("The key is made, but its response was lost: revoke it and create another.");
  return true;
}

function revoke(key) {
  return ask(`Revoke “${key.name}”?`, [
    "Servers that use it are refused within a second. This cannot be undone.",
  ], async () => {
    await request("DELETE", `api/keys/${key.id}/`);
    announce(`Revoked: ${key.name}.`);
  }, { confirm: "Revoke the key", danger: true });
}
