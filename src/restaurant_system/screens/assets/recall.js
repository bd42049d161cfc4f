// The list of what was bumped last, from which a ticket can be had back.

import { make, write } from "./elements.js";
import { item, kindOf } from "./ticket.js";
import { timeOfDay } from "./times.js";
import { say, shortNumber } from "./words.js";

const PATIENCE = 10000; // ms

export class Recall {
  /** Shows in `dialog` what stands at `address`; `recall(ticket)` is called for a tap. */
  constructor(dialog, address, recall) {
    this._dialog = dialog;
    this._address = address;
    this._recall = recall;
    [this._state, this._list] = [dialog.querySelector("p"), dialog.querySelector("ol")];
    dialog.addEventListener("keydown", (event) => this._move(event));
  }

  async open() {
    if (this._dialog.open) return;
    this._list.replaceChildren();
    write(this._state, say("kitchen.recall.loading"));
    this._dialog.showModal();
    const tickets = await this._read();
    if (!tickets) write(this._state, say("kitchen.recall.failed"));
    else write(this._state, tickets.length ? "" : say("kitchen.recall.none"));
    this._list.replaceChildren(...(tickets ?? []).map((ticket) => this._line(ticket)));
    this._list.querySelector("button")?.focus();
  }

  /** Returns the tickets, or null when they cannot be had. */
  async _read() {
    try {
      const answer = await fetch(this._address, { signal: AbortSignal.timeout(PATIENCE) });
      return answer.ok ? await answer.json() : null;
    } catch {
      return null;
    }
  }

  _line(ticket) {
    const number = shortNumber(ticket.order_number);
    const time = say("kitchen.recall.bumped", { time: timeOfDay(new Date(ticket.bumped_at)) });
    return make(
      "li",
      {},
      make("h3", { className: "number" }, number),
      make("p", { className: "quiet" }, `${kindOf(ticket)} · ${time}`),
      make("ul", { className: "items" }, ...ticket.items.map(item)),
      this._button(ticket, number),
    );
  }

  _button(ticket, number) {
    const unseen = make("span", { className: "unseen" }, ` ${number}`);
    const onclick = () => this._take(ticket);
    return make("button", { type: "button", onclick }, say("kitchen.action.recall"), unseen);
  }

  _take(ticket) {
    this._dialog.close();
    this._recall(ticket);
  }

  _move(event) {
    const step = { ArrowDown: 1, ArrowRight: 1, ArrowUp: -1, ArrowLeft: -1 }[event.key];
    if (!step) return;
    event.preventDefault();
    const buttons = [...this._list.querySelectorAll("button")];
    buttons[buttons.indexOf(document.activeElement) + step]?.focus();
  }
}
