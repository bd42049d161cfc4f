// One order in a dialog: who it is for, its items, amounts and history, its QR code, and what can be done with it.

import { datedNumber } from "./business-date.js";
import { make, makeUserText, write } from "./elements.js";
import { stateOf } from "./order-search.js";
import { isLoopback } from "./loopback.js";
import { fetchJson } from "./session.js";
import { describeOrder, makeAllergyNote, makeItem } from "./ticket-contents.js";
import { timeOrDate } from "./times.js";
import { channelName, money, shortNumber, translate } from "./words.js";

/** What can be done in each state; the first is what is done most. */
const ACTS = {
  received: ["cancel"],
  scheduled: ["release", "cancel"],
  held: ["release", "cancel"],
  cooking: ["cancel"],
  ready: ["hand-over", "uncollected", "send-back", "cancel"],
  uncollected: ["hand-over", "collectable", "send-back", "cancel"],
  handed_over: ["undo"],
  completed: [],
  cancelled: [],
};
const NAMES = {
  "hand-over": "acts.name.hand_over",
  uncollected: "acts.name.uncollected",
  collectable: "acts.name.collectable",
  "send-back": "acts.name.send_back",
  release: "acts.name.release",
  cancel: "acts.name.cancel",
  undo: "acts.name.undo",
};
const SERVICE = "order-service"; // changed the status: no person did, and no cook
const CANNOT_BE_UNDONE = ["cancel", "release"];
const REASONS = ["customer", "mistake", "sold_out", "uncollected"];

export class OrderDetails {
  /**
   * Shows orders in `dialog`; `acts` are the `OrderActs` of the page. `left(number)` moves the focus when the
   * dialog is closed for an act, because the focus returns to the field of the search.
   */
  constructor(dialog, acts, left) {
    this._dialog = dialog;
    this._acts = acts;
    this._left = left;
    this._number = null;
    dialog.addEventListener("close", () => (this._number = null));
    document.addEventListener("pointerdown", (event) => this._closeFromOutside(event));
  }

  /** Opens the dialog for an order, with its entry in the live list. */
  open(number, entry) {
    this._number = number;
    this._entry = entry;
    this._order = this._history = null;
    this._question = null;
    this._make();
    if (!this._dialog.open) this._dialog.showModal();
    this._dialog.scrollTop = 0;
    this._read();
  }

  /** Closes the dialog for a tap outside it and its padding, except on a message or while a reason is typed. */
  _closeFromOutside({ target, clientX: x, clientY: y }) {
    if (!this._dialog.open || this._question !== null || target.closest(".undo-bar, .toasts")) return;
    const { left, right, top, bottom } = this._dialog.getBoundingClientRect();
    if (x < left || x > right || y < top || y > bottom) this._dialog.close();
  }

  /** Shows the new entry of an order, null if it left the list, if it is the one that is open. */
  changed(number, entry) {
    if (number !== this._number) return;
    if (entry === null) return this._dialog.close();
    const isOther = entry.updated_at !== this._entry.updated_at;
    this._entry = entry;
    this._show();
    if (isOther) this._read();
  }

  /** Shows the acts of an order again, after one began or ended. */
  refresh(number) {
    if (number === this._number) this._showActs();
  }

  async _read() {
    const reading = (this._reading = Symbol("read")); // the latest one: an earlier one may be answered later
    const number = this._number;
    const address = `/orders/${encodeURIComponent(number)}`;
    const [order, history] = await Promise.all([fetchJson(address), fetchJson(`${address}/history`)]);
    if (reading !== this._reading || number !== this._number) return;
    [this._order, this._history] = [order ?? this._order, history ?? this._history];
    this._hasFailed = order === null || history === null;
    this._show();
  }

  _make() {
    this._title = make("h2", { id: "details-title" });
    this._state = make("p", { className: "state" });
    const close = make("button", { type: "button", onclick: () => this._dialog.close() }, translate("orders.close"));
    this._body = make("div", { className: "body" });
    this._footer = make("div", { className: "acts" });
    this._code = make("div", { className: "code" });
    this._dialog.replaceChildren(make("header", {}, this._title, this._state, close), this._body, this._code, this._footer);
    this._showCodeButton();
    this._show();
  }

