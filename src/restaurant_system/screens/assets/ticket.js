// One ticket on the rail, with its two buttons.

import { datedNumber, otherDayOf } from "./business-date.js";
import { make, makeUserText, visible, write } from "./elements.js";
import { agingSeconds, lateSeconds } from "./restaurant.js";
import { describeOrder, makeAllergyNote, makeAmountDue, makeCancelReason, makeItem, makeRecipient } from "./ticket-contents.js";
import { age, duration, now, timeOrDate } from "./times.js";
import { translate, shortNumber } from "./words.js";

/** The action of a tap on a ticket, by the status of its order. */
export const NEXT_ACTION = { received: "start", cooking: "bump", cancelled: "acknowledge" };

/** Tells whether an entry is shown as a ticket. */
export function isOpen(entry) {
  return entry?.status in NEXT_ACTION;
}

/** Returns by what tickets are sorted: the latest rush comes first, then what is claimed first. */
export function sortKeyOf({ order_number: number, received_at, rank_at, rushed_at }) {
  const rank = rank_at === null ? -Infinity : Date.parse(rank_at);
  return [rushed_at ? -Date.parse(rushed_at) : Infinity, rank, Date.parse(received_at), number];
}

// What changes on a ticket and does not change its size.
const STATE = new Set(["status", "updated_at", "rank_at", "bumped_at", "started_at", "rushed_at", "can_be_unrushed", "crossed_off"]);
const DAY = 86400; // s
const PADDING = 3; // px above and below the contents, and one for rounding

/** Describes a tap that is pending. */
export function describeTap({ action, isWaiting }) {
  return isWaiting ? translate(`kitchen.waiting.${action}`) : translate(`kitchen.sending.${action}`);
}

export class Ticket {
  /** `act(entry)`, `rush(entry)` and `cross(entry, item, isDone)` are called for taps. */
  constructor(number, { act, rush, cross }) {
    const name = datedNumber(number);
    this.number = number;
    this.sortKey = [];
    this.size = null; // of its contents; null after a change
    this.place = null; // the pages and the cells
    this.cells = null; // on the page that is shown
    this.tappedAt = this.changedAt = -Infinity; // the times of the latest tap, and of the latest change of what one does
    this._day = make("small");
    this._digit = make("kbd", { className: "digit" });
    this._age = make("span", { className: "age number" });
    this._level = make("span", { className: "level" });
    this._urgency = make("span");
    this._kind = make("span");
    this._cancelReason = make("p", { className: "cancel-reason" });
    this._allergy = make("p", { className: "allergy" });
    this._recipient = make("span", { className: "recipient" });
    this._due = make("p", { className: "due" });
    this._part = make("span", { className: "part" });
    this._status = make("span", { className: "status" });
    this._items = make("ul", { className: "items" });
    this._cross = cross;
    this._notes = makeUserText("p", "", "order-notes");
    this._amountDue = make("p", { className: "amount-due" });
    [this.button, this._buttonText] = makeButton("step", name, () => act(this.entry));
    [this._rush, this._rushText] = makeButton("rush", name, () => rush(this.entry));
    this.element = make("li", { className: "ticket" }, this._article());
  }

  _article() {
    const order = make("span", { className: "unseen" }, translate("kitchen.order", { number: "" }));
    const title = make("h3", { className: "title number" }, order, shortNumber(this.number), " ", this._day, this._urgency);
    const about = make("p", { className: "kind" }, this._kind, " ", this._recipient);
    this._head = make("header", {}, this._digit, title, this._age, about);
    const buttons = make("div", { className: "buttons" }, this._part, this._status, this._level, this.button, this._rush);
    const contents = [this._cancelReason, this._allergy, this._due, this._items, this._notes, this._amountDue];
    this._contents = make("div", { className: "contents" }, ...contents);
    this._about = about;
    return make("article", {}, this._head, this._contents, buttons);
  }

  /** Shows the order, its pending tap if there is one, and whether it is new. */
  show(entry, { tap, isNew, ofItems }) {
    if (entry !== this.entry) this._fill(entry);
    const isDone = this._showCrossed(entry, ofItems);
    this.element.dataset.tap = tap ? (tap.isWaiting ? "waiting" : "sending") : "";
    this.element.classList.toggle("new", isNew);
    const action = isDone ? "bump_done" : NEXT_ACTION[entry.status];
    write(this._buttonText, tap ? describeTap(tap) : translate(`kitchen.action.${action}`));
    this.button.ariaDisabled = String(Boolean(tap));
    this._rush.ariaDisabled = String(Boolean(tap || entry.rushed_at));
    write(this._status, translate(isNew && entry.status === "received" ? "kitchen.new" : `status.${entry.status}`));
  }

