/** The sale of an event, live: figures, ticket types, chart, and what can be done about it. */

import { ApiError, request, root } from "../core/api.js";
import { clock } from "../core/clock.js";
import { $, clone, fill } from "../core/dom.js";
import { dateTime, duration, money, number } from "../core/format.js";
import { explain } from "../core/errors.js";
import { events } from "../core/stream.js";
import { retryWhileBusy } from "./batches.js";
import { SaleChart } from "./chart.js";
import { copy } from "./copy.js";
import { announce, attempt, entitle, onClick } from "./page.js";
import { badge, stateOfEvent, stockBar } from "./stock.js";
import { fromHistory, fromLive, join, marksBetween } from "./timeline.js";
import * as words from "./words.js";

const actions = () => import("./actions.js");
const TICK_MS = 1000;
/** Terms, the title and whether it is published: they change elsewhere, too. */
const REREAD_MS = 15_000;
// And for a ticket type that is new, at most as often as this.
const REREAD_NEW_MS = 3000;
// As many as the live figures have.
const LIVE_TYPES_MAX = 200;
/** A connection that says nothing is replaced. */
const SILENCE_MS = 10_000;
/** Of a rate: as many seconds as those that the server computes. */
const RATE_SAMPLES = 5;

const isPaused = ({ paused, state }) => paused && state !== "closed";
const canPause = ({ paused, state }) => !paused && state !== "closed";

export async function show({ main, id, signal }) {
  const view = clone("sale");
  main.replaceChildren(view);
  const page = new SalePage(view, id, signal);
  await page.load();
  await page.follow();
}

class SalePage {
  #view;
  #id;
  #signal;
  #event = null;
  #types = new Map();
  // Of them, those that the live figures do not have.
  #others = new Map();
  #rows = new Map();
  #live = null;
  // Those of the last seconds: gateways report what they refuse every two.
  #lately = [];
  #past = { samples: [], marks: [] };
  #since = { samples: [], marks: [] };
  /** How much of the past is shown; 0: all. */
  #seconds = 0;
  #isStale = false;
  #isRereading = false;
  #rereadAt = -Infinity;
  // Which of several requests is the latest: its answer counts.
  #typesAsked = 0;
  #typesRead = 0;
  #othersAsked = 0;
  #othersRead = 0;
  #pastRead = 0;
  #chart;

