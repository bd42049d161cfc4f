// All day: the quantity of each item over all open tickets and what waits, and of each of its modifiers. Items
// that are crossed off are done.

import { arrange, make, makeUserText, write } from "./elements.js";
import { modifierTexts } from "./modifiers.js";
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
    const shown = sorted(totals);
    const names = new Set(shown.map(({ name }) => name));
    for (const name of this._rows.keys()) if (!names.has(name)) this._rows.delete(name);
    arrange(this._list, shown.map((total) => this._row(total)));
    this._none.hidden = shown.length > 0;
  }

  _open(isOpen) {
    this._panel.hidden = !isOpen;
    this._button.ariaExpanded = String(isOpen);
  }

  _row({ name, count, modifiers }) {
    if (!this._rows.has(name)) {
      const total = make("span", { className: "quantity number" });
      const list = make("ul", { className: "modifiers" });
      this._rows.set(name, { total, list, row: make("li", {}, total, " ", makeUserText("span", name, "name"), list) });
    }
    const shown = this._rows.get(name);
    write(shown.total, countText(count));
    const text = JSON.stringify(sorted(modifiers), (_, value) => (value instanceof Map ? sorted(value) : value));
    if (text !== shown.text) shown.list.replaceChildren(...sorted(modifiers).map(modifierRow));
    shown.text = text;
    shown.list.hidden = modifiers.size === 0;
    return shown.row;
  }
}

function modifierRow({ name, kind, count, modifiers }) {
  const texts = [make("span", { className: "number" }, countText(count)), " ", ...modifierTexts(name, kind)];
  const row = make("li", { className: kind }, ...texts);
  if (modifiers.size > 0) row.append(make("ul", { className: "modifiers" }, ...sorted(modifiers).map(modifierRow)));
  return row;
}

function countText(count) {
  return translate("kitchen.quantity", { quantity: count });
}

/** Returns totals with the highest count first. */
function sorted(totals) {
  return [...totals.values()].sort((one, other) => other.count - one.count || one.name.localeCompare(other.name));
}

function totalsOf(entries) {
  const totals = new Map();
  for (const { status, items, crossed_off: crossedOff } of entries.values()) {
    if (!OPEN.has(status)) continue;
    for (const item of items.filter((_, position) => !crossedOff.includes(position))) add(totals, item, 1);
  }
  for (const item of entries.get("station")?.waiting?.items ?? []) add(totals, item, 1);
  return totals;
}

/** Adds an item or a modifier, `times` over, with its modifiers; instructions are not counted. */
function add(totals, { name, kind, quantity = 1, modifiers }, times) {
  if (kind === "instruction") return;
  const key = JSON.stringify([kind, name]);
  if (!totals.has(key)) totals.set(key, { name, kind, count: 0, modifiers: new Map() });
  const total = totals.get(key);
  total.count += quantity * times;
  for (const modifier of modifiers ?? []) add(total.modifiers, modifier, quantity * times);
}
