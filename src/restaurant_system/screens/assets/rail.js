// The rail: the open tickets in their order, on pages of cells, with their digits and the focus.

import { place } from "./cells.js";
import { arrange, inNextFrame } from "./elements.js";
import { Pager } from "./pager.js";
import { TapGuard } from "./tap-guard.js";
import { isOpen, sortKeyOf, Ticket } from "./ticket.js";

const DIGITS = "1234567890";
// ms after a tap, or after the button of a ticket has changed, within which a tap at the same place is the same as before
const NEXT_TAP = 1000;
const MOVE_GRACE = 400; // ms after tickets have moved for which a tap or a digit is meant for the ticket that was there
// The least width of a cell, and the least height of three: a ticket of two items. Units: the text size of items.
const [CELL_WIDTH, TICKET_HEIGHT] = [9.2, 8.7];
const GAP = 8; // px
const AT_ONCE = 3; // changed tickets that are made and measured in one frame, so that the page stays responsive

export class Rail {
  /**
   * Shows tickets in `list`, and the page in `pager`. `stateOf(orderNumber)` returns what a ticket shows
   * besides its entry; `act` and `rush` are called with a ticket's entry, `cross` with the position of an
   * item, too, and whether it is done. The last ticket leaves its focus to `fallback`.
   */
  constructor(list, pager, fallback, { stateOf, act, rush, cross }) {
    this._list = list;
    this._pager = new Pager(pager, { turn: (step) => this.turnPage(step), open: (page) => this.turnPage(page - this._page) });
    this._fallback = fallback;
    this._stateOf = stateOf;
    this._handlers = { act, rush, cross };
    this._entries = new Map();
    this._changed = new Set(); // the keys of entries that have changed since the tickets were placed
    this._tickets = new Map();
    this._order = [];
    this._page = 0;
    this._pages = 1;
    this._onPage = [];
    this._moved = []; // by position: `{ number, until }` of the ticket that was there before
    this._guard = new TapGuard(list, { targets: ".ticket", keptFor: NEXT_TAP, settling: MOVE_GRACE, released: (numbers) => this._arrange(numbers) });
    this._keysFrom = 0; // when a key is again for the ticket with the focus
    this._arrangeMore = inNextFrame(() => this._guard.isKeeping || this._arrange());
    list.addEventListener("click", (event) => event.detail === 0 && this._ignoresKeys && event.stopImmediatePropagation(), true);
    new ResizeObserver(() => this.resize()).observe(list);
  }

  /** Shows the entries of a view, of which these keys have changed; after a tap, in their places for a moment. */
  show(entries, keys) {
    this._entries = entries;
    for (const key of keys) this._changed.add(key);
    if (this._guard.isKeeping) for (const key of keys) this.refresh(key);
    else this._arrange();
  }

  /**
   * Takes a tap on a ticket, and holds all tickets in their places for a moment, so that a second tap is not
   * on the next one. Returns false for a second tap on the same ticket within that time.
   */
  hold(number) {
    if (this.isTapped(number)) return false;
    this._tickets.get(number).tappedAt = performance.now();
    this._guard.keep(number);
    return true;
  }

  /** Tells whether a ticket has been tapped within the last moment, or does something else since then. */
  isTapped(number) {
    const { tappedAt, changedAt } = this._tickets.get(number);
    return isRecent(tappedAt) || isRecent(changedAt);
  }

  /** Places the tickets again, after the size of the rail or of the text has changed. */
  resize() {
    this._place();
  }

  /** Updates what a ticket shows besides its entry. */
  refresh(number) {
    const ticket = this._tickets.get(number);
    if (ticket) this._change(ticket, () => ticket.update(this._entries.get(number), this._stateOf(number)));
    this._showPager();
  }

  tick() {
    for (const ticket of this._tickets.values()) ticket.tick();
    this._showPager();
  }

  /** Tells whether an order has a ticket that is not on this page, or not placed yet. */
  isElsewhere(number) {
    return isOpen(this._entries.get(number)) && !this._onPage.some((ticket) => ticket.number === number);
  }

  /** The entry of the ticket with a digit. */
  entryAtDigit(digit) {
    return this._ticketAt(DIGITS.indexOf(digit))?.entry;
  }