  _show() {
    const [number, entry] = [this._number, this._entry];
    this._dialog.dataset.state = stateOf(entry);
    write(this._title, translate("orders.order", { number: datedNumber(number) }));
    write(this._state, translate(`orders.state.${stateOf(entry)}`));
    this._body.replaceChildren(...this._contents());
    this._showActs();
  }

  _contents() {
    const [entry, order] = [this._entry, this._order];
    const allergy = order ? makeAllergyNote(order) : [];
    const parts = [
      allergy.length ? make("p", { className: "allergy" }, ...allergy) : null,
      this._facts(order ?? entry),
    ];
    if (order) parts.push(this._items(order), order.notes ? makeUserText("p", order.notes, "note") : null, amountsOf(order));
    if (this._history) parts.push(historyOf(this._history));
    if (!order) parts.push(make("p", { className: "quiet", role: "status" }, translate(this._hasFailed ? "orders.unreadable" : "orders.reading")));
    return parts.filter((each) => each !== null);
  }

  _facts(order) {
    const time = (moment) => (moment ? timeOrDate(new Date(moment)) : null);
    const { estimated_completion: estimate } = this._entry;
    const facts = {
      number: this._number,
      type: describeOrder(order),
      name: order.customer_name,
      reference: order.reference,
      channel: order.channel && channelName(order.channel),
      phone: order.phone,
      address: order.delivery_address,
      placed: time(order.created_at),
      wanted: time(order.ready_at),
      estimate: time(estimate),
      [isOver(this._entry) ? "was_ready" : "ready"]: time(order.completed_at),
      worker: order.processed_by,
      handed_over_by: this._entry.handed_over_by === SERVICE ? null : this._entry.handed_over_by,
      cancel_reason: order.cancel_reason,
    };
    const made = Object.entries(facts).filter(([, text]) => text);
    return make("dl", {}, ...made.map(([name, text]) => make("div", {}, make("dt", {}, translate(`orders.fact.${name}`)), makeUserText("dd", text))));
  }

  _items({ items }) {
    return make("ul", { className: "items", role: "list" }, ...items.map(makeItem));
  }

  /** Shows the buttons, or the question whether the order is to be cancelled or cooked now. */
  _showActs() {
    const state = stateOf(this._entry);
    const pending = this._acts.pendingOf(this._number);
    if (ACTS[state].includes(this._question) && pending === null) {
      if (!this._footer.querySelector("form")) this._ask(this._question);
      return;
    }
    this._question = null;
    const buttons = ACTS[state].filter((act) => act !== "collectable" || this._entry.uncollected_at).map((act, index) => this._button(act, index === 0 && act !== "cancel"));
    const hadFocus = this._footer.contains(document.activeElement);
    this._footer.replaceChildren(...(pending === null ? buttons : [make("p", { role: "status" }, pending)]));
    if (hadFocus) (this._footer.querySelector("button") ?? this._dialog.querySelector("button")).focus();
  }

  _button(act, isMain) {
    const className = isMain ? "main" : act === "cancel" ? "danger" : "";
    return make("button", { type: "button", className, onclick: () => this._perform(act) }, translate(NAMES[act]));
  }

  _perform(act) {
    const number = this._number;
    if (CANNOT_BE_UNDONE.includes(act)) {
      this._question = act;
      this._showActs();
      return;
    }
    this._dialog.close(); // what undoes the act is on the page
    this._left(number);
    if (act === "undo") this._acts.undo(number, "hand-over");
    else if (act === "collectable") this._acts.undo(number, "uncollected");
    else this._acts.perform(number, act);
  }

