/** Server-sent events, over as many connections as it takes: EventSource gives up after a 503. */

import { ApiError } from "./api.js";
import { connect, EventParser } from "./event-stream.js";

const RETRY_MS = 1_000;
const RETRY_MAX_MS = 10_000;
// Of the errors that are the client's fault, another try may mend these.
const RETRYABLE = new Set([408, 425, 429]);

/**
 * Every event of `path`. It reconnects by itself, and continues after the last event's id.
 *
 * @param {string} path - below the root of the installation
 * @param {{signal?: AbortSignal, headers?: object, silenceMs?: number}} options - as for `connect`
 * @returns {AsyncGenerator<{event: string, id: string, data: string}>} it ends with a 204
 * @throws {ApiError} that no retry can mend; or the signal's reason
 */
export async function* events(path, options = {}) {
  const { signal } = options;
  const parser = new EventParser();
  for (let failures = 0; ; failures += 1) {
    let [waitMs, maxMs] = [0, Infinity];
    try {
      for await (const event of connect(path, options, parser)) {
        failures = 0;
        yield event;
      }
      if (parser.hasEnded) return;
    } catch (error) {
      signal?.throwIfAborted();
      if (!isRetryable(error)) throw error;
      waitMs = 1_000 * (error.retryAfter ?? 0);
      maxMs = 1_000 * (error.retryMax ?? Infinity);
    }
    // Full jitter: of thousands of clients that lost a server, no two return at the same moment.
    const most = Math.min(RETRY_MAX_MS, (parser.retryMs ?? RETRY_MS) * 2 ** failures);
    await pause(Math.min(waitMs, maxMs) + Math.random() * Math.min(most, maxMs), signal);
  }
}

function isRetryable(error) {
  if (!(error instanceof ApiError)) return false;
  return error.status < 400 || error.status >= 500 || RETRYABLE.has(error.status);
}

function pause(milliseconds, signal) {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(finish, milliseconds);
    function finish() {
      clearTimeout(timer);
      signal?.removeEventListener("abort", finish);
      if (signal?.aborted) reject(signal.reason);
      else resolve();
    }
    signal?.addEventListener("abort", finish);
  });
}
