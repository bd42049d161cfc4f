// The rail: which tickets hang there, in which order, and which of them is chosen.

import { arrange } from "./elements.js";
import { STEPS, Ticket } from "./ticket.js";

const DIGITS = "1234567890";
const BLINK = 300; // ms that a hand needs to follow what the eye sees

export class Rail {
  /**
   * Hangs tickets into `list`. `look(orderNumber)` tells what a ticket shows besides its entry; `act`
   * and `rush` are called with a ticket's entry. While no ticket is left, the focus goes to `rest`.
   */
  constructor(list, rest, { look, act, rush }) {
    this._list = list;
    this._rest = rest;
    this._look = look;
    this._does = { act, rush };
    this._tickets = new Map();
    this._order = [];
    this._moved = []; // by place: which ticket hung there before, and until when that one is meant
  }

  /** Shows a view of which these keys have changed. */
  show(entries, keys) {
    const [before, focused, button] = [this._order, this._focused, document.activeElement];
    for (const key of keys) {
      if (isOpen(entries.get(key))) this._hang(key, entries.get(key));
      else this._takeDown(key);
    }
    this._order = [...this._tickets.values()].sort((one, other) => compare(one.place, other.place));
    arrange(this._list, this._order.map((ticket) => ticket.element));
    this._number(before);
    if (focused) this._keepFocus(button, before.indexOf(focused));
  }

  /** Shows anew what a ticket shows besides its entry. */
  refresh(number) {
    const ticket = this._tickets.get(number);
    ticket?.show(ticket.entry, this._look(number));
  }

  tick() {
    for (const ticket of this._tickets.values()) ticket.tick();
  }

  /** The entry of the ticket that a digit means. */
  withDigit(digit) {
    return this._meant(DIGITS.indexOf(digit))?.entry;
  }

  /** The entry of the chosen ticket: that with the focus, or else the first. */
  get chosen() {
    return (this._focused ?? this._meant(0))?.entry;
  }

  /** Chooses the ticket that is so many columns and rows further; the first while none is chosen. */
  move(columns, rows) {
    const place = this._order.indexOf(this._focused);
    const next = place < 0 ? 0 : place + columns + rows * this._columns();
    this._order[next]?.step.focus();
  }

  choose(number) {
    this._tickets.get(number)?.step.focus({ preventScroll: true });
  }

  get _focused() {
    return this._order.find((ticket) => ticket.element.contains(document.activeElement));
  }

  /** A place means the ticket that hung there a blink ago: that is the one the eye has seen. */
  _meant(place) {
    const { number, until } = this._moved[place] ?? {};
    return performance.now() < until ? this._tickets.get(number) : this._order[place];
  }

  _columns() {
    const top = this._list.firstElementChild.offsetTop;
    const next = this._order.findIndex((ticket) => ticket.element.offsetTop !== top);
    return next < 0 ? this._order.length : next;
  }

  _hang(number, entry) {
    if (!this._tickets.has(number)) this._tickets.set(number, new Ticket(number, this._does));
    this._tickets.get(number).show(entry, this._look(number));
  }

  _takeDown(number) {
    this._tickets.get(number)?.element.remove();
    this._tickets.delete(number);
  }

  /** Gives the first tickets their digits, and no other one. */
  _number(before) {
    const until = performance.now() + BLINK;
    this._order.forEach((ticket, place) => ticket.setDigit(DIGITS[place] ?? ""));
    before.slice(0, DIGITS.length).forEach((ticket, place) => {
      if (ticket !== this._order[place]) this._moved[place] = { number: ticket.number, until };
    });
  }

  /** A ticket that was moved keeps the focus; where one has gone, the one in its place has it. */
  _keepFocus(button, place) {
    const next = this._order[Math.min(place, this._order.length - 1)];
    const kept = button.isConnected ? button : next?.step ?? this._rest;
    if (kept !== document.activeElement) kept.focus({ preventScroll: true });
  }
}

function isOpen(entry) {
  return entry?.status in STEPS;
}

function compare(one, other) {
  const differs = one.findIndex((part, place) => part !== other[place]);
  if (differs < 0) return 0;
  return one[differs] < other[differs] ? -1 : 1;
}
