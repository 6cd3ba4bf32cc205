/**
 * One purchase at a time, from the press of the button to its outcome. What was pressed for is
 * stored before the first request and until the outcome is seen: a reload, a crash or another tab
 * goes on with the same purchase, and never makes a second one.
 */

import { newKey, request, root } from "../core/api.js";
import { clock } from "../core/clock.js";
import { connect } from "../core/event-stream.js";
import { store } from "../core/session.js";
import { pause, retrySeconds } from "../storefront/polling.js";
import { moved } from "./rules.js";

const PURCHASES = "api/ticket-purchases/";
// A press from so long ago is not sent without asking.
const OLD_MS = 600_000;
const NONE = { phase: "none", purchase: null, place: null, trouble: null, error: null };

/**
 * Fires "change". `state.phase`: "none", "unsure" (an earlier press, perhaps never sent),
 * "sending", "loading", or the status of `state.purchase`, which has only `items` before;
 * `trouble`: why it takes another try; `error`: why nothing was bought.
 */
export class Buyer extends EventTarget {
  state = NONE;
  // Where the attempt is stored; null: nobody is signed in.
  #name = null;
  // `key` and `body` of the request, `at`: when it was pressed, or 0 to ask before it is sent (none
  // of these from another device); `id` of the purchase, once it is known; `place` in the queue.
  #attempt = null;
  #running = new AbortController();

