// The dialog in which people mark what is sold out (86), or how much of it is left, on any page that has it.

import { arrange, make, makeUserText, visible, write } from "./elements.js";
import { sentenceOf } from "./problems.js";
import { language, timezone } from "./restaurant.js";
import { fetchJson, jsonAtLoad, sendJson, signIn } from "./session.js";
import { folded, translate } from "./words.js";

const ADDRESS = "/menu/availability";
const POLL_INTERVAL = 1000; // ms, while the dialog is open
const UNAUTHORIZED = 401;
const REMOVED = "removed"; // from the menu

const moment = new Intl.DateTimeFormat(language, { dateStyle: "short", timeStyle: "short", timeZone: timezone });

class SoldOut {
  /**
   * Shows itself in `dialog` when `button` is pressed. The button is shown to people who may mark
   * something, if there is a menu.
   */
  constructor(dialog, button) {
    this._dialog = dialog;
    this._button = button;
    this._rows = new Map();
    this._wanted = null; // the name of the item that it was opened for
    this._isUnfolded = true; // that item
    this._isUnreadable = false; // the menu, at the latest attempt
    [this._state, this._list] = [dialog.querySelector("[role=status]"), dialog.querySelector("ul")];
    this._search = dialog.querySelector("input[type=search]");
    this._nothing = dialog.querySelector(".nothing-found");
    this._search.addEventListener("input", () => this._filter());
    dialog.addEventListener("click", (event) => event.target === dialog && dialog.close()); // on the backdrop
    button.addEventListener("click", () => this.open());
    this._reveal();
  }

  /** Whether the person may mark something, and there is a menu. */
  get isUsable() {
    return !this._button.hidden;
  }

  /** Opens the dialog, for an item with this name if there is one; then a change closes it. */
  async open(name = null) {
    if (this._dialog.open) return;
    write(this._state, "");
    this._search.value = name ?? "";
    this._wanted = name;
    this._isUnfolded = false;
    for (const { details } of this._rows.values()) details.open = false;
    this._dialog.showModal();
    await this._follow();
  }

  async _reveal() {
    const [session, menu] = await Promise.all([jsonAtLoad("/session"), jsonAtLoad("/menu")]);
    const mayMark = session?.capabilities.includes("move_orders") ?? false;
    this._button.hidden = !mayMark || !menu?.sections.length;
  }

  /** Fetches the menu at intervals while the dialog is open. */
  async _follow() {
    await this._refresh();
    setTimeout(() => this._dialog.open && this._follow(), POLL_INTERVAL);
  }

  async _refresh() {
    const [menu, marked] = await Promise.all([fetchJson("/menu"), fetchJson(ADDRESS)]);
    const isUnreadable = menu === null || marked === null;
    if (isUnreadable) write(this._state, translate("sold_out.no_menu"));
    else if (this._isUnreadable) write(this._state, "");
    this._isUnreadable = isUnreadable;
    if (!isUnreadable) this._show(menu, marked.limits);
  }

  _show(menu, limits) {
    const before = this._rows;
    this._rows = new Map();
    const elements = [...removedOf(limits), ...entriesOf(menu)].map((entry) => {
      const key = JSON.stringify(entry.selector);
      const row = before.get(key) ?? this._row(entry);
      this._rows.set(key, row);
      fill(row, entry, menu.next_business_day);
      return row.element;
    });
    arrange(this._list, elements);
    this._filter();
    if (!this._isUnfolded) this._unfold();
  }

  /** Shows what can be done with the item that the dialog was opened for. */
  _unfold() {
    this._isUnfolded = true;
    if (this._wanted === null) return;
    const row = [...this._rows.values()].find(({ name }) => name === this._wanted);
    if (!row) {
      this._showNotOnMenu();
      return;
    }
    row.details.open = true;
    row.actions.querySelector("button:not([hidden])").focus();
  }

  /** Says that the item was typed, or is a platform's, and shows the whole menu unless a part of it has such a name. */
  _showNotOnMenu() {
    write(this._state, translate("sold_out.not_on_menu", { name: visible(this._wanted) }));
    this._wanted = null;
    if (!this._nothing.hidden) this._search.value = "";
    this._filter();
  }

  _filter() {
    const wanted = folded(this._search.value.trim());
    for (const { element, name } of this._rows.values()) element.hidden = !folded(name).includes(wanted);
    this._nothing.hidden = this._rows.size === 0 || this._list.querySelector("li:not([hidden])") !== null;
  }

