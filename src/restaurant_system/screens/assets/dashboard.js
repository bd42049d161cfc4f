// The dashboard: the current state first, then statistics of the day (services/tracking/dashboard.py).

import { Alarms, tasksOf } from "./alarms.js";
import { showConnection } from "./banner.js";
import { BarChart, range } from "./charts.js";
import { arrange, make, makeUserText, write } from "./elements.js";
import { businessDate } from "./business-date.js";
import { businessDayStart, language, lateSeconds, timezone } from "./restaurant.js";
import { LiveView } from "./live.js";
import { ScheduledOrders } from "./scheduled-orders.js";
import { age, ago, duration, timeOfDay } from "./times.js";
import { money, translate } from "./words.js";

const LATE_WARNING = 0.1; // share of late orders above which there is a warning
const MIN_QUEUE_SCALE = 10; // a full bar of a queue stands for at least as many orders
const TYPES = ["dine_in", "takeout", "delivery"];
const STATES = ["online", "silent", "offline"]; // in the order in which they are shown

const find = (selector) => document.querySelector(selector);
const percent = new Intl.NumberFormat(language, { style: "percent" });
const mean = new Intl.NumberFormat(language, { maximumFractionDigits: 1 });
const weekdayName = new Intl.DateTimeFormat(language, { weekday: "long", timeZone: "UTC" });
const dayName = new Intl.DateTimeFormat(language, { weekday: "long", day: "numeric", month: "long", timeZone: "UTC" });
const chart = new BarChart(find("#orders .chart"), translate("dashboard.orders.title"));
const date = find("#export input[type=date]");
const alarms = new Alarms(find("#alarms"));
const workers = new Map(); // rows by name
const scheduled = new ScheduledOrders(find("#scheduled"));

const TASKS = ["warnings", "dead_letters", "outbox", "uncollected", "sold_out"]; // what tasks follow from
const TIMES = ["preparation", "late", "now"]; // what the times of each type follow from
const VIEWS = {
  now: showNow,
  late: showLate,
  queues: showQueues,
  dead_letters: showDeadLetters,
  outbox: showOutbox,
  scheduled: (orders) => scheduled.show(orders),
  workers: showWorkers,
};

const period = businessDayStart === "00:00" ? "dashboard.zone" : "dashboard.zone_and_start";
write(find("#zone"), translate(period, { zone: timezone, start: businessDayStart }));
new LiveView("/live/dashboard", { changed: show, live: showConnection });
setInterval(tick, 1000);

function show(entries, keys) {
  for (const key of keys) VIEWS[key]?.(entries.get(key) ?? null);
  if (keys.has("orders") || keys.has("usual")) showOrders(entries.get("orders"), entries.get("usual"));
  if (!date.value) date.value = businessDate(); // by the server's clock
  if (keys.has("today") || keys.has("usual")) showToday(entries.get("today"), entries.get("usual"));
  if (TASKS.some((key) => keys.has(key))) showTasks(tasksOf(entries));
  if (TIMES.some((key) => keys.has(key))) {
    showTimes(entries.get("preparation"), entries.get("late").by_type, entries.get("now"));
  }
}

function showTasks(tasks) {
  alarms.show(tasks);
  announce();
}

/** Tells screen readers the tasks, and the titles of all cards with a warning. */
function announce() {
  const titles = Array.from(document.querySelectorAll(".alarm .what, .warning h3"), (title) => title.textContent);
  write(find("#warnings"), titles.length ? translate("dashboard.warnings", { titles: titles.join(", ") }) : "");
}

/** Fills in a card, with a warning or without. */
function showCard(id, figure, note, isWarning = false) {
  const card = document.getElementById(id);
  card.classList.toggle("warning", isWarning);
  write(card.querySelector(".figure"), figure);
  write(card.querySelector(".note"), note);
  announce();
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
  if (share === null) return showCard("late", translate("dashboard.empty"), translate("dashboard.late.none_due"));
  const isWarning = share > LATE_WARNING;
  const text = isWarning ? "warning" : late ? "some" : "none";
  showCard("late", percent.format(share), translate(`dashboard.late.${text}`, { late, count: orders }), isWarning);
}

/** Shows the number of messages that no process could use, for the technician. */
function showDeadLetters(count) {
  const isKnown = count !== null;
  write(find("#dead-letters"), isKnown ? translate("dashboard.technical.dead_letters", { count }) : "");
}

/** Shows how many messages are not sent yet, for the technician. */
function showOutbox({ size, oldest_seconds: oldest }) {
  write(find("#outbox"), translate("dashboard.technical.outbox", { count: size, time: duration(oldest) }));
}

/** Shows how much was ordered today, compared with the usual day up to this time. */
function showToday({ orders, amount }, usual) {
  showCard("placed", String(orders), compared(orders, Math.round(usual?.orders), mean, usual));
  showCard("sales", money(amount), compared(amount, usual?.amount, { format: money }, usual));
}

/** Compares a figure of today with the usual one, as "3 more than on the last 4 Saturdays by this time (38)". */
function compared(value, usualValue, format, usual) {
  if (usual === null) return translate("dashboard.compared.nothing");
  const difference = format.format(Math.abs(value - usualValue));
  const isEqual = difference === format.format(0);
  const text = isEqual ? "equal" : value > usualValue ? "more" : "less";
  return translate(`dashboard.compared.${text}`, { difference, usual: format.format(usualValue), ...daysOf(usual) });
}

