/** Asking again and again: never in step with other pages, never while nobody looks. */

import { ApiError, request } from "../core/api.js";
import { clock } from "../core/clock.js";

const MAX_SECONDS = 30;
// Of a document that is wanted each second.
const TIMEOUT_MS = 10_000;

/**
 * Reads a public document for as long as the page lives.
 *
 * @param {string} path
 * @param {(document: object) => number} seen - gets every new document, and each time that it is
 *   the same; returns the seconds until it is wanted again
 * @param {(error: ApiError, failures: number) => void} failed - gets how many failed before it
 */
export async function poll(path, seen, failed) {
  let known = null;
  let etag = null;
  for (let failures = 0; ; ) {
    while (document.hidden) await pause(60);
    try {
      const headers = etag && { "If-None-Match": etag };
      const answer = await request("GET", path, { auth: false, headers, timeoutMs: TIMEOUT_MS });
      if (answer.status !== 304) [known, etag] = [answer.body, answer.headers.get("ETag")];
      failures = 0;
      await pause(seen(known));
    } catch (error) {
      if (!(error instanceof ApiError)) throw error;
      failed(error, failures);
      await pause(retrySeconds(error, failures));
      failures += 1;
    }
  }
}

/** Before the next try after an error, which may say how long at most: `retryMax`. */
export function retrySeconds({ retryAfter, retryMax = Infinity }, failures) {
  const seconds = Math.max(retryAfter ?? 0, Math.min(2 ** failures, MAX_SECONDS));
  return Math.min(seconds, retryMax);
}

/**
 * Up to half as long again: ten thousand pages that begin to wait at one moment do not end at one.
 * It ends early when the page is looked at again, or is online again.
 */
export function pause(seconds) {
  const over = new AbortController();
  const early = new Promise((resolve) => {
    addEventListener("online", resolve, over);
    document.addEventListener("visibilitychange", resolve, over);
    setTimeout(resolve, seconds * 1_000 * (1 + Math.random() / 2));
  });
  return early.finally(() => over.abort());
}

/** Calls at each full second of the server's clock, and once now. */
export function everySecond(act) {
  act();
  setTimeout(() => everySecond(act), 1_000 - (clock.now() % 1_000));
}
