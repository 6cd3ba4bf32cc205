/** One connection that receives server-sent events: EventSource can send no token. */

import { ApiError, networkError, open } from "./api.js";

// Servers send a comment at least every 15 seconds.
const SILENCE_MS = 45_000;

/**
 * Every event, until the server ends the connection.
 *
 * @param {string} path - below the root of the installation
 * @param {{signal?: AbortSignal, headers?: object, silenceMs?: number}} options - a connection that
 *   receives nothing for `silenceMs` is aborted
 * @param {EventParser} parser - shared by connections of which one continues the other
 * @returns {AsyncGenerator<{event: string, id: string, data: string}>}
 * @throws {ApiError}, or the signal's reason
 */
export async function* connect(
  path,
  { signal, headers = {}, silenceMs = SILENCE_MS } = {},
  parser = new EventParser(),
) {
  const own = new AbortController();
  const either = signal ? AbortSignal.any([signal, own.signal]) : own.signal;
  let timer;
  const wait = () => {
    clearTimeout(timer);
    timer = setTimeout(() => own.abort(new ApiError()), silenceMs);
  };
  const sent = { ...headers, Accept: "text/event-stream" };
  const lastId = parser.restart();
  if (lastId !== "") sent["Last-Event-ID"] = lastId;
  try {
    wait();
    const response = await open("GET", path, { headers: sent, signal: either });
    parser.hasEnded = response.status === 204;
    if (parser.hasEnded) return;
    const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
    for (;;) {
      wait();
      const { done, value } = await reader.read().catch(() => {
        throw networkError(either);
      });
      if (done) return;
      yield* parser.feed(value);
    }
  } finally {
    clearTimeout(timer);
    own.abort();
  }
}

/** Reads the format of server-sent events (HTML, 9.2.6), however it is cut into pieces. */
export class EventParser {
  /** What the server asks for by `retry:`. */
  retryMs = null;

  /** Whether there are no more events (204). */
  hasEnded = false;

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
