/** Forms of the templates: filled from the API's values, read into them, errors by field. */

import { ApiError, newKey } from "../core/api.js";
import { $, el } from "../core/dom.js";
import { explain } from "../core/errors.js";

/** @param values by name of the field, as the API has them; the others stay as they are */
export function fillForm(form, values) {
  for (const field of fieldsOf(form)) {
    if (!(field.name in values)) continue;
    const value = values[field.name];
    if (field.dataset.set !== undefined) field.checked = value.includes(field.value);
    else if (field.type === "checkbox") field.checked = value;
    else if (field.type === "datetime-local") field.value = localTime(value, field);
    else field.value = value ?? "";
  }
}

/** The values of a form as the API takes them. An empty field is null, or "" of `data-text`. */
export function readForm(form) {
  const values = {};
  for (const field of fieldsOf(form)) {
    const { name, type, value } = field;
    if (field.dataset.set !== undefined) {
      values[name] ??= [];
      if (field.checked) values[name].push(value);
    } else if (type === "checkbox") values[name] = field.checked;
    else if (field.dataset.text !== undefined) values[name] = value;
    else if (value.trim() === "") values[name] = null;
    else if (type === "number" || field.dataset.number !== undefined) values[name] = Number(value);
    else if (type === "datetime-local") values[name] = new Date(value).toISOString();
    else values[name] = value.trim();
  }
  return values;
}

/** Rewrites what was typed into a field, before the browser checks it. */
export function tidy(field, rewrite) {
  field.addEventListener("change", () => {
    field.value = rewrite(field.value);
  });
}

/** What of a form was changed: a time that was only shown keeps its seconds. */
export function changedIn(form, values) {
  const before = form.cloneNode(true);
  fillForm(before, values);
  const was = readForm(before);
  return Object.fromEntries(Object.entries(readForm(form)).filter(
    ([name, value]) => JSON.stringify(value) !== JSON.stringify(was[name])));
}

/**
 * Calls `act(key)` at each submit, once at a time. What the API refuses stands beside its field,
 * or above the buttons. `key` is the same until the values of the form change.
 */
export function onSubmit(form, act) {
  let keyed = null;
  // The browser found something itself: the API's answer to an earlier try would contradict it.
  form.addEventListener("invalid", () => showErrors(form, null), true);
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    if (isBusy(form)) return;
    const values = JSON.stringify(readForm(form));
    if (keyed?.values !== values) keyed = { values, key: newKey() };
    showErrors(form, null);
    setBusy(form, true);
    try {
      await act(keyed.key);
    } catch (error) {
      if (!(error instanceof ApiError)) throw error;
      showErrors(form, error);
    } finally {
      setBusy(form, false);
    }
  });
}

export function isBusy(form) {
  return form.ariaBusy === "true";
}

function setBusy(form, busy) {
  form.ariaBusy = String(busy);
  $("[type=submit]", form).ariaDisabled = String(busy);
}

/** @param {ApiError | null} error */
function showErrors(form, error) {
  for (const field of fieldsOf(form)) {
    field.removeAttribute("aria-invalid");
    field.removeAttribute("aria-describedby");
  }
  for (const old of form.querySelectorAll(".field-error")) old.remove();
  const general = $(".form-error", form);
  general.textContent = "";
  if (!error) return;
  const rest = [];
  let first = null;
  for (const [name, messages] of Object.entries(error.errors ?? {})) {
    const field = fieldsOf(form).find((one) => one.name === name.split(".")[0]);
    const words = inWords(messages.join(" "), form);
    if (!field) {
      rest.push(`${name}: ${words}`);
      continue;
    }
    field.setAttribute("aria-invalid", "true");
    const id = `error-of-${name}`;
    const beside = field.closest("fieldset") ?? field.closest("label");
    beside.append(el("span", { class: "field-error", id }, words));
    field.setAttribute("aria-describedby", id);
    first ??= field;
  }
  if (rest.length || !first) {
    general.textContent = [...sentences(error), ...rest].join(" ");
  }
  first?.focus();
}

/** A message of the API, with the labels of the form for its names. */
function inWords(message, form) {
  const words = message.replace(/[a-z]+_[a-z_]+/g, (name) => labelOf(form, name) ?? name);
  return words[0].toUpperCase() + words.slice(1);
}

/** The label of a field; undefined where there is none. */
export function labelOf(form, name) {
  return form.elements[name]?.closest?.("label")?.querySelector("span").textContent;
}

/** The error's own sentence says more than those for these codes alone. */
function sentences(error) {
  if (["conflict", "invalid", "partly_done"].includes(error.code)) return [error.detail];
  const { title, next } = explain(error);
  return [title, next];
}

function fieldsOf(form) {
  return [...form.elements].filter(({ name, type }) => name && type !== "submit");
}

/** A time of the API as `datetime-local` takes it: in the reader's zone, where it may be year 0. */
function localTime(iso, { min, max }) {
  if (!iso) return "";
  const at = new Date(iso);
  const local = at - at.getTimezoneOffset() * 60_000;
  const shown = Math.max(Date.parse(`${min}Z`), Math.min(local, Date.parse(`${max}Z`)));
  return new Date(shown).toISOString().slice(0, 16);
}

/** The reader's time zone in words: "Europe/Berlin". */
export const zone = () => Intl.DateTimeFormat().resolvedOptions().timeZone;
