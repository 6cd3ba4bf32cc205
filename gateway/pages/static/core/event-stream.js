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
  parser.restart();
  if (parser.lastId) sent["Last-Event-ID"] = parser.lastId;
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

  /** Of the last event that was complete. */
  lastId = "";

  #rest = "";

  /** Drops an event that is not complete. */
  restart() {
    this.#rest = "";
  }

  *feed(text) {
    // A CR at the end may be the first half of a CRLF.
    const events = (this.#rest + text).replace(/\r\n|\r(?!$)/g, "\n").split("\n\n");
    this.#rest = events.pop();
    for (const lines of events) {
      const data = [];
      let event = "";
      for (const line of lines.split("\n")) {
        const [, name, value] = /^([^:]*):? ?(.*)/s.exec(line);
        if (name === "data") data.push(value);
        else if (name === "event") event = value;
        else if (name === "id" && !value.includes("\0")) this.lastId = value;
        else if (name === "retry" && /^[0-9]+$/.test(value)) this.retryMs = Number(value);
      }
      const id = this.lastId;
      if (data.length > 0) yield { event: event || "message", id, data: data.join("\n") };
    }
  }
}
