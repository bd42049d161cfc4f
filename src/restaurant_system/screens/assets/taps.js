// What people have tapped, kept until the server has answered: over an outage, and over a reload.
// A tap carries what it was meant for, the ticket's status and version, and its own key, so that it has
// its effect once, however often it is sent, from whichever tab, and none on what the order has become
// since. A ticket takes no other tap while one is under way, so that two taps never mean two steps by
// accident.

import { newKey, post } from "./requests.js";
import { forget, keep, keptUnder, onKeptElsewhere } from "./stored.js";

const AGAIN = 2000; // ms until a tap whose answer is unknown is sent again
// ms for which a tap that leaves its ticket there is under way: so long it takes to see what it does.
const LEAST = { start: 300, rush: 300, recall: 300 };
const SHOWN = 3000; // ms after the answer in which the view is to show what it has done

export class Taps {
  /**
   * Keeps the taps of the station at `address`. `changed(orderNumber)` is called when a ticket's tap
   * comes, changes or goes; `refused(tap, problem)` when the server has said no.
   */
  constructor(address, { changed, refused }) {
    this._address = address;
    this._changed = changed;
    this._refused = refused;
    this._taps = new Map(keptUnder(address).map((tap) => [this._name(tap), { ...tap, isWaiting: true }]));
    this._entries = new Map();
    this._isLive = false;
    this._isSending = false;
    onKeptElsewhere(address, (name, tap) => this._hear(name, tap));
  }

  /** The tap of a ticket that is under way: `{ action, isWaiting, … }`, or undefined. */
  of(number) {
    return this.underWay.find((tap) => tap.number === number);
  }

  /** All taps whose effect is not in the view yet. */
  get underWay() {
    return [...this._taps.values()].filter(isUnderWay);
  }

  /** All taps that are not answered, the first one first. */
  get unanswered() {
    return [...this._taps.values()].filter((tap) => !tap.isAnswered).sort((one, other) => one.at - other.at);
  }

  /** Takes a tap on a ticket as it was seen, unless one of the same ticket is under way. */
  add({ order_number: number, updated_at: asOf }, action, expected) {
    if (this.of(number)) return;
    const at = Math.max(Date.now(), ...this.unanswered.map((tap) => tap.at + 1));
    const tap = { key: newKey(), number, action, expected, asOf, at };
    keep(this._name(tap), tap);
    this._taps.set(this._name(tap), { ...tap, isWaiting: !this._isLive });
    this._changed(number);
    setTimeout(() => this._changed(number), LEAST[action]);
    this._send();
  }

  /** Says whether the line is there: when it is back, what was kept is sent. */
  setLive(isLive) {
    this._isLive = isLive;
    if (isLive) this._send();
    else this._wait(this.unanswered);
  }

  /** Says what the view shows, and so which taps have had their effect. */
  see(entries) {
    this._entries = entries;
    for (const tap of this._taps.values()) this._compare(tap);
  }

  async _send() {
    if (this._isSending) return;
    this._isSending = true;
    const stuck = new Set(); // the tickets of which the server could not say what has become
    let isReached = true;
    while (isReached && this._isLive && this._next(stuck)) {
      isReached = await this._sendOne(this._next(stuck), stuck);
    }
    this._isSending = false;
    if (!isReached || stuck.size) this._sendLater();
  }

  /** The first tap whose ticket is not stuck: of one ticket, no tap goes before another. */
  _next(stuck) {
    return this.unanswered.find((tap) => !stuck.has(tap.number));
  }

  /** Tells whether anybody answered, whatever the answer. */
  async _sendOne(tap, stuck) {
    const address = `${this._address}${tap.number}/${tap.action}`;
    const { status, body, isReached } = await post(address, bodyOf(tap), tap.key);
    if (status === 0) {
      stuck.add(tap.number);
      this._wait(isReached ? [tap] : this.unanswered);
      return isReached;
    }
    forget(this._name(tap));
    if (status === 200) this._finish(tap);
    else this._refuse(tap, body);
    return true;
  }

  _sendLater() {
    clearTimeout(this._timer);
    this._timer = setTimeout(() => this._send(), AGAIN);
  }

  /** Says of taps that they wait: they are sent in their order. */
  _wait(taps) {
    for (const tap of taps) {
      tap.isWaiting = true;
      this._changed(tap.number);
    }
  }

  _finish(tap) {
    tap.isAnswered = true;
    tap.isWaiting = false;
    this._compare(tap);
    this._changed(tap.number);
    setTimeout(() => this._drop(tap), SHOWN);
  }

  _refuse(tap, problem) {
    this._drop(tap);
    this._refused(tap, problem);
  }

  _drop(tap) {
    this._taps.delete(this._name(tap));
    this._changed(tap.number);
  }

  _compare(tap) {
    if (tap.isSeen || !hasEffect(tap, this._entries.get(tap.number))) return;
    tap.isSeen = true;
    this._changed(tap.number);
  }

  /** Hears of another tab's tap: that tab sends it, unless it is closed before. */
  _hear(name, tap) {
    if (tap === null) {
      if (this._taps.has(name)) this._finish(this._taps.get(name));
      return;
    }
    this._taps.set(name, { ...tap, isWaiting: !this._isLive });
    this._changed(tap.number);
    this._sendLater();
  }

  _name({ number, key }) {
    return `${this._address}${number}/${key}`;
  }
}

/** An old server says nothing of versions, and is told nothing of them. */
function bodyOf({ expected, asOf }) {
  return asOf ? { expected, as_of: asOf } : { expected };
}

function isUnderWay({ action, at, isSeen }) {
  return !isSeen || Date.now() - at < LEAST[action];
}

function hasEffect({ action, expected }, entry) {
  if (action === "rush") return !entry || entry.rushed_at !== null;
  if (action === "recall" && !entry) return false; // it was bumped long ago, and is to come back
  return entry?.status !== expected;
}
