// New and cancelled tickets: they ring until the next touch or key, and new ones are marked until the next one while
// they are shown, also over a reload of the page. At the pass, likewise, orders that have become ready.

import { datedNumber } from "./business-date.js";
import { announce, toast } from "./notices.js";
import { load, removeStored, store } from "./stored.js";
import { describeOrder } from "./ticket-contents.js";
import { translate } from "./words.js";

const MAX_NAMED = 3; // new tickets that are announced one by one
// ms for which a ticket that was removed is not new when it is shown again: a station that is opened
// again gets its tickets back one by one.
const KNOWN_FOR = 10 * 60 * 1000;

export const TICKETS = {
  status: "received",
  one: (entry) => translate("kitchen.news.ticket", { number: datedNumber(entry.order_number), what: describeOrder(entry) }),
  many: (count) => translate("kitchen.news.tickets", { count }),
};

export class News {
  /**
   * Stores the unseen order numbers under `name`; `seen(orderNumbers)` is called at the next touch or
   * key, with those for which `isShown(orderNumber)`. `kind` says in which status an order is new here, and how one
   * and many are announced.
   */
  constructor(name, bell, seen, kind, isShown = () => true) {
    this._kind = kind;
    this._isShown = isShown;
    this._name = name;
    this._bell = bell;
    this._seen = seen;
    this._known = null; // recently shown tickets by number: `{ status, until }`
    this._unseen = new Set();
    for (const event of ["pointerdown", "keydown"]) {
      addEventListener(event, () => this._markSeen(), { capture: true });
    }
  }

  has(number) {
    return this._unseen.has(number);
  }

  /** Finds the new and the cancelled tickets of a view. */
  update(entries) {
    const tickets = [...entries.values()].filter((entry) => entry.order_number);
    const news = this._known === null ? unseenOf(tickets, load(this._name, [])) : this._changed(tickets);
    this._remember(tickets);
    const cancelled = news.filter(({ status }) => status === "cancelled");
    const arrived = news.filter(({ status }) => status === this._kind.status);
    if (arrived.length || cancelled.length) this._announce(arrived, cancelled);
  }

  /** Counts a change of an order as known, because somebody here causes it. */
  expect(number, status) {
    this._known?.set(number, { status, until: performance.now() + KNOWN_FOR });
  }

  /** The tickets that have changed; one is received again if its start was undone, and not new. */
  _changed(tickets) {
    return tickets.filter(({ order_number: number, status }) => {
      const before = this._known.get(number)?.status;
      return before !== status && (before === undefined || status !== "received");
    });
  }

  _remember(tickets) {
    this._known ??= new Map();
    const now = performance.now();
    for (const { order_number, status } of tickets) {
      this._known.set(order_number, { status, until: now + KNOWN_FOR });
    }
    for (const [number, { until }] of this._known) {
      if (until >= now) continue;
      this._known.delete(number);
      this._unseen.delete(number);
    }
  }

  _announce(arrived, cancelled) {
    for (const { order_number } of [...arrived, ...cancelled]) this._unseen.add(order_number);
    this._store();
    this._bell.ring();
    const areMany = arrived.length > MAX_NAMED;
    const texts = areMany ? [this._kind.many(arrived.length)] : arrived.map(this._kind.one);
    announce(texts.join(" "));
    for (const entry of cancelled) toast(cancelledTicket(entry)); // which is announced, too
  }

  _markSeen() {
    this._bell.stop();
    const numbers = [...this._unseen].filter((number) => this._isShown(number));
    if (!numbers.length) return;
    for (const number of numbers) this._unseen.delete(number);
    this._store();
    this._seen(numbers);
  }

  _store() {
    if (this._unseen.size) store(this._name, [...this._unseen]);
    else removeStored(this._name);
  }
}

/** When the page is opened, only the tickets that were unseen before are new. */
function unseenOf(tickets, unseen) {
  return tickets.filter((entry) => unseen.includes(entry.order_number));
}

function cancelledTicket({ order_number, cancel_reason: reason }) {
  return translate(reason ? "kitchen.news.cancelled_because" : "kitchen.news.cancelled", { number: datedNumber(order_number), reason });
}
