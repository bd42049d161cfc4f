// The orders that are scheduled for later, on the dashboard; each can be sent to the kitchen now.

import { datedNumber } from "./business-date.js";
import { arrange, make, write } from "./elements.js";
import { sentenceOf } from "./problems.js";
import { newKey, post } from "./requests.js";
import { makeAmountDue } from "./ticket-contents.js";
import { timeOrDate } from "./times.js";
import { translate } from "./words.js";

const NOT_FOUND = 404; // no order service answers at this address

export class ScheduledOrders {
  /** Shows the orders in `section`, which is hidden while there are none. */
  constructor(section) {
    this._section = section;
    [this._body, this._more, this._refusal] = ["tbody", ".more", ".refusal"].map((part) => section.querySelector(part));
    this._rows = new Map(); // by order number
  }

  show({ count, soonest }) {
    this._section.hidden = count === 0;
    const shown = soonest.map((order) => [order.order_number, this._rows.get(order.order_number) ?? this._row(order)]);
    this._rows = new Map(shown);
    arrange(this._body, [...this._rows.values()]);
    this._more.hidden = count === soonest.length;
    write(this._more, translate("dashboard.scheduled.more", { count: count - soonest.length }));
  }

  _row(order) {
    const { order_number: number, order_type: type, ready_at: readyAt } = order;
    const name = make("th", { scope: "row" }, make("span", { className: "number" }, datedNumber(number)));
    name.append(make("small", { className: "quiet" }, translate(`type.${type}`)));
    const amountDue = makeAmountDue(order);
    if (amountDue.length) name.append(make("small", {}, ...amountDue));
    const unseen = make("span", { className: "unseen" }, ` ${datedNumber(number)}`);
    const button = make("button", { type: "button" }, translate("dashboard.scheduled.release"), unseen);
    const question = translate("orders.release.scheduled", { number: datedNumber(number), time: timeOrDate(new Date(readyAt)) });
    button.addEventListener("click", () => confirm(question) && this._release(number, button));
    const due = make("td", { className: "number" }, timeOrDate(new Date(readyAt)));
    return make("tr", {}, name, due, make("td", { className: "amount" }, button));
  }

  /** Sends an order to the kitchen. The next update of the dashboard shows it as waiting. */
  async _release(number, button) {
    button.disabled = true;
    write(this._refusal, "");
    const { status, body } = await post(`/orders/${encodeURIComponent(number)}/release`, {}, newKey());
    if (status >= 200 && status < 300) return;
    button.disabled = false;
    const isElsewhere = status === NOT_FOUND && body.code !== "order_not_found";
    if (isElsewhere) write(this._refusal, translate("dashboard.scheduled.elsewhere"));
    else write(this._refusal, status === 0 ? translate("dashboard.scheduled.no_answer") : sentenceOf(body));
  }
}
