/** What an organiser does about a running sale: asked first, and told after. */

import { ApiError, newKey, request } from "../core/api.js";
import { explain } from "../core/errors.js";
import { duration, number } from "../core/format.js";
import { BUSY, fewAtOnce, retryWhileBusy } from "./batches.js";
import { ask } from "./dialog.js";
import { announce } from "./page.js";
import { signed, tickets } from "./words.js";

const AUDIT_POLLED_MS = 1000;

/** @param types of the event @param {number} queued requests that wait */
export function pause(types, queued) {
  const switchAll = switching(types, "pause");
  const waiting = queued ? `; in the queue now: ${number(queued)}.` : ".";
  return ask(`Pause ${namesOf(types)}?`, [
    "Nobody can buy until you resume. Buyers see that the sale is paused.",
    `Purchases accepted before are still decided${waiting}`,
    "Tickets on hold stay on hold, can be paid, and come back when their time is over.",
  ], async (_, key) => {
    await switchAll(key);
    announce(`Paused: ${namesOf(types)}. Purchases accepted before are still decided.`);
  }, { confirm: "Pause the sale", danger: true });
}

export function resume(types) {
  const switchAll = switching(types, "resume");
  return ask(`Resume ${namesOf(types)}?`, [
    "Purchases are accepted again at once, within the times of the sale.",
    "Buyers who wait on the page can buy within seconds.",
  ], async (_, key) => {
    await switchAll(key);
    announce(`Resumed: ${namesOf(types)}. Purchases are accepted again.`);
  }, { confirm: "Resume the sale" });
}

/** To be called until it does not throw: what was switched before is not sent again. */
function switching(types, verb) {
  const ids = new Set(types.map(({ id }) => id));
  return async (key) => {
    let failure = null;
    await fewAtOnce(ids, async (id, stop) => {
      try {
        await retryWhileBusy(
          () => request("POST", `api/ticket-types/${id}/${verb}/`, { key: `${key}-${id}` }));
        ids.delete(id);
      } catch (error) {
        // Of several, one that was deleted meanwhile is no obstacle.
        if (error.status === 404 && types.length > 1) ids.delete(id);
        else failure = error;
        if (BUSY.includes(error.code)) stop();
      }
    });
    if (failure === null) return;
    if (ids.size === types.length || !(failure instanceof ApiError)) throw failure;
    const { title, next } = explain(failure);
    const done = `${number(types.length - ids.size)} of ${number(types.length)} are ${verb}d.`;
    throw new ApiError({ ...failure, code: "partly_done", detail: `${done} ${title} ${next}` });
  };
}

export function changeCapacity(type) {
  return ask(`Add or withdraw: ${type.name}`, [
    `${tickets(type.left)} left of ${number(type.issued)} issued. The change applies to what is`
      + " left at that moment, and is recorded in the ledger.",
  ], async ({ change }, key) => {
    const path = `api/ticket-types/${type.id}/capacity/`;
    const { body } = await request("POST", path, { body: { change }, key });
    announce(`${type.name}: ${signed(change)}. ${tickets(body.capacity)} left of ${
      number(body.issued)} issued.`);
  }, { confirm: "Change", fields: "capacity-fields" });
}

export function publish(event) {
  const published = !event.published;
  const [question, sentences, confirm] = published
    ? ["Publish this event?", [
      "It appears on the public page, where everybody reads its title, times, prices and how its"
        + " sale stands.",
      "Tickets are sold in the times of their sale, whether it is published or not.",
    ], "Publish"]
    : ["Unpublish this event?", [
      "The public page no longer shows it. What was bought stays bought.",
      "This does not stop the sale for those who have its address in the API: pause it for that.",
    ], "Unpublish"];
  return ask(question, sentences, async () => {
    const changed = await request("PATCH", `api/events/${event.id}/`, {
      body: { published }, headers: { "If-Match": event.etag },
    });
    announce(published ? "Published: buyers see the event." : "Unpublished: buyers do not see it.");
    return changed;
  }, { confirm });
}

export function notice(event) {
  return ask("Notice to buyers", [
    "Everybody who looks at the event or waits for a decision reads it within seconds.",
  ], async ({ text }) => {
    const changed = await request("PUT", `api/events/${event.id}/notice/`, {
      body: { text }, headers: { "If-Match": event.etag },
    });
    announce(text ? "The notice is shown." : "The notice is removed.");
    return changed;
  }, { confirm: "Save", fields: "notice-fields", values: { text: event.notice } });
}

export function extendHolds(event, live) {
  return ask("Extend all holds", [
    `${tickets(live.held)} on hold. Every hold that is open gets that much longer: for when`
      + " payments do not go through.",
  ], async ({ minutes }, key) => {
    const path = `api/events/${event.id}/extend-holds/`;
    const { status, body } = await request("POST", path, { body: { seconds: minutes * 60 }, key });
    announce(status === 202
      ? "The extension is stored, and is decided in its turn."
      : `${number(body.extended)} open holds have ${duration(minutes * 60)} longer.`);
  }, { confirm: "Extend", fields: "extend-fields", values: { minutes: 5 } });
}

/** The audit as it goes on, until its verdict. */
export async function* audit(eventId, signal) {
  const path = `api/events/${eventId}/audits/`;
  try {
    let { body } = await request("POST", path, { key: newKey(), signal });
    yield body;
    while (["queued", "running"].includes(body.status)) {
      await new Promise((resolve) => setTimeout(resolve, AUDIT_POLLED_MS));
      ({ body } = await request("GET", `${path}${body.id}/`, { signal }));
      yield body;
    }
    announce(`Audit: ${body.summary}`);
  } catch (error) {
    if (!(error instanceof ApiError)) throw error;
    announce(`The audit could not be run: ${explain(error).title}`);
  }
}

function namesOf(types) {
  return types.length === 1 ? `“${types[0].name}”` : `all ${types.length} ticket types`;
}
