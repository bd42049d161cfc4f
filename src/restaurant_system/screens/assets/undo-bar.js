// A bar with a button for each act that can still be undone, with the seconds that are left for that.

import { arrange, make, write } from "./elements.js";
import { TapGuard } from "./tap-guard.js";
import { translate } from "./words.js";

const TICK = 250; // ms

export class UndoBar {
  /** Shows the buttons in `bar`, the latest act first. */
  constructor(bar) {
    this._bar = bar;
    this._guard = new TapGuard(bar);
    this._offers = []; // { key, undo, until, button, seconds }, the latest first
  }

  /**
   * Offers for `seconds` to undo an act, which `label` describes; an earlier offer with the same `key`
   * ends. `undo()` is called once.
   */
  offer(key, label, undo, seconds = 10) {
    this.withdraw(key);
    const left = make("span", { className: "seconds number", "aria-hidden": "true" });
    const button = make("button", { type: "button" }, make("span", { className: "user-text" }, label), " ", left);
    const offer = { key, undo, until: performance.now() + seconds * 1000, button, left };
    button.addEventListener("click", () => this._take(offer));
    this._offers.unshift(offer);
    this._tick();
    this._guard.changed(button); // it appears over the list that is tapped
  }

  /** Ends the offer to undo the act with this key, if there is one. */
  withdraw(key) {
    this._offers = this._offers.filter((each) => each.key !== key);
    this._show();
  }

  /** Undoes the latest act that can be undone; returns whether there was one. */
  undoLatest() {
    if (this._offers.length === 0) return false;
    this._take(this._offers[0]);
    return true;
  }

  _take(offer) {
    if (!this._offers.includes(offer)) return;
    this.withdraw(offer.key);
    offer.undo();
  }

  _tick() {
    clearTimeout(this._ticking);
    this._offers = this._offers.filter(({ until }) => until > performance.now());
    this._show();
    if (this._offers.length > 0) this._ticking = setTimeout(() => this._tick(), TICK);
  }

  _show() {
    for (const { left, until } of this._offers) {
      write(left, translate("undo.seconds", { seconds: Math.max(1, Math.ceil((until - performance.now()) / 1000)) }));
    }
    this._guard.arrange(() => arrange(this._bar, this._offers.map(({ button }) => button)));
  }
}
