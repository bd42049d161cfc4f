// Orders of an earlier business date that were never started, on the dashboard: a person has each of them, or all of
// them, cooked or cancelled.

import { datedNumber } from "./business-date.js";
import { arrange, make, makeUserText, write } from "./elements.js";
import { newKey, post } from "./requests.js";
import { fetchJson } from "./session.js";
import { describeOrder } from "./ticket-contents.js";
import { translate } from "./words.js";

const LISTED = 5; // orders; the page of the orders has all of them
const ITEMS = 3; // of an order that are named
const NOT_FOUND = 404; // no order service answers at this address
const DONE_IN = 3000; // ms until an order that was decided about may be shown again, if it is still held
const NEXT_VIEW = 1000; // ms between two looks for orders that were beyond the numbers of the warning

/** Makes a link that opens an order. */
export function orderLink(number) {
  const href = `/orders?${new URLSearchParams({ order: number })}`;
  return make("a", { href, className: "number" }, translate("kitchen.order", { number: datedNumber(number) }));
}

export class HeldOrders {
  /** Shows orders in `list`. */
  constructor(list) {
    this._list = list;
    this._rows = new Map(); // by number
    this._note = make("span", { role: "status" });
    this._all = ["release", "cancel"].map((action) => make("button", { type: "button", onclick: () => this._decideAll(action) }, translate(`dashboard.alarms.all.${action}`)));
    this._foot = make("li", { className: "all" }, ...this._all, this._note);
  }

  /** Shows the first of `count` orders, of which these are the numbers of the oldest. */
  show(numbers, count) {
    [this._numbers, this._count] = [numbers, count];
    const listed = numbers.slice(0, LISTED);
    for (const number of this._rows.keys()) if (!listed.includes(number)) this._rows.delete(number);
    for (const number of listed) if (!this._rows.has(number)) this._rows.set(number, new HeldOrder(number));
    const rest = count - listed.length;
    const more = rest > 0 ? [make("li", { className: "more" }, translate("dashboard.alarms.more", { count: rest }))] : [];
    arrange(this._list, [...listed.map((number) => this._rows.get(number).element), ...more, ...(count > 1 ? [this._foot] : [])]);
  }

  /** Decides about all orders, one after the other, after a question; stops at the first without an answer. */
  async _decideAll(action) {
    if (!confirm(translate(`dashboard.alarms.confirm_all.${action}`, { count: this._count }))) return;
    const decided = new Set();
    let fault = null;
    for (const button of this._all) button.disabled = true;
    while (fault === null && this._list.isConnected && (this._undecided(decided) || this._count > this._numbers.length)) {
      const number = this._undecided(decided);
      if (number) fault = await decide(number, action);
      else await new Promise((resolve) => setTimeout(resolve, NEXT_VIEW));
      if (number && (fault === null || fault === "refused")) {
        decided.add(number);
        fault = null; // somebody else has decided about it
        write(this._note, translate("dashboard.alarms.all.done", { count: decided.size }));
      }
    }
    if (fault !== null) write(this._note, translate(`dashboard.alarms.${fault}`));
    for (const button of this._all) button.disabled = false;
  }

  _undecided(decided) {
    return this._numbers.find((number) => !decided.has(number));
  }
}

/** A held order, with buttons to have it cooked or to cancel it. */
class HeldOrder {
  constructor(number) {
    this._number = number;
    this._cook = this._button("cook", () => this._decide("release"));
    this._cancel = this._button("cancel", () => this._decide("cancel"));
    this._note = make("span", { className: "fault", role: "status" });
    this._what = make("span", { className: "held-order" }, orderLink(number));
    this.element = make("li", {}, this._what, this._cook, this._cancel, this._note);
    this._describe();
  }

  /** Says what the order is and who it is for, once it has been read. */
  async _describe() {
    const order = await fetchJson(`/orders/${this._number}`);
    if (order === null) return;
    const items = order.items.slice(0, ITEMS).map(({ quantity, name }) => `${translate("kitchen.quantity", { quantity })} ${name}`);
    if (order.items.length > ITEMS) items.push("…");
    const texts = [describeOrder(order), order.customer_name, order.reference, items.join(", ")];
    this._what.append(" ", makeUserText("span", texts.filter(Boolean).join(" · ")));
  }

  _button(action, onclick) {
    const button = make("button", { type: "button", onclick }, translate(`dashboard.alarms.${action}`));
    button.setAttribute("aria-label", translate(`dashboard.alarms.${action}_of`, { number: this._number }));
    return button;
  }

  async _decide(action) {
    const number = datedNumber(this._number);
    if (!confirm(translate(action === "cancel" ? "dashboard.alarms.confirm_cancel" : "orders.release.held", { number }))) return;
    this._enable(false);
    write(this._note, "");
    const fault = await decide(this._number, action);
    const outcome = fault ?? `done_${action}`;
    write(this._note, translate(`dashboard.alarms.${outcome}`));
    if (fault === null) setTimeout(() => this._enable(true), DONE_IN); // it is gone by then, unless it is held again
    else this._enable(true);
  }

  _enable(isEnabled) {
    this._cook.disabled = this._cancel.disabled = !isEnabled;
  }
}

/** Has an order cooked or cancelled; returns the name of the text for what went wrong, or null. */
async function decide(number, action) {
  const body = action === "cancel" ? { reason: translate("dashboard.alarms.reason") } : {};
  const { status } = await post(`/orders/${number}/${action}`, body, newKey());
  if (status >= 200 && status < 300) return null;
  return status === NOT_FOUND ? "elsewhere" : status === 0 ? "unknown" : "refused";
}