/** Returns the words for the days that today is compared with. */
function daysOf({ dates }) {
  const latest = new Date(`${dates[0]}T00:00Z`);
  return { count: dates.length, weekday: weekdayName.format(latest), day: dayName.format(latest) };
}

/** Shows the orders by hour with the usual ones, and the usual ones of the hours to come. */
function showOrders(hours, usual) {
  empty("#orders", !hours.length, ".chart, details, .about");
  write(find("#orders .compared"), usual ? translate("dashboard.orders.compared", daysOf(usual)) : "");
  find("#orders table").classList.toggle("alone", usual === null);
  if (!hours.length) return;
  const bars = barsOf(hours, usual?.per_hour ?? []);
  chart.show(bars, describe(bars.filter(({ value }) => value !== null)));
  find("#orders tbody").replaceChildren(
    ...bars.map(({ label, value, usual: usually }) =>
      make(
        "tr",
        {},
        make("th", { scope: "row", className: "number" }, label),
        amount(value === null ? translate("dashboard.empty") : String(value)),
        amount(usually === undefined ? translate("dashboard.empty") : mean.format(usually)),
      ),
    ),
  );
}

/** Returns the bars of the chart: a `value` is null in hours to come, `usual` undefined where there is none. */
function barsOf(hours, usualHours) {
  const values = new Map(hours.map(({ hour, orders }) => [Date.parse(hour), orders]));
  const usual = new Map(usualHours.map(({ hour, orders }) => [Date.parse(hour), orders]));
  const current = Math.max(...values.keys());
  const all = [...new Set([...values.keys(), ...usual.keys()])].sort((one, other) => one - other);
  return all.map((hour) => ({
    label: timeOfDay(new Date(hour)),
    value: hour > current ? null : values.get(hour) ?? 0,
    usual: usual.get(hour),
    isOpen: hour === current,
  }));
}

function describe(bars) {
  const busiest = bars.reduce((most, bar) => (bar.value > most.value ? bar : most));
  const count = bars.reduce((sum, { value }) => sum + value, 0);
  const first = bars.find(({ value }) => value > 0) ?? bars[0];
  return translate("dashboard.orders.describe", { count, first: first.label, busiest: busiest.label, most: busiest.value });
}

/** Shows how many messages wait in each queue, for the technician. */
function showQueues(depths) {
  find("#technical .unavailable").hidden = depths !== null;
  const queues = Object.entries(depths ?? {});
  const most = Math.max(MIN_QUEUE_SCALE, ...queues.map(([, depth]) => depth));
  find("#technical dl").replaceChildren(...queues.map(([queue, depth]) => queueBar(queue, depth, most)));
}

function queueBar(queue, depth, most) {
  const filled = make("span", { className: "filled" });
  filled.style.inlineSize = `${(depth / most) * 100}%`;
  const bar = make("span", { className: "track", "aria-hidden": "true" }, filled);
  return make("div", {}, make("dt", {}, queue), make("dd", { className: "number" }, bar, String(depth)));
}

/** Shows for each type how long orders wait and take, how long they may, and how many were late. */
function showTimes(preparation, late, { waiting, waiting_since: since }) {
  const types = TYPES.filter((type) => preparation[type] || waiting[type] || late[type]?.orders);
  empty("#preparation", !types.length, "table, .about");
  const seconds = types.flatMap((type) => [preparation[type]?.p99 ?? 0, lateSeconds[type]]);
  const longest = Math.max(...seconds) * 1.05;
  find("#preparation tbody").replaceChildren(
    ...types.flatMap((type) => [
      timesRow(type, preparation[type], late[type], waitingCell(waiting[type], since[type])),
      make("tr", { "aria-hidden": "true" }, spreadCell(preparation[type], lateSeconds[type], longest)),
    ]),
  );
}

function timesRow(type, seconds, late, waitingNow) {
  const [half, most] = ["p50", "p90"].map((part) => amount(seconds ? duration(seconds[part]) : translate("dashboard.empty")));
  most.classList.add("most");
  const isKnown = late !== undefined && late.orders > 0;
  const share = isKnown ? translate("dashboard.preparation.late_of", { late: late.late, count: late.orders }) : translate("dashboard.empty");
  const name = make("th", { scope: "row" }, translate(`type.${type}`));
  return make("tr", {}, name, waitingNow, amount(duration(lateSeconds[type])), half, most, amount(share));
}

/** Makes the cell with the number of waiting orders, and how long the oldest has waited. */
function waitingCell(count, since) {
  const cell = amount(count ? String(count) : translate("dashboard.empty"));
  if (!count) return cell;
  const oldest = make("small", { className: "quiet", dataset: { waitingSince: since } });
  tickWaiting(oldest);
  cell.append(oldest);
  return cell;
}

function tickWaiting(element) {
  write(element, translate("dashboard.preparation.oldest", { time: age(Date.parse(element.dataset.waitingSince)) }));
}

/** Makes the cell with the chart of the spread; without figures it is empty. */
function spreadCell(seconds, late, longest) {
  return make("td", { colSpan: 6, className: "spread" }, seconds ? range(seconds, late, longest) : "");
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
  alarms.tick();
  for (const row of workers.values()) row.tick();
  for (const each of document.querySelectorAll("[data-waiting-since]")) tickWaiting(each);
}

function amount(text) {
  return make("td", { className: "amount number" }, text);
}

/** Shows the text for an empty section in place of `parts`. */
function empty(section, isEmpty, parts) {
  find(`${section} .empty`).hidden = !isEmpty;
  for (const part of find(section).querySelectorAll(parts)) part.hidden = isEmpty;
}
