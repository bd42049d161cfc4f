// The dashboard: the current state first, then statistics of the day (services/tracking/dashboard.py).

import { showConnection } from "./banner.js";
import { BarChart, range } from "./charts.js";
import { arrange, make, makeUserText, write } from "./elements.js";
import { language, lateSeconds, timezone } from "./restaurant.js";
import { LiveView } from "./live.js";
import { ago, duration, timeOfDay } from "./times.js";
import { translate } from "./words.js";

const LATE_WARNING = 0.1; // share of late orders above which there is a warning
const OUTBOX_WARNING = 10; // s that the oldest outbox message may wait; a healthy relay needs a fraction of one
const MIN_QUEUE_SCALE = 10; // a full bar of a queue stands for at least as many orders
const QUEUES = {
  kitchen_dine_in_queue: "type.dine_in",
  kitchen_takeout_queue: "type.takeout",
  kitchen_delivery_queue: "type.delivery",
  kitchen_queue: "dashboard.queues.any",
};
const TYPES = ["dine_in", "takeout", "delivery"];
const STATES = ["online", "silent", "offline"]; // in the order in which they are shown

const find = (selector) => document.querySelector(selector);
const percent = new Intl.NumberFormat(language, { style: "percent" });
const chart = new BarChart(find("#orders .chart"), translate("dashboard.orders.title"));
const workers = new Map(); // rows by name

const VIEWS = {
  orders: showOrders,
  now: showNow,
  late: showLate,
  queues: showQueues,
  dead_letters: showDeadLetters,
  outbox: showOutbox,
  workers: showWorkers,
};

write(find("#zone"), translate("dashboard.zone", { zone: timezone }));
new LiveView("/live/dashboard", { changed: show, live: showConnection });
setInterval(tick, 1000);

function show(entries, keys) {
  for (const key of keys) VIEWS[key]?.(entries.get(key) ?? null);
  if (keys.has("preparation") || keys.has("late")) {
    showPreparation(entries.get("preparation"), entries.get("late").by_type);
  }
}

/** Fills in a card, and lists the titles of all cards with a warning at the top of the page. */
function showCard(id, figure, note, isWarning = false) {
  const card = document.getElementById(id);
  card.classList.toggle("warning", isWarning);
  write(card.querySelector(".figure"), figure);
  write(card.querySelector(".note"), note);
  const titles = Array.from(document.querySelectorAll(".warning h3"), (title) => title.textContent).join(", ");
  write(find("#warnings"), titles && translate("dashboard.warnings", { titles }));
}

function showNow({ waiting, cooking, ready }) {
  showCard("waiting", ...counted(waiting, "dashboard.waiting.none"));
  showCard("cooking", ...counted(cooking, "dashboard.cooking.none"));
  showCard("ready", String(ready), translate(ready ? "dashboard.ready.some" : "dashboard.ready.none"));
}

/** Returns the number of orders, and a text with the number of each type. */
function counted(byType, none) {
  const present = TYPES.filter((type) => byType[type]);
  const total = present.reduce((sum, type) => sum + byType[type], 0);
  const parts = present.map((type) => translate("dashboard.by_type", { type: translate(`type.${type}`), count: byType[type] }));
  return [String(total), total ? parts.join(" · ") : translate(none)];
}

function showLate({ orders, late, share }) {
  if (share === null) return showCard("late", translate("dashboard.empty"), translate("dashboard.no_orders"));
  const isWarning = share > LATE_WARNING;
  const text = isWarning ? "warning" : late ? "some" : "none";
  showCard("late", percent.format(share), translate(`dashboard.late.${text}`, { late, count: orders }), isWarning);
}

function showDeadLetters(count) {
  if (count === null) return showCard("dead-letters", translate("dashboard.empty"), translate("dashboard.broker_away"), true);
  const text = count ? "warning" : "none";
  showCard("dead-letters", String(count), translate(`dashboard.dead_letters.${text}`, { count }), count > 0);
}

function showOutbox({ size, oldest_seconds: oldest }) {
  const isWarning = size > 0 && oldest > OUTBOX_WARNING;
  const text = isWarning ? "warning" : size ? "some" : "none";
  showCard("outbox", duration(oldest), translate(`dashboard.outbox.${text}`, { count: size }), isWarning);
}

function showOrders(hours) {
  const bars = hours.map(({ hour, orders }) => ({ label: timeOfDay(new Date(hour)), value: orders, isOpen: false }));
  empty("#orders", !bars.length, ".chart, details, .about");
  if (!bars.length) return;
  bars.at(-1).isOpen = true;
  chart.show(bars, describe(bars));
  find("#orders tbody").replaceChildren(
    ...bars.map(({ label, value }) => make("tr", {}, make("th", { scope: "row", className: "number" }, label), amount(String(value)))),
  );
}

