// The guests' wall: which orders are being prepared, and which are ready.

import { showConnection } from "./banner.js";
import { make, arrange, write } from "./elements.js";
import { LiveView } from "./live.js";
import { now, timeOfDay } from "./times.js";
import { say, shortNumber } from "./words.js";

const NEW = 20000; // ms for which an order that has become ready draws the eye
const TURN = 8000; // ms for which a page is shown where there are more numbers than fit
const SIZES = [0.13, 0.11, 0.095, 0.08, 0.068, 0.058, 0.05]; // of the screen's smaller side
const LEAST = 28; // px; what is smaller is read by nobody
const WIDE = 0.7; // of a digit's height that a digit takes, and
const BESIDE = 0.4; // that is left free beside a number
const ROW = 1.35; // of its height that a row of them takes

/** One half of the wall: its numbers as big as they fit, page by page where even the smallest do not. */
class Column {
  constructor(name) {
    this._list = document.getElementById(name);
    this._page = document.getElementById(`${name}-page`);
    this._orders = [];
    this._items = new Map();
    this._fresh = new Set();
    this._first = 0;
    this._room = 1;
    new ResizeObserver(() => this._lay()).observe(this._list);
    setInterval(() => this._turn(), TURN);
  }

  /** Shows these orders, in this order. */
  show(orders) {
    this._orders = orders;
    this._lay();
  }

  /** Draws the eye to the orders whose keys are `fresh`, and to no others. */
  mark(fresh) {
    this._fresh = fresh;
    for (const [key, item] of this._items) item.classList.toggle("new", fresh.has(key));
  }

  /** Goes back to the first page. */
  begin() {
    this._first = 0;
    this._lay();
  }

  _turn() {
    this._first += this._room;
    this._lay();
  }

  _lay() {
    const room = (this._room = this._fit());
    if (this._first >= this._orders.length) this._first = 0;
    this._first -= this._first % room;
    const shown = this._orders.slice(this._first, this._first + room);
    const before = this._items;
    this._items = new Map(shown.map((key) => [key, before.get(key) ?? numberOf(key)]));
    this.mark(this._fresh);
    arrange(this._list, [...this._items.values()]);
    const [page, pages] = [this._first / room + 1, Math.ceil(this._orders.length / room)];
    write(this._page, pages > 1 ? say("board.page", { page, pages }) : "");
  }

  /** Chooses the largest size in which all numbers fit; returns how many a page has room for. */
  _fit() {
    const digits = Math.max(3, ...this._orders.map((key) => shortNumber(key).length));
    const layouts = SIZES.map((share) => this._layout(share, digits));
    const chosen = layouts.find(({ room }) => room >= this._orders.length) ?? layouts.at(-1);
    this._list.style.setProperty("--size", `${chosen.size}px`);
    this._list.style.setProperty("--row", `${chosen.row}px`);
    this._list.style.setProperty("--columns", chosen.columns);
    return chosen.room;
  }

  _layout(share, digits) {
    const size = Math.max(LEAST, Math.floor(share * Math.min(innerWidth, innerHeight)));
    const row = Math.ceil(size * ROW);
    const columns = Math.floor(this._list.clientWidth / (size * (digits * WIDE + BESIDE))) || 1;
    const rows = Math.floor(this._list.clientHeight / row) || 1;
    return { size, row, columns, room: columns * rows };
  }
}

function numberOf(key) {
  return make("li", { textContent: shortNumber(key), dataset: { order: key } });
}

const preparing = new Column("preparing");
const ready = new Column("ready");
const clock = document.getElementById("clock");
const announcement = document.getElementById("announcement");
let known = null; // the orders that were ready before; null until something is known

const view = new LiveView("/live/board", { changed: show, live: showConnection });
setInterval(tick, 1000);

function show(entries) {
  const all = [...entries];
  const done = all.filter(([, order]) => order.status === "ready");
  preparing.show(all.filter(([, order]) => order.status !== "ready").map(([key]) => key).sort(byNumber));
  ready.show(done.sort(latestFirst).map(([key]) => key));
  announce(done.map(([key]) => key));
  tick();
}

/** Tells those who listen which orders have become ready since the last time. */
function announce(orders) {
  const news = known === null ? [] : orders.filter((key) => !known.has(key));
  known = new Set(orders);
  if (news.length === 0) return;
  ready.begin();
  const numbers = news.map(shortNumber).join(", ");
  announcement.textContent = say("board.announcement", { numbers, count: news.length });
}

function tick() {
  const isNew = ([, order]) => order.ready_at !== null && now() - new Date(order.ready_at) < NEW;
  ready.mark(new Set([...view.entries].filter(isNew).map(([key]) => key)));
  if (view.lastGood !== null) write(clock, timeOfDay(new Date(now())));
}

function byNumber(a, b) {
  return a.length - b.length || (a < b ? -1 : 1);
}

function latestFirst([a, one], [b, other]) {
  return new Date(other.ready_at) - new Date(one.ready_at) || (a < b ? 1 : -1);
}
