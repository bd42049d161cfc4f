// Acts on orders: hand over, mark as not fetched, send back to the kitchen, release, cancel, and their undo. Each
// is sent with a key, and again without an answer, so that it takes effect once.

import { sentenceOf } from "./problems.js";
import { newKey, post } from "./requests.js";
import { loadInTab, storeInTab } from "./stored.js";
import { compose, shortNumber, statusInSentence, translate } from "./words.js";

const RETRY_DELAY = 1500; // ms
const GIVE_UP_AFTER = 20000; // ms without an answer
const UNDO_WINDOW = 10000; // ms after the request for which an act can be undone
const OFFERS = "acts.undo"; // the name under which the acts that can be undone are stored
const NOT_FOUND = 404; // no order service answers at this address

/** The paths of the acts that can be undone, and of what undoes them. */
export const UNDO = { "hand-over": "hand-over/undo", uncollected: "uncollected/undo", "send-back": "send-back/undo" };
/** What an order has in the live list while an act on it is in effect; null if it is not. */
const EFFECTS = {
  "hand-over": ({ status, handed_over_at: at }) => (status === "ready" ? (at ?? null) : null),
  uncollected: ({ status, uncollected_at: at }) => (status === "ready" ? (at ?? null) : null),
  "send-back": ({ status }) => (status === "cooking" ? status : null),
};
/** The names of the texts for each act. */
export const TEXTS = { "hand-over": "hand_over", uncollected: "uncollected", "send-back": "send_back", release: "release", cancel: "cancel" };

export class OrderActs {
  /**
   * `bar` is an `UndoBar`; `changed(number)` is called when an act begins and when it ends, `refused(text)`
   * for one that has no effect, `done(text)` for one that has, `undone(text)` for one that is undone.
   */
  constructor({ bar, changed, refused, done, undone }) {
    this._bar = bar;
    this._changed = changed;
    this._refused = refused;
    this._done = done;
    this._undone = undone;
    this._pending = new Map(); // texts by order number
    this._latest = new Map(); // acts that can be undone, by order number: `{ act, effect, asOf, until }`, as the live list shows them
    this._offerAgain();
  }

  /** Returns a text for the act on this order that is being sent, or null. */
  pendingOf(number) {
    return this._pending.get(number) ?? null;
  }

  /** Ends the offer to undo an act once the live list shows that it is not in effect any more, or done again. */
  update(number, entry) {
    const latest = this._latest.get(number);
    if (!latest) return;
    const effect = entry ? EFFECTS[latest.act](entry) : null;
    if (latest.effect === null) {
      Object.assign(latest, { effect, asOf: effect && entry.updated_at });
      this._store();
    } else if (effect !== latest.effect) this._withdraw(number);
  }

  /**
   * Performs an act, by its path below the order's, and offers to undo it; returns whether it took effect. It is
   * refused if the order has changed since it was shown, with its `updated_at` in `asOf`.
   */
  async perform(number, act, { reason, asOf } = {}) {
    if (this._pending.has(number)) return false;
    this._withdraw(number);
    if (act in UNDO) this._latest.set(number, { act, effect: null, asOf: null, until: null });
    const until = Date.now() + UNDO_WINDOW;
    const isDone = await this._send(number, act, { reason, as_of: asOf }, translate(`acts.sending.${TEXTS[act]}`));
    if (!isDone) {
      this._latest.delete(number);
      return false;
    }
    if (this._latest.has(number)) {
      this._latest.get(number).until = until;
      this._offer(number);
      this._store();
    }
    this._done(textOf(number, act));
    return true;
  }

  /** Undoes an act; the server refuses that when it is too late. */
  async undo(number, act) {
    const { act: latest, asOf } = this._latest.get(number) ?? {};
    this._withdraw(number);
    const body = latest === act && act !== "send-back" && asOf ? { as_of: asOf } : {};
    const isDone = await this._send(number, UNDO[act], body, translate("acts.sending.undo"));
    if (isDone) this._undone(translate("acts.undone", { number: shortNumber(number) }));
    return isDone;
  }

  /** Offers to undo the acts of this tab again after a reload. */
  _offerAgain() {
    for (const [number, latest] of loadInTab(OFFERS, [])) {
      if (latest.until <= Date.now()) continue;
      this._latest.set(number, latest);
      this._offer(number);
    }
  }

  _offer(number) {
    const { act, until } = this._latest.get(number);
    const label = translate("acts.undo", { what: textOf(number, act) });
    this._bar.offer(number, label, () => this.undo(number, act), (until - Date.now()) / 1000);
  }

  _withdraw(number) {
    this._latest.delete(number);
    this._bar.withdraw(number);
    this._store();
  }

  _store() {
    storeInTab(OFFERS, [...this._latest].filter(([, { until }]) => until > Date.now()));
  }

  async _send(number, path, body, text) {
    if (this._pending.has(number)) return false;
    this._pending.set(number, text);
    this._changed(number);
    const { status, body: answer } = await repeat(`/orders/${encodeURIComponent(number)}/${path}`, body);
    this._pending.delete(number);
    this._changed(number);
    const isDone = (status >= 200 && status < 300) || (path === "cancel" && answer?.current_status === "cancelled");
    if (isDone) return true;
    const hasChanged = body.as_of && answer?.current_status === "ready" && !answer.handed_over;
    this._refused(hasChanged ? translate("pass.changed", { number: shortNumber(number) }) : problemText(number, status, answer));
    return false;
  }
}

function textOf(number, act) {
  return translate(`acts.done.${TEXTS[act]}`, { number: shortNumber(number) });
}

/** Posts a request with one key until there is an answer, or for some time. */
async function repeat(address, body) {
  const key = newKey();
  const start = performance.now();
  for (;;) {
    const answer = await post(address, body, key);
    if (answer.status !== 0 || performance.now() - start > GIVE_UP_AFTER) return answer;
    await new Promise((resolve) => setTimeout(resolve, RETRY_DELAY));
  }
}

/** Returns the text for an act that the server has refused, or did not answer. */
export function problemText(number, status, body) {
  const short = shortNumber(number);
  if (status === 0) return translate("acts.unknown", { number: short });
  if (body?.handed_over) return translate("acts.handed_over", { number: short });
  if (body?.current_status) return translate("acts.too_late", { number: short, status: statusInSentence(body.current_status) });
  if (status === NOT_FOUND && body?.code !== "order_not_found") return translate("acts.elsewhere");
  return compose("acts.refused", { number: short, reason: body ? sentenceOf(body) : "" });
}
