/** Server-sent events by `fetch`: EventSource can send no token, and gives up after a 503. */

import { ApiError, networkError, open } from "./api.js";

// Servers send a comment at least every 15 seconds.
const SILENCE_MS = 45_000;
const RETRY_MS = 1_000;
const RETRY_MAX_MS = 30_000;
// Of the errors that are the client's fault, another try may mend these.
const RETRYABLE = new Set([408, 425, 429]);

/**
 * Every event of `path`. It reconnects by itself, and continues after the last event's id.
 *
 * @param {string} path - below the root of the installation
 * @param {{signal?: AbortSignal, headers?: object, silenceMs?: number}} options - a connection that
 *   receives nothing for `silenceMs` is replaced
 * @returns {AsyncGenerator<{event: string, id: string, data: string}>} it ends with a 204
 * @throws {ApiError} that no retry can mend; or the signal's reason
 */
export async function* events(path, { signal, headers = {}, silenceMs = SILENCE_MS } = {}) {
  const parser = new EventParser();
  for (let failures = 0; ; failures += 1) {
    const connection = new Connection(signal, silenceMs);
    let waitMs = 0;
    try {
      const response = await connection.open(path, headers, parser.restart());
      if (response.status === 204) return;
      for await (const text of connection.read(response)) {
        for (const event of parser.feed(text)) {
          failures = 0;
          yield event;
        }
      }
    } catch (error) {
      signal?.throwIfAborted();
      if (!isRetryable(error)) throw error;
      waitMs = 1_000 * (error.retryAfter ?? 0);
    } finally {
      connection.close();
    }
    // Full jitter: of thousands of clients that lost a server, no two return at the same moment.
    const most = Math.min(RETRY_MAX_MS, (parser.retryMs ?? RETRY_MS) * 2 ** failures);
    await pause(waitMs + Math.random() * most, signal);
  }
}

/** A request that is aborted when the signal is, and when nothing is received for too long. */
class Connection {
  #own = new AbortController();
  #timer;

  constructor(signal, silenceMs) {
    this.silenceMs = silenceMs;
    this.signal = signal ? AbortSignal.any([signal, this.#own.signal]) : this.#own.signal;
  }

  async open(path, headers, lastId) {
    this.#received();
    const sent = { ...headers, Accept: "text/event-stream" };
    if (lastId !== "") sent["Last-Event-ID"] = lastId;
    return open("GET", path, { headers: sent, signal: this.signal });
  }

  async *read(response) {
    const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
    for (;;) {
      this.#received();
      const { done, value } = await reader.read().catch((error) => {
        throw networkError(error, this.signal);
      });
      if (done) return;
      yield value;
    }
  }

  close() {
    clearTimeout(this.#timer);
    this.#own.abort();
  }

  #received() {
    clearTimeout(this.#timer);
    const silent = new ApiError({ detail: "The connection was silent for too long." });
    this.#timer = setTimeout(() => this.#own.abort(silent), this.silenceMs);
  }
}

/** Reads the format of server-sent events (HTML, 9.2.6), however it is cut into pieces. */
export class EventParser {
  /** What the server asks for by `retry:`. */
  retryMs = null;

  #lastId = "";
  #rest = "";
  #endedWithCr = false;
  #next = { event: "", id: "", data: [] };

  /** Drops an event that is not complete; returns the id of the last one that was. */
  restart() {
    this.#rest = "";
    this.#endedWithCr = false;
    this.#next = { event: "", id: this.#lastId, data: [] };
    return this.#lastId;
  }

  *feed(text) {
    if (text === "") return;
    // The second half of a CRLF.
    const from = this.#endedWithCr && text[0] === "\n" ? 1 : 0;
    this.#endedWithCr = text.endsWith("\r");
    const lines = (this.#rest + text.slice(from)).split(/\r\n|\r|\n/);
    this.#rest = lines.pop();
    for (const line of lines) {
      if (line !== "") this.#read(line);
      else yield* this.#dispatch();
    }
  }

  #read(line) {
    const colon = line.indexOf(":");
    const name = colon === -1 ? line : line.slice(0, colon);
    const value = colon === -1 ? "" : line.slice(colon + 1).replace(/^ /, "");
    if (name === "data") this.#next.data.push(value);
    else if (name === "event") this.#next.event = value;
    else if (name === "id" && !value.includes("\0")) this.#next.id = value;
    else if (name === "retry" && /^[0-9]+$/.test(value)) this.retryMs = Number(value);
  }

  *#dispatch() {
    const { event, id, data } = this.#next;
    this.#lastId = id;
    this.#next = { event: "", id, data: [] };
    if (data.length > 0) yield { event: event || "message", id, data: data.join("\n") };
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