  /** Shows the order as `show` does, or that it has left the rail, with the place that it keeps for a moment. */
  update(entry, state) {
    this.element.classList.toggle("leaving", !isOpen(entry));
    if (isOpen(entry)) this.show(entry, state);
    else [this.button.ariaDisabled, this._rush.ariaDisabled] = ["true", "true"];
  }

  /** Shows which items are crossed off, also by taps that are pending; returns whether all are. */
  _showCrossed(entry, taps) {
    const crossed = new Set(entry.crossed_off);
    for (const { item, action } of taps) {
      if (action === "cross_off") crossed.add(item);
      else crossed.delete(item);
    }
    [...this._items.children].forEach((element, item) => {
      element.classList.toggle("done", crossed.has(item));
      const button = element.querySelector(".cross");
      button.hidden = entry.status !== "cooking";
      button.ariaPressed = String(crossed.has(item));
    });
    const isDone = entry.status === "cooking" && crossed.size >= entry.items.length;
    this.element.classList.toggle("all-done", isDone);
    return isDone;
  }

  /** Makes an item, and the button that covers it while it is cooked, and crosses it off. */
  _makeItem(item, position) {
    const element = makeItem(item);
    element.dataset.name = item.name; // for a long press
    const label = translate("kitchen.cross_off", { name: item.name });
    const onclick = () => this._cross(this.entry, position, !element.classList.contains("done"));
    element.append(make("button", { type: "button", className: "cross", "aria-label": label, onclick }));
    return element;
  }

  /** What must be known of it while it is on another page: that it is cancelled, rushed, new or late. */
  get note() {
    const { status, rushed_at: rushedAt } = this.entry;
    if (status === "cancelled") return "cancelled";
    if (status === "received" && rushedAt) return "rushed";
    if (status === "received" && this.element.classList.contains("new")) return "new";
    return this.element.dataset.level === "late" ? "late" : null;
  }

  /** Measures its contents in one column, while it has the class `measured`; `columns` are those of a page. */
  measure(columns) {
    const parts = [...this._contents.children].flatMap((part) => (part === this._items ? [...part.children] : [part]));
    const frame = rectHeight(this.element) - rectHeight(this._contents) + PADDING;
    this.size = { parts: parts.filter((part) => !part.hidden).map(heightOf), frames: Array(columns).fill(frame) };
    this._headHeight = rectHeight(this._head);
  }

  /** Tells whether its head has lines that fit into fewer if it is wider. */
  get isHeadBroken() {
    const { fontSize } = getComputedStyle(this._about);
    return rectHeight(this._about) > 2 * parseFloat(fontSize);
  }

  /** Widens its head by so many pixels, to be measured. */
  widenHead(pixels) {
    this._head.style.width = pixels > 0 ? `calc(100% + ${pixels}px)` : "";
  }

  /** Measures its head, which has been widened by so many columns. */
  measureHead(more) {
    this.size.frames[more] += rectHeight(this._head) - this._headHeight;
  }

  /** Places it in blocks of cells; with several columns or parts, its contents flow from one to the next. */
  placeAt(found) {
    if (JSON.stringify(found) === JSON.stringify(this.place)) return;
    this.place = found;
    const isParted = found.blocks.length > 1;
    this.element.classList.toggle("parted", isParted);
    this._contents.style.height = isParted ? `${found.height + PADDING}px` : "";
    this._part.hidden = !isParted;
  }

  /** Shows one of the parts of its contents, each on a page, or hides the ticket. */
  showPart(part) {
    const { blocks } = this.place;
    this.element.hidden = !(part in blocks);
    if (this.element.hidden) return;
    this.cells = blocks[part];
    const { row, column, rows, columns } = this.cells;
    this.element.style.gridArea = `${row + 1} / ${column + 1} / span ${rows} / span ${columns}`;
    this._contents.style.columnCount = columns > 1 || blocks.length > 1 ? columns : "";
    const before = part * blocks[0].columns;
    this._contents.style.left = before > 0 ? `calc(${-before} * (var(--cell-width) + var(--gap)))` : "";
    this.element.classList.toggle("continued", part < blocks.length - 1);
    write(this._part, translate("kitchen.part", { part: part + 1, parts: blocks.length }));
  }

