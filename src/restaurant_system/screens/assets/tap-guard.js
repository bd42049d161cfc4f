// Guards a list whose rows come and go against taps that were meant for something else: a row that was tapped stays
// in its place for a moment, and a tap on a button that has just moved or changed under the finger has no effect.

import { translate } from "./words.js";
import { toast } from "./notices.js";

const KEPT_FOR = 1500; // ms after the latest tap for which the tapped rows stay
const SETTLING = 1000; // ms after a button has moved or changed for which a tap is not taken to be for it
const SAME_PLACE = 48; // px between two taps of which the second repeats the first
const MIN_MOVE = 8; // px: a smaller move does not put another button under the finger

export class TapGuard {
  /** `released(keys)` is called when the rows with these keys need not stay any more. */
  constructor(list, released = () => {}) {
    this._list = list;
    this._released = released;
    this._kept = new Set();
    this._changes = new WeakMap(); // times by button
    this._allChanged = -SETTLING; // the time of the latest change of the whole list
    this._uncovered = null; // the tap that has uncovered the list: `{ clientX, clientY, at }`
    list.addEventListener("click", (event) => this._check(event), true);
  }

  /** Keeps a row that was tapped, and the others that are kept, until there is no tap for a while. */
  keep(key) {
    this._kept.add(key);
    clearTimeout(this._keeping);
    this._keeping = setTimeout(() => this.release(...this._kept), KEPT_FOR);
  }

  isKept(key) {
    return this._kept.has(key);
  }

  /** Ends that these rows are kept. */
  release(...keys) {
    for (const key of keys) this._kept.delete(key);
    if (keys.length) this._released(keys);
  }

  /** Ends that any row is kept, as the user asks for other rows. */
  forgetKept() {
    this.release(...this._kept);
  }

  /** Changes the list by `change()`, and notes which buttons that moves or adds. */
  arrange(change) {
    const before = this._positions();
    change();
    for (const [button, position] of this._positions()) if (hasMoved(before.get(button), position)) this.changed(button);
  }

  /** Notes that a button does something else from now on. */
  changed(button) {
    this._changes.set(button, performance.now());
    this._showSettling();
  }

  /** Notes that the whole list has come under the finger. */
  changedAll() {
    this._allChanged = performance.now();
    this._showSettling();
  }

  /** Notes that a tap has removed what covered the list: another one at the same place is not for what is there. */
  uncovered(tap) {
    this._uncovered = tap;
  }

  _positions() {
    return new Map([...this._list.querySelectorAll("button")].map((button) => [button, button.getBoundingClientRect()]));
  }

  _showSettling() {
    this._list.classList.add("settling");
    clearTimeout(this._settling);
    this._settling = setTimeout(() => this._list.classList.remove("settling"), SETTLING);
  }

  /** Tells whether a tap repeats the one that has uncovered the list. */
  _isRepeated(event) {
    return this._uncovered !== null && performance.now() - this._uncovered.at < SETTLING && isNear(this._uncovered, event);
  }

  _check(event) {
    const button = event.target.closest("button");
    if (!button || event.detail === 0) return; // by a key, on the button that has the focus
    const last = Math.max(this._allChanged, this._changes.get(button) ?? -SETTLING);
    if (performance.now() - last >= SETTLING && !this._isRepeated(event)) return;
    event.stopImmediatePropagation();
    event.preventDefault();
    toast(translate("acts.moved"));
  }
}

function isNear(one, other) {
  return Math.hypot(one.clientX - other.clientX, one.clientY - other.clientY) < SAME_PLACE;
}

function hasMoved(before, after) {
  return !before || Math.abs(before.left - after.left) > MIN_MOVE || Math.abs(before.top - after.top) > MIN_MOVE;
}
