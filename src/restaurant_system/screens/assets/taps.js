// Taps on the tickets of a station, or acts on orders, kept until the server has answered, also over an outage and
// over a reload.
// A tap carries the status and version of the ticket that was shown, so that it is refused if the order
// has changed, and an idempotency key, so that it takes effect once, however often and from whichever
// tab it is sent. A ticket accepts no other tap while one is pending, so that a double tap is one step.

import { newKey, post, UNAUTHORIZED } from "./requests.js";
import { jsonAtLoad } from "./session.js";
import { removeStored, store, loadAll, onStoredElsewhere } from "./stored.js";
import { now } from "./times.js";

const RETRY_DELAY = 2000; // ms until a tap without a response is sent again
// The shortest time in ms for which a tap is pending on a ticket that stays: another tap within this time is
// taken for the same one.
const MIN_PENDING = { start: 1000, unstart: 1000, rush: 1000, unrush: 1000, recall: 1000, cross_off: 1000, restore: 1000 };
// ms after the response: a view as of then shows the effect of the tap, unless it has been undone before it was seen.
const EFFECT_DELAY = 3000;

export class Taps {
  /**
   * Keeps the taps of the station at `address`. `changed(orderNumber)` is called when the tap of a
   * ticket is added, changed or removed; `refused(tap, problem, status)` when the server has refused it,
   * `done(tap)` when its effect is in the view. `bodyOf(tap)` returns what is sent. The names under which taps are
   * stored begin with `storedAs`.
   */
  constructor(address, { changed, refused, done = () => {}, bodyOf = bodyOfTap, storedAs = address }) {
    this._address = address;
    this._storedAs = storedAs;
    this._changed = changed;
    this._refused = refused;
    this._done = done;
    this._bodyOf = bodyOf;
    this._taps = new Map(loadAll(storedAs).map((tap) => [this._storageKey(tap), { ...tap, isWaiting: true }]));
    for (const [name, { refusal }] of this._taps) if (refusal) this._taps.delete(name); // the tab was closed meanwhile
    this._entries = new Map();
    this._isLive = false;
    this._isSending = false;
    this._identified = this._identify();
    onStoredElsewhere(storedAs, (name, tap) => this._onOtherTab(name, tap));
  }

  /** Whether there is a connection: otherwise taps are kept. */
  get isLive() {
    return this._isLive;
  }

  /** The pending tap of a ticket: `{ action, isWaiting, … }`, or undefined; or that of one of its items. */
  pendingOf(number, item) {
    return this.pending.find((tap) => tap.number === number && tap.item === item);
  }

  /** The pending taps on items of a ticket. */
  pendingOfItems(number) {
    return this.pending.filter((tap) => tap.number === number && tap.item !== undefined);
  }

  /** All taps whose effect is not in the view yet. */
  get pending() {
    return [...this._taps.values()].filter(isPending);
  }

  /** All taps that are not answered, the oldest first. */
  get unanswered() {
    return [...this._taps.values()].filter((tap) => !tap.isAnswered).sort((one, other) => one.at - other.at);
  }

  /**
   * Adds a tap on a ticket as it was shown, or on one of its items, with a reason, if the action has one, unless one
   * on the same is pending.
   */
  add({ order_number: number, updated_at: asOf }, action, expected, item, reason) {
    if (this.pendingOf(number) || this.pendingOf(number, item)) return;
    const at = Math.max(Date.now(), ...this.unanswered.map((tap) => tap.at + 1));
    const tap = { key: newKey(), by: this._by, number, action, expected, asOf, at, item, reason };
    store(this._storageKey(tap), tap);
    this._taps.set(this._storageKey(tap), { ...tap, isWaiting: !this._isLive });
    this._changed(number);
    setTimeout(() => this._changed(number), MIN_PENDING[action]);
    this._send();
  }

  /** Sets whether there is a connection; with a connection, kept taps are sent. */
  setLive(isLive) {
    this._isLive = isLive;
    if (isLive) this._send();
    else this._markWaiting(this.unanswered);
  }

  /** Compares the pending taps with the entries of the view. */
  update(entries) {
    this._entries = entries;
    for (const tap of this._taps.values()) this._checkEffect(tap);
  }

  /** Removes the answered taps whose effect the view, as of this time by the server's clock, has had to show. */
  expire(asOf) {
    for (const tap of [...this._taps.values()]) {
      if (tap.isAnswered && asOf >= tap.answeredAt + EFFECT_DELAY && !isRecent(tap)) this._remove(tap);
    }
  }

