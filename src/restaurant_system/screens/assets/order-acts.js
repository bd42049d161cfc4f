// Acts on orders: hand over, mark as not fetched, send back to the kitchen, release, cancel, and their undo. They are
// taps (taps.js): kept over an outage and a reload, and sent until there is an answer, so that each takes effect once.

import { datedNumber } from "./business-date.js";
import { stateOf } from "./order-search.js";
import { sentenceOf } from "./problems.js";
import { UNAUTHORIZED } from "./requests.js";
import { loadInTab, storeInTab } from "./stored.js";
import { Taps } from "./taps.js";
import { now } from "./times.js";
import { compose, statusInSentence, translate } from "./words.js";

const UNDO_WINDOW = 10000; // ms for which the server lets an act be undone
const OFFERS = "acts.undo"; // the name under which the acts that can be undone are stored
const TAPS = "acts.orders/"; // the beginning of the names under which taps are stored
const NOT_FOUND = 404; // no order service answers at this address

/** The paths of the acts that can be undone, and of what undoes them. */
export const UNDO = { "hand-over": "hand-over/undo", uncollected: "uncollected/undo", "send-back": "send-back/undo" };
/** What an order has in the live list while an act on it is in effect; null if it is not. */
const EFFECTS = {
  "hand-over": ({ status, handed_over_at: at }) => (status === "ready" ? (at ?? null) : null),
  uncollected: ({ status, uncollected_at: at }) => (status === "ready" ? (at ?? null) : null),
  "send-back": ({ status }) => (status === "cooking" ? status : null),
};
/** Acts that have no version of the order in their request: it may change meanwhile, as long as its status allows them. */
const UNVERSIONED = ["cancel", "release", UNDO["send-back"]];
/** The status of an order after acts that a repeated request finds done. */
const DONE = { cancel: "cancelled", release: "received" };
/** The names of the texts for each act. */
export const TEXTS = { "hand-over": "hand_over", uncollected: "uncollected", "send-back": "send_back", release: "release", cancel: "cancel" };

export class OrderActs {
  /**
   * `bar` is an `UndoBar`; `begins(number, path)` is called before an act, `changed(number)` when it begins, waits and
   * ends, `refused(text, number)` for one that has no effect, `done(text)` for one that has, `undone(text)` for one that
   * is undone. The names under which taps are stored begin with `storedAs`.
   */
  constructor({ bar, begins = () => {}, changed, refused, done, undone, storedAs = TAPS }) {
    this._bar = bar;
    this._begins = begins;
    this._refused = refused;
    this._done = done;
    this._undone = undone;
    this._entries = new Map();
    this._states = new Map(); // of all orders, as the taps compare them
    this._offers = new Map(); // acts that can be undone, by order number: `{ act, effect, until }`
    this._taps = new Taps("/orders/", { storedAs, changed, refused: (...refusal) => this._refuse(...refusal), done: (tap) => this._finish(tap), bodyOf });
    this._kept = loadInTab(OFFERS, []); // from before a reload, until the live list is there
  }

  /** Returns a text for the act on this order whose effect is not shown yet, or null. */
  pendingOf(number) {
    const tap = this._taps.pendingOf(number);
    if (!tap) return null;
    return translate(tap.isWaiting ? "pass.waiting" : `acts.sending.${TEXTS[tap.action] ?? "undo"}`);
  }

  /** How many acts are kept until the server takes them. */
  get kept() {
    return this._taps.unanswered.filter(({ isWaiting }) => isWaiting).length;
  }

  /** Sets whether there is a connection. */
  setLive(isLive) {
    this._taps.setLive(isLive);
  }

  /** Forgets acts whose effect the live list, as of this time, has had to show. */
  expire(asOf) {
    this._taps.expire(asOf);
  }

  /** Compares the acts with the live list, in which these orders have changed. */
  update(entries, keys) {
    this._entries = entries;
    this._offerAgain();
    for (const number of keys) {
      const entry = entries.get(number);
      if (entry) this._states.set(number, { status: markedStateOf(entry) });
      else this._states.delete(number);
      this._checkOffer(number, entry);
    }
    this._taps.update(this._states);
    for (const { number, action } of this._taps.unanswered) this._offerUndo(number, action);
  }

