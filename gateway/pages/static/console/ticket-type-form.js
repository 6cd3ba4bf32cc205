/** Adds a ticket type to an event, edits or deletes one: in a dialog over its sale. */

import { request } from "../core/api.js";
import { $, clone } from "../core/dom.js";
import { read, save } from "./conflict.js";
import { ask, showForm } from "./dialog.js";
import { fillForm, onSubmit, readForm, tidy, zone } from "./form.js";
import { announce, onClick } from "./page.js";

/**
 * @param event of the API
 * @param {number | null} id null: a new one
 * @param {AbortSignal} signal of the view that asks
 * @returns {Promise<boolean>} whether something changed
 */
export async function editTicketType(event, id, signal) {
  const dialog = clone("ticket-type-form");
  const form = $("form", dialog);
  const resource = id === null ? null : await read(`api/ticket-types/${id}/`, signal);
  $("h2", dialog).textContent = id === null ? "New ticket type" : `Edit ${resource.values.name}`;
  $(".currency", dialog).textContent = event.currency;
  for (const place of dialog.querySelectorAll(".zone")) place.textContent = zone();
  // The decimal keys of many telephones have a comma only.
  tidy(form.elements.price, (text) => text.trim().replace(",", "."));
  let changed = false;
  if (id === null) onSubmit(form, (key) => create(form, event, key).then(close));
  else {
    form.elements.capacity.closest("label").remove();
    fillForm(form, resource.values);
    onSubmit(form, async () => {
      const saved = await save(form, resource);
      if (!saved) return;
      announce(`Saved: ${saved.name}.`);
      close();
    });
    $(".delete", dialog).hidden = false;
    onClick($(".delete", dialog), async () => {
      if (await deleteType(resource)) close();
    });
  }
  function close() {
    changed = true;
    dialog.close();
  }
  await showForm(dialog, form);
  return changed;
}

async function create(form, event, key) {
  const body = { ...readForm(form), event: event.id };
  const { body: type } = await request("POST", "api/ticket-types/", { body, key });
  announce(`Added: ${type.name}.`);
}

function deleteType({ path, values, etag }) {
  return ask(`Delete “${values.name}”?`, [
    "The ticket type is deleted for good. One with any purchase cannot be deleted.",
  ], async () => {
    await request("DELETE", path, { headers: { "If-Match": etag } });
    announce(`Deleted: ${values.name}.`);
  }, { confirm: "Delete the ticket type", danger: true });
}
