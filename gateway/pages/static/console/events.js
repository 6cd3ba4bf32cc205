/** My events, and at a glance how the sale of each stands. */

import { request } from "../core/api.js";
import { clock } from "../core/clock.js";
import { $, clone, fill } from "../core/dom.js";
import { dateTime, number } from "../core/format.js";
import { fewAtOnce } from "./batches.js";
import { attempt, entitle, onClick } from "./page.js";
import { badge, stateOfEvent, stockBar } from "./stock.js";

const REFRESHED_MS = 15_000;

export async function show({ main, signal }) {
  const view = clone("events");
  main.replaceChildren(view);
  entitle(view, "My events");
  const list = new EventList(view, signal);
  $("form", view).addEventListener("submit", (event) => {
    event.preventDefault();
    attempt(() => list.load($("[name=search]", view).value));
  });
  onClick($(".more", view), () => list.loadMore());
  await list.load("");
  const refreshing = setInterval(
    () => document.hidden || attempt(() => list.refresh()), REFRESHED_MS);
  signal.addEventListener("abort", () => clearInterval(refreshing));
}

class EventList {
  #view;
  #signal;
  #next = null;
  #loads = 0;
  #rows = new Map();

  constructor(view, signal) {
    this.#view = view;
    this.#signal = signal;
  }

  async load(search) {
    const nth = ++this.#loads;
    this.#rows.clear();
    this.#next = null;
    $(".more", this.#view).hidden = true;
    $("tbody", this.#view).replaceChildren();
    $("[data-count]", this.#view).textContent = "–";
    this.#sayInstead("");
    const query = new URLSearchParams({ owner: "me", ordering: "-start_time" });
    if (search.trim()) query.set("search", search.trim());
    try {
      await this.#page(`?${query}`);
    } catch (error) {
      if (nth === this.#loads) this.#sayInstead("The list could not be read.");
      throw error;
    }
    if (nth !== this.#loads || this.#rows.size > 0) return;
    this.#sayInstead(search.trim()
      ? "No event of yours has these words."
      : "You have no events yet. Create one: it is not public until you publish it.");
  }

  /** In place of the table; "": the table. */
  #sayInstead(words) {
    $(".empty", this.#view).textContent = words;
    $(".empty", this.#view).hidden = !words;
    $("table", this.#view).hidden = Boolean(words);
  }

  /** Once at a time; another try continues where this one failed. */
  async loadMore() {
    const [next, nth, before] = [this.#next, this.#loads, this.#rows.size];
    if (next === null) return;
    this.#next = null;
    try {
      await this.#page(next);
    } catch (error) {
      if (nth === this.#loads) this.#next = next;
      throw error;
    }
    [...this.#rows.values()][before]?.querySelector("a").focus();
  }

  /** Of those on the screen. */
  refresh() {
    return this.#readSales([...this.#rows].filter(([, row]) => {
      const { top, bottom } = row.getBoundingClientRect();
      return bottom > 0 && top < innerHeight;
    }));
  }

  async #page(query) {
    const nth = this.#loads;
    const { body } = await request("GET", `api/events/${query}`, { signal: this.#signal });
    if (nth !== this.#loads) return; // another search began meanwhile
    const added = body.results.map((event) => [event, rowOf(event)]);
    $("tbody", this.#view).append(...added.map(([, row]) => row));
    for (const [event, row] of added) this.#rows.set(event, row);
    this.#next = body.next && new URL(body.next).search;
    $(".more", this.#view).hidden = !this.#next;
    $("[data-count]", this.#view).textContent = number(body.count);
    attempt(() => this.#readSales(added));
  }

  #readSales(rows) {
    return fewAtOnce(rows, ([event, row]) => readSale(event, row, this.#signal));
  }
}

function rowOf(event) {
  const row = clone("event-row");
  const link = $("a", row);
  link.href = `#/events/${event.id}`;
  link.textContent = event.title;
  $("[data-figure=when]", row).textContent = dateTime(event.start_time);
  fill($("[data-figure=published]", row),
    event.published ? badge("published", "Published") : badge("draft", "Not published"));
  return row;
}

async function readSale(event, row, signal) {
  let live;
  try {
    ({ body: live } = await request("GET", `api/events/${event.id}/live/`, { signal }));
  } catch (error) {
    if (signal.aborted) throw error;
    row.classList.add("stale");
    row.title = "These figures could not be read just now.";
    return;
  }
  row.classList.toggle("stale", live.stale);
  row.removeAttribute("title");
  const hasEnded = Date.parse(event.end_time) < clock.now();
  const [state, words] = hasEnded ? ["closed", "Ended"] : stateOfEvent(live.ticket_types);
  fill($("[data-figure=state]", row), badge(state, words));
  for (const name of ["left", "held", "confirmed", "queued"]) {
    $(`[data-figure=${name}]`, row).textContent =
      live[name] === null ? "–" : number(live[name]);
  }
  fill($("[data-figure=bar]", row), stockBar(live));
}