  /** The entry of the ticket for which a key is: the one with the focus, or else the first on the page. */
  get selected() {
    return this._ignoresKeys ? undefined : (this._focused ?? this._ticketAt(0))?.entry;
  }

  /** Moves the focus to the next or previous ticket, or a row up or down; to the first while none has it. */
  moveFocus(step, rows) {
    const focused = this._focused;
    if (!focused) this._onPage[0]?.button.focus();
    else if (rows) this._neighbour(focused.cells, rows)?.button.focus();
    else this._focusOn(this._order[this._order.indexOf(focused) + step]);
  }

  focusTicket(number) {
    this._tickets.get(number)?.button.focus({ preventScroll: true });
  }

  /** Gives the focus of an element outside that has gone to the first ticket. */
  takeFocus() {
    this._onPage[0]?.button.focus({ preventScroll: true });
    this._ignoreKeys();
  }

  /** Shows another page, if there is one. */
  turnPage(step) {
    const page = Math.min(Math.max(this._page + step, 0), this._pages - 1);
    if (page === this._page) return;
    this._page = page;
    this._moved = [];
    this._showPage();
  }

  get _focused() {
    return this._onPage.find((ticket) => ticket.element.contains(document.activeElement));
  }

  /** Returns the ticket at a position of the page or, shortly after a change, the one that was there before. */
  _ticketAt(position) {
    const { number, until } = this._moved[position] ?? {};
    return performance.now() < until ? this._tickets.get(number) : this._onPage[position];
  }

  _focusOn(ticket) {
    if (!ticket) return;
    this.turnPage(ticket.place.page - this._page);
    ticket.button.focus();
  }

  _neighbour({ row, rows, column }, step) {
    const wanted = step > 0 ? row + rows : row - 1;
    return this._onPage.find(({ cells }) => isIn(wanted, cells.row, cells.rows) && isIn(column, cells.column, cells.columns));
  }

  /**
   * Removes tickets, adds and updates the first ones that have changed, and places all; the others in next frames.
   * `tapped` are the numbers of those that were tapped here a moment ago.
   */
  _arrange(tapped = []) {
    const [before, focused, active] = [this._onPage, this._focused, document.activeElement];
    this._guard.arrange(() => {
      for (const [key, entry] of this._takeChanged()) {
        if (isOpen(entry)) this._showTicket(key, entry);
        else this._removeTicket(key);
      }
      if (this._changed.size) this._arrangeMore();
      this._order = [...this._tickets.values()].sort((one, other) => compare(one.sortKey, other.sortKey));
      arrange(this._list, this._order.map((ticket) => ticket.element));
      this._place();
    });
    this._keepDigits(before);
    if (focused) this._restoreFocus(active, before.indexOf(focused), tapped.includes(focused.number));
  }

  /** Returns what has changed and is shown at once: what goes, and the first tickets by their order. */
  _takeChanged() {
    const changed = [...this._changed].map((key) => [key, this._entries.get(key)]);
    const open = changed.filter(([, entry]) => isOpen(entry));
    const first = open.map(([, entry]) => entry).sort((one, other) => compare(sortKeyOf(one), sortKeyOf(other))).slice(0, AT_ONCE);
    const taken = changed.filter(([, entry]) => !isOpen(entry) || first.includes(entry));
    for (const [key] of taken) this._changed.delete(key);
    return taken;
  }

  _showTicket(number, entry) {
    if (!this._tickets.has(number)) this._tickets.set(number, new Ticket(number, this._handlers));
    const ticket = this._tickets.get(number);
    this._change(ticket, () => ticket.show(entry, this._stateOf(number)));
  }

  /**
   * Changes a ticket. Notes when its button does something else from now on, unless it was tapped a moment ago: then
   * a tap may follow that is meant for the button as it was.
   */
  _change(ticket, change) {
    const before = ticket.entry?.status;
    change();
    if (before === undefined || ticket.entry.status === before || isRecent(ticket.tappedAt)) return;
    ticket.changedAt = performance.now();
    this._guard.settle(NEXT_TAP);
  }

