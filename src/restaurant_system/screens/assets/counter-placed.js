// What became of the orders that were sent: a button for each, and the one that is shown with its number and
// a QR code, or with what can be done about it.

import { datedNumber } from "./business-date.js";
import { arrange, make, makeUserText, write } from "./elements.js";
import { isLoopback } from "./loopback.js";
import { sentenceOf } from "./problems.js";
import { money, shortNumber, translate } from "./words.js";

const MISSES_BEFORE_STOP = 3; // attempts without a response after which a person can stop waiting
const DOUBLE_TAP = 600; // ms in which a second tap or key on "Place" does not close what it opened

const part = (id) => document.getElementById(id);

export class PlacedOrders {
  /**
   * Shows the orders of `sent`. `changed(order)` is called to change one that was not placed, `closed()`
   * when the shown one is closed by its button.
   */
  constructor(sent, { changed, closed }) {
    this._sent = sent;
    this._buttons = new Map();
    this._shownAt = 0;
    this._shownKey = null;
    part("next").addEventListener("click", () => {
      if (performance.now() - this._shownAt > DOUBLE_TAP) closed();
    });
    part("retry-now").addEventListener("click", () => sent.retryNow());
    part("send-again").addEventListener("click", () => sent.sendAgain(sent.shown.key));
    part("stop").addEventListener("click", () => this._stop());
    part("change").addEventListener("click", () => changed(sent.shown));
    part("discard").addEventListener("click", () => {
      sent.remove(sent.shown.key);
      closed();
    });
    const qr = part("placed-qr");
    qr.addEventListener("load", () => (qr.hidden = false));
    qr.addEventListener("error", () => hideCode()); // this service has no codes
  }

  /** Shows the list, and the order that is shown; `isComposing` tells whether another one has been started. */
  show(isComposing) {
    this._showList();
    const order = this._sent.shown;
    const appears = order !== null && order.key !== this._shownKey;
    this._shownKey = order?.key ?? null;
    part("placed").hidden = order === null;
    if (order === null) return;
    this._showOrder(order);
    write(part("next"), translate(isComposing ? "counter.back" : "counter.next"));
    if (!appears) return;
    this._shownAt = performance.now();
    part("next").focus();
  }

  /** Returns a sentence about what became of an order. */
  newsOf(order) {
    return translate("counter.news", { name: nameOf(order), state: translate(`counter.sent.${stateOf(order)}`) });
  }

  _showList() {
    const { list, shown } = this._sent;
    this._buttons = new Map(list.map(({ key }) => [key, this._buttons.get(key) ?? this._button(key)]));
    arrange(part("sent"), [...this._buttons.values()]);
    part("sent").hidden = list.length === 0;
    for (const order of list) {
      const button = this._buttons.get(order.key).querySelector("button");
      button.className = toneOf(order);
      button.setAttribute("aria-current", String(order === shown));
      write(button.querySelector(".name"), nameOf(order));
      write(button.querySelector(".state"), translate(`counter.sent.${stateOf(order)}`));
    }
  }

  _button(key) {
    const name = makeUserText("span", "", "name");
    const onclick = () => this._sent.show(key);
    return make("li", {}, make("button", { type: "button", onclick }, name, " ", make("span", { className: "state" })));
  }

  _showOrder(order) {
    const { state, isReused = false, isWithdrawn = false } = order;
    const [isPlaced, isMissed] = [state === "placed", state === "waiting" && this._sent.misses > 0];
    part("placed").dataset.state = stateOf(order);
    write(part("placed-title"), translate(isMissed ? "counter.not_sent" : TITLES[stateOf(order)]));
    part("placed-number").classList.toggle("called", isPlaced);
    write(part("placed-number"), isPlaced ? shortNumber(order.orderNumber) : nameOf(order));
    write(part("placed-full"), isPlaced ? order.orderNumber : "");
    part("placed-sum").hidden = !isPlaced || isWithdrawn;
    if (isPlaced) this._showNumber(order);
    else hideCode();
    const text = isMissed ? translate("counter.waiting") : textOf(order);
    part("placed-text").hidden = text === "";
    write(part("placed-text"), text);
    part("placed-link").hidden = !isPlaced || isWithdrawn;
    part("retry-now").hidden = !isMissed;
    part("stop").hidden = !isMissed || this._sent.misses < MISSES_BEFORE_STOP;
    part("send-again").hidden = state !== "held" || isReused;
    part("change").hidden = isPlaced || state === "waiting";
    part("discard").hidden = isPlaced || state === "waiting";
    write(part("change"), translate(state === "unsent" ? "counter.continue" : "counter.change"));
  }

  _showNumber({ orderNumber, totalAmount, trackingUrl, isWithdrawn = false }) {
    write(part("placed-total"), money(totalAmount));
    part("placed-link").href = trackingUrl ?? `/track/${orderNumber}`; // an earlier release returned no link
    const [qr, address] = [part("placed-qr"), `/orders/${orderNumber}/qr.svg`];
    if (isWithdrawn || qr.getAttribute("src") !== address) hideCode();
    if (isWithdrawn) qr.removeAttribute("src");
    else if (qr.getAttribute("src") !== address) qr.src = address;
    // Not once the code is there: then the button below it would move.
    const hasFailed = qr.complete && qr.naturalWidth === 0;
    part("placed-loopback").hidden = isWithdrawn || hasFailed || !isLoopback(part("placed-link").href);
  }

  _stop() {
    this._sent.hold(this._sent.shown.key);
    part("placed-text").focus();
  }
}

/** Hides the QR code, and the hint that a phone cannot open its address. */
function hideCode() {
  part("placed-qr").hidden = true;
  part("placed-loopback").hidden = true;
}

const TITLES = {
  waiting: "counter.sending",
  held: "counter.held",
  refused: "counter.not_accepted",
  placed: "counter.placed",
  withdrawn: "counter.withdrawn",
  unsent: "counter.unsent",
};

function stateOf({ state, isWithdrawn = false }) {
  return isWithdrawn ? "withdrawn" : state;
}

function toneOf({ state, isWithdrawn }) {
  if (state === "placed") return isWithdrawn ? "quiet" : "good";
  return state === "unsent" ? "" : state === "waiting" ? "aging" : "late";
}

/** Returns how people call an order: by its number, else by its table or its customer. */
function nameOf({ orderNumber, table, type, draft }) {
  const where = table !== "" ? translate("kitchen.table", { table }) : draft?.customer?.trim() || translate(`type.${type}`);
  return orderNumber ? `${datedNumber(orderNumber)} · ${where}` : where;
}

function textOf({ state, problem, isReused }) {
  if (state === "refused") {
    return problem.errors ? translate("counter.refused") : sentenceOf(problem);
  }
  if (state !== "held") return "";
  return translate(isReused ? "counter.reused" : "counter.held_text");
}
