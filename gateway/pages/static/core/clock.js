/**
 * The server's time, whatever the clock of this machine says.
 *
 * A stamp in a response is never later than the server's time when the response arrives, also if
 * it comes from a cache. So of all stamps the one that gives the latest time is the best. That is
 * true of one clock: `Date` is of whoever answered, and counts until the database's time is known.
 */

// A machine that slept: its own clock went on, and `performance.now()` may have stopped.
const SLEPT_MS = 1_000;
// `Date` has no fractions, and takes its time.
const ROUGH_MS = 2_000;

class Clock {
  // The server's time minus `performance.now()`, once something is observed.
  #offset = -Infinity;
  #isRough = true;
  // `Date.now()` minus `performance.now()`, when something was last observed.
  #ownOffset = 0;
  // `Date` minus `performance.now()`: now, and then.
  #date = NaN;
  #dateThen = NaN;

  /** Milliseconds since 1970 by the server's clock; by this machine's until a first response. */
  now() {
    if (this.#offset === -Infinity) return Date.now();
    return performance.now() + this.#offset + Math.max(this.#slept(), 0);
  }

  /** @param {?string} stamp - just received, in a body, or as its `Date` header: `isRough` */
  observe(stamp, isRough = false) {
    const offset = Date.parse(stamp) - performance.now();
    if (Number.isNaN(offset)) return;
    if (isRough) this.#date = offset;
    if (isRough && !this.#isRough) return this.#judge();
    const before = isRough === this.#isRough ? this.#offset : -Infinity;
    this.#offset = Math.max(offset, before);
    this.#isRough = isRough;
    this.#ownOffset = ownOffset();
    this.#dateThen = this.#date;
  }

  /** A step that `Date` did not make, too, is no sleep: the machine's clock was set. */
  #judge() {
    const slept = this.#slept();
    const set = slept - (this.#date - this.#dateThen);
    if (slept && Math.abs(set) > ROUGH_MS) this.#ownOffset += set;
  }

  /** By how much the machine's clock ran ahead since; less than a second is none. */
  #slept() {
    const slept = ownOffset() - this.#ownOffset;
    return Math.abs(slept) > SLEPT_MS ? slept : 0;
  }
}

function ownOffset() {
  return Date.now() - performance.now();
}

export const clock = new Clock();
