// One ticket on the rail: what stands on it, and its two buttons.

import { make, makeUserText, visible, write } from "./elements.js";
import { agingSeconds, lateSeconds } from "./house.js";
import { age, now } from "./times.js";
import { say, shortNumber } from "./words.js";

/** What a tap on a ticket of this status does. */
export const STEPS = { received: "start", cooking: "bump", cancelled: "acknowledge" };

/** What an order is, in words: Dine in · Table 4. */
export function kindOf({ order_type, table_number }) {
  const type = say(`type.${order_type}`);
  return table_number === null ? type : `${type} · ${say("kitchen.table", { table: table_number })}`;
}

/** The words for a tap that is under way. */
export function tapInWords({ action, isWaiting }) {
  return isWaiting ? say(`kitchen.waiting.${action}`) : say(`kitchen.sending.${action}`);
}

export class Ticket {
  /** `act(entry)` and `rush(entry)` are called for taps on its buttons. */
  constructor(number, { act, rush }) {
    const short = shortNumber(number);
    this.number = number;
    this.place = [];
    this._digit = make("kbd", { className: "digit" });
    this._age = make("span", { className: "age number" });
    this._level = make("span", { className: "level" });
    this._kind = make("span", { className: "kind" });
    this._marks = make("p", { className: "marks" });
    this._items = make("ul", { className: "items" });
    this._notes = makeUserText("p", "", "order-notes");
    [this.step, this._stepWord] = button("step", short, () => act(this.entry));
    [this._rush, this._rushWord] = button("rush", short, () => rush(this.entry));
    this.element = make("li", { className: "ticket" }, this._article(short));
  }

  _article(short) {
    const order = make("span", { className: "unseen" }, say("kitchen.order", { number: "" }));
    const title = make("h3", { className: "title number" }, order, short);
    const head = make("header", {}, this._digit, title, this._age, this._kind, this._level);
    const buttons = make("div", { className: "buttons" }, this.step, this._rush);
    return make("article", {}, head, this._marks, this._items, this._notes, buttons);
  }

  /** Shows what the order has come to, the tap that is under way, and whether nobody has seen it. */
  show(entry, { tap, isNew }) {
    if (entry !== this.entry) this._fill(entry);
    this.element.dataset.tap = tap ? (tap.isWaiting ? "waiting" : "sending") : "";
    this.element.classList.toggle("new", isNew);
    write(this._stepWord, tap ? tapInWords(tap) : say(`kitchen.action.${STEPS[entry.status]}`));
    this.step.ariaDisabled = String(Boolean(tap));
    this._rush.ariaDisabled = String(Boolean(tap || entry.rushed_at));
    this._mark(entry, isNew);
  }

  /** Shows the digit that acts on it. */
  setDigit(digit) {
    write(this._digit, digit);
    this._digit.hidden = digit === "";
  }

  /** Shows its age, and whether that is late for its type. */
  tick() {
    const text = age(this._received);
    if (text === this._ageText) return;
    this._ageText = text;
    this._age.textContent = text;
    const level = this._levelNow();
    if (level === this.element.dataset.level) return;
    this.element.dataset.level = level;
    this._level.textContent = say(`kitchen.level.${level}`);
  }

  _levelNow() {
    const seconds = (now() - this._received) / 1000;
    if (seconds >= lateSeconds[this.entry.order_type]) return "late";
    return seconds >= agingSeconds[this.entry.order_type] ? "aging" : "fresh";
  }

  _fill(entry) {
    this.entry = entry;
    this._received = Date.parse(entry.received_at);
    const rushed = entry.rushed_at ? -Date.parse(entry.rushed_at) : Infinity; // the latest first
    this.place = [rushed, -entry.priority, this._received, this.number];
    this.element.dataset.status = entry.status;
    write(this._kind, kindOf(entry));
    this._items.replaceChildren(...entry.items.map(item));
    write(this._notes, visible(entry.notes ?? ""));
    this._notes.hidden = !entry.notes;
    write(this._rushWord, say(entry.rushed_at ? "kitchen.rushed" : "kitchen.action.rush"));
    this._rush.hidden = entry.status === "cancelled";
    this.tick();
  }

  _mark({ status, rushed_at, priority }, isNew) {
    const urgency = priority >= 10 ? "high" : priority >= 5 ? "raised" : null;
    const isFresh = isNew && status === "received";
    const marks = [mark("status", isFresh ? "kitchen.new" : `status.${status}`)];
    if (rushed_at) marks.push(mark("rushed", "kitchen.rushed"));
    if (urgency) marks.push(mark(`priority ${urgency}`, `kitchen.priority.${urgency}`));
    this._marks.replaceChildren(...marks);
  }
}

/** A line of an order: 2 × Margherita, and what is special about it. */
export function item({ name, quantity, notes }) {
  const count = make("span", { className: "quantity number" }, say("kitchen.quantity", { quantity }));
  const line = make("li", {}, count, " ", makeUserText("span", name, "name"));
  if (notes) line.append(makeUserText("p", notes, "note"));
  return line;
}

function mark(className, text) {
  return make("span", { className }, say(text));
}

/** Makes a button, and the place of its word; listeners hear the number as well. */
function button(className, number, act) {
  const word = make("span");
  const unseen = make("span", { className: "unseen" }, ` ${number}`);
  return [make("button", { type: "button", className, onclick: single(act) }, word, unseen), word];
}

/** Does it once: the second click of a double click may fall on what has come into its place. */
function single(act) {
  return ({ detail }) => {
    if (detail < 2) act();
  };
}
