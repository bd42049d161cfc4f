// The rail: the open tickets in their order, with their digits and the focus.

import { arrange } from "./elements.js";
import { NEXT_ACTION, Ticket } from "./ticket.js";

const DIGITS = "1234567890";
const DIGIT_GRACE = 300; // ms for which a digit acts on the ticket that had it before

export class Rail {
  /**
   * Shows tickets in `list`. `stateOf(orderNumber)` returns what a ticket shows besides its entry;
   * `act` and `rush` are called with a ticket's entry. The last ticket leaves its focus to `fallback`.
   */
  constructor(list, fallback, { stateOf, act, rush }) {
    this._list = list;
    this._fallback = fallback;
    this._stateOf = stateOf;
    this._handlers = { act, rush };
    this._tickets = new Map();
    this._order = [];
    this._moved = []; // by position: `{ number, until }` of the ticket that was there before
  }

  /** Shows the entries of a view, of which these keys have changed. */
  show(entries, keys) {
    const [before, focused, button] = [this._order, this._focused, document.activeElement];
    for (const key of keys) {
      if (isOpen(entries.get(key))) this._showTicket(key, entries.get(key));
      else this._removeTicket(key);
    }
    this._order = [...this._tickets.values()].sort((one, other) => compare(one.sortKey, other.sortKey));
    arrange(this._list, this._order.map((ticket) => ticket.element));
    this._assignDigits(before);
    if (focused) this._restoreFocus(button, before.indexOf(focused));
  }

  /** Updates what a ticket shows besides its entry. */
  refresh(number) {
    const ticket = this._tickets.get(number);
    ticket?.show(ticket.entry, this._stateOf(number));
  }

  tick() {
    for (const ticket of this._tickets.values()) ticket.tick();
  }

  /** The entry of the ticket with a digit. */
  entryAtDigit(digit) {
    return this._ticketAt(DIGITS.indexOf(digit))?.entry;
  }

  /** The entry of the ticket with the focus, or else of the first. */
  get selected() {
    return (this._focused ?? this._ticketAt(0))?.entry;
  }

  /** Moves the focus by columns and rows; to the first ticket while none has it. */
  moveFocus(columns, rows) {
    const position = this._order.indexOf(this._focused);
    const next = position < 0 ? 0 : position + columns + rows * this._columns();
    this._order[next]?.button.focus();
  }

  focusTicket(number) {
    this._tickets.get(number)?.button.focus({ preventScroll: true });
  }

  get _focused() {
    return this._order.find((ticket) => ticket.element.contains(document.activeElement));
  }

  /** Returns the ticket at a position or, shortly after a change, the one that was there before. */
  _ticketAt(position) {
    const { number, until } = this._moved[position] ?? {};
    return performance.now() < until ? this._tickets.get(number) : this._order[position];
  }

  _columns() {
    const top = this._list.firstElementChild.offsetTop;
    const next = this._order.findIndex((ticket) => ticket.element.offsetTop !== top);
    return next < 0 ? this._order.length : next;
  }

  _showTicket(number, entry) {
    if (!this._tickets.has(number)) this._tickets.set(number, new Ticket(number, this._handlers));
    this._tickets.get(number).show(entry, this._stateOf(number));
  }

  _removeTicket(number) {
    this._tickets.get(number)?.element.remove();
    this._tickets.delete(number);
  }

  /** Assigns digits to the first ten tickets. */
  _assignDigits(before) {
    const until = performance.now() + DIGIT_GRACE;
    this._order.forEach((ticket, position) => ticket.setDigit(DIGITS[position] ?? ""));
    before.slice(0, DIGITS.length).forEach((ticket, position) => {
      if (ticket !== this._order[position]) this._moved[position] = { number: ticket.number, until };
    });
  }

  /** Keeps the focus on a moved ticket, or moves it from a removed one to the next. */
  _restoreFocus(button, position) {
    const next = this._order[Math.min(position, this._order.length - 1)];
    const target = button.isConnected ? button : next?.button ?? this._fallback;
    if (target !== document.activeElement) target.focus({ preventScroll: true });
  }
}

function isOpen(entry) {
  return entry?.status in NEXT_ACTION;
}

function compare(one, other) {
  const first = one.findIndex((part, index) => part !== other[index]);
  if (first < 0) return 0;
  return one[first] < other[first] ? -1 : 1;
}