  async _send() {
    if (this._isSending) return;
    this._isSending = true;
    await this._identified;
    const stuck = new Set(); // order numbers with a tap that got no response
    let isReached = true;
    while (isReached && this._isLive && this._next(stuck)) {
      isReached = await this._sendOne(this._next(stuck), stuck);
    }
    this._isSending = false;
    if (!isReached || stuck.size) this._sendLater();
  }

  /**
   * Drops the taps of a person whose session has ended, and who is not the one that has signed in since: they would
   * be done in another name.
   */
  async _identify() {
    const session = await jsonAtLoad("/session");
    this._by = session?.name ?? undefined;
    if (session === null) return;
    for (const tap of this.unanswered.filter(({ by }) => by !== undefined && by !== this._by)) {
      removeStored(this._storageKey(tap));
      this._refuse(tap, null, UNAUTHORIZED);
    }
  }

  /** The oldest tap whose order is not stuck: the taps of one order are sent in sequence. */
  _next(stuck) {
    return this.unanswered.find((tap) => !stuck.has(tap.number));
  }

  /** Sends a tap; returns whether the server was reached. */
  async _sendOne(tap, stuck) {
    const address = `${this._address}${tap.number}/${tap.action}`;
    const { status, body, isReached, sentAt } = await post(address, this._bodyOf(tap), tap.key, { change: "kept" });
    if (status === 0 || status === UNAUTHORIZED) {
      stuck.add(tap.number);
      this._markWaiting(isReached ? [tap] : this.unanswered);
      return isReached;
    }
    if (status !== 200) store(this._storageKey(tap), { ...tap, refusal: [body, status] }); // for other tabs
    removeStored(this._storageKey(tap));
    if (status === 200) this._finish(tap, sentAt || now());
    else this._refuse(tap, body, status);
    return true;
  }

  _sendLater() {
    clearTimeout(this._timer);
    this._timer = setTimeout(() => this._send(), RETRY_DELAY);
  }

  _markWaiting(taps) {
    for (const tap of taps) {
      tap.isWaiting = true;
      this._changed(tap.number);
    }
  }

  _finish(tap, answeredAt) {
    tap.isAnswered = true;
    tap.answeredAt = answeredAt;
    tap.isWaiting = false;
    this._checkEffect(tap);
    this._changed(tap.number);
  }

  _refuse(tap, problem, status) {
    this._remove(tap);
    this._refused(tap, problem, status);
  }

  _remove(tap) {
    this._taps.delete(this._storageKey(tap));
    this._changed(tap.number);
  }

  _checkEffect(tap) {
    if (!tap.hasEffect && isInEffect(tap, this._entries.get(tap.number))) {
      tap.hasEffect = true;
      this._changed(tap.number);
    }
    if (!tap.hasEffect || !tap.isAnswered || tap.isDone) return;
    tap.isDone = true;
    this._done(tap);
  }

  /** Handles a tap of another tab: that tab sends it first, and this one in case it was closed. */
  _onOtherTab(name, tap) {
    const own = this._taps.get(name);
    if (tap?.refusal && own) this._refuse(own, ...tap.refusal);
    if (tap === null && own) this._finish(own, now());
    if (tap === null || tap.refusal) return;
    this._taps.set(name, { ...tap, isWaiting: !this._isLive });
    this._changed(tap.number);
    this._sendLater();
  }

  _storageKey({ number, key }) {
    return `${this._storedAs}${number}/${key}`;
  }
}

/** The body of a tap; `as_of` is left out where the server has sent no versions. */
function bodyOfTap({ expected, asOf, item }) {
  return { expected, ...(asOf ? { as_of: asOf } : {}), ...(item === undefined ? {} : { item }) };
}

function isPending(tap) {
  return !tap.hasEffect || isRecent(tap);
}

function isRecent({ action, at }) {
  return Date.now() - at < MIN_PENDING[action];
}

function isInEffect({ action, expected, item }, entry) {
  if (action === "rush") return !entry || entry.rushed_at !== null;
  if (action === "unrush") return !entry || entry.rushed_at === null;
  if (item !== undefined) return !entry || entry.crossed_off.includes(item) === (action === "cross_off");
  if (action === "recall" && !entry) return false; // bumped long ago: the recall brings it back
  return entry?.status !== expected;
}
