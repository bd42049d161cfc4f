// One ticket on the rail, with its two buttons.

import { make, makeUserText, visible, write } from "./elements.js";
import { agingSeconds, lateSeconds } from "./restaurant.js";
import { age, now } from "./times.js";
import { translate, shortNumber } from "./words.js";

/** The action of a tap on a ticket, by the status of its order. */
export const NEXT_ACTION = { received: "start", cooking: "bump", cancelled: "acknowledge" };

/** Describes an order by its type: Dine in · Table 4. */
export function describeOrder({ order_type, table_number }) {
  const type = translate(`type.${order_type}`);
  return table_number === null ? type : `${type} · ${translate("kitchen.table", { table: table_number })}`;
}

/** Describes a tap that is pending. */
export function describeTap({ action, isWaiting }) {
  return isWaiting ? translate(`kitchen.waiting.${action}`) : translate(`kitchen.sending.${action}`);
}

export class Ticket {
  /** `act(entry)` and `rush(entry)` are called for taps on its buttons. */
  constructor(number, { act, rush }) {
    const short = shortNumber(number);
    this.number = number;
    this.sortKey = [];
    this._digit = make("kbd", { className: "digit" });
    this._age = make("span", { className: "age number" });
    this._level = make("span", { className: "level" });
    this._kind = make("span", { className: "kind" });
    this._badges = make("p", { className: "marks" });
    this._items = make("ul", { className: "items" });
    this._notes = makeUserText("p", "", "order-notes");
    [this.button, this._buttonText] = makeButton("step", short, () => act(this.entry));
    [this._rush, this._rushText] = makeButton("rush", short, () => rush(this.entry));
    this.element = make("li", { className: "ticket" }, this._article(short));
  }

  _article(short) {
    const order = make("span", { className: "unseen" }, translate("kitchen.order", { number: "" }));
    const title = make("h3", { className: "title number" }, order, short);
    const head = make("header", {}, this._digit, title, this._age, this._kind, this._level);
    const buttons = make("div", { className: "buttons" }, this.button, this._rush);
    return make("article", {}, head, this._badges, this._items, this._notes, buttons);
  }

  /** Shows the order, its pending tap if there is one, and whether it is new. */
  show(entry, { tap, isNew }) {
    if (entry !== this.entry) this._fill(entry);
    this.element.dataset.tap = tap ? (tap.isWaiting ? "waiting" : "sending") : "";
    this.element.classList.toggle("new", isNew);
    write(this._buttonText, tap ? describeTap(tap) : translate(`kitchen.action.${NEXT_ACTION[entry.status]}`));
    this.button.ariaDisabled = String(Boolean(tap));
    this._rush.ariaDisabled = String(Boolean(tap || entry.rushed_at));
    this._showBadges(entry, isNew);
  }

  /** Shows the digit of the key for this ticket. */
  setDigit(digit) {
    write(this._digit, digit);
    this._digit.hidden = digit === "";
  }

  /** Updates the age, and whether the order is late for its type. */
  tick() {
    const text = age(this._received);
    if (text === this._ageText) return;
    this._ageText = text;
    this._age.textContent = text;
    const level = this._currentLevel();
    if (level === this.element.dataset.level) return;
    this.element.dataset.level = level;
    this._level.textContent = translate(`kitchen.level.${level}`);
  }

  _currentLevel() {
    const seconds = (now() - this._received) / 1000;
    if (seconds >= lateSeconds[this.entry.order_type]) return "late";
    return seconds >= agingSeconds[this.entry.order_type] ? "aging" : "fresh";
  }

  _fill(entry) {
    this.entry = entry;
    this._received = Date.parse(entry.received_at);
    const rushed = entry.rushed_at ? -Date.parse(entry.rushed_at) : Infinity; // the latest rush comes first
    this.sortKey = [rushed, -entry.priority, this._received, this.number];
    this.element.dataset.status = entry.status;
    write(this._kind, describeOrder(entry));
    this._items.replaceChildren(...entry.items.map(makeItem));
    write(this._notes, visible(entry.notes ?? ""));
    this._notes.hidden = !entry.notes;
    write(this._rushText, translate(entry.rushed_at ? "kitchen.rushed" : "kitchen.action.rush"));
    this._rush.hidden = entry.status === "cancelled";
    this.tick();
  }

  _showBadges({ status, rushed_at, priority }, isNew) {
    const urgency = priority >= 10 ? "high" : priority >= 5 ? "raised" : null;
    const isFresh = isNew && status === "received";
    const badges = [makeBadge("status", isFresh ? "kitchen.new" : `status.${status}`)];
    if (rushed_at) badges.push(makeBadge("rushed", "kitchen.rushed"));
    if (urgency) badges.push(makeBadge(`priority ${urgency}`, `kitchen.priority.${urgency}`));
    this._badges.replaceChildren(...badges);
  }
}

/** Makes the element of an order item: 2 × Margherita, with its notes. */
export function makeItem({ name, quantity, notes }) {
  const count = make("span", { className: "quantity number" }, translate("kitchen.quantity", { quantity }));
  const element = make("li", {}, count, " ", makeUserText("span", name, "name"));
  if (notes) element.append(makeUserText("p", notes, "note"));
  return element;
}

function makeBadge(className, text) {
  return make("span", { className }, translate(text));
}

/** Makes a button and the element of its text; screen readers read the order number as well. */
function makeButton(className, number, act) {
  const text = make("span");
  const unseen = make("span", { className: "unseen" }, ` ${number}`);
  return [make("button", { type: "button", className, onclick: ignoreDoubleClick(act) }, text, unseen), text];
}

/** Calls `act` only for the first click of a double click: the second may hit the next ticket. */
function ignoreDoubleClick(act) {
  return ({ detail }) => {
    if (detail < 2) act();
  };
}
