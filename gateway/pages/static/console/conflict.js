/** Edits of what somebody else may have changed meanwhile. */

import { ApiError, request } from "../core/api.js";
import { $, clone, el, fill } from "../core/dom.js";
import { changedIn, fillForm, labelOf } from "./form.js";

/** A representation that was read, and its tag. */
export async function read(path, signal) {
  const { body, headers } = await request("GET", path, { signal });
  return { path, values: body, etag: headers.get("ETag") };
}

/**
 * Sends what of the form was changed since it was filled. Where somebody else changed the same
 * thing meanwhile, shows what; then the reader may send his own, or take theirs.
 *
 * @param resource as `read` gave it; it is the current one afterwards
 * @returns the changed representation, or null: nothing is saved yet
 */
export async function save(form, resource) {
  const changes = changedIn(form, resource.values);
  try {
    const { body, headers } = await request("PATCH", resource.path, {
      body: changes, headers: { "If-Match": resource.etag },
    });
    Object.assign(resource, { values: body, etag: headers.get("ETag") });
    return body;
  } catch (error) {
    if (!(error instanceof ApiError) || error.status !== 412) throw error;
    await merge(form, resource, changes);
    return null;
  }
}

/** Theirs fills what the reader did not change, and is shown: where both did, it is his to say. */
async function merge(form, resource, mine) {
  const before = resource.values;
  Object.assign(resource, await read(resource.path));
  const theirs = changedFields(form, before, resource.values);
  const untouched = Object.entries(resource.values).filter(([name]) => !(name in mine));
  fillForm(form, Object.fromEntries(untouched));
  const notice = clone("conflict");
  fill($("ul", notice), theirs.map(([label, value]) => el("li", {}, `${label}: ${value}`)));
  $("button", notice).addEventListener("click", () => {
    fillForm(form, resource.values);
    notice.remove();
  });
  $(".conflict", form)?.remove();
  form.prepend(notice);
  notice.focus();
}

/** Labels and values of the fields that somebody else changed. */
function changedFields(form, before, now) {
  const copy = form.cloneNode(true);
  fillForm(copy, now);
  return Object.keys(changedIn(copy, before)).map((name) => {
    const field = copy.elements[name];
    const label = labelOf(form, name) ?? name;
    if (field.type === "checkbox") return [label, field.checked ? "yes" : "no"];
    return [label, field.value || "–"];
  });
}
