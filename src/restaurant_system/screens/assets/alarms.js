// What somebody in the restaurant must do now, first on the dashboard, each with the link or the button for it.

import { arrange, make, write } from "./elements.js";
import { HeldOrders, orderLink } from "./held-orders.js";
import { places } from "./restaurant.js";
import { ago, duration } from "./times.js";
import { translate } from "./words.js";

const LISTED = 5; // late orders that are listed; the page of the orders has all of them
const UNSENT_WARNING = 10; // s that the oldest update may wait to be sent; a healthy system needs a fraction of one

/** The page where each task is done; where a page is not served here, the next one. */
const LINKS = {
  no_cook_on_duty: ["kitchen"],
  orders_overdue: ["orders"],
  orders_held: ["orders"],
  queue_not_consumed: ["kitchen"],
  station_without_screen: ["kitchen"],
  undelivered: ["orders"],
  uncollected: ["pass", "orders"],
  sold_out: ["counter"],
};
/** The queries of these pages, by task and page. */
const QUERIES = { uncollected: { orders: "?state=uncollected" }, orders_overdue: { orders: "?state=late" }, orders_held: { orders: "?state=held" } };

/**
 * Returns the tasks that follow from the entries of the dashboard, the most urgent first: its warnings, what has not
 * reached the kitchen, orders that were not fetched, and what is sold out.
 */
export function tasksOf(entries) {
  const [warnings, undelivered, outbox, uncollected] = ["warnings", "dead_letters", "outbox", "uncollected"].map((key) => entries.get(key));
  const isUnsent = outbox.size > 0 && outbox.oldest_seconds > UNSENT_WARNING;
  const soldOut = entries.get("sold_out");
  return [
    ...withoutRepeated(warnings),
    undelivered === null ? { kind: "cut_off" } : null,
    undelivered ? { kind: "undelivered", count: undelivered } : null,
    isUnsent ? { kind: "unsent", count: outbox.size, time: duration(outbox.oldest_seconds) } : null,
    uncollected ? { kind: "uncollected", ...uncollected } : null,
    soldOut ? { kind: "sold_out", count: soldOut, isNote: true } : null,
  ].filter((task) => task !== null);
}

/** Leaves out queues that no worker takes from, if a warning says so of all their types already. */
function withoutRepeated(warnings) {
  const typesOf = (kind) => warnings.filter((each) => each.kind === kind).flatMap((each) => each.order_types);
  const known = typesOf("no_cook_on_duty");
  return warnings.filter(({ kind, order_types: types }) => kind !== "queue_not_consumed" || !types.every((type) => known.includes(type)));
}

export class Alarms {
  /** Shows tasks in `section`, whose list it fills. */
  constructor(section) {
    this._section = section;
    this._list = section.querySelector("ul");
    this._alarms = new Map(); // by what they are about
  }

  show(tasks) {
    const shown = new Map(tasks.map((task) => [subjectOf(task), task]));
    for (const subject of this._alarms.keys()) if (!shown.has(subject)) this._alarms.delete(subject);
    for (const [subject, task] of shown) {
      if (!this._alarms.has(subject)) this._alarms.set(subject, new Alarm(task));
      this._alarms.get(subject).show(task);
    }
    arrange(this._list, Array.from(shown.keys(), (subject) => this._alarms.get(subject).element));
    this._section.hidden = !shown.size;
  }

  tick() {
    for (const alarm of this._alarms.values()) alarm.tick();
  }
}

/** Returns what distinguishes a task from others at the same time. */
function subjectOf({ kind, order_types: types, queue, station }) {
  return JSON.stringify([kind, kind === "no_cook_on_duty" ? types : null, queue, station]);
}

/** Makes the link to the page where a task is done; null if no page of this address is. */
function linkFor(kind) {
  const name = LINKS[kind]?.find((each) => places.some((place) => place.name === each));
  if (name === undefined) return null;
  const { path } = places.find((place) => place.name === name);
  return make("a", { className: "button", href: path + (QUERIES[kind]?.[name] ?? "") }, translate(`dashboard.alarms.do.${kind}`));
}

class Alarm {
  constructor(task) {
    this._what = make("p", { className: "what" });
    this._since = make("p", { className: "since" });
    this._orders = make("ul", { className: "named", hidden: true });
    this._rows = new Map(); // of late orders by number
    this._held = task.kind === "orders_held" ? new HeldOrders(this._orders) : null;
    const words = make("div", {}, this._what, this._since);
    const className = task.isNote ? "alarm note-only" : "alarm";
    this.element = make("li", { className }, make("div", { className: "task" }, words, linkFor(task.kind)), this._orders);
  }

  show({ kind, since, count, time, order_types: types = [], station, orders = [] }) {
    const type = types.map((each) => translate(`type.${each}`)).join(", ");
    write(this._what, translate(`dashboard.alarms.${kind}`, { count, type, station, time }));
    this._sinceMs = since && Date.parse(since);
    if (this._held) this._held.show(orders, count);
    else this._showLate(orders.slice(0, LISTED), count);
    this._orders.hidden = !orders.length;
    this.tick();
  }

  tick() {
    write(this._since, this._sinceMs ? translate("dashboard.alarms.since", { ago: ago(this._sinceMs) }) : "");
  }

  _showLate(numbers, count) {
    for (const number of this._rows.keys()) if (!numbers.includes(number)) this._rows.delete(number);
    for (const number of numbers) if (!this._rows.has(number)) this._rows.set(number, make("li", {}, orderLink(number)));
    const rest = count - numbers.length;
    const more = numbers.length && rest > 0 ? [make("li", { className: "more" }, translate("dashboard.alarms.more", { count: rest }))] : [];
    arrange(this._orders, [...numbers.map((number) => this._rows.get(number)), ...more]);
  }
}
