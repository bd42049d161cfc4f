// The tracking page of one order: its status and its estimated completion and, if it was opened by the
// customer's link, its steps with their times, its items and its total.

import { showConnection } from "./banner.js";
import { make, write } from "./elements.js";
import { LiveView } from "./live.js";
import { now, timeOfDay } from "./times.js";
import { money, translate, shortNumber } from "./words.js";

const RETRY_DELAY = 2000; // ms until the next request while the order is unknown or there is no response
const REFRESH_INTERVAL = 5000; // ms between two checks whether the estimate has passed
const NEXT_STEPS = { received: ["cooking", "ready"], cooking: ["ready"] };
const [KNOWN, UNKNOWN] = [200, 404];

// /track/NUMBER, or the customer's link, /track/NUMBER/TOKEN
const [orderNumber, token] = location.pathname.split("/").slice(2).map(decoded);
const address = encodeURIComponent(orderNumber);
const secret = token && encodeURIComponent(token);
const [lookup, view] = token
  ? [`/orders/${address}/tracking/${secret}`, `/live/track/${address}/${secret}`]
  : [`/orders/${address}/status`, `/live/track/${address}`];
const part = (id) => document.getElementById(id);
let shown = null; // the order as it is shown

start();

/** Decodes a part of an address; returns it unchanged if it is malformed. */
function decoded(text) {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}

/** Shows the order as soon as it exists: it may have been placed a moment ago. */
async function start() {
  const status = await fetchStatus();
  if (status === KNOWN) return follow();
  showConnection(status === UNKNOWN, null);
  if (status === UNKNOWN) showUnknown();
  setTimeout(start, RETRY_DELAY);
}

function follow() {
  write(part("number"), shortNumber(orderNumber));
  new LiveView(view, { changed: show, live: showConnection, before: isStillKnown });
  setInterval(() => shown && write(part("detail"), detailOf(shown)), REFRESH_INTERVAL);
}

/** Tells whether to connect again; begins anew if the order has been deleted, or its link has ended. */
async function isStillKnown() {
  if (shown === null) return true;
  const status = await fetchStatus();
  if (status === UNKNOWN) location.reload();
  return status === KNOWN;
}

async function fetchStatus() {
  try {
    return (await fetch(lookup)).status;
  } catch {
    return 0;
  }
}

function showUnknown() {
  document.body.dataset.status = "unknown";
  document.title = translate("track.unknown.headline");
  write(part("headline"), translate("track.unknown.headline"));
  write(part("detail"), translate("track.unknown.detail", { number: orderNumber }));
}

function show(entries) {
  const order = (shown = entries.get("order"));
  document.body.dataset.status = order.status;
  document.title = translate("track.tab", { number: shortNumber(orderNumber), status: translate(`status.${order.status}`) });
  write(part("headline"), translate(`track.${order.status}`));
  write(part("detail"), detailOf(order));
  if (!entries.has("steps")) return; // without signing in, only the status is shown
  write(part("type"), translate(`type.${order.order_type}`));
  showSteps(entries.get("steps"), order.status);
  if (!entries.has("items")) return; // these are shown by the customer's link only
  showItems(entries.get("items"), order.total_amount);
}

/** Returns when the order will be ready or, once it is, what the customer can do. */
function detailOf(order) {
  if (order.status === "ready") return order.order_type ? translate(`track.at.${order.order_type}`) : "";
  if (order.status === "completed") return translate("track.enjoy");
  if (order.status === "cancelled") return translate("track.ask");
  if (order.estimated_completion === null) return "";
  const due = new Date(order.estimated_completion);
  return due > now() ? translate("track.due", { time: timeOfDay(due) }) : translate("track.soon");
}

function showSteps(steps, status) {
  const done = steps.map((step, index) => doneStep(step, index === steps.length - 1));
  const ahead = (NEXT_STEPS[status] ?? []).map((name) => make("li", { className: "ahead" }, translate(`status.${name}`)));
  part("steps").replaceChildren(...done, ...ahead);
  part("steps").hidden = false;
}

function doneStep({ status, at }, isCurrent) {
  const item = make("li", { className: "done" }, make("span", {}, translate(`status.${status}`)));
  item.append(make("time", { className: "number", dateTime: at }, timeOfDay(new Date(at))));
  if (isCurrent) item.setAttribute("aria-current", "step");
  return item;
}

function showItems(items, total) {
  part("items").replaceChildren(...items.map(itemOf));
  write(part("total"), money(total));
  part("contents").hidden = false;
}

function itemOf({ name, quantity, price }) {
  const item = make("li", {}, make("span", {}, translate("track.item", { quantity, name })));
  item.append(make("span", { className: "number" }, money(price * quantity)));
  return item;
}
