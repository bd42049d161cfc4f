// Buttons that undo the latest bumps, the latest first.

import { arrange, make, write } from "./elements.js";
import { describeTap } from "./ticket.js";
import { now } from "./times.js";
import { translate, shortNumber } from "./words.js";

const UNDO_WINDOW = 10; // s for which the server keeps a bumped ticket in the view

export class Undo {
  /** Shows the buttons in `bar`; `taps` has the pending taps, `undo(entry)` is called for a click. */
  constructor(bar, taps, undo) {
    this._bar = bar;
    this._taps = taps;
    this._undo = undo;
    this._entries = new Map();
    this._buttons = new Map();
  }

  show(entries) {
    this._entries = entries;
    this.refresh();
  }

  /** Shows what can be undone now; returns whether a button that had the focus was removed. */
  refresh() {
    const hadFocus = this._bar.contains(document.activeElement);
    const numbers = [...new Set([...this._bumped().map((entry) => entry.order_number), ...this._recalled()])];
    for (const number of this._buttons.keys()) {
      if (!numbers.includes(number)) this._buttons.delete(number);
    }
    arrange(this._bar, numbers.map((number) => this._show(number)));
    return hadFocus && !this._bar.contains(document.activeElement);
  }

  /** The entry of the latest bump that can be undone, or undefined. */
  get latest() {
    return this._bumped().find((entry) => !this._taps.pendingOf(entry.order_number));
  }

  /** The entries that can be undone, the latest bump first. */
  _bumped() {
    return [...this._entries.values()]
      .filter((entry) => entry.status === "ready" && secondsLeft(entry) > 0)
      .sort((one, other) => Date.parse(other.bumped_at) - Date.parse(one.bumped_at));
  }

  _undoBump(number) {
    const entry = this._entries.get(number);
    if (entry) this._undo(entry);
  }

  _recalled() {
    return this._taps.pending.filter((tap) => tap.action === "recall").map((tap) => tap.number);
  }

  _show(number) {
    if (!this._buttons.has(number)) this._buttons.set(number, this._make(number));
    const [button, text, seconds] = this._buttons.get(number);
    const tap = this._taps.pendingOf(number);
    const entry = this._entries.get(number);
    button.ariaDisabled = String(Boolean(tap));
    const short = shortNumber(number);
    write(text, tap ? `${short}: ${describeTap(tap)}` : translate("kitchen.undo.offer", { number: short }));
    write(seconds, tap || !entry ? "" : translate("kitchen.undo.seconds", { seconds: secondsLeft(entry) }));
    return button;
  }

  _make(number) {
    const text = make("span");
    const seconds = make("span", { className: "seconds number", "aria-hidden": "true" });
    const button = make("button", { type: "button", onclick: () => this._undoBump(number) }, text, " ", seconds);
    return [button, text, seconds];
  }
}

function secondsLeft({ bumped_at }) {
  return Math.ceil(UNDO_WINDOW - (now() - Date.parse(bumped_at)) / 1000);
}