  /** Asks whether the order is to be cancelled, and why, or to be cooked now. */
  _ask(act) {
    const keep = make("button", { type: "button", onclick: () => this._keep() }, translate(`orders.${act}.keep`));
    const confirm = make("button", { type: "submit", className: act === "cancel" ? "danger" : "main" }, translate(NAMES[act]));
    const reason = act === "cancel" ? this._askWhy(confirm) : [];
    const form = make("form", {}, make("p", {}, this._questionOf(act)), ...reason, make("div", { className: "acts" }, keep, confirm));
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      this._confirm(act, form.querySelector("input"));
    });
    this._footer.replaceChildren(form);
    (form.querySelector("input") ?? keep).focus();
    form.scrollIntoView({ block: "nearest" });
  }

  _questionOf(act) {
    const number = datedNumber(this._number);
    const { held, ready_at: wanted } = this._entry;
    if (act === "release" && !held) return translate("orders.release.scheduled", { number, time: timeOrDate(new Date(wanted)) });
    return translate(act === "release" ? "orders.release.held" : "orders.cancel.question", { number });
  }

  _confirm(act, field) {
    const number = this._number;
    if (field && !field.value.trim()) return field.focus();
    this._dialog.close();
    this._left(number);
    this._acts.perform(number, act, field?.value.trim());
  }

  _askWhy(confirm) {
    const field = make("input", { id: "reason", required: true, maxLength: 200, dir: "auto", autocomplete: "off" });
    const choose = (reason) => make("button", { type: "button", onclick: () => { field.value = reason; confirm.focus(); } }, reason);
    return [
      make("div", { className: "reasons", role: "group", "aria-label": translate("orders.cancel.reasons") }, ...REASONS.map((name) => choose(translate(`orders.cancel.reason.${name}`)))),
      make("label", { htmlFor: "reason" }, translate("orders.cancel.why")),
      field,
    ];
  }

  _keep() {
    this._question = null;
    this._footer.replaceChildren();
    this._showActs();
    this._footer.querySelector("button")?.focus();
  }

  _showCodeButton() {
    const button = make("button", { type: "button", onclick: () => this._showCode() }, translate("orders.code.show"));
    this._code.replaceChildren(button);
  }

  /** Shows the tracking link as a QR code, which can be printed alone. */
  _showCode() {
    const number = shortNumber(this._number);
    const image = make("img", { alt: translate("orders.code.alt", { number }), width: 240, height: 240 });
    const print = make("button", { type: "button", onclick: () => window.print() }, translate("orders.code.print"));
    image.addEventListener("error", () => this._code.replaceChildren(make("p", { role: "status" }, translate("orders.code.none"))));
    image.src = `/orders/${encodeURIComponent(this._number)}/qr.svg`;
    const hint = isLoopback() ? make("p", { className: "quiet" }, translate("orders.code.loopback")) : null;
    this._code.replaceChildren(...[make("p", { className: "printed order-number" }, number), image, hint, print].filter((each) => each !== null));
    print.focus();
  }
}

/** Tells whether an order does not wait to be handed over any more. */
function isOver(entry) {
  return ["handed_over", "completed", "cancelled"].includes(stateOf(entry));
}

function amountsOf({ charges = [], total_amount: total, amount_due: due }) {
  const lines = charges.map(({ name, amount }) => [makeUserText("dt", name), money(amount), ""]);
  lines.push([make("dt", {}, translate("orders.fact.total")), money(total), "total"]);
  if (due) lines.push([make("dt", {}, translate("kitchen.amount_due")), money(due), "total"]);
  return make("dl", { className: "amounts" }, ...lines.map(([name, amount, className]) => make("div", { className }, name, make("dd", { className: "number" }, amount))));
}

function historyOf(steps) {
  const rows = steps.map(({ status, timestamp, changed_by: by }) =>
    make(
      "li",
      {},
      make("span", { className: "number" }, timeOrDate(new Date(timestamp))),
      " ",
      make("strong", {}, translate(`status.${status}`)),
      " ",
      makeUserText("span", by === SERVICE ? "" : by, "quiet"),
    ),
  );
  return make("section", { className: "history" }, make("h3", {}, translate("orders.history")), make("ol", { role: "list" }, ...rows));
}