  /** Shows the digit of the key for this ticket. */
  setDigit(digit) {
    write(this._digit, digit);
    this._digit.hidden = digit === "";
  }

  /** Updates the age, or the time until the order must be ready, and whether it is late. */
  tick() {
    const text = this._ready ? remaining(this._ready) : age(this._received);
    if (text === this._ageText) return;
    this._ageText = text;
    this._age.textContent = text;
    const level = this._currentLevel();
    if (level === this.element.dataset.level) return;
    this.element.dataset.level = level;
    this._level.textContent = translate(`kitchen.level.${level}`);
  }

  /** An order that must be ready at a certain time ages as if it was placed so that it is late then. */
  _currentLevel() {
    const [aging, late] = [agingSeconds, lateSeconds].map((seconds) => seconds[this.entry.order_type]);
    const seconds = this._ready ? late - (this._ready - now()) / 1000 : (now() - this._received) / 1000;
    if (seconds >= late) return "late";
    return seconds >= aging ? "aging" : "fresh";
  }

  _fill(entry) {
    this.entry = entry;
    this.sortKey = sortKeyOf(entry);
    write(this._day, otherDayOf(this.number) ?? "");
    this.element.dataset.status = entry.status;
    write(this._rushText, translate(entry.rushed_at ? "kitchen.rushed" : "kitchen.action.rush"));
    this._rush.hidden = entry.status === "cancelled";
    this._rush.classList.toggle("rushed", Boolean(entry.rushed_at));
    this.element.classList.toggle("first", Boolean(entry.rushed_at));
    const contents = JSON.stringify(entry, (name, value) => (STATE.has(name) ? undefined : value));
    if (contents !== this._contentsText) this._fillContents(entry);
    this._contentsText = contents;
    this.tick();
  }

  _fillContents(entry) {
    this.size = null;
    this._received = Date.parse(entry.received_at);
    // An order is not late before it is placed, whatever time it states.
    this._ready = entry.ready_at ? Math.max(Date.parse(entry.ready_at), this._received) : null;
    write(this._kind, describeOrder(entry));
    this._urgency.replaceChildren(...urgencyOf(entry));
    fill(this._cancelReason, makeCancelReason(entry));
    fill(this._allergy, makeAllergyNote(entry));
    fill(this._recipient, makeRecipient(entry));
    this._items.replaceChildren(...entry.items.map((item, position) => this._makeItem(item, position)));
    write(this._notes, visible(entry.notes ?? ""));
    this._notes.hidden = !entry.notes;
    fill(this._amountDue, makeAmountDue(entry));
    fill(this._due, entry.ready_at ? [translate("kitchen.due", { time: timeOrDate(new Date(entry.ready_at)) })] : []);
  }
}

/** Makes the sign of a raised or a high priority, if the order has one. */
function urgencyOf({ priority }) {
  const urgency = priority >= 10 ? "high" : priority >= 5 ? "raised" : null;
  if (!urgency) return [];
  const text = make("span", { className: "unseen" }, translate(`kitchen.priority.${urgency}`));
  return [" ", make("span", { className: `priority ${urgency}` }, text)];
}

/** Sets the children of an element, and hides it without any. */
function fill(element, children) {
  element.replaceChildren(...children);
  element.hidden = children.length === 0;
}

/** Formats the time until a moment as −12:30, the time since then as +1:05, and beyond a day the moment itself. */
function remaining(at) {
  const seconds = (at - now()) / 1000;
  if (Math.abs(seconds) >= DAY) return timeOrDate(new Date(at));
  return seconds > 0 ? `−${duration(seconds)}` : `+${duration(-seconds)}`;
}

/** Returns the height of an element with its margins. */
function heightOf(element) {
  const { marginTop, marginBottom } = getComputedStyle(element);
  return rectHeight(element) + parseFloat(marginTop) + parseFloat(marginBottom);
}

/** Returns the height of an element, which need not be a whole number of pixels. */
function rectHeight(element) {
  return element.getBoundingClientRect().height;
}

/** Makes a button and the element of its text; screen readers read the order number as well. */
function makeButton(className, number, act) {
  const text = make("span");
  const unseen = make("span", { className: "unseen" }, ` ${number}`);
  return [make("button", { type: "button", className, onclick: act }, text, unseen), text];
}
