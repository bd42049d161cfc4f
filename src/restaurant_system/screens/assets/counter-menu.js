// What is offered. It is looked at again every few seconds (the browser asks with the tag of the menu
// that it has), and changed where it is another: what has the focus keeps it.

import { arrange, make, makeUserText, write } from "./elements.js";
import { money, say } from "./words.js";

const EVERY = 3000; // ms between two looks
const PATIENCE = 4000; // ms for one
const STALE = 5000; // ms without an answer after which what is shown may be old

export class Menu {
  /**
   * Shows the menu in `parent`. `picked(item)` is called with an item that was chosen, `changed()`
   * after a look that has found another menu, `live(isLive, lastGood)` when the line is lost or back.
   */
  constructor(parent, { picked, changed, live }) {
    this.sections = null; // until there was a first answer
    this._parent = parent;
    this._picked = picked;
    this._changed = changed;
    this._live = live;
    this._isLive = true;
    this._lastGood = null;
    this._began = Date.now();
    this._tag = null;
    this._items = new Map();
    this._sections = new Map();
    this._buttons = new Map();
  }

  /** Looks once, and from then on again and again. */
  async watch() {
    await this._look();
    setTimeout(() => this.watch(), EVERY);
  }

  /**
   * What the menu says by now of a line that came from it: null if it is the same, or not known yet;
   * else `{ text, price }`, where the price is null if there is none to be had.
   */
  differenceTo(line) {
    if (line.isTyped || this.sections === null) return null;
    const item = this._items.get(line.name);
    if (!item) return { text: say("counter.removed"), price: null };
    if (!item.available) return { text: say("counter.gone"), price: null };
    if (String(item.price) === line.price) return null;
    return { text: say("counter.new_price", { price: money(item.price) }), price: item.price };
  }

  /** Shows at each item how many of it are in the order. */
  count(lines) {
    for (const [name, button] of this._buttons) {
      const chosen = lines.filter((line) => !line.isTyped && line.name === name);
      const count = chosen.reduce((sum, line) => sum + line.quantity, 0);
      const badge = button.querySelector(".badge");
      badge.hidden = count === 0;
      write(badge, say("counter.times", { count }));
    }
  }

  async _look() {
    try {
      const response = await fetch("/menu", { cache: "no-cache", signal: AbortSignal.timeout(PATIENCE) });
      if (!response.ok) throw new Error(response.statusText);
      const menu = await response.json();
      this._lastGood = new Date();
      this._take(menu, response.headers.get("ETag"));
    } catch {
      // The next look makes up for it; if it does not either, that is said.
    }
    const isLive = Date.now() - (this._lastGood?.getTime() ?? this._began) < STALE;
    if (isLive !== this._isLive) this._live(isLive, this._lastGood);
    this._isLive = isLive;
  }

  _take({ sections }, tag) {
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
    write(button.querySelector(".price"), item.available ? money(item.price) : say("counter.sold_out"));
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
