// The orders that were sent from this browser. Each is stored by itself, with its idempotency key, so that
// several wait during an outage, also over a reload, and each is placed once. All windows of a browser
// share them. An order is
//
//     waiting   sent again and again until there is a response, in the sequence in which they were composed
//     held      not sent any more without a person's confirmation; it may have been placed
//     refused   to be changed
//     placed    has a number
//     unsent    not sent yet, because another one is changed in between
//
// Only an order that is not placed is stored with what was typed.

import { body, hasTable } from "./counter-body.js";
import { post } from "./requests.js";
import { load, loadAll, onStoredElsewhere, removeStored, store } from "./stored.js";

const PREFIX = "counter.order.";
const SHOWN = "counter.shown"; // the key of the order that is shown
const RETRY_DELAYS = [1, 2, 4, 8, 15]; // s; the last one repeats
const FINAL_STATUSES = new Set([201, 400, 413, 415, 422]);
const REFUSED_STATUSES = new Set([403, 404, 409, 421]); // final if the service says why: a proxy sends them, too
const REUSED = 422; // the key was used for another order
// An order that is older is not sent again without a person's confirmation. (The server keeps a key for
// much longer.)
const MAX_AGE = 15 * 60 * 1000; // ms
const KEPT_FOR = 10 * 60 * 1000; // ms for which a placed order is listed
const MAX_PLACED = 12; // that are listed; so many are placed at once after an outage

export class SentOrders {
  /** Loads the orders. `changed()` is called when one changes, `settled(order)` when there is a response. */
  constructor({ changed, settled }) {
    this._changed = changed;
    this._settled = settled;
    this._orders = new Map(loadAll(PREFIX).map((order) => [order.key, order]));
    this._shown = load(SHOWN);
    this._drafts = new Map(); // of placed orders, in this window only
    this._misses = 0;
    this._isSending = false;
    this._endPause = () => {};
    // The event may be older than what this window has stored since, so the stored order is loaded.
    onStoredElsewhere(PREFIX, (name) => this._reload(name));
    onStoredElsewhere(SHOWN, () => this._setShown(load(SHOWN)));
    addEventListener("online", () => this.retryNow());
  }

  /** All orders that are listed: first those that need somebody, then the last ones that were placed. */
  get list() {
    const all = [...this._orders.values()].sort((one, other) => one.at - other.at);
    const placed = all.filter(({ state, settledAt }) => state === "placed" && Date.now() - settledAt < KEPT_FOR);
    return [...all.filter(({ state }) => state !== "placed"), ...placed.slice(-MAX_PLACED).reverse()];
  }

  /** The order that is shown, if any. */
  get shown() {
    return this._orders.get(this._shown) ?? null;
  }

  /** The number of rounds since there was a response. */
  get misses() {
    return this._misses;
  }

  show(key) {
    store(SHOWN, key);
    this._setShown(key);
  }

  /** Tells whether a draft is one of the orders: then the page ended before the next draft was started. */
  has({ key }) {
    return this._orders.has(key);
  }

  /** Sends a draft as an order, shows it, and deletes orders that are not listed any more. */
  send(draft) {
    this._put({ ...recordOf(draft), state: "waiting", body: body(draft), sentAt: Date.now() });
    this.show(draft.key);
    const listed = new Set(this.list);
    for (const order of this._orders.values()) if (!listed.has(order)) this.remove(order.key);
    this.work();
  }

  /** Keeps a draft that is to be continued later. */
  keepUnsent(draft) {
    this._put({ ...recordOf(draft), state: "unsent" });
  }

  /** Sends an order again: with the same key, so that it is placed once. */
  sendAgain(key) {
    this._change(key, { state: "waiting", sentAt: Date.now() });
    this.work();
  }

  /** Stops sending an order. */
  hold(key) {
    this._change(key, { state: "held" });
  }

  remove(key) {
    removeStored(PREFIX + key);
    this._orders.delete(key);
    if (this._shown === key) this.show(null);
    this._changed();
  }

  /** Stores that a placed order was withdrawn. */
  withdraw(key) {
    this._change(key, { isWithdrawn: true });
  }

  /** Returns the draft of an order; null of one that was placed in another window. */
  draftOf({ key, draft }) {
    return draft ?? this._drafts.get(key) ?? null;
  }

  /** Sends at once what waits. */
  retryNow() {
    this._endPause();
  }

  /** Sends what waits until there is a response to each. */
  async work() {
    this._endPause();
    if (this._isSending) return; // the round that goes on, or the next one, sends it
    this._isSending = true;
    while (this._waiting.length > 0) {
      if (await this._sendAll()) continue;
      this._misses += 1;
      this._changed();
      await this._pause(RETRY_DELAYS[Math.min(this._misses, RETRY_DELAYS.length) - 1]);
    }
    this._isSending = false;
  }

  get _waiting() {
    return this.list.filter(({ state }) => state === "waiting");
  }

  /** Sends each order once, but no more once there is no connection. Returns whether all had a response. */
  async _sendAll() {
    let isAnswered = true;
    for (const { key } of this._waiting) {
      const order = this._orders.get(key);
      if (order?.state !== "waiting") continue; // it was settled in another window, or stopped
      if (Date.now() - order.sentAt >= MAX_AGE) {
        this.hold(key);
        continue;
      }
      const response = await post("/orders", order.body, key, { change: "kept" });
      if (isFinal(response)) {
        this._misses = 0;
        this._settle(key, response);
      } else {
        isAnswered = false;
        if (!response.isReached) break;
      }
    }
    return isAnswered;
  }

  _settle(key, { status, body: answer }) {
    const order = this._orders.get(key);
    if (order?.state !== "waiting" && order?.state !== "held") return;
    if (status === 201) this._place(order, answer);
    else if (status === REUSED) this._change(key, { state: "held", isReused: true });
    else this._change(key, { state: "refused", problem: answer });
    this._settled(this._orders.get(key));
  }

  _place({ key, draft, body: _, ...order }, answer) {
    this._drafts.set(key, draft);
    const placed = { orderNumber: answer.order_number, totalAmount: answer.total_amount, trackingUrl: answer.tracking_url };
    this._put({ ...order, ...placed, key, state: "placed", settledAt: Date.now() });
  }

  _change(key, changes) {
    const order = this._orders.get(key);
    if (order) this._put({ ...order, ...changes });
  }

  _put(order) {
    store(PREFIX + order.key, order);
    this._orders.set(order.key, order);
    this._changed();
  }

  _reload(name) {
    const order = load(name);
    if (order === null) this._orders.delete(name.slice(PREFIX.length));
    else this._orders.set(order.key, order);
    this._changed();
    this.work();
  }

  _setShown(key) {
    this._shown = key;
    this._changed();
  }

  _pause(seconds) {
    return new Promise((resolve) => {
      this._endPause = resolve;
      setTimeout(resolve, seconds * 1000);
    });
  }
}

/** Tells whether a response is the last word on an order; others are from a proxy, or temporary. */
function isFinal({ status, body: answer }) {
  return FINAL_STATUSES.has(status) || (REFUSED_STATUSES.has(status) && typeof answer?.code === "string");
}

/** Returns what is stored of a draft in each state. The table is no personal data. */
function recordOf(draft) {
  return { key: draft.key, at: Date.now(), type: draft.type, table: hasTable(draft) ? draft.table.trim() : "", draft };
}
