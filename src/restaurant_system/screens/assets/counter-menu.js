// The menu. It is polled every few seconds (the browser sends the ETag of the last one) and updated
// without moving the focus.

import { arrange, make, makeUserText, write } from "./elements.js";
import { money, translate } from "./words.js";

const POLL_INTERVAL = 3000; // ms
const TIMEOUT = 4000; // ms for a request
const STALE_AFTER = 5000; // ms without a response after which the menu counts as out of date

export class Menu {
  /**
   * Shows the menu in `parent`. `picked(item)` is called when an item is selected, `changed()` when
   * the menu has changed, `live(isLive, lastGood)` when it gets out of date or up to date.
   */
  constructor(parent, { picked, changed, live }) {
    this.sections = null; // null until the first response
    this._parent = parent;
    this._picked = picked;
    this._changed = changed;
    this._live = live;
    this._isLive = true;
    this._lastGood = null;
    this._startedAt = Date.now();
    this._tag = null;
    this._items = new Map();
    this._sections = new Map();
    this._buttons = new Map();
  }

  /** Fetches the menu once, and then at each interval. */
  async watch() {
    await this._fetch();
    setTimeout(() => this.watch(), POLL_INTERVAL);
  }

  /**
   * Compares an order item with the menu. Returns null if it is the same or the menu is not known yet,
   * else `{ text, price }`; the price is null if the item cannot be ordered.
   */
  differenceTo(orderItem) {
    if (orderItem.isTyped || this.sections === null) return null;
    const item = this._items.get(orderItem.name);
    if (!item) return { text: translate("counter.removed"), price: null };
    if (!item.available) return { text: translate("counter.gone"), price: null };
    if (String(item.price) === orderItem.price) return null;
    return { text: translate("counter.new_price", { price: money(item.price) }), price: item.price };
  }

  /** Shows at each menu item how many of it are in the order. */
  count(orderItems) {
    for (const [name, button] of this._buttons) {
      const chosen = orderItems.filter((orderItem) => !orderItem.isTyped && orderItem.name === name);
      const count = chosen.reduce((sum, orderItem) => sum + orderItem.quantity, 0);
      const badge = button.querySelector(".badge");
      badge.hidden = count === 0;
      write(badge, translate("counter.times", { count }));
    }
  }

  async _fetch() {
    try {
      const response = await fetch("/menu", { cache: "no-cache", signal: AbortSignal.timeout(TIMEOUT) });
      if (!response.ok) throw new Error(response.statusText);
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

  _update({ sections }, tag) {
    if (tag !== null && tag === this._tag) return;
    this._tag = tag;
    this.sections = sections;
    this._items = new Map(sections.flatMap(({ items }) => items.map((item) => [item.name, item])));
    this._show();
    this._changed();
  }

  _show() {
    const before = this._buttons;
    this._buttons = new Map();
    arrange(this._parent, this.sections.map((section) => this._section(section, before)));
  }

  _section({ name, items }, before) {
    const section = this._sections.get(name) ?? make("section", {}, makeUserText("h3", name), make("ul", { role: "list" }));
    this._sections.set(name, section);
    arrange(section.querySelector("ul"), items.map((item) => this._item(item, before.get(item.name))));
    return section;
  }

  _item(item, known) {
    const button = known ?? buttonOf(item.name);
    button.onclick = () => this._picked(item);
    button.setAttribute("aria-disabled", String(!item.available));
    write(button.querySelector(".price"), item.available ? money(item.price) : translate("counter.sold_out"));
    this._buttons.set(item.name, button);
    return button.parentElement ?? make("li", {}, button);
  }
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
