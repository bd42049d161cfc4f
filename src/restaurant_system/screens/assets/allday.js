// All day: the quantity of each item over all open tickets.

import { arrange, make, makeUserText, write } from "./elements.js";
import { load, store } from "./stored.js";
import { translate } from "./words.js";

const IS_SHOWN = "kitchen-all-day"; // the key in the browser's storage
const OPEN = new Set(["received", "cooking"]);

export class AllDay {
  /** Shows the totals in `panel`, which `button` shows and hides; on a wide screen it starts shown. */
  constructor(panel, button) {
    this._panel = panel;
    this._button = button;
    [this._list, this._none] = [panel.querySelector("ul"), panel.querySelector("p")];
    this._rows = new Map();
    button.addEventListener("click", () => this.toggle());
    this._open(load(IS_SHOWN, matchMedia("(min-width: 75rem)").matches));
  }

  toggle() {
    this._open(this._panel.hidden);
    store(IS_SHOWN, !this._panel.hidden);
  }

  show(entries) {
    const totals = totalsOf(entries);
    const order = (one, other) => totals.get(other) - totals.get(one) || one.localeCompare(other);
    const names = [...totals.keys()].sort(order);
    for (const name of this._rows.keys()) if (!totals.has(name)) this._rows.delete(name);
    arrange(this._list, names.map((name) => this._row(name, totals.get(name))));
    this._none.hidden = names.length > 0;
  }

  _open(isOpen) {
    this._panel.hidden = !isOpen;
    this._button.ariaExpanded = String(isOpen);
  }

  _row(name, count) {
    if (!this._rows.has(name)) {
      const total = make("span", { className: "quantity number" });
      this._rows.set(name, [make("li", {}, total, " ", makeUserText("span", name, "name")), total]);
    }
    const [row, total] = this._rows.get(name);
    write(total, translate("kitchen.quantity", { quantity: count }));
    return row;
  }
}

function totalsOf(entries) {
  const totals = new Map();
  for (const { status, items } of entries.values()) {
    if (!OPEN.has(status)) continue;
    for (const { name, quantity } of items) totals.set(name, (totals.get(name) ?? 0) + quantity);
  }
  return totals;
}
