// Buttons that undo the latest starts, bumps and rushes, the latest first.

import { datedNumber } from "./business-date.js";
import { arrange, make, write } from "./elements.js";
import { TapGuard } from "./tap-guard.js";
import { describeTap } from "./ticket.js";
import { now } from "./times.js";
import { translate } from "./words.js";

const UNDO_WINDOW = 10; // s for which the server keeps a bumped ticket in the view, and holds a start
const ACTIONS = new Set(["recall", "unrush", "unstart"]);

export class Undo {
  /** Shows the buttons in `bar`; `taps` has the pending taps, `undo(entry, action)` is called for a click. */
  constructor(bar, taps, undo) {
    this._bar = bar;
    this._guard = new TapGuard(bar); // an act on another screen moves the buttons
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
    const offers = new Map();
    for (const offer of [...this._possible(), ...this._pending()].sort(latestFirst)) {
      if (!offers.has(keyOf(offer))) offers.set(keyOf(offer), offer);
    }
    for (const key of this._buttons.keys()) if (!offers.has(key)) this._buttons.delete(key);
    const buttons = [...offers].map(([key, offer]) => this._show(key, offer));
    this._guard.arrange(() => arrange(this._bar, buttons));
    const [top] = buttons.map((button) => button.offsetTop);
    for (const button of buttons) button.style.visibility = button.offsetTop > top ? "hidden" : ""; // they do not fit
    return hadFocus && !this._bar.contains(document.activeElement);
  }

  /** Undoes the latest act that can be undone. */
  undoLatest() {
    const latest = this._possible().find(({ number }) => !this._taps.pendingOf(number));
    if (latest) this._undo(this._entries.get(latest.number), latest.action);
  }

  /** What can be undone, the latest act first: `{ number, action, at }`. */
  _possible() {
    return [...this._entries.values()]
      .flatMap(offersOf)
      .filter((offer) => secondsLeft(offer) > 0)
      .sort(latestFirst);
  }

  /** What is being undone, in its place: a second tap is not on the next button. */
  _pending() {
    const undone = this._taps.pending.filter((tap) => ACTIONS.has(tap.action));
    return undone.map((tap) => this._buttons.get(keyOf(tap))?.offer ?? { number: tap.number, action: tap.action, at: tap.at });
  }

  _click(number, action) {
    const entry = this._entries.get(number);
    if (entry) this._undo(entry, action);
  }

  _show(key, offer) {
    if (!this._buttons.has(key)) this._buttons.set(key, this._make(offer));
    const { button, text, seconds } = this._buttons.get(key);
    const tap = this._taps.pendingOf(offer.number);
    const number = datedNumber(offer.number);
    button.ariaDisabled = String(Boolean(tap));
    write(text, tap ? `${number}: ${describeTap(tap)}` : translate(`kitchen.undo.${offer.action}`, { number }));
    write(seconds, tap ? "" : translate("kitchen.undo.seconds", { seconds: secondsLeft(offer) }));
    return button;
  }

  _make(offer) {
    const { number, action } = offer;
    const text = make("span");
    const seconds = make("span", { className: "seconds number", "aria-hidden": "true" });
    const button = make("button", { type: "button", onclick: () => this._click(number, action) }, text, " ", seconds);
    return { offer, button, text, seconds };
  }
}

function keyOf({ number, action }) {
  return `${action} ${number}`;
}

function latestFirst(one, other) {
  return other.at - one.at;
}

/** What can be undone of an order: its bump; or its start, if that is held, and its rush. */
function offersOf({ order_number: number, status, started_at, bumped_at, rushed_at, can_be_unrushed }) {
  if (status === "ready") return [{ number, action: "recall", at: Date.parse(bumped_at) }];
  const offers = [];
  if (started_at) offers.push({ number, action: "unstart", at: Date.parse(started_at) });
  if (can_be_unrushed && status !== "cancelled") offers.push({ number, action: "unrush", at: Date.parse(rushed_at) });
  return offers;
}

function secondsLeft({ at }) {
  return Math.ceil(UNDO_WINDOW - (now() - at) / 1000);
}
