/**
 * Who is signed in. The access token is in memory alone; the refresh token is in a cookie that only
 * the server reads.
 */

import { authenticateBy, request, root } from "./api.js";

const TURN_MS = 3_000;
// The user's id in the local storage: without it no page asks the server who is signed in.
const SIGNED_IN = `eventify signed in ${new URL(root).pathname}`;

class Session extends EventTarget {
  /** @type {null | {id: number, username: string}} */
  user = null;
  /** Whether somebody may be signed in whom no `restore` has found yet. */
  isUnknown = remembered();

  #access = null;
  #renewing = null;

  constructor() {
    super();
    // Back, to a page as it was left: somebody may have signed out since.
    addEventListener("pageshow", ({ persisted }) => persisted && location.reload());
    authenticateBy({ token: () => this.#access, renew: (old) => this.#renew(old) });
    addEventListener("storage", (event) => {
      // Another tab signed in or out. What fails now is tried again by the next request.
      if (event.key === SIGNED_IN) this.restore().catch(() => {});
    });
  }

  /** Signs in by the cookie of an earlier visit; at the start of each page. */
  async restore() {
    if (remembered()) await this.#renew(this.#access);
    else this.#set(null);
  }

  /** @throws {ApiError} */
  signIn(username, password) {
    return inTurn(async () => {
      const body = { username, password };
      this.#set((await request("POST", "session/", { body, auth: false })).body);
    });
  }

  /** @throws {ApiError} - then the session is still there */
  signOut() {
    return inTurn(async () => {
      await request("DELETE", "session/", { auth: false, keepalive: true });
      this.#set(null);
    });
  }

  /** The next access token, or null; requests that need it at the same moment share it. */
  #renew(old) {
    if (this.#access !== old) return this.#access;
    this.#renewing ??= inTurn(() => this.#refresh()).finally(() => (this.#renewing = null));
    return this.#renewing;
  }

  async #refresh() {
    try {
      const options = { auth: false, timeoutMs: 4_500 };
      this.#set((await request("POST", "session/refresh/", options)).body);
    } catch (error) {
      // For a minute from a try whose answer is lost, the server takes the next one for it.
      if (error.status !== 401) throw Object.assign(error, { retryMax: 3 });
      this.#set(null);
    }
    return this.#access;
  }

  /** @param {null | {access: string, user: object}} answer */
  #set(answer) {
    const before = this.user?.id;
    this.#access = answer?.access ?? null;
    this.user = answer?.user ?? null;
    this.isUnknown = false;
    store(SIGNED_IN, this.user?.id);
    if (before !== this.user?.id) this.dispatchEvent(new Event("change"));
  }
}

/**
 * One tab at a time, so that no response overwrites the cookie of a later one. A telephone may have
 * suspended the tab whose turn it is: then nobody waits for it.
 */
async function inTurn(work) {
  // Plain HTTP has no locks.
  if (!navigator.locks) return work();
  const signal = AbortSignal.timeout(TURN_MS);
  try {
    return await navigator.locks.request(SIGNED_IN, { signal }, work);
  } catch (error) {
    if (error.name !== "TimeoutError") throw error;
    return work();
  }
}

/** In the local storage, as JSON; nothing forgets what was there. */
export function store(name, value) {
  try {
    if (value) localStorage.setItem(name, JSON.stringify(value));
    else localStorage.removeItem(name);
  } catch {
    // A browser that stores nothing.
  }
}

function remembered() {
  try {
    return localStorage.getItem(SIGNED_IN) !== null;
  } catch {
    // It asks the server each time.
    return true;
  }
}

export const session = new Session();
