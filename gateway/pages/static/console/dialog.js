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
  let result = null;
  onSubmit(form, async (key) => {
    result = (await act(readForm(form), key)) ?? true;
    dialog.close();
  });
  return showForm(dialog, form).then(() => result);
}

/** Shows a form until it is closed: not while it is sent, as the outcome may be a secret. */
export function showForm(dialog, form) {
  $(".dismiss", dialog).addEventListener("click", () => isBusy(form) || dialog.close());
  return showUntil(dialog, () => !isBusy(form));
}

/** Shows a secret that is shown once, until it is stored. */
export function showSecret(title, secret, advice) {
  const dialog = clone("secret");
  $("h2", dialog).textContent = title;
  $("code", dialog).textContent = secret;
  $(".advice", dialog).textContent = advice;
  $(".copy", dialog).addEventListener("click", (event) => copy(event.currentTarget, secret));
  let isStored = false;
  $(".stored", dialog).addEventListener("click", () => {
    isStored = true;
    dialog.close();
  });
  return showUntil(dialog, () => isStored);
}

/** Shows it until it is closed. A page can refuse one Escape, not the next: then it opens again. */
function showUntil(dialog, mayClose) {
  document.body.append(dialog);
  dialog.addEventListener("cancel", (event) => mayClose() || event.preventDefault());
  return new Promise((resolve) => {
    dialog.addEventListener("close", () => {
      if (!mayClose()) {
        dialog.showModal();
        return;
      }
      dialog.remove();
      resolve();
    });
    dialog.showModal();
  });
}
