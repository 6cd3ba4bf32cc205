/** Creates an event, or edits one. */

import { request } from "../core/api.js";
import { $, clone } from "../core/dom.js";
import { read, save } from "./conflict.js";
import { ask } from "./dialog.js";
import { fillForm, onSubmit, readForm, tidy, zone } from "./form.js";
import { announce, entitle, onClick } from "./page.js";

export async function show({ main, id, signal }) {
  const isNew = Number.isNaN(id);
  const view = clone("event-form");
  const form = $("form", view);
  main.replaceChildren(view);
  tidy(form.elements.currency, (text) => text.trim().toUpperCase());
  for (const place of view.querySelectorAll(".zone")) place.textContent = zone();
  entitle(view, isNew ? "New event" : "Edit event");
  $("[type=submit]", form).textContent = isNew ? "Create the event" : "Save";
  if (isNew) {
    onSubmit(form, (key) => create(form, key));
    return;
  }
  const path = `api/events/${id}/`;
  const resource = await read(path, signal);
  fillForm(form, resource.values);
  entitle(view, `Edit ${resource.values.title}`);
  Object.assign($(".event", view), { textContent: resource.values.title, hidden: false });
  const back = `#/events/${id}`;
  for (const link of view.querySelectorAll(".back")) link.href = back;
  onSubmit(form, async () => {
    if (await save(form, resource)) {
      announce("Saved.");
      location.hash = back;
    }
  });
  const remove = $(".delete", view);
  remove.hidden = false;
  onClick(remove, () => deleteEvent(resource));
}

async function create(form, key) {
  const { currency, ...values } = readForm(form);
  // Left out, it is the server's default.
  const body = currency === null ? values : { ...values, currency };
  const { body: event } = await request("POST", "api/events/", { body, key });
  announce("Created. Add its ticket types next.");
  location.hash = `#/events/${event.id}`;
}

async function deleteEvent({ path, values, etag }) {
  const done = await ask(`Delete “${values.title}”?`, [
    "The event and its ticket types are deleted for good. An event with any purchase cannot be"
      + " deleted.",
  ], () => request("DELETE", path, { headers: { "If-Match": etag } }),
  { confirm: "Delete the event", danger: true });
  if (!done) return;
  announce(`Deleted: ${values.title}.`);
  location.hash = "#/";
}
