// What has come and nobody has seen yet: it rings, and is marked, until somebody touches the screen.

import { announce } from "./notices.js";
import { kindOf } from "./ticket.js";
import { say, shortNumber } from "./words.js";

const NAMED = 3; // new tickets that are told one by one

export class News {
  /** `seen(orderNumbers)` is called when somebody has touched the screen, or a key. */
  constructor(bell, seen) {
    this._bell = bell;
    this._seen = seen;
    this._statuses = null; // of all tickets that this page has ever shown
    this._unseen = new Set();
    for (const sign of ["pointerdown", "keydown"]) {
      addEventListener(sign, () => this._end(), { capture: true });
    }
  }

  has(number) {
    return this._unseen.has(number);
  }

  /** Looks for what is new in a view: tickets that have come, or were cancelled. */
  read(entries) {
    const isFirst = this._statuses === null; // what is there when the page is opened is not new
    this._statuses ??= new Map();
    const tickets = [...entries.values()].filter((entry) => entry.order_number);
    const changed = tickets.filter((entry) => this._statuses.get(entry.order_number) !== entry.status);
    for (const { order_number, status } of changed) this._statuses.set(order_number, status);
    if (isFirst) return;
    const cancelled = changed.filter(({ status }) => status === "cancelled");
    const come = changed.filter(({ status }) => status === "received");
    if (come.length || cancelled.length) this._tell(come, cancelled);
  }

  _tell(come, cancelled) {
    for (const { order_number } of come) this._unseen.add(order_number);
    this._bell.ring();
    const isCrowd = come.length > NAMED;
    const said = isCrowd ? [say("kitchen.news.tickets", { count: come.length })] : come.map(newTicket);
    announce([...said, ...cancelled.map(cancelledTicket)].join(" "));
  }

  _end() {
    this._bell.hush();
    if (!this._unseen.size) return;
    const numbers = [...this._unseen];
    this._unseen.clear();
    this._seen(numbers);
  }
}

function newTicket(entry) {
  return say("kitchen.news.ticket", { number: shortNumber(entry.order_number), what: kindOf(entry) });
}

function cancelledTicket(entry) {
  return say("kitchen.news.cancelled", { number: shortNumber(entry.order_number) });
}
