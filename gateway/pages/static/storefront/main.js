/** The published events, soonest first. */

import { clock } from "../core/clock.js";
import { $, clone, fill } from "../core/dom.js";
import { dateTime, stateWords, timeLeft } from "../core/format.js";
import { everySecond, poll } from "./polling.js";

$("#late").remove();
const [list, empty, problem] = [$("#list"), $("#empty"), $("#problem")];
const cards = new Map();
let sales = [];

function show(document_) {
  sales = document_.sales;
  const shown = sales.map(card);
  // Moving a node takes the focus from it.
  if (shown.some((each, index) => each !== list.children[index])) fill(list, shown);
  while (list.children.length > shown.length) list.lastChild.remove();
  empty.hidden = shown.length > 0;
  fill(empty, "Nothing is on sale at the moment. New events appear here by themselves.");
  fill(problem, document_.stale ? "This list may be a minute old. We keep trying." : "");
  countDown();
  return sales.some((sale) => isNear(sale.opens_at)) ? 2 : 5;
}

function card(sale) {
  let shown = cards.get(sale.event);
  if (shown === undefined) cards.set(sale.event, (shown = clone("event")));
  const start = new Date(sale.start_time);
  const part = (options) => new Intl.DateTimeFormat(undefined, options).format(start);
  fill($(".weekday", shown), part({ weekday: "short" }));
  fill($(".date", shown), part({ day: "numeric" }));
  fill($(".month", shown), part({ month: "short" }));
  fill($("a", shown), sale.title);
  $("a", shown).href = `events/${sale.event}/`;
  fill($(".when", shown), dateTime(sale.start_time));
  const badge = $(".badge", shown);
  badge.dataset.state = sale.state;
  fill(badge, stateWords(sale.state));
  return shown;
}

function countDown() {
  for (const { event, opens_at } of sales) {
    const left = Date.parse(opens_at) - clock.now();
    const words = left > 0 ? `in ${timeLeft(left)}` : "now";
    fill($(".countdown", cards.get(event)), opens_at && words);
  }
}

function isNear(time) {
  return time !== null && Date.parse(time) - clock.now() < 10_000;
}

poll("api/sales/", show, () => {
  if (sales.length > 0) fill(problem, "The server cannot be reached. This list may be old.");
  else fill(empty, "The server cannot be reached. We keep trying.");
});
everySecond(countDown);
