// Where one order is: its steps with their times, and when it will be ready.

import { showConnection } from "./banner.js";
import { make, write } from "./elements.js";
import { LiveView } from "./live.js";
import { now, timeOfDay } from "./times.js";
import { say, shortNumber } from "./words.js";

const AGAIN = 2000; // ms after which the order is asked for again, if nobody knows it, or answers
const TICK = 5000; // ms between two looks whether the estimate has passed
const AHEAD = { received: ["cooking", "ready"], cooking: ["ready"] }; // what is still to come
const [KNOWN, UNKNOWN] = [200, 404];

const orderNumber = numberIn(location.pathname.split("/").at(-1));
const address = encodeURIComponent(orderNumber);
const part = (id) => document.getElementById(id);
let shown = null; // the order as it stands

begin();

/** What stands in an address; what no browser would have written there is left as it is. */
function numberIn(text) {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}

/** Watches the order as soon as there is such a one; it may have been placed a moment ago. */
async function begin() {
  const status = await asked();
  if (status === KNOWN) return follow();
  showConnection(status === UNKNOWN, null);
  if (status === UNKNOWN) showUnknown();
  setTimeout(begin, AGAIN);
}

function follow() {
  write(part("number"), shortNumber(orderNumber));
  new LiveView(`/live/track/${address}`, { changed: show, live: showConnection });
  setInterval(() => shown && write(part("detail"), detailOf(shown)), TICK);
}

async function asked() {
  try {
    return (await fetch(`/orders/${address}/status`)).status;
  } catch {
    return 0;
  }
}

function showUnknown() {
  document.body.dataset.status = "unknown";
  document.title = say("track.unknown.headline");
  write(part("headline"), say("track.unknown.headline"));
  write(part("detail"), say("track.unknown.detail", { number: orderNumber }));
}

function show(entries) {
  const order = (shown = entries.get("order"));
  document.body.dataset.status = order.status;
  document.title = say("track.tab", { number: shortNumber(orderNumber), status: say(`status.${order.status}`) });
  write(part("headline"), say(`track.${order.status}`));
  write(part("detail"), detailOf(order));
  write(part("type"), say(`type.${order.order_type}`));
  showSteps(entries.get("steps"), order.status);
}

/** What to expect or, where the order is ready, what to do. */
function detailOf(order) {
  if (order.status === "ready") return say(`track.at.${order.order_type}`);
  if (order.status === "completed") return say("track.goodbye");
  if (order.status === "cancelled") return say("track.ask");
  if (order.estimated_completion === null) return "";
  const due = new Date(order.estimated_completion);
  return due > now() ? say("track.due", { time: timeOfDay(due) }) : say("track.soon");
}

function showSteps(steps, status) {
  const done = steps.map((step, place) => doneStep(step, place === steps.length - 1));
  const ahead = (AHEAD[status] ?? []).map((name) => make("li", { className: "ahead" }, say(`status.${name}`)));
  part("steps").replaceChildren(...done, ...ahead);
  part("steps").hidden = false;
}

function doneStep({ status, at }, isCurrent) {
  const item = make("li", { className: "done" }, make("span", {}, say(`status.${status}`)));
  item.append(make("time", { className: "number", dateTime: at }, timeOfDay(new Date(at))));
  if (isCurrent) item.setAttribute("aria-current", "step");
  return item;
}
