/** `<sign-in-dialog>` signs in or registers: `const user = await dialog.ask("To buy tickets")`. */

import { request } from "./api.js";
import { el, fill } from "./dom.js";
import { explain } from "./errors.js";
import { session } from "./session.js";

// The API's own sentences say more about this form than those for its code alone.
const SAYS_ENOUGH = new Set(["invalid", "invalid_credentials"]);

class SignInDialog extends HTMLElement {
  #asked = null;
  #answer = null;
  #busy = false;
  #registers = false;

  #username = field("username", "Username", {
    autocomplete: "username",
    autocapitalize: "none",
    spellcheck: "false",
    required: true,
  });
  #password = field("password", "Password", { type: "password", required: true });
  #email = field("email", "E-mail (optional)", { type: "email", autocomplete: "email" });
  #fields = { username: this.#username, password: this.#password, email: this.#email };
  #title = el("h2", { id: "sign-in-title" });
  #reason = el("p", { class: "sign-in-reason" });
  #problem = el("p", { class: "form-error", role: "alert" });
  #submit = el("button", { type: "submit" });
  #other = el("button", { type: "button", class: "quiet", onclick: () => this.#switch() });
  #dialog = el(
    "dialog",
    { "aria-labelledby": "sign-in-title", onclose: () => this.#closed() },
    el(
      "form",
      { novalidate: true, onsubmit: (event) => this.#submitted(event) },
      this.#title,
      this.#reason,
      Object.values(this.#fields).map((each) => each.row),
      this.#problem,
      el(
        "div",
        { class: "actions" },
        this.#submit,
        el("button", { type: "button", onclick: () => this.#dialog.close() }, "Cancel"),
        this.#other,
      ),
    ),
  );

  constructor() {
    super();
    // Also where another tab signs in, or a slow answer comes after all.
    session.addEventListener("change", () => {
      if (session.user === null || !this.#dialog.open) return;
      this.#answer(session.user);
      this.#dialog.close();
    });
  }

  /**
   * @param {string} [reason] - a sentence
   * @returns {Promise<null | {id: number, username: string}>} null: the user dismissed the dialog
   */
  async ask(reason = "") {
    if (session.user !== null) return session.user;
    if (this.#asked === null) {
      this.#asked = new Promise((resolve) => (this.#answer = resolve));
      fill(this.#reason, reason);
      fill(this, this.#dialog);
      this.#show(false);
      this.#dialog.showModal();
      this.#username.input.focus();
    }
    return this.#asked;
  }

  #closed() {
    this.#password.input.value = "";
    this.#answer(null);
    this.#asked = null;
  }

  #switch() {
    this.#show(!this.#registers);
    this.#username.input.focus();
  }

  /** @param {boolean} registers - or signs in */
  #show(registers) {
    this.#registers = registers;
    const action = registers ? "Register" : "Sign in";
    fill(this.#title, action);
    fill(this.#submit, action);
    fill(this.#other, registers ? "I have an account" : "I have no account yet");
    this.#email.row.hidden = !registers;
    this.#password.input.autocomplete = registers ? "new-password" : "current-password";
    this.#password.hint(registers ? "At least 8 characters, not only digits." : "");
    this.#report({}, "");
  }

  async #submitted(event) {
    event.preventDefault();
    if (this.#busy) return;
    const empty = [this.#username, this.#password].filter(({ input }) => input.value.trim() === "");
    if (empty.length > 0) {
      this.#report(Object.fromEntries(empty.map(({ input }) => [input.name, ["Fill this in."]])), "");
      return;
    }
    this.#busy = true;
    this.#submit.setAttribute("aria-disabled", "true");
    this.#report({}, "");
    try {
      const [name, password] = [this.#username.input.value.trim(), this.#password.input.value];
      const email = this.#email.input.value.trim();
      const refusal = this.#registers && (await register(name, password, email));
      await session.signIn(name, password).catch((error) => {
        throw error.status === 401 && refusal ? refusal : error;
      });
    } catch (error) {
      const { title, next } = explain(error);
      this.#report(error.errors, SAYS_ENOUGH.has(error.code) ? error.detail : `${title} ${next}`);
    } finally {
      this.#busy = false;
      this.#submit.removeAttribute("aria-disabled");
    }
  }

  /** Shows messages beside their fields, and moves to the first one. */
  #report(errors, problem) {
    for (const [name, each] of Object.entries(this.#fields)) each.report(errors[name] ?? []);
    fill(this.#problem, problem);
    this.#dialog.querySelector("[aria-invalid=true]")?.focus();
  }
}

/**
 * Returns the refusal of a username: it may be their own, by a try whose answer was lost.
 *
 * @throws {ApiError} of anything else
 */
async function register(username, password, email) {
  const body = email ? { username, password, email } : { username, password };
  try {
    await request("POST", "api/users/", { body, auth: false });
  } catch (error) {
    if (!error.errors.username) throw error;
    return error;
  }
}

function field(name, label, attributes) {
  const id = `sign-in-${name}`;
  const hint = el("p", { id: `${id}-hint`, class: "hint" });
  const problem = el("p", { id: `${id}-problem`, class: "field-error" });
  const described = { "aria-describedby": `${hint.id} ${problem.id}` };
  const input = el("input", { id, name, ...described, ...attributes });
  return {
    input,
    row: el("div", { class: "field" }, el("label", { for: id }, label), input, hint, problem),
    hint: (text) => fill(hint, text),
    report(messages) {
      input.setAttribute("aria-invalid", messages.length > 0);
      fill(problem, messages.join(" "));
    },
  };
}

customElements.define("sign-in-dialog", SignInDialog);