function describe(bars) {
  const busiest = bars.reduce((most, bar) => (bar.value > most.value ? bar : most));
  const count = bars.reduce((sum, { value }) => sum + value, 0);
  return translate("dashboard.orders.describe", { count, first: bars[0].label, busiest: busiest.label, most: busiest.value });
}

function showQueues(depths) {
  empty("#queues", depths === null, "dl, .about");
  if (depths === null) return;
  const most = Math.max(MIN_QUEUE_SCALE, ...Object.values(depths));
  find("#queues dl").replaceChildren(...Object.entries(depths).map(([queue, depth]) => queueBar(queue, depth, most)));
}

function queueBar(queue, depth, most) {
  const filled = make("span", { className: "filled" });
  filled.style.inlineSize = `${(depth / most) * 100}%`;
  const label = queue in QUEUES ? translate(QUEUES[queue]) : queue;
  const bar = make("span", { className: "track", "aria-hidden": "true" }, filled);
  return make("div", {}, make("dt", {}, label), make("dd", { className: "number" }, bar, String(depth)));
}

function showPreparation(byType, late) {
  const types = TYPES.filter((type) => type in byType && type in late);
  empty("#preparation", !types.length, "table, .about");
  const longest = Math.max(...types.flatMap((type) => [byType[type].p99, lateSeconds[type]])) * 1.05;
  find("#preparation tbody").replaceChildren(
    ...types.flatMap((type) => preparationRows(type, byType[type], late[type], longest)),
  );
}

/** Makes two rows: the figures, and the chart of their spread below. */
function preparationRows(type, seconds, { orders, late }, longest) {
  const limit = translate("dashboard.preparation.late_from", { time: duration(lateSeconds[type]) });
  const name = make("th", { scope: "row" }, translate(`type.${type}`), make("small", { className: "quiet" }, limit));
  const times = ["p50", "p90", "p99"].map((part) => amount(duration(seconds[part])));
  const share = amount(translate("dashboard.preparation.late_of", { late, count: orders }));
  const spread = make("td", { colSpan: 5, className: "spread" }, range(seconds, lateSeconds[type], longest));
  return [make("tr", {}, name, ...times, share), make("tr", { "aria-hidden": "true" }, spread)];
}

function showWorkers(everyone) {
  empty("#workers", !everyone.length, "table");
  for (const worker of everyone) {
    if (!workers.has(worker.name)) workers.set(worker.name, new WorkerRow(worker.name));
    workers.get(worker.name).show(worker);
  }
  const sorted = everyone.map(({ name }) => workers.get(name)).sort(byStateThenName);
  arrange(find("#workers tbody"), sorted.map(({ element }) => element));
}

function byStateThenName(one, other) {
  return STATES.indexOf(one.state) - STATES.indexOf(other.state) || one.name.localeCompare(other.name, language);
}

class WorkerRow {
  constructor(name) {
    this.name = name;
    this._types = make("small", { className: "quiet" });
    this._state = make("span", { className: "state" });
    this._lastSeen = make("td", { className: "number" });
    this._orders = amount("");
    const heading = make("th", { scope: "row" }, makeUserText("span", name), this._types);
    this.element = make("tr", {}, heading, make("td", {}, this._state), this._lastSeen, this._orders);
  }

  show({ order_types: types, status, is_silent: isSilent, orders_processed: orders, last_seen: lastSeen }) {
    this.state = isSilent ? "silent" : status;
    this._seen = Date.parse(lastSeen);
    this._state.dataset.state = this.state;
    write(this._state, translate(`dashboard.workers.${this.state}`));
    const isForAll = types.length === TYPES.length;
    write(this._types, isForAll ? translate("dashboard.workers.all") : types.map((type) => translate(`type.${type}`)).join(", "));
    write(this._orders, String(orders));
    this.tick();
  }

  tick() {
    write(this._lastSeen, ago(this._seen));
  }
}

function tick() {
  for (const row of workers.values()) row.tick();
}

function amount(text) {
  return make("td", { className: "amount number" }, text);
}

/** Shows the text for an empty section in place of `parts`. */
function empty(section, isEmpty, parts) {
  find(`${section} .empty`).hidden = !isEmpty;
  for (const part of find(section).querySelectorAll(parts)) part.hidden = isEmpty;
}
