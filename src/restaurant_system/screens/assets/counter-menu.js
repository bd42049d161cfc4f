// The menu. It is polled (the browser sends the ETag of the last one) and updated
// without moving the focus. Of its items, those of the selected section or of the search are shown.

import { timeoutSignal } from "./compat.js";
import { unitCents } from "./counter-body.js";
import { decimal } from "./counter-cents.js";
import { costsTheSame, updatedItem } from "./counter-choices.js";
import { Sections } from "./counter-sections.js";
import { arrange, make, makeUserText, write } from "./elements.js";
import { onLongTap } from "./long-tap.js";
import { responseAtLoad } from "./session.js";
import { money, translate } from "./words.js";

const POLL_INTERVAL = 750; // ms, so that the menu follows a change within two seconds
const TIMEOUT = 4000; // ms for a request
const STALE_AFTER = 5000; // ms without a response after which the menu counts as out of date

export class Menu {
  /**
   * Shows the menu in `pane`. `picked(item)` is called when an item is selected, `held(item)` for a
   * long tap on it, which returns whether that did something, `changed()` when the menu has changed, `live(isLive, lastGood)` when it gets out of date or up to date.
   */
  constructor(pane, { picked, held, changed, live }) {
    this.sections = null; // null until the first response
    this.tables = [];
    const part = (id) => pane.querySelector(`#${id}`);
    [this._parent, this._head, this._nothing] = ["menu", "menu-head", "nothing-found"].map(part);
    this._tabs = new Sections(part("sections"), part("search"), () => this._filter());
    this._picked = picked;
    this._changed = changed;
    this._live = live;
    this._isLive = true;
    this._lastGood = null;
    this._startedAt = Date.now();
    this._tag = null;
    this._request = () => responseAtLoad("/menu"); // the first one, which other modules share
    this._items = new Map();
    this._elements = new Map(); // of the sections
    this._buttons = new Map();
    onLongTap(this._parent, ".item", (button) => held(this._itemOf(button)));
  }

  /** Picks the item with the name that is searched, or else the first that is shown, if there is one. */
  pickFirst() {
    const shown = [...this._buttons].filter(([, { parentElement }]) => !parentElement.hidden);
    const [, button] = shown.find(([key]) => this._tabs.isWanted(this._items.get(key))) ?? shown[0] ?? [];
    button?.click();
  }

  /** Shows the items of the selected section again, instead of those that a search found. */
  endSearch() {
    this._tabs.endSearch();
  }

  /** Fetches the menu once, and then at each interval. */
  async watch() {
    await this._fetch();
    setTimeout(() => this.watch(), POLL_INTERVAL);
  }

  /** Returns the menu item of an order item; undefined if it was typed, or is not on the menu any more. */
  find({ isTyped, section, item, name }) {
    if (isTyped || this.sections === null) return undefined;
    if (item !== null) return this._items.get(keyOf(section, item));
    return [...this._items.values()].find((each) => each.name === name); // of a draft of an earlier release
  }

  /**
   * Compares an order item with the menu. Returns null if it is the same or the menu is not known yet,
   * else `{ text, updated }`: the order item with its new prices, or null if it cannot be ordered.
   */
  differenceTo(orderItem) {
    if (orderItem.isTyped || this.sections === null) return null;
    const item = this.find(orderItem);
    if (!item) return { text: translate("counter.removed"), updated: null };
    const updated = updatedItem(item, orderItem);
    if (updated === null) return { text: translate("counter.gone"), updated };
    if (costsTheSame(updated, orderItem)) return null;
    return { text: translate("counter.new_price", { price: unitPrice(updated) }), updated };
  }

  /** Shows at each menu item how many of it are in the order. */
  count(orderItems) {
    const counts = new Map();
    for (const orderItem of orderItems) {
      const item = this.find(orderItem);
      counts.set(item, (counts.get(item) ?? 0) + orderItem.quantity);
    }
    for (const [key, button] of this._buttons) {
      const count = counts.get(this._items.get(key)) ?? 0;
      const badge = button.querySelector(".badge");
      badge.hidden = count === 0;
      write(badge, translate("counter.times", { count }));
    }
  }

