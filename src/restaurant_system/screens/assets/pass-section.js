// One section of the pass: the ready orders of a type, or those that were not fetched.

import { datedNumber, otherDayOf } from "./business-date.js";
import { arrange, make, write } from "./elements.js";
import { UNDO } from "./order-acts.js";
import { describeOrder, describePlace, makeAllergyNote, makeAmountDue, makeRecipient } from "./ticket-contents.js";
import { age } from "./times.js";
import { shortNumber, translate } from "./words.js";

export const [READY, UNCOLLECTED] = ["ready", "uncollected"];

const MAX_SHOWN = 60; // orders of a section; the others are on the page of orders
const NAMES = { uncollected: "uncollected", [UNDO.uncollected]: "collectable", "send-back": "send_back" };

/** Returns the acts besides the hand-over that an order allows; one that is ready for long stays off the board. */
export function actsOn({ state, uncollected_at: uncollectedAt }) {
  if (state === READY) return ["uncollected", "send-back"];
  return uncollectedAt ? [UNDO.uncollected, "send-back"] : ["send-back"];
}

export class PassSection {
  /**
   * `pendingText(number)` returns what happens to an order, or null; `isNew(number)` tells whether it has not been
   * seen yet; `act(order, action)` performs an act on an order as it is shown.
   */
  constructor(name, handlers) {
    this.name = name;
    this._handlers = handlers;
    this._cards = new Map();
    this._wasUsed = false;
    this._count = make("span", { className: "count number" });
    this._title = make("h2", { id: `section-${name}` }, nameOf(name), " ", this._count);
    this._list = make("ol", { role: "list" });
    this._rest = make("a", { href: "/orders?state=" + (name === UNCOLLECTED ? "uncollected" : "ready"), className: "rest" });
    this._countAtLink = make("span", { className: "count number" });
    this.link = make("button", { type: "button", hidden: true, onclick: () => this.element.scrollIntoView() }, nameOf(name), " ", this._countAtLink);
    this.element = make("section", { className: name, "aria-labelledby": this._title.id, hidden: true }, this._title, this._list, this._rest);
  }

  /** Shows these orders; `digitOf(number)` returns the digit of one, or an empty text. */
  show(orders, digitOf) {
    const shown = orders.slice(0, MAX_SHOWN);
    const numbers = new Set(shown.map((order) => order.order_number));
    for (const number of this._cards.keys()) if (!numbers.has(number)) this._cards.delete(number);
    for (const order of shown) this._show(order, digitOf(order.order_number));
    arrange(this._list, shown.map(({ order_number: number }) => this._cards.get(number).element));
    for (const count of [this._count, this._countAtLink]) write(count, String(orders.length));
    this.link.hidden = orders.length === 0;
    const rest = orders.length - shown.length;
    this._rest.hidden = rest === 0;
    write(this._rest, rest ? translate("pass.rest", { count: rest }) : "");
    this._wasUsed ||= orders.length > 0;
    this.element.hidden = !this._wasUsed; // it stays, so that the others stay in their places
    this.element.classList.toggle("none", orders.length === 0);
  }

  tick() {
    for (const card of this._cards.values()) card.tick();
  }

  focus(number) {
    this._cards.get(number)?.focus();
  }

  _show(order, digit) {
    const number = order.order_number;
    if (!this._cards.has(number)) this._cards.set(number, new Card(number, this._handlers));
    const { pendingText, isNew } = this._handlers;
    this._cards.get(number).show(order, { digit, pending: pendingText(number), isNew: isNew(number) });
  }
}

function nameOf(section) {
  return translate(section === UNCOLLECTED ? "orders.filter.uncollected" : `type.${section}`);
}

/** An order: a button for the hand-over, and another one that shows the other acts. */
class Card {
  constructor(number, { act }) {
    this._number = number;
    this._day = make("small");
    this._age = make("span", { className: "age number" });
    this._digit = make("kbd", { "aria-hidden": "true" });
    this._state = make("span", { className: "state" });
    this._handOver = make("button", { type: "button", className: "hand-over", onclick: () => act(this._order, "hand-over") });
    this._more = make("button", { type: "button", className: "more", onclick: () => this._toggle() }, "⋯");
    this._acts = make("div", { className: "acts", hidden: true });
    this._more.setAttribute("aria-label", translate("pass.more", { number: datedNumber(number) }));
    this._more.setAttribute("aria-expanded", "false");
    this._act = act;
    this.element = make("li", { dataset: { order: number } }, this._handOver, this._more, this._acts);
  }

  show(order, { digit, pending, isNew }) {
    if (order !== this._order) this._fill(order);
    this.element.classList.toggle("new", isNew);
    this.element.classList.toggle("pending", pending !== null);
    for (const button of this.element.querySelectorAll("button")) button.setAttribute("aria-disabled", String(pending !== null));
    write(this._state, pending ?? translate("acts.name.hand_over"));
    write(this._digit, digit);
    this.tick();
  }

  tick() {
    write(this._day, otherDayOf(this._number) ?? "");
    write(this._age, age(Date.parse(this._order.completed_at)));
  }

  focus() {
    this._handOver.focus();
  }

  _fill(order) {
    this._order = order;
    this._handOver.replaceChildren(
      make("strong", { className: "order-number number" }, shortNumber(this._number), " ", this._day),
      make("span", { className: "who" }, ...whoOf(order), ...wrapped("due", makeAmountDue(order))),
      this._age,
      make("span", { className: "act" }, this._digit, " ", this._state),
      ...wrapped("allergy", makeAllergyNote(order)),
    );
    this._acts.replaceChildren(...actsOn(order).map((action) => this._button(action)), makeLink(this._number));
  }

  _button(action) {
    const perform = () => {
      this._toggle();
      this._act(this._order, action);
    };
    return make("button", { type: "button", onclick: perform }, translate(`acts.name.${NAMES[action]}`));
  }

  _toggle() {
    this._acts.hidden = !this._acts.hidden;
    this._more.setAttribute("aria-expanded", String(!this._acts.hidden));
  }
}

/** Returns where an order goes and who it is for; the type is that of the section, unless it was not fetched. */
function whoOf(order) {
  const place = order.state === UNCOLLECTED ? describeOrder(order) : describePlace(order);
  return [...(place ? [make("span", { className: "place" }, place)] : []), ...makeRecipient(order)];
}

function wrapped(className, parts) {
  return parts.length ? [make("span", { className }, ...parts)] : [];
}

function makeLink(number) {
  return make("a", { href: `/orders?state=all&order=${encodeURIComponent(number)}` }, translate("pass.items"));
}
