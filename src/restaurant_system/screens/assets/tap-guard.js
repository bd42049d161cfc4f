// Guards a list whose rows come and go against taps that were meant for something else: what was tapped stays in its
// place for a moment, and a tap on what has just moved to the place of another one, or changed, has no effect.

import { translate } from "./words.js";
import { toast } from "./notices.js";

const KEPT_FOR = 1500; // ms after the latest tap for which the tapped rows stay
const SETTLING = 1000; // ms after a button has moved or changed for which a tap is not taken to be for it
const SAME_PLACE = 48; // px between two taps of which the second repeats the first
const MIN_MOVE = 8; // px: a smaller move puts nothing else under the finger

export class TapGuard {
  /**
   * Guards the elements of a list that match `targets`. `released(keys)` is called when the rows with these keys need
   * not stay any more, `keptFor` ms after the latest tap. `settling` is for how many ms no tap is for what has moved.
   */
  constructor(list, { targets = "button", keptFor = KEPT_FOR, settling = SETTLING, released = () => {} } = {}) {
    this._list = list;
    this._targets = targets;
    this._keptFor = keptFor;
    this._settling = settling;
    this._released = released;
    this._kept = new Set();
    this._changes = new WeakMap(); // times by target
    this._allChanged = -Infinity; // the time of the latest change of the whole list
    this._settledAt = 0; // when a tap counts on each target
    this._uncovered = null; // the tap that has uncovered the list: `{ clientX, clientY, at }`
    list.addEventListener("click", (event) => this._check(event), true);
  }

  /** Keeps a row that was tapped, and the others that are kept, until there is no tap for a while. */
  keep(key) {
    this._kept.add(key);
    clearTimeout(this._keeping);
    this._keeping = setTimeout(() => this.release(...this._kept), this._keptFor);
    this.settle(0);
  }

  get isKeeping() {
    return this._kept.size > 0;
  }

  isKept(key) {
    return this._kept.has(key);
  }

  /** Ends that these rows are kept. */
  release(...keys) {
    for (const key of keys) this._kept.delete(key);
    if (keys.length) this._released(keys);
    this.settle(0);
  }

  /** Ends that any row is kept, as the user asks for other rows. */
  forgetKept() {
    this.release(...this._kept);
  }

  /** Changes the list by `change()`, and notes what that moves to the place of something else. */
  arrange(change) {
    const before = this._places();
    change();
    for (const [target, place] of this._places()) {
      const isSame = before.has(target) && !hasMoved(before.get(target), place);
      const hadOther = () => [...before].some(([other, old]) => other !== target && areOverlapping(old, place));
      if (!isSame && hadOther()) this.changed(target);
    }
  }

  /** Notes that a target does something else from now on, or lies over something else. */
  changed(target) {
    this._changes.set(target, performance.now());
    this.settle();
  }

  /** Notes that the whole list has come under the finger. */
  changedAll() {
    this._allChanged = performance.now();
    this.settle();
  }

  /** Notes that a tap has removed what covered the list: another one at the same place is not for what is there. */
  uncovered(tap) {
    this._uncovered = tap;
  }

  /** Marks the list until a tap counts on everything in it, at least for so many ms. */
  settle(duration = this._settling) {
    this._settledAt = Math.max(this._settledAt, performance.now() + duration);
    this._list.classList.add("settling");
    clearTimeout(this._marking);
    const left = this._settledAt - performance.now();
    if (!this.isKeeping) this._marking = setTimeout(() => this._list.classList.remove("settling"), left);
  }

  /** Returns where the targets in sight are. */
  _places() {
    const places = Array.from(this._list.querySelectorAll(this._targets), (target) => [target, target.getBoundingClientRect()]);
    return new Map(places.filter(([, { width, top, bottom }]) => width > 0 && bottom > 0 && top < innerHeight));
  }

  /** Tells whether a tap repeats the one that has uncovered the list. */
  _isRepeated(event) {
    return this._uncovered !== null && performance.now() - this._uncovered.at < SETTLING && isNear(this._uncovered, event);
  }

  _check(event) {
    const target = event.target.closest(this._targets);
    if (!target || event.detail === 0) return; // by a key, on the button that has the focus
    const last = Math.max(this._allChanged, this._changes.get(target) ?? -Infinity);
    if (performance.now() - last >= this._settling && !this._isRepeated(event)) return;
    event.stopImmediatePropagation();
    event.preventDefault();
    toast(translate("acts.moved"));
  }
}

function isNear(one, other) {
  return Math.hypot(one.clientX - other.clientX, one.clientY - other.clientY) < SAME_PLACE;
}

/** Tells whether a target has moved, or has another size. */
function hasMoved(before, after) {
  return ["left", "top", "right", "bottom"].some((edge) => Math.abs(before[edge] - after[edge]) > MIN_MOVE);
}

function areOverlapping(one, other) {
  const width = Math.min(one.right, other.right) - Math.max(one.left, other.left);
  const height = Math.min(one.bottom, other.bottom) - Math.max(one.top, other.top);
  return width > MIN_MOVE && height > MIN_MOVE;
}
