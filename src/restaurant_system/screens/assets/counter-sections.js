// The tabs of the sections of the menu, and the search. One section is shown at a time, because a long menu
// has no end on a phone; a short menu also has a tab with all of it, which is selected first.

import { arrange, make, makeUserText } from "./elements.js";
import { folded, translate } from "./words.js";

const MAX_ITEMS_AT_ONCE = 30;
const ALL = null;
const STEPS = { ArrowRight: 1, ArrowLeft: -1, Home: -Infinity, End: Infinity };

export class Sections {
  /** Shows the tabs in `list`; `changed()` is called when another section or another text is selected. */
  constructor(list, search, changed) {
    this._list = list;
    this._search = search;
    this._changed = changed;
    this._tabs = new Map();
    this._selected = ALL;
    search.addEventListener("input", () => this._show());
    list.addEventListener("keydown", (event) => this._step(event));
  }

  /** Tells whether items of several sections are shown together. */
  get isMixed() {
    return this._selected === ALL || this._wanted !== "";
  }

  /** Tells whether an item is among those that are selected by the search, or else by the tab. */
  includes({ name, section }) {
    if (this._wanted !== "") return folded(name).includes(this._wanted);
    return this._selected === ALL || section === this._selected;
  }

  /** Tells whether an item has exactly the name that is searched. */
  isWanted({ name }) {
    return folded(name) === this._wanted;
  }

  /** Shows the tabs of these sections. */
  show(sections) {
    const names = sections.map(({ name }) => name);
    const count = sections.reduce((sum, { items }) => sum + items.length, 0);
    const all = count <= MAX_ITEMS_AT_ONCE ? [ALL, ...names] : names;
    if (!all.includes(this._selected)) this._selected = all[0] ?? ALL;
    this._tabs = new Map(all.map((name) => [name, this._tabs.get(name) ?? this._tab(name)]));
    arrange(this._list, [...this._tabs.values()]);
    this._list.hidden = names.length < 2;
    this._showSelected();
  }

  endSearch() {
    if (this._search.value === "") return;
    this._search.value = "";
    this._show();
  }

  get _wanted() {
    return folded(this._search.value.trim());
  }

  _tab(name) {
    const text = name === ALL ? make("span", {}, translate("counter.all_sections")) : makeUserText("span", name);
    return make("button", { type: "button", role: "tab", onclick: () => this._select(name), "aria-controls": "menu" }, text);
  }

  _select(name) {
    this._selected = name;
    this._search.value = "";
    this._show();
    this._tabs.get(name).scrollIntoView({ block: "nearest", inline: "nearest" });
  }

  /** Moves to another tab, and wraps around, as in every list of tabs. */
  _step(event) {
    if (!(event.key in STEPS)) return;
    event.preventDefault();
    const names = [...this._tabs.keys()];
    const isReversed = getComputedStyle(this._list).direction === "rtl" && event.key.startsWith("Arrow");
    const step = STEPS[event.key] * (isReversed ? -1 : 1);
    const last = names.length - 1;
    const next = Number.isFinite(step) ? names.indexOf(this._selected) + step : step < 0 ? 0 : last;
    this._select(names[next < 0 ? last : next > last ? 0 : next]);
    this._tabs.get(this._selected).focus();
  }

  _show() {
    this._showSelected();
    this._changed();
  }

  /** Shows which tab is selected; none is while a search finds items of all sections. */
  _showSelected() {
    const isSearch = this._wanted !== "";
    for (const [name, tab] of this._tabs) {
      tab.setAttribute("aria-selected", String(name === this._selected && !isSearch));
      tab.tabIndex = name === this._selected ? 0 : -1;
    }
  }
}
