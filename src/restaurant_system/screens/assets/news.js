// What has come and nobody has seen yet: it rings, and is marked, until somebody touches the screen,
// even if the page is opened anew in between.

import { announce } from "./notices.js";
import { kindOf } from "./ticket.js";
import { forget, keep, kept } from "./stored.js";
import { say, shortNumber } from "./words.js";

const NAMED = 3; // new tickets that are told one by one
// ms for which a ticket that has gone is known again: a station that has to be opened anew gets its
// tickets back one by one, and that is no news.
const KNOWN = 10 * 60 * 1000;

export class News {
  /**
   * Keeps under `name` what is unseen; `seen(orderNumbers)` is called when somebody has touched the
   * screen, or a key.
   */
  constructor(name, bell, seen) {
    this._name = name;
    this._bell = bell;
    this._seen = seen;
    this._known = null; // of the tickets shown lately: `{ status, until }`
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
    const tickets = [...entries.values()].filter((entry) => entry.order_number);
    const news = this._known === null ? left(tickets, kept(this._name, [])) : this._changed(tickets);
    this._remember(tickets);
    const cancelled = news.filter(({ status }) => status === "cancelled");
    const come = news.filter(({ status }) => status === "received");
    if (come.length || cancelled.length) this._tell(come, cancelled);
  }

  _changed(tickets) {
    return tickets.filter((entry) => this._known.get(entry.order_number)?.status !== entry.status);
  }

  _remember(tickets) {
    this._known ??= new Map();
    const now = performance.now();
    for (const { order_number, status } of tickets) {
      this._known.set(order_number, { status, until: now + KNOWN });
    }
    for (const [number, { until }] of this._known) if (until < now) this._known.delete(number);
  }

  _tell(come, cancelled) {
    for (const { order_number } of come) this._unseen.add(order_number);
    keep(this._name, [...this._unseen]);
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
    forget(this._name);
    this._seen(numbers);
  }
}

/** What is there when the page is opened is not new, but for what nobody had seen before. */
function left(tickets, unseen) {
  return tickets.filter((entry) => unseen.includes(entry.order_number));
}

function newTicket(entry) {
  return say("kitchen.news.ticket", { number: shortNumber(entry.order_number), what: kindOf(entry) });
}

function cancelledTicket(entry) {
  return say("kitchen.news.cancelled", { number: shortNumber(entry.order_number) });
}
