// The list of the orders that are scheduled for later. They come to the station when they are due.

import { datedNumber } from "./business-date.js";
import { make, makeUserText, write } from "./elements.js";
import { fetchJson } from "./session.js";
import { describeOrder, makeAllergyNote, makeAmountDue, makeItem, makeRecipient } from "./ticket-contents.js";
import { timeOrDate } from "./times.js";
import { translate } from "./words.js";

export class ScheduledTickets {
  /** Shows the orders of these types, all if there are none, in `dialog`. */
  constructor(dialog, types) {
    this._dialog = dialog;
    const query = new URLSearchParams((types ?? []).map((type) => ["order_type", type]));
    this._address = `/kitchen/scheduled?${query}`;
    [this._state, this._list] = [dialog.querySelector("p"), dialog.querySelector("ol")];
  }

  async open() {
    if (this._dialog.open) return;
    this._list.replaceChildren();
    write(this._state, translate("kitchen.scheduled.loading"));
    this._dialog.showModal();
    const tickets = await fetchJson(this._address);
    if (!tickets) write(this._state, translate("kitchen.scheduled.failed"));
    else write(this._state, tickets.length ? "" : translate("kitchen.scheduled.none"));
    this._list.replaceChildren(...(tickets ?? []).map(entryOf));
  }
}

function entryOf(ticket) {
  const time = translate("kitchen.scheduled.ready_at", { time: timeOrDate(new Date(ticket.ready_at)) });
  const [allergy, recipient, amountDue] = [makeAllergyNote(ticket), makeRecipient(ticket), makeAmountDue(ticket)];
  return make(
    "li",
    {},
    make("h3", { className: "number" }, datedNumber(ticket.order_number)),
    make("p", { className: "quiet" }, `${describeOrder(ticket)} · ${time}`),
    allergy.length ? make("p", { className: "allergy" }, ...allergy) : null,
    recipient.length ? make("p", { className: "recipient" }, ...recipient) : null,
    make("ul", { className: "items" }, ...ticket.items.map(makeItem)),
    ticket.notes ? makeUserText("p", ticket.notes, "order-notes") : null,
    amountDue.length ? make("p", { className: "amount-due" }, ...amountDue) : null,
  );
}
