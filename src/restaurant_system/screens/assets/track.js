// The tracking page of one order: its status and its estimated completion and, if it was opened by the
// customer's link, its steps with their times, its items, its total and what is still to be paid.

import { showConnection } from "./banner.js";
import { Bell } from "./bell.js";
import { timeoutSignal } from "./compat.js";
import { make, visible, write } from "./elements.js";
import { LiveView } from "./live.js";
import { removedPart } from "./modifiers.js";
import { now, timeOfDay, timeOrDate } from "./times.js";
import { money, translate, shortNumber } from "./words.js";

const RETRY_DELAY = 2000; // ms until the next request while the order is unknown or there is no response
const TIMEOUT = 5000; // ms for a request
const REFRESH_INTERVAL = 5000; // ms between two checks whether the estimate has passed
const VIBRATION = [300, 150, 300]; // ms on, off, on
const HANDOFF = { dine_in: "table", takeout: "counter", delivery: "own_delivery" }; // unless the order says
const NEXT_STEPS = { received: ["cooking", "ready"], cooking: ["ready"] };
const OVER = ["completed", "cancelled"];
const [KNOWN, UNKNOWN] = [200, 404];

// /track/NUMBER, or the customer's link, /track/NUMBER/TOKEN
const [orderNumber, token] = location.pathname.split("/").slice(2).map(decoded);
const address = encodeURIComponent(orderNumber);
const secret = token && encodeURIComponent(token);
const [lookup, view] = token
  ? [`/orders/${address}/tracking/${secret}`, `/live/track/${address}/${secret}`]
  : [`/orders/${address}/status`, `/live/track/${address}`];
const part = (id) => document.getElementById(id);
const bell = new Bell("track-muted", showAlert);
let shown = null; // the order as it is shown
let stream = null;

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
  stream = new LiveView(view, { changed: show, live: showConnection, check: isStillKnown });
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
    return (await fetch(lookup, { signal: timeoutSignal(TIMEOUT) })).status;
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
  const [order, before] = [entries.get("order"), shown];
  shown = order;
  if (OVER.includes(order.status)) stream.end();
  if (order.status === "ready" && before && before.status !== "ready") alertCustomer();
  document.body.dataset.status = order.status;
  document.title = translate("track.tab", { number: shortNumber(orderNumber), status: translate(`status.${order.status}`) });
  const step = order.is_scheduled ? "scheduled" : order.status;
  write(part("headline"), translate(`track.${step}`));
  write(part("detail"), detailOf(order));
  showAlert();
  if (!entries.has("steps")) return; // without signing in, only the status is shown
  const due = order.ready_at ? [translate("track.for", { time: timeOrDate(new Date(order.ready_at)) })] : [];
  write(part("type"), [translate(`type.${order.order_type}`), ...due].join(" · "));
  showSteps(entries.get("steps"), order.status);
  if (!entries.has("items")) return; // these are shown by the customer's link only
  showItems(entries.get("items"), entries.get("charges") ?? [], order);
}

/** Rings and vibrates, if the browser allows it: after a touch only. */
function alertCustomer() {
  bell.ringOnce();
  if (bell.isUnlocked) navigator.vibrate?.(VIBRATION);
}

/** Offers a sound for when the order is ready: browsers allow it after a touch only. */
function showAlert() {
  part("alert").hidden = !shown || !NEXT_STEPS[shown.status];
  if (bell.isUnlocked) write(part("alert"), translate("track.alert.promise"));
}

/** Returns when the order will be ready or, once it is, what the customer can do. */
function detailOf(order) {
  if (order.status === "ready") return order.order_type ? translate(`track.at.${order.handoff ?? HANDOFF[order.order_type]}`) : "";
  if (order.status === "completed") return translate("track.enjoy");
  if (order.status === "cancelled") return translate("track.ask");
  if (order.is_scheduled) return translate("track.scheduled_for", { time: timeOrDate(new Date(order.ready_at)) });
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

function showItems(items, charges, { total_amount: total, amount_due: due, status }) {
  part("items").replaceChildren(...items.map(itemOf), ...charges.map(chargeOf));
  write(part("total"), money(total));
  part("amount-due").hidden = !due || OVER.includes(status);
  write(part("amount-due").querySelector(".number"), money(due ?? 0));
  part("contents").hidden = false;
}

function itemOf({ name, quantity, price, modifiers = [] }) {
  const text = make("span", {}, translate("track.item", { quantity, name }));
  const item = make("li", {}, text, make("span", { className: "number" }, money((price + priceOf(modifiers)) * quantity)));
  if (modifiers.length > 0) item.append(modifierList(modifiers));
  return item;
}

function modifierList(modifiers) {
  const items = modifiers.map((modifier) => {
    const item = make("li", {}, make("span", {}, modifierText(modifier)));
    if (modifier.modifiers.length > 0) item.append(modifierList(modifier.modifiers));
    return item;
  });
  return make("ul", { className: "modifiers quiet" }, ...items);
}

function modifierText({ name, kind, quantity }) {
  if (kind === "remove") return translate("track.without", { name: removedPart(name) });
  return quantity > 1 ? translate("track.item", { quantity, name }) : visible(name);
}

/** Returns what modifiers add to the price of one piece. */
function priceOf(modifiers) {
  return modifiers.reduce((sum, { price, quantity, modifiers: inner }) => sum + (price + priceOf(inner)) * quantity, 0);
}

function chargeOf({ name, amount }) {
  const text = make("span", {}, visible(name));
  return make("li", { className: "charge" }, text, make("span", { className: "number" }, money(amount)));
}
