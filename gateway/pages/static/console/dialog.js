/** Questions in a `<dialog>`. */

import { $, clone, el, fill } from "../core/dom.js";
import { copy } from "./copy.js";
import { fillForm, isBusy, onSubmit, readForm } from "./form.js";

/**
 * Asks, and acts once it is confirmed. What is refused is shown in the dialog, which stays open.
 *
 * @param {string} question
 * @param {string[]} sentences what will happen
 * @param {(values: object, key: string) => Promise} act with the fields and an Idempotency-Key
 * @param {{confirm: string, danger?: boolean, fields?: string, values?: object}} how
 *   `fields`: the id of their template
 * @returns what `act` returned, or null if it was dismissed
 */
export function ask(question, sentences, act, { confirm, danger = false, fields, values = {} }) {
  const dialog = clone("dialog");
  const form = $("form", dialog);
  $("h2", dialog).textContent = question;
  fill($(".said", dialog), ...sentences.map((sentence) => el("p", {}, sentence)));
  if (fields) fill($(".fields", dialog), clone(fields));
  fillForm(form, values);
  const button = $("[type=submit]", dialog);
  button.textContent = confirm;
  button.classList.toggle("danger", danger);
  document.body.append(dialog);
  return new Promise((resolve) => {
    let result = null;
    onSubmit(form, async (key) => {
      result = (await act(readForm(form), key)) ?? true;
      dialog.close();
    });
    // What is under way has an outcome, perhaps a secret that is shown once.
    dialog.addEventListener("cancel", (event) => isBusy(form) && event.preventDefault());
    $(".dismiss", dialog).addEventListener("click", () => isBusy(form) || dialog.close());
    dialog.addEventListener("close", () => {
      dialog.remove();
      resolve(result);
    });
    dialog.showModal();
  });
}

/** Shows a secret that is shown once, until it is stored. */
export function showSecret(title, secret, advice) {
  const dialog = clone("secret");
  $("h2", dialog).textContent = title;
  $("code", dialog).textContent = secret;
  $(".advice", dialog).textContent = advice;
  document.body.append(dialog);
  $(".copy", dialog).addEventListener("click", (event) => copy(event.currentTarget, secret));
  // Escape would lose it.
  dialog.addEventListener("cancel", (event) => event.preventDefault());
  $(".stored", dialog).addEventListener("click", () => dialog.close());
  return new Promise((resolve) => {
    dialog.addEventListener("close", () => {
      dialog.remove();
      resolve();
    });
    dialog.showModal();
  });
}