  _removeTicket(number) {
    this._tickets.get(number)?.element.remove();
    this._tickets.delete(number);
  }

  /** Places the tickets in the cells of pages. */
  _place() {
    const { width, height } = this._list.getBoundingClientRect();
    const text = parseFloat(getComputedStyle(this._list).fontSize);
    const columns = Math.max(1, Math.floor((width + GAP) / (CELL_WIDTH * text + GAP)));
    const rows = 3 * Math.max(1, Math.floor((height + GAP) / (TICKET_HEIGHT * text + GAP)));
    const cell = (height + GAP) / rows - GAP;
    const cellWidth = (width + GAP) / columns - GAP;
    this._setGrid({ "--columns": columns, "--rows": rows, "--cell-width": `${cellWidth}px` });
    this._measure(columns, cellWidth, text);
    const { places, pages } = place(this._order.map((ticket) => ticket.size), { columns, rows, cell, gap: GAP });
    places.forEach((found, index) => this._order[index].placeAt(found));
    this._pages = pages;
    this._page = Math.min(this._page, this._pages - 1);
    this._showPage();
  }

  _setGrid(properties) {
    for (const [name, value] of Object.entries(properties)) this._list.style.setProperty(name, value);
  }

  /** Measures the tickets that have changed, or all for other cells, at once, and their heads in each width that they may get. */
  _measure(columns, cellWidth, text) {
    const measuredFor = [columns, cellWidth, text].join();
    if (measuredFor !== this._measuredFor) for (const ticket of this._order) ticket.size = null;
    this._measuredFor = measuredFor;
    const changed = this._order.filter((ticket) => ticket.size === null);
    for (const { element } of changed) {
      element.hidden = false;
      element.classList.add("measured");
    }
    for (const ticket of changed) ticket.measure(columns);
    const broken = changed.filter((ticket) => ticket.isHeadBroken);
    for (let more = 1; more < columns; more++) {
      for (const ticket of broken) ticket.widenHead(more * (cellWidth + GAP));
      for (const ticket of broken) ticket.measureHead(more);
    }
    for (const ticket of broken) ticket.widenHead(0);
    for (const { element } of changed) element.classList.remove("measured");
  }

  _showPage() {
    for (const ticket of this._order) ticket.showPart(this._page - ticket.place.page);
    this._onPage = this._order.filter((ticket) => !ticket.element.hidden);
    for (const ticket of this._order) ticket.setDigit(DIGITS[this._onPage.indexOf(ticket)] ?? "");
    this._showPager();
  }

  _showPager() {
    this._pager.show(this._page, this._pages, this._order.filter((ticket) => ticket.element.hidden));
  }

  /** Keeps digits for a moment for the tickets that had them before. */
  _keepDigits(before) {
    const until = performance.now() + MOVE_GRACE;
    before.slice(0, DIGITS.length).forEach((ticket, position) => {
      if (ticket !== this._onPage[position]) this._moved[position] = { number: ticket.number, until };
    });
  }

  /** Keeps the focus on a moved ticket, or moves it from one that has left the page to the next. */
  _restoreFocus(active, position, wasTapped) {
    const next = this._onPage[Math.min(position, this._onPage.length - 1)];
    const isShown = active.isConnected && active.getClientRects().length > 0;
    const target = isShown ? active : next?.button ?? this._fallback;
    if (target !== document.activeElement) target.focus({ preventScroll: true });
    if (!isShown && !wasTapped) this._ignoreKeys();
  }

  /** Ignores for a moment keys for the ticket with the focus: they are meant for what had it before. */
  _ignoreKeys() {
    this._keysFrom = performance.now() + NEXT_TAP;
    this._guard.settle(NEXT_TAP);
  }

  get _ignoresKeys() {
    return performance.now() < this._keysFrom;
  }
}

/** Tells whether a tap at this time is the same as one now. */
function isRecent(at) {
  return performance.now() - at < NEXT_TAP;
}

function isIn(position, first, count) {
  return position >= first && position < first + count;
}

function compare(one, other) {
  const first = one.findIndex((part, index) => part !== other[index]);
  if (first < 0) return 0;
  return one[first] < other[first] ? -1 : 1;
}
