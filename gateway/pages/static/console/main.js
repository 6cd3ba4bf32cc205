/** The console: who is signed in, and which view the address names. */

import { ApiError } from "../core/api.js";
import { $, clone, el } from "../core/dom.js";
import { explain } from "../core/errors.js";
import { session } from "../core/session.js";
import "../core/sign-in.js";
import * as events from "./events.js";
import { NOT_LOADED, onClick } from "./page.js";

const ROUTES = [
  [/^$/, async () => events],
  [/^events\/new$/, () => import("./event-form.js")],
  [/^events\/(\d+)$/, () => import("./sale.js")],
  [/^events\/(\d+)\/edit$/, () => import("./event-form.js")],
  [/^keys$/, () => import("./keys.js")],
  [/^webhooks$/, () => import("./webhooks.js")],
];

const main = $("main");
let leave = new AbortController();
let isSigningIn = false;
// By the button: what was typed is not kept.
let isSigningOut = false;
// The id of the user whose view is shown.
let reader = null;

/** @param {boolean} moves the reader came from another view: the focus goes to the heading */
async function show(moves) {
  leave.abort();
  leave = new AbortController();
  const { signal } = leave;
  try {
    if (session.user === null) await session.restore();
    if (signal.aborted) return;
    showAccount();
    if (session.user === null) {
      showSignedOut();
      return;
    }
    reader = session.user.id;
    const path = location.hash.replace(/^#?\/?/, "");
    const [pattern, load] = ROUTES.find(([one]) => one.test(path)) ?? ROUTES[0];
    markCurrent(path);
    const view = await load();
    if (signal.aborted) return;
    const shown = view.show({ main, id: Number(pattern.exec(path)?.[1]), signal });
    scrollTo(0, 0);
    if (moves) $("h1", main)?.focus({ preventScroll: true });
    await shown;
  } catch (error) {
    if (signal.aborted) return;
    leave.abort();
    showError(error);
  }
}

function markCurrent(path) {
  for (const link of document.querySelectorAll("#account nav a")) {
    const names = link.hash.slice(2);
    const isCurrent = names === "" ? !/^(keys|webhooks)/.test(path) : path === names;
    link.ariaCurrent = isCurrent ? "page" : null;
  }
}

function showAccount() {
  $("#account").hidden = session.user === null;
  $("#account b").textContent = session.user?.username ?? "";
}

function showSignedOut() {
  const welcome = clone("signed-out");
  $("button", welcome).addEventListener("click", signIn);
  main.replaceChildren(welcome);
  document.title = "Sign in · Console";
  signIn();
}

/** Whether a form stays as it was filled in: for its user alone, also while the session is over. */
function keepsForm() {
  const { user } = session;
  const isTheirs = user === null ? !isSigningOut : user.id === reader;
  return isTheirs && $("form:not([role=search])", main) !== null;
}

async function signIn() {
  isSigningIn = true;
  const user = await $("sign-in-dialog").ask(keepsForm()
    ? "Sign in to go on. What you filled in is kept." : "Sign in to run your sales.");
  isSigningIn = false;
  // Now, because what is behind a dialog takes no focus.
  if (user !== null && !keepsForm()) show(true);
}

function showError(error) {
  const isOfApi = error instanceof ApiError;
  if (!isOfApi) console.error(error);
  const { title, next } = isOfApi ? explain(error) : NOT_LOADED;
  main.replaceChildren(el("section", { class: "card" },
    el("h1", { tabindex: -1 }, title),
    el("p", {}, next),
    el("button", { type: "button", onclick: () => (isOfApi ? show(true) : location.reload()) },
      isOfApi ? "Try again" : "Reload")));
  document.title = `${title} · Console`;
}

session.addEventListener("change", () => {
  showAccount();
  if (isSigningIn) return;
  if (!keepsForm()) show(true);
  else if (session.user === null) signIn();
});
// The dialog was dismissed, and the form is still there.
main.addEventListener("submit", (event) => {
  if (session.user !== null) return;
  event.preventDefault();
  event.stopPropagation();
  signIn();
}, true);
addEventListener("hashchange", () => show(true));
onClick($("#sign-out"), async () => {
  isSigningOut = true;
  await session.signOut().finally(() => (isSigningOut = false));
});
show(false);