  constructor(event) {
    super();
    this.event = event;
    addEventListener("storage", ({ key }) => {
      // Another tab of this buyer.
      if (key !== this.#name) return;
      const theirs = stored(key);
      const ours = this.#attempt;
      if (theirs?.key !== ours?.key || theirs?.id !== ours?.id) this.#take(theirs);
    });
  }

  /**
   * Goes on with what the user pressed for; null: signed out.
   *
   * @param {boolean} goesOn - or asks before an attempt is sent, however recent
   */
  resume(user, goesOn) {
    this.#name = user && `eventify purchase ${new URL(root).pathname} ${this.event} ${user.id}`;
    const attempt = stored(this.#name);
    this.#take(attempt && { ...attempt, at: goesOn ? attempt.at : 0 });
  }

  /**
   * The user's latest purchases of this event, none for a `buyer`, as soon as they can be read.
   * Goes on with an open one: from another device, or of a press that was no longer wanted.
   */
  async purchases() {
    for (let failures = 0; this.#name; failures += 1) {
      const name = this.#name;
      try {
        const { body } = await request("GET", `${PURCHASES}?page_size=100`);
        // Somebody else may have signed in meanwhile.
        if (name !== this.#name) continue;
        // Not those that a key of the event's owner made for a customer.
        const purchases = body.results.filter(({ event, buyer }) => event === this.event && !buyer);
        const open = purchases.find(({ status }) => /queued|held/.test(status));
        if (open && !this.#attempt && !this.state.error) this.#take({ id: open.id });
        return purchases;
      } catch (error) {
        if (!mayRecover(error)) break;
        await pause(retrySeconds(error, failures));
      }
    }
    return [];
  }

  /**
   * An earlier attempt may have arrived: it comes first, and is asked about if it has other items.
   *
   * @param {{ticket_type: number, quantity: number}[]} [items] - without: those of the attempt
   */
  buy(items) {
    const attempt = this.#attempt ?? stored(this.#name) ?? { key: newKey(), body: { items } };
    const isOther = items && JSON.stringify(items) !== JSON.stringify(attempt.body?.items);
    this.#take({ ...attempt, at: isOther ? 0 : Date.now() });
  }

  /** The buyer has seen the outcome. */
  acknowledge() {
    this.#take(null);
  }

  /** Gives a held purchase back. @throws {ApiError} */
  async release() {
    const path = `${PURCHASES}${this.state.purchase.id}/release/`;
    this.#learn((await request("POST", path)).body);
  }

  async #take(attempt) {
    this.#running.abort();
    const { signal } = (this.#running = new AbortController());
    this.#keep(attempt);
    if (attempt === null) return this.#set(NONE);
    const phase = attempt.id ? "loading" : isOld(attempt) ? "unsure" : "sending";
    this.#set({ ...NONE, phase, purchase: attempt.body });
    if (phase === "unsure") return;
    try {
      await (attempt.id ? this.#read("", { signal }) : this.#send(attempt, signal));
      await this.#follow(signal);
      await this.#watch(signal);
    } catch (error) {
      if (signal.aborted) return;
      // Who signs in again goes on; after a fault of the page, who loads it again.
      if (error.status && error.status !== 401) this.#keep(null);
      this.#set({ ...NONE, error });
      if (!error.status) throw error;
    }
  }

  async #send({ key, body }, signal) {
    const headers = { Prefer: "wait=1" };
    const options = { key: `"${key}"`, body, headers, timeoutMs: 15_000, signal };
    try {
      this.#learn((await this.#ask("POST", PURCHASES, options)).body);
    } catch (error) {
      if (!error.body?.id) throw error;
      this.#learn({ ...error.body, ...body, status: "rejected", reason: error.code });
    }
  }

  /** By the server's events, until it is decided; where they break off, by a request. */
  async #follow(signal) {
    for (let refused = 0; this.state.phase === "queued"; refused += 1) {
      let refusal = {};
      try {
        const events = connect(`${PURCHASES}${this.#attempt.id}/`, { signal });
        for await (const { data } of events) {
          this.#learn(JSON.parse(data));
          refused = 0;
        }
      } catch (error) {
        signal.throwIfAborted();
        refusal = error;
      }
      if (this.state.phase !== "queued") return;
      // A gateway that is full refuses streams, and lets no request wait. The longest pause is
      // over before the page says that the queue stands still.
      const part = Math.min(this.state.purchase.estimated_wait_seconds / 4, 8);
      const retryAfter = Math.max(refusal.retryAfter ?? 0, part);
      await pause(retrySeconds({ ...refusal, retryAfter }, Math.min(refused, 3)));
      // It says why, too.
      await this.#read("?wait=5", { signal });
    }
  }

  /** Until it is held no more. */
  async #watch(signal) {
    for (let etag = null; this.state.phase === "held"; ) {
      const began = performance.now();
      const known = etag && { "If-None-Match": etag };
      const { headers } = await this.#read("?wait=20", { headers: known, signal });
      // The server did not wait: too many do.
      if (etag !== null && performance.now() - began < 1_000) await pause(2);
      etag = headers.get("ETag");
    }
  }

  async #read(query, options) {
    const answer = await this.#ask("GET", `${PURCHASES}${this.#attempt.id}/${query}`, options);
    if (answer.body) this.#learn(answer.body);
    return answer;
  }

  /** Tries again for as long as that may help, and says so. */
  async #ask(method, path, options) {
    const { signal } = options;
    for (let failures = 0; ; failures += 1) {
      try {
        const answer = await request(method, path, options);
        this.#set({ trouble: null });
        return answer;
      } catch (error) {
        signal.throwIfAborted();
        if (!mayRecover(error)) throw error;
        this.#set({ trouble: error });
        await pause(retrySeconds(error, failures));
        signal.throwIfAborted();
        // The telephone may have slept. It aborts this, too.
        if (isOld(this.#attempt)) this.#take(this.#attempt);
      }
    }
  }

  #learn(purchase) {
    const { id, status, position } = purchase;
    const place = status === "queued" ? moved(this.#attempt.place, position, clock.now()) : null;
    this.#keep({ ...this.#attempt, id, place });
    this.#set({ phase: status, purchase, place, trouble: null });
  }

  #keep(attempt) {
    this.#attempt = attempt;
    if (this.#name) store(this.#name, attempt);
  }

  #set(changes) {
    this.state = { ...this.state, ...changes };
    this.dispatchEvent(new Event("change"));
  }
}

/** Perhaps never sent, and not to be sent without asking. */
function isOld({ id, at }) {
  return !id && Date.now() - at > OLD_MS;
}

function mayRecover({ status, code, retryAfter }) {
  if (code === "too_many_expired_holds") return false;
  // The clock is a little fast.
  if (code === "sale_not_open") return retryAfter <= 5;
  return status === 0 || status >= 500 || [408, 429].includes(status);
}

// In a browser that stores nothing, a reload forgets.
function stored(name) {
  try {
    return name && JSON.parse(localStorage.getItem(name));
  } catch {
    return null;
  }
}
