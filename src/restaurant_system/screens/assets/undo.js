// Offers to undo what was bumped a moment ago, the latest first.

import { arrange, make, write } from "./elements.js";
import { tapInWords } from "./ticket.js";
import { now } from "./times.js";
import { say, shortNumber } from "./words.js";

const OFFERED = 10; // s, as long as the server keeps a bumped ticket in the view

export class Undo {
  /** Offers in `bar`; `taps` says what is under way, `undo(entry)` is called for a tap. */
  constructor(bar, taps, undo) {
    this._bar = bar;
    this._taps = taps;
    this._undo = undo;
    this._entries = new Map();
    this._offers = new Map();
  }

  show(entries) {
    this._entries = entries;
    this.refresh();
  }

  /** Shows what can be undone now. Tells whether the focus stood on an offer that has gone. */
  refresh() {
    const hadFocus = this._bar.contains(document.activeElement);
    const numbers = [...new Set([...this._bumped().map((entry) => entry.order_number), ...this._recalled()])];
    for (const number of this._offers.keys()) {
      if (!numbers.includes(number)) this._offers.delete(number);
    }
    arrange(this._bar, numbers.map((number) => this._offer(number)));
    return hadFocus && !this._bar.contains(document.activeElement);
  }

  /** The entry of what was bumped last and can be undone, or undefined. */
  get latest() {
    return this._bumped().find((entry) => !this._taps.of(entry.order_number));
  }

  /** What can be undone, the latest bumped first. */
  _bumped() {
    return [...this._entries.values()]
      .filter((entry) => entry.status === "ready" && secondsLeft(entry) > 0)
      .sort((one, other) => Date.parse(other.bumped_at) - Date.parse(one.bumped_at));
  }

  _take(number) {
    const entry = this._entries.get(number);
    if (entry) this._undo(entry);
  }

  _recalled() {
    return this._taps.underWay.filter((tap) => tap.action === "recall").map((tap) => tap.number);
  }

  _offer(number) {
    if (!this._offers.has(number)) this._offers.set(number, this._make(number));
    const [button, word, seconds] = this._offers.get(number);
    const tap = this._taps.of(number);
    const entry = this._entries.get(number);
    button.ariaDisabled = String(Boolean(tap));
    const short = shortNumber(number);
    write(word, tap ? `${short}: ${tapInWords(tap)}` : say("kitchen.undo.offer", { number: short }));
    write(seconds, tap || !entry ? "" : say("kitchen.undo.seconds", { seconds: secondsLeft(entry) }));
    return button;
  }

  _make(number) {
    const word = make("span");
    const seconds = make("span", { className: "seconds number", "aria-hidden": "true" });
    const button = make("button", { type: "button", onclick: () => this._take(number) }, word, " ", seconds);
    return [button, word, seconds];
  }
}

function secondsLeft({ bumped_at }) {
  return Math.ceil(OFFERED - (now() - Date.parse(bumped_at)) / 1000);
}
