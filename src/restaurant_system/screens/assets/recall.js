// The list of the tickets that were bumped last, from which they can be recalled.

import { datedNumber } from "./business-date.js";
import { timeoutSignal } from "./compat.js";
import { make, makeUserText, write } from "./elements.js";
import { describeOrder, makeAllergyNote, makeAmountDue, makeItem, makeRecipient } from "./ticket-contents.js";
import { timeOfDay, timeOrDate } from "./times.js";
import { translate } from "./words.js";

const TIMEOUT = 10000; // ms

export class Recall {
  /** Shows the tickets at `address` in `dialog`; `recall(ticket)` is called for a tap. */
  constructor(dialog, address, recall) {
    this._dialog = dialog;
    this._address = address;
    this._recall = recall;
    [this._state, this._list] = [dialog.querySelector("p"), dialog.querySelector("ol")];
    dialog.addEventListener("keydown", (event) => this._moveFocus(event));
  }

  async open() {
    if (this._dialog.open) return;
    this._list.replaceChildren();
    write(this._state, translate("kitchen.recall.loading"));
    this._dialog.showModal();
    const tickets = await this._fetch();
    if (!tickets) write(this._state, translate("kitchen.recall.failed"));
    else write(this._state, tickets.length ? "" : translate("kitchen.recall.none"));
    this._list.replaceChildren(...(tickets ?? []).map((ticket) => this._entry(ticket)));
    this._list.querySelector("button")?.focus();
  }

  /** Fetches the tickets; returns null when the request fails. */
  async _fetch() {
    try {
      const response = await fetch(this._address, { signal: timeoutSignal(TIMEOUT) });
      return response.ok ? await response.json() : null;
    } catch {
      return null;
    }
  }

  _entry(ticket) {
    const number = datedNumber(ticket.order_number);
    const time = translate("kitchen.recall.bumped", { time: timeOfDay(new Date(ticket.bumped_at)) });
    const due = ticket.ready_at ? `${translate("kitchen.due", { time: timeOrDate(new Date(ticket.ready_at)) })} · ` : "";
    const [allergy, recipient, amountDue] = [makeAllergyNote(ticket), makeRecipient(ticket), makeAmountDue(ticket)];
    return make(
      "li",
      {},
      make("h3", { className: "number" }, number),
      make("p", { className: "quiet" }, `${describeOrder(ticket)} · ${due}${time}`),
      allergy.length ? make("p", { className: "allergy" }, ...allergy) : null,
      recipient.length ? make("p", { className: "recipient" }, ...recipient) : null,
      make("ul", { className: "items" }, ...ticket.items.map(makeItem)),
      ticket.notes ? makeUserText("p", ticket.notes, "order-notes") : null,
      amountDue.length ? make("p", { className: "amount-due" }, ...amountDue) : null,
      this._button(ticket, number),
    );
  }

  _button(ticket, number) {
    const unseen = make("span", { className: "unseen" }, ` ${number}`);
    const onclick = () => this._recallTicket(ticket);
    return make("button", { type: "button", onclick }, translate("kitchen.action.recall"), unseen);
  }

  _recallTicket(ticket) {
    this._dialog.close();
    this._recall(ticket);
  }

  _moveFocus(event) {
    const step = { ArrowDown: 1, ArrowRight: 1, ArrowUp: -1, ArrowLeft: -1 }[event.key];
    if (!step) return;
    event.preventDefault();
    const buttons = [...this._list.querySelectorAll("button")];
    buttons[buttons.indexOf(document.activeElement) + step]?.focus();
  }
}
