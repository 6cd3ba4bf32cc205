/** Many requests, a few of them at once: nobody else waits for them, and no limit is met at once. */

const AT_ONCE = 4;

/** @param {(item: any, stop: () => void) => Promise} act `stop`: begin none of the others */
export async function fewAtOnce(items, act) {
  const waiting = [...items];
  const stop = () => waiting.splice(0);
  const work = async () => {
    while (waiting.length > 0) await act(waiting.shift(), stop);
  };
  await Promise.all(Array.from({ length: AT_ONCE }, work));
}