  /** Performs an act, by its path below the order's, on an order as it is shown. */
  perform(number, act, reason) {
    this._withdraw(number);
    this._begins(number, act);
    const { updated_at } = this._entries.get(number) ?? {};
    this._taps.add({ order_number: number, updated_at }, act, this._states.get(number)?.status, undefined, reason);
  }

  /** Undoes an act; the server refuses that when it is too late. */
  undo(number, act) {
    this.perform(number, UNDO[act]);
  }

  _finish({ number, action }) {
    if (!(action in TEXTS)) {
      this._undone(translate("acts.undone", { number: datedNumber(number) }));
      return;
    }
    this._done(textOf(number, action));
    this._offerUndo(number, action);
  }

  /** Offers to undo an act as soon as the live list shows its effect, which may be before the answer. */
  _offerUndo(number, action) {
    const entry = this._entries.get(number);
    const effect = entry && action in UNDO ? EFFECTS[action](entry) : null;
    if (effect === null || this._offers.has(number) || this._taps.pendingOf(number)) return;
    const left = Date.parse(entry.updated_at) + UNDO_WINDOW - now();
    this._offers.set(number, { act: action, effect, until: Date.now() + left });
    this._offer(number);
    this._store();
  }

  _refuse(tap, problem, status) {
    const { number, action } = tap;
    this._withdraw(number);
    if (action in DONE && problem?.current_status === DONE[action]) return this._finish(tap);
    const hasChanged = !UNVERSIONED.includes(action) && problem?.current_status === "ready" && !problem.handed_over;
    this._refused(hasChanged ? translate("pass.changed", { number: datedNumber(number) }) : problemText(number, status, problem), number);
  }

  /** Offers to undo the acts of this tab again after a reload. */
  _offerAgain() {
    for (const [number, offer] of this._kept.splice(0)) {
      this._offers.set(number, offer);
      this._offer(number);
    }
  }

  _offer(number) {
    const { act, until } = this._offers.get(number);
    const label = translate("acts.undo", { what: textOf(number, act) });
    this._bar.offer(number, label, () => this.undo(number, act), (until - Date.now()) / 1000);
  }

  /** Ends the offer to undo an act once the live list shows that it is not in effect any more, or done again. */
  _checkOffer(number, entry) {
    const offer = this._offers.get(number);
    if (offer && (!entry || EFFECTS[offer.act](entry) !== offer.effect)) this._withdraw(number);
  }

  _withdraw(number) {
    this._offers.delete(number);
    this._bar.withdraw(number);
    this._store();
  }

  _store() {
    storeInTab(OFFERS, [...this._offers].filter(([, { until }]) => until > Date.now()));
  }
}

function bodyOf({ action, asOf, reason }) {
  return { ...(asOf && !UNVERSIONED.includes(action) ? { as_of: asOf } : {}), ...(reason === undefined ? {} : { reason }) };
}

/** Returns the state of an order, and whether it is marked as not fetched: it counts as such also when it is ready for long. */
function markedStateOf(entry) {
  return stateOf(entry) + (entry.uncollected_at ? ", marked" : "");
}

function textOf(number, act) {
  return translate(`acts.done.${TEXTS[act]}`, { number: datedNumber(number) });
}

/** Returns the text for an act that the server has refused, or that was dropped because the session had ended. */
export function problemText(number, status, body) {
  const short = datedNumber(number);
  if (status === UNAUTHORIZED) return translate("acts.signed_out", { number: short });
  if (body?.handed_over) return translate("acts.handed_over", { number: short });
  if (body?.current_status) return translate("acts.too_late", { number: short, status: statusInSentence(body.current_status) });
  if (status === NOT_FOUND && body?.code !== "order_not_found") return translate("acts.elsewhere");
  return compose("acts.refused", { number: short, reason: body ? sentenceOf(body) : "" });
}
