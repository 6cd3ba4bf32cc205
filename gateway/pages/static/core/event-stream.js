/** One connection that receives server-sent events: EventSource can send no token. */

import { ApiError, following, open } from "./api.js";

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
  { signal, headers, silenceMs = SILENCE_MS },
  parser = new EventParser(),
) {
  const own = following(signal);
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
    const response = await open("GET", path, { headers: sent, signal: own.signal });
    parser.hasEnded = response.status === 204;
    if (parser.hasEnded) return;
    const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
    for (;;) {
      wait();
      const { done, value } = await reader.read().catch(() => {
        throw own.signal.reason ?? new ApiError();
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
  #next = { event: "", id: "", data: [] };

  /** Drops an event that is not complete; returns the id of the last one that was. */
  restart() {
    this.#rest = "";
    this.#next = { event: "", id: this.#lastId, data: [] };
    return this.#lastId;
  }

  *feed(text) {
    // A CR at the end may be the first half of a CRLF.
    const lines = (this.#rest + text).split(/\r\n|\r(?!$)|\n/);
    this.#rest = lines.pop();
    for (const line of lines) {
      if (line !== "") this.#read(line);
      else yield* this.#dispatch();
    }
  }

  #read(line) {
    const [, name, value] = /^([^:]*):? ?(.*)/s.exec(line);
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