  _row({ name, selector }) {
    const row = { name, selector, tomorrow: null };
    const action = (text, body) => {
      const onclick = () => this._send(row, body());
      return make("button", { type: "button", onclick }, translate(`sold_out.${text}`), make("span", { className: "unseen" }, ` ${name}`));
    };
    row.state = make("span", { className: "state" });
    row.lift = action("lift", () => ({ available: true }));
    row.actions = make(
      "div",
      { className: "actions" },
      action("until_tomorrow", () => ({ available: false, until: row.tomorrow })),
      action("until_lifted", () => ({ available: false })),
      this._counter(row),
      row.lift,
    );
    const summary = make("summary", {}, makeUserText("span", name, "name"), " ", row.state);
    row.details = make("details", { name: "sold-out" }, summary, row.actions);
    row.element = make("li", {}, row.details);
    return row;
  }

  /** Returns the form in which the number of portions that are left is typed. */
  _counter(row) {
    const label = translate("sold_out.left_of", { name: row.name });
    const input = make("input", { type: "number", min: 1, max: 99999, required: true, inputMode: "numeric", "aria-label": label });
    const onsubmit = (event) => {
      event.preventDefault();
      this._send(row, { remaining: input.valueAsNumber });
      input.value = "";
    };
    return make("form", { onsubmit }, input, make("button", {}, translate("sold_out.left")));
  }

  async _send(row, body) {
    const response = await sendJson("POST", ADDRESS, { ...row.selector, ...body });
    if (response?.status === UNAUTHORIZED) signIn("lost");
    if (response?.ok && this._wanted !== null) this._dialog.close();
    else if (response?.ok) {
      row.details.open = false;
      row.details.querySelector("summary").focus();
    }
    write(this._state, response?.ok ? "" : await problemOf(response));
    await this._refresh();
  }
}

/** Returns what can be marked: items, each followed by its variations, and then the options. */
function entriesOf({ sections }) {
  const items = sections.flatMap((section) => section.items);
  const options = new Map();
  for (const option of items.flatMap((item) => item.modifier_groups.flatMap((group) => group.options))) {
    if (!options.has(option.name)) options.set(option.name, option);
  }
  return [
    ...items.flatMap((item) => [item, ...item.variations]).map((item) => ({
      name: item.order_name,
      selector: item.sku === null ? { name: item.order_name } : { sku: item.sku },
      item,
    })),
    ...[...options.values()].map((item) => ({ name: item.name, selector: { option: item.name }, item })),
  ];
}

/** Returns what was marked and is not on the menu any more: all that can be done is to lift that. */
function removedOf(limits) {
  return limits
    .filter((limit) => !limit.on_menu)
    .map(({ sku, name, option, remaining }) => ({
      name: name ?? option ?? sku,
      selector: sku !== null ? { sku } : name !== null ? { name } : { option },
      item: { available: false, reason: REMOVED, remaining },
    }));
}

function fill(row, { item }, tomorrow) {
  row.tomorrow = tomorrow;
  for (const action of row.actions.children) action.hidden = item.reason === REMOVED;
  row.lift.hidden = item.remaining === null;
  row.actions.inert = item.reason === "menu";
  row.element.classList.toggle("unavailable", !item.available);
  write(row.state, stateOf(item, tomorrow));
}

function stateOf({ reason, remaining, until }, tomorrow) {
  if (reason === REMOVED) return translate("sold_out.removed");
  if (reason === "menu") return translate("sold_out.in_file");
  if (reason === "hours") return translate("sold_out.closed");
  if (reason !== "sold_out") return remaining === null ? "" : translate("sold_out.remaining", { count: remaining });
  if (until === null) return translate("counter.sold_out");
  if (until === tomorrow) return translate("sold_out.until", { time: translate("sold_out.tomorrow") });
  return translate("sold_out.until", { time: moment.format(new Date(until)) });
}

/** Returns why a change was refused, or that there was no response. */
async function problemOf(response) {
  if (response === null || response.status >= 500) return translate("sold_out.not_saved");
  return sentenceOf(await response.json());
}

const soldOut = new SoldOut(document.getElementById("sold-out"), document.getElementById("sold-out-button"));

/** Opens the dialog for the item with this name; returns whether the person may mark it. */
export function markSoldOut(name) {
  if (soldOut.isUsable) soldOut.open(name);
  return soldOut.isUsable;
}