  _itemOf(button) {
    const [key] = [...this._buttons].find(([, each]) => each === button);
    return this._items.get(key);
  }

  async _fetch() {
    try {
      const request = this._request();
      this._request = () => fetch("/menu", { cache: "no-cache", signal: timeoutSignal(TIMEOUT) });
      const response = await request;
      if (!response?.ok) throw new Error("There is no menu.");
      const menu = await response.json();
      this._lastGood = new Date();
      this._update(menu, response.headers.get("ETag"));
    } catch {
      // The next request may succeed; otherwise the menu gets out of date.
    }
    const isLive = Date.now() - (this._lastGood?.getTime() ?? this._startedAt) < STALE_AFTER;
    if (isLive !== this._isLive) this._live(isLive, this._lastGood);
    this._isLive = isLive;
  }

  _update({ sections, tables = [] }, tag) {
    if (tag !== null && tag === this._tag) return;
    this._tag = tag;
    this.tables = tables;
    this.sections = sections.map(({ name, items }) => ({ name, items: items.map((item) => ({ ...item, section: name })) }));
    const all = this.sections.flatMap(({ items }) => items);
    this._items = new Map(all.map((item) => [keyOf(item.section, item.name), item]));
    this._show();
    this._changed();
  }

  _show() {
    const before = this._buttons;
    this._buttons = new Map();
    arrange(this._parent, this.sections.map((section) => this._section(section, before)));
    this._head.hidden = this._items.size === 0;
    this._tabs.show(this.sections);
    this._filter();
  }

  _filter() {
    for (const [key, button] of this._buttons) button.parentElement.hidden = !this._tabs.includes(this._items.get(key));
    for (const section of this._elements.values()) section.hidden = !section.querySelector("li:not([hidden])");
    this._parent.classList.toggle("mixed", this._tabs.isMixed);
    this._nothing.hidden = this._items.size === 0 || this._parent.querySelector("li:not([hidden])") !== null;
  }

  _section({ name, items }, before) {
    const section = this._elements.get(name) ?? make("section", {}, makeUserText("h3", name), make("ul", { role: "list" }));
    this._elements.set(name, section);
    arrange(section.querySelector("ul"), items.map((item) => this._item(item, before)));
    return section;
  }

  _item(item, before) {
    const key = keyOf(item.section, item.name);
    const button = before.get(key) ?? buttonOf(item.name);
    button.onclick = () => this._picked(item);
    button.setAttribute("aria-disabled", String(!item.available));
    write(button.querySelector(".price"), item.available ? priceText(item) : unavailableText(item));
    this._buttons.set(key, button);
    return button.parentElement ?? make("li", {}, button);
  }
}

function keyOf(section, name) {
  return JSON.stringify([section, name]);
}

function unitPrice(orderItem) {
  return money(decimal(unitCents(orderItem)));
}

/**
 * Returns the price of a menu item or, if only its variations have one, the lowest of theirs; and how many are
 * left, if that is known.
 */
function priceText({ price, variations, remaining }) {
  const lowest = Math.min(...variations.map((variation) => variation.price));
  const text = price === null ? translate("counter.from_price", { price: money(lowest) }) : money(price);
  return remaining === null ? text : `${text} · ${translate("counter.remaining", { count: remaining })}`;
}

/** Returns why something cannot be ordered: it is sold out, or not served at this hour. */
export function unavailableText({ reason }) {
  return reason === "hours" ? translate("counter.not_served") : translate("counter.sold_out");
}

function buttonOf(name) {
  return make(
    "button",
    { type: "button", className: "item" },
    makeUserText("span", name, "name"),
    " ",
    make("span", { className: "price number" }),
    " ",
    make("span", { className: "badge number", hidden: true }),
  );
}