  constructor(view, id, signal) {
    this.#view = view;
    this.#id = id;
    this.#signal = signal;
    this.#chart = new SaleChart($("figure", view));
    const ticking = setInterval(() => this.#tick(), TICK_MS);
    const rereading = setInterval(() => this.#reread(), REREAD_MS);
    signal.addEventListener("abort", () => {
      clearInterval(ticking);
      clearInterval(rereading);
    });
    const buyers = new URL(`events/${id}/`, root).href;
    Object.assign($(".buyers a", view), { href: buyers, textContent: buyers });
    this.#on(".buyers button", (event) => copy(event.currentTarget, buyers));
    $(".edit", view).href = `#/events/${id}/edit`;
    this.#on(".pause-all", async () => this.#pause(await this.#readAll(canPause)));
    this.#on(".resume-all", async () => this.#resume(await this.#readAll(isPaused)));
    this.#on(".publish", () => this.#change("publish"));
    this.#on(".notice-card button", () => this.#change("notice"));
    this.#on(".extend", async () => (await this.#actions()).extendHolds(this.#event, this.#live));
    this.#on(".add-type", () => this.#editType(null));
    this.#on(".audit button", () => this.#audit());
    for (const button of view.querySelectorAll("[data-export]")) {
      onClick(button, () => this.#export(button));
    }
    $("[name=range]", view).addEventListener("change", (event) => attempt(async () => {
      this.#seconds = Number(event.target.value);
      await this.#loadPast();
      this.#chart.fillTable();
    }));
  }

  #on(selector, act) {
    onClick($(selector, this.#view), act);
  }

  async load() {
    const [event, next] = await Promise.all(
      [this.#readEvent(), this.#loadTypes(), this.#loadPast()]);
    this.#showEvent(event);
    this.#loadOthers(next).catch(() => {}); // else they are read when all are switched
  }

  #readEvent() {
    return request("GET", `api/events/${this.#id}/`, { signal: this.#signal });
  }

  /** What cannot be read now is read later: the figures go on meanwhile. */
  async #reread() {
    if (this.#isRereading || document.hidden || this.#event === null) return;
    this.#isRereading = true;
    const { etag } = this.#event;
    try {
      const event = await this.#readEvent();
      await this.#loadTypes();
      const isNew = event.headers.get("ETag") !== etag;
      // Unless it was changed here meanwhile.
      if (isNew && etag === this.#event.etag) this.#showEvent(event);
    } catch (error) {
      if (!this.#signal.aborted && !(error instanceof ApiError)) throw error;
    } finally {
      this.#isRereading = false;
      this.#rereadAt = performance.now();
    }
  }

  /** As many as the live figures have. @returns the query of the others, or null */
  async #loadTypes() {
    const nth = ++this.#typesAsked;
    const first = `?event=${this.#id}&page_size=100`;
    const [types, next] = await this.#readTypes(first, LIVE_TYPES_MAX);
    if (nth > this.#typesRead) {
      this.#typesRead = nth;
      this.#types = new Map([...(next ? this.#others : []), ...types]);
    }
    return next;
  }

  /** They may be thousands, which takes as long as the limit of lists has it. */
  async #loadOthers(next) {
    const nth = ++this.#othersAsked;
    const [others] = await this.#readTypes(next);
    if (nth < this.#othersRead) return;
    this.#othersRead = nth;
    this.#others = others;
    this.#types = new Map([...this.#types, ...others]);
  }

  async #readTypes(query, max = Infinity) {
    const types = new Map();
    while (query && types.size < max) {
      const path = `api/ticket-types/${query}`;
      const { body } = await retryWhileBusy(() => request("GET", path, { signal: this.#signal }));
      for (const type of body.results) types.set(type.id, type);
      query = body.next && new URL(body.next).search;
    }
    return [types, query];
  }

  async #loadAll() {
    await this.#loadOthers(await this.#loadTypes());
  }

  /** Those to which it applies now, also of those that the live figures do not have. */
  async #readAll(applies) {
    if (this.#live.ticket_types.length >= LIVE_TYPES_MAX) {
      announce("The ticket types are being read…");
      await this.#loadAll();
    }
    return this.#allTypes().filter(applies);
  }

  /** The live figures have the first 200; what is not in fewer was deleted. */
  #allTypes() {
    if (this.#live.ticket_types.length < LIVE_TYPES_MAX) return this.#live.ticket_types;
    const shown = new Set(this.#live.ticket_types.map(({ id }) => id));
    const others = [...this.#types.values()].filter(({ id }) => !shown.has(id)).map((type) => {
      const hasEnded = Date.parse(type.sales_end ?? this.#event.end_time) <= clock.now();
      return { ...type, paused: type.paused_at !== null, state: hasEnded ? "closed" : null };
    });
    return [...this.#live.ticket_types, ...others];
  }

  /** Where the chart begins, in milliseconds; 0: with the sale. */
  #from() {
    return this.#seconds && clock.now() - this.#seconds * 1000;
  }

  /** The chart does without its past where that cannot be read. */
  async #loadPast() {
    const nth = ++this.#pastRead;
    const from = this.#from();
    const query = from ? `?from=${new Date(from).toISOString()}` : "";
    const path = `api/events/${this.#id}/live/history/${query}`;
    const missing = $(".no-past", this.#view);
    try {
      const { body } = await request("GET", path, { signal: this.#signal });
      if (nth !== this.#pastRead) return;
      this.#past = { samples: fromHistory(body, !from), marks: body.marks };
      missing.hidden = true;
    } catch (error) {
      if (this.#signal.aborted) throw error;
      if (nth !== this.#pastRead) return;
      missing.textContent = `What was before cannot be shown: ${explain(error).title}`;
      missing.hidden = false;
    }
    this.#draw();
  }

  /** Shows what comes, until the view is left. */
  async follow() {
    // They must be there when the connection is not.
    actions().catch(() => {});
    const options = { signal: this.#signal, silenceMs: SILENCE_MS };
    for await (const { event, data } of events(`api/events/${this.#id}/live/`, options)) {
      if (event === "live") this.#show(JSON.parse(data));
    }
  }

  #show(live) {
    const before = this.#live;
    this.#live = live;
    clock.observe(live.at);
    const isNew = live.ticket_types.some(({ id }) => !this.#types.has(id));
    if (isNew && performance.now() > this.#rereadAt + REREAD_NEW_MS) this.#reread();
    if (!live.stale) {
      const since = this.#since.samples.filter(({ at }) => at >= this.#from());
      this.#since.samples = join(since, [fromLive(live, this.#lately[0])]);
      this.#lately = [...this.#lately, live].slice(-RATE_SAMPLES);
      if (before) this.#since.marks.push(...marksBetween(before, live));
    }
    this.#showFigures(live);
    this.#showTypes(live);
    this.#showRefusals(live);
    this.#showWebhooks(live);
    this.#showAudit(live.audit);
    this.#tick();
    this.#draw();
  }

  #draw() {
    const samples = join(this.#past.samples, this.#since.samples);
    // Nothing was bought so far; or the first figures are stale already.
    if (!samples.length) return;
    const seen = this.#past.samples.at(-1)?.at ?? 0;
    const marks = [...this.#past.marks,
      ...this.#since.marks.filter(({ at }) => Date.parse(at) > seen)];
    const names = this.#types.size > 1
      ? new Map([...this.#types].map(([id, type]) => [id, type.name])) : new Map();
    const now = this.#isStale ? clock.now() : samples.at(-1).at;
    const from = Math.max(this.#from(), samples[0].at);
    this.#chart.draw(samples, marks, names, from, now);
  }

  #showEvent({ body, headers }) {
    this.#event = { ...body, etag: headers.get("ETag") };
    const { title, start_time: start, published, notice } = this.#event;
    entitle(this.#view, title);
    $(".when", this.#view).textContent = dateTime(start);
    $(".private", this.#view).hidden = published;
    $(".publish", this.#view).textContent = published ? "Unpublish" : "Publish";
    $(".publish", this.#view).classList.toggle("primary", !published);
    $(".buyers", this.#view).hidden = !published;
    $(".notice-text", this.#view).textContent =
      notice || "None. Everybody who waits would read it.";
    $(".notice-card button", this.#view).textContent =
      notice ? "Change or remove" : "Write a notice";
    // The title of the window has figures, too.
    this.#tick();
  }

  #showFigures(live) {
    const shown = {
      left: number(live.left),
      issued: `of ${number(live.issued)} issued`,
      held: number(live.held),
      confirmed: number(live.confirmed),
      queued: words.count(live.queued),
      oldest: live.queued === 0 ? "–" : words.wait(live.oldest_queued_seconds),
      decided: words.rate(live.decided_per_second),
      accepted: words.rate(live.accepted_per_second),
      p50: words.wait(live.p50_seconds),
      p99: live.p99_seconds === null ? "" : `median; p99 ${words.wait(live.p99_seconds)}`,
    };
    for (const [name, value] of Object.entries(shown)) {
      $(`.figures [data-figure=${name}]`, this.#view).textContent = value;
    }
    const state = stateOfEvent(live.ticket_types);
    fill($(".state", this.#view), badge(...state));
    const types = this.#allTypes();
    showOneOf($(".pause-all", this.#view), types.some(canPause),
      $(".resume-all", this.#view), types.some(isPaused));
    $(".holds", this.#view).hidden = live.held === 0;
    $(".holds p", this.#view).textContent =
      `${words.tickets(live.held)} on hold, to be paid or to come back when the time is over.`;
    const several = types.length > 1 ? "all" : "the sale";
    $(".pause-all", this.#view).textContent = `Pause ${several}`;
    $(".resume-all", this.#view).textContent = `Resume ${several}`;
  }

  #showTypes(live) {
    const body = $(".types tbody", this.#view);
    const ids = new Set(live.ticket_types.map(({ id }) => id));
    for (const [id, row] of this.#rows) {
      if (ids.has(id)) continue;
      row.remove();
      this.#rows.delete(id);
    }
    for (const type of live.ticket_types) {
      if (!this.#rows.has(type.id)) {
        const row = this.#newRow(type.id);
        this.#rows.set(type.id, row);
        body.append(row);
      }
      this.#showType(this.#rows.get(type.id), type);
    }
    $(".types .empty", this.#view).hidden = ids.size > 0;
    $(".types table", this.#view).hidden = ids.size === 0;
  }

  #newRow(id) {
    const row = clone("type-row");
    const type = () => this.#live.ticket_types.find((one) => one.id === id);
    onClick($(".pause", row), () => this.#pause([type()]));
    onClick($(".resume", row), () => this.#resume([type()]));
    onClick($(".capacity", row), async () => (await this.#actions()).changeCapacity(type()));
    onClick($(".edit-type", row), () => this.#editType(id));
    return row;
  }

  #showType(row, live) {
    const type = this.#types.get(live.id);
    const shown = {
      name: live.name,
      terms: type ? this.#termsOf(type) : "",
      left: number(live.left),
      issued: `of ${number(live.issued)}`,
      held: number(live.held),
      confirmed: number(live.confirmed),
      queued: words.count(live.queued),
    };
    for (const [name, value] of Object.entries(shown)) {
      $(`[data-figure=${name}]`, row).textContent = value;
    }
    // Before the opening, too.
    fill($("[data-figure=state]", row), badge(isPaused(live) ? "paused" : live.state));
    fill($("[data-figure=bar]", row), stockBar(live));
    showOneOf($(".pause", row), canPause(live), $(".resume", row), isPaused(live));
    for (const button of row.querySelectorAll("button")) {
      button.ariaLabel = `${button.textContent}: ${live.name}`;
    }
  }

  #termsOf(type) {
    const { price, hold_seconds: hold } = type;
    return [
      money(price, this.#event?.currency ?? "EUR"),
      words.saleWindow(type),
      hold && `held for ${duration(hold)}`,
    ].filter(Boolean).join(" · ");
  }

  #showRefusals({ refusals }) {
    const rows = Object.entries(refusals).filter(([, count]) => count > 0)
      .sort(([, a], [, b]) => b - a);
    const most = rows[0]?.[1] ?? 1;
    fill($(".refusals dl", this.#view), rows.map(([code, count]) => {
      const row = clone("refusal");
      $("dt", row).textContent = words.reason(code);
      $("dd", row).textContent = number(count);
      $(".share", row).style.width = `${(100 * count) / most}%`;
      return row;
    }));
    $(".refusals .empty", this.#view).hidden = rows.length > 0;
  }

  #showWebhooks({ webhooks }) {
    $(".webhooks", this.#view).hidden = webhooks === null;
    if (webhooks) $(".webhooks p", this.#view).textContent = words.webhooks(webhooks);
  }

  #showAudit(audit) {
    const section = $(".audit", this.#view);
    const isRunning = ["queued", "running"].includes(audit?.status);
    $(".verdict", section).textContent = audit
      ? words.verdict(audit)
      : "Not run yet. It computes the whole sale again from its ledger and compares.";
    section.dataset.status = audit?.status ?? "none";
    $(".audited", section).textContent = audit?.finished_at ? words.audited(audit) : "";
    fill($("ul", section), (audit?.findings ?? []).map((finding) => {
      const item = document.createElement("li");
      item.textContent = finding;
      return item;
    }));
    const button = $("button", section);
    button.ariaDisabled = String(isRunning);
    button.textContent = isRunning ? "Auditing…" : "Run the audit";
  }

  /** Each second. What is not current is grey, and says since when. */
  #tick() {
    const opens = words.opening([...this.#types.values()], clock.now());
    $(".opens", this.#view).textContent = opens;
    if (!this.#live) return;
    const stale = words.staleness(this.#live, clock.now());
    const freshness = $(".freshness", this.#view);
    freshness.textContent = stale ?? "Live";
    document.title = [
      stale ? "Not current" : `${number(this.#live.left)} left`, this.#event.title, "Console",
    ].join(" · ");
    this.#view.classList.toggle("stale", stale !== null);
    if ((stale !== null) !== this.#isStale) {
      this.#isStale = stale !== null;
      announce(stale ? "The figures are no longer current." : "The figures are live again.");
      // What happened meanwhile is in the ledger.
      if (!stale) attempt(() => this.#loadPast());
    }
    if (stale) this.#draw();
  }

  /** Once they are loaded, and if the view is still shown. */
  async #actions() {
    const loaded = await actions();
    this.#signal.throwIfAborted();
    return loaded;
  }

  async #pause(types) {
    await (await this.#actions()).pause(types, this.#live.queued);
    await this.#loadAfter(types);
  }

  async #resume(types) {
    await (await this.#actions()).resume(types);
    await this.#loadAfter(types);
  }

  /** One that was switched alone is of the live figures. What fails is read later. */
  async #loadAfter(types) {
    await (types.length > 1 ? this.#loadAll() : this.#loadTypes()).catch(() => {});
  }

  /** @param {"publish" | "notice"} what of the event: as it is now, and shown as it is then */
  async #change(what) {
    const [act, event] = await Promise.all([this.#actions(), this.#readEvent()]);
    this.#showEvent(event);
    const changed = await act[what](this.#event);
    if (changed) this.#showEvent(changed);
  }

  async #editType(id) {
    const { editTicketType } = await import("./ticket-type-form.js");
    this.#signal.throwIfAborted();
    if (await editTicketType(this.#event, id, this.#signal)) await this.#loadTypes();
  }

  async #audit() {
    const button = $(".audit button", this.#view);
    if (button.ariaDisabled === "true") return;
    button.ariaDisabled = "true";
    const { audit } = await this.#actions();
    for await (const state of audit(this.#id, this.#signal)) this.#showAudit(state);
  }

  async #export(button) {
    const { save } = await import("./export.js");
    await save(button, `api/events/${this.#id}/ledger/`, `event-${this.#id}`, this.#signal);
  }
}

/** Shows the buttons that apply; the focus does not stay on one that is hidden. */
function showOneOf(one, oneApplies, other, otherApplies) {
  const focused = [one, other].find((button) => button === document.activeElement);
  one.hidden = !oneApplies;
  other.hidden = !otherApplies;
  if (focused?.hidden) (focused === one ? other : one).focus();
}
