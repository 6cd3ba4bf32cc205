/** Requests to the API of this installation, at whatever path it is mounted. */

import { clock } from "./clock.js";

/** The URL of the installation; ends in "/". This file is at assets/<hash>/core/. */
export const root = new URL("../../../", import.meta.url).href;

// Longer than any request waits for a decision. A telephone that lost its network never hears so.
const TIMEOUT_MS = 45_000;

/**
 * What went wrong: `status`, `code` and `detail` of a problem document. Status 0: the API did not
 * respond, though something else may have; the request may have arrived, and another try may help.
 */
export class ApiError extends Error {
  constructor({ status = 0, code = "network", detail = "", retryAfter = null, body = null } = {}) {
    super(detail || code);
    this.name = "ApiError";
    Object.assign(this, { status, code, detail, retryAfter, body, errors: body?.errors ?? {} });
  }
}

// `session.js` replaces it; without it, requests carry no token.
let authentication = { token: () => null };

/**
 * @param {{token: () => string | null, renew: (old: string) => Promise<string | null>}} source -
 *   `renew` gives another token than the old one, or null where nobody is signed in any more
 */
export function authenticateBy(source) {
  authentication = source;
}

/** A value of `Idempotency-Key`. */
export function newKey() {
  // `crypto.randomUUID` is missing over plain HTTP.
  return crypto.getRandomValues(new Uint32Array(4)).join("-");
}

/**
 * Sends JSON, and reads the JSON of the response.
 *
 * @param {string} method
 * @param {string} path - below `root`, such as "api/sales/1/"
 * @param {{body?: object, key?: string, headers?: object, signal?: AbortSignal, auth?: boolean,
 *   timeoutMs?: number, keepalive?: boolean}} options - `key` is the Idempotency-Key; `auth: false`
 *   sends no token; after `timeoutMs` without the whole response the network is taken to have
 *   failed; `keepalive`: also if the page is closed meanwhile
 * @returns {Promise<{status: number, headers: Headers, body: any}>} body: null where there is none
 * @throws {ApiError}, or the signal's reason
 */
export async function request(method, path, options = {}) {
  const own = following(options.signal);
  setTimeout(() => own.abort(new ApiError()), options.timeoutMs ?? TIMEOUT_MS);
  const response = await open(method, path, { ...options, signal: own.signal });
  const { status, headers } = response;
  const body = await parsed(response, own.signal);
  if (body === null && ![204, 304].includes(status)) throw new ApiError({ code: "unavailable" });
  clock.observe(body?.now);
  return { status, headers, body };
}

/**
 * As `request`, with the body unread and without a time-out. A token that has expired is renewed
 * once.
 *
 * @returns {Promise<Response>} of a success, or 304
 */
export async function open(method, path, options) {
  const token = options.auth === false ? null : authentication.token();
  let response = await send(method, path, options, token);
  if (response.status === 401 && token !== null) {
    const renewed = await authentication.renew(token);
    if (renewed !== null) response = await send(method, path, options, renewed);
  }
  if (response.ok || response.status === 304) return response;
  const body = await parsed(response, options.signal);
  const retryAfter = Number(response.headers.get("Retry-After")) || null;
  // A proxy's own response says nothing about what was asked for.
  if (!body?.code) throw new ApiError({ code: "unavailable", retryAfter });
  throw new ApiError({ ...body, status: response.status, retryAfter, body });
}

async function send(method, path, { body, key, headers, signal, keepalive }, token) {
  const sent = new Headers({ Accept: "application/json", ...headers });
  if (token !== null) sent.set("Authorization", `Bearer ${token}`);
  if (key) sent.set("Idempotency-Key", key);
  if (body) sent.set("Content-Type", "application/json");
  try {
    const init = { method, keepalive, headers: sent, body: body && JSON.stringify(body), signal };
    const response = await fetch(new URL(path, root), init);
    clock.observe(response.headers.get("Date"), true);
    return response;
  } catch {
    throw signal.reason ?? new ApiError();
  }
}

/** A controller that `signal` aborts, too. `AbortSignal.any` is missing in Safari 17.3. */
export function following(signal) {
  const own = new AbortController();
  const follow = () => own.abort(signal.reason);
  if (signal?.aborted) follow();
  signal?.addEventListener("abort", follow, own);
  return own;
}

/** Null where it is no JSON. */
async function parsed(response, signal) {
  try {
    return await response.json();
  } catch (error) {
    if (error instanceof SyntaxError) return null;
    throw signal.reason ?? new ApiError();
  }
}
