/** Many requests, a few of them at once: nobody else waits for them, and no limit is met at once. */

const AT_ONCE = 4;
export const BUSY = ["too_many_requests", "unavailable"];
const TRIES = 5;
const RETRY_WAIT_MAX_SECONDS = 10;

/** @param {(item: any, stop: () => void) => Promise} act `stop`: begin none of the others */
export async function fewAtOnce(items, act) {
  const waiting = [...items];
  const stop = () => waiting.splice(0);
  const work = async () => {
    while (waiting.length > 0) await act(waiting.shift(), stop);
  };
  await Promise.all(Array.from({ length: AT_ONCE }, work));
}

/** Sends again what the server was too busy for, and gives up where that takes long. */
export async function retryWhileBusy(send) {
  for (let tries = 1; ; tries += 1) {
    try {
      return await send();
    } catch (error) {
      const seconds = error.retryAfter ?? 1;
      if (!BUSY.includes(error.code) || tries === TRIES || seconds > RETRY_WAIT_MAX_SECONDS) throw error;
      await new Promise((resolve) => setTimeout(resolve, seconds * 1000));
    }
  }
}
