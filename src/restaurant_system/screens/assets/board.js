// The board for customers: the orders that are being prepared, and those that are ready.

import { showConnection } from "./banner.js";
import { otherDayOf } from "./business-date.js";
import { arrange, make, visible, write } from "./elements.js";
import { LiveView } from "./live.js";
import { requestedTypes } from "./order-types.js";
import { load, store } from "./stored.js";
import { now, timeOfDay } from "./times.js";
import { translate, shortNumber } from "./words.js";

const HIGHLIGHT_DURATION = 20000; // ms for which an order is highlighted after it became ready
const PAGE_DURATION = 8000; // ms for which a page is shown when not all numbers fit
const SIZES = [0.13, 0.11, 0.095, 0.08, 0.068, 0.058, 0.05]; // as a share of the smaller side of the screen
const MIN_SIZE = 28; // px
const LEFT_OUT = "left_out"; // the key of the entry that counts orders that are not shown
const LATEST = "board-latest"; // the name under which the latest order number is stored
// As a share of the height of a digit:
const DIGIT_WIDTH = 0.7;
const NUMBER_GAP = 0.4;
const ROW_HEIGHT = 1.35;
const CAPTION_SIZE = 0.42;
// Captions, below the numbers of orders that have a reference or are of another day:
const MIN_CAPTION = 0.024; // their least size, as a share of the smaller side of the screen
const READABLE_CAPTION = 14; // px
const CAPTION_WIDTH = 5; // of the part that is always shown, as a multiple of its size
const CAPTION_ROW = 1.25; // of their size
const CAPTION_END = 6; // characters at the end of a caption, which tell most references apart, that are always shown

/** One half of the board: its numbers as large as possible, on several pages if they do not fit. */
class Column {
  constructor(name) {
    this._list = document.getElementById(name);
    this._page = document.getElementById(`${name}-page`);
    this._orders = [];
    this._captions = new Map(); // the texts below each number, by key
    this._leftOut = null; // how many orders there are that are not shown
    this._items = new Map();
    this._fresh = new Set();
    this._first = 0;
    this._room = 1;
    new ResizeObserver(() => this._layOut()).observe(this._list);
    setInterval(() => this._showNextPage(), PAGE_DURATION);
  }

  /** Shows these orders, `[key, order]`, in this order, with their captions, and how many more there are. */
  show(orders, captions, leftOut) {
    this._leftOut = leftOut;
    this._orders = orders.map(([key]) => key);
    this._captions = new Map(this._orders.map((key) => [key, captions.get(key)]));
    this._layOut();
  }

  /** Highlights the orders whose keys are in `fresh`, and no others. */
  highlight(fresh) {
    this._fresh = fresh;
    for (const [key, item] of this._items) item.classList.toggle("new", fresh.has(key));
  }

  /** Shows the first page. */
  showFirstPage() {
    this._first = 0;
    this._layOut();
  }

  _showNextPage() {
    this._first += this._room;
    this._layOut();
  }

  _layOut() {
    const room = (this._room = this._fit());
    if (this._first >= this._orders.length) this._first = 0;
    this._first -= this._first % room;
    const shown = this._orders.slice(this._first, this._first + room);
    const before = this._items;
    this._items = new Map(shown.map((key) => [key, before.get(key) ?? makeNumber(key)]));
    for (const [key, item] of this._items) showCaptions(item, this._captions.get(key));
    this.highlight(this._fresh);
    arrange(this._list, [...this._items.values()]);
    const [page, pages] = [this._first / room + 1, Math.ceil(this._orders.length / room)];
    const texts = [pages > 1 ? translate("board.page", { page, pages }) : null, this._leftOut ? moreText(this._leftOut) : null];
    write(this._page, texts.filter(Boolean).join(" · "));
  }

  /** Sets the largest size at which all numbers fit; returns the number of orders per page. */
  _fit() {
    const digits = Math.max(3, ...this._orders.map((key) => shortNumber(key).length));
    const layouts = SIZES.map((share) => this._layout(share, digits));
    const chosen = layouts.find(({ room }) => room >= this._orders.length) ?? layouts[layouts.length - 1];
    this._list.style.setProperty("--size", `${chosen.size}px`);
    this._list.style.setProperty("--caption", `${chosen.caption}px`);
    this._list.style.setProperty("--row", `${chosen.row}px`);
    this._list.style.setProperty("--columns", chosen.columns);
    return chosen.room;
  }

  _layout(share, digits) {
    const side = Math.min(innerWidth, innerHeight);
    const size = Math.max(MIN_SIZE, Math.floor(share * side));
    const caption = Math.ceil(Math.max(READABLE_CAPTION, MIN_CAPTION * side, CAPTION_SIZE * size));
    const lines = Math.max(0, ...[...this._captions.values()].map((texts) => texts.length));
    const row = Math.ceil(size * ROW_HEIGHT + lines * caption * CAPTION_ROW);
    const width = Math.max(size * (digits * DIGIT_WIDTH + NUMBER_GAP), lines && caption * CAPTION_WIDTH);
    const columns = Math.floor(this._list.clientWidth / width) || 1;
    const rows = Math.floor(this._list.clientHeight / row) || 1;
    return { size, caption, row, columns, room: columns * rows };
  }
}

function moreText({ count, is_more: isMore }) {
  return translate("board.more", { count: `${count}${isMore ? "+" : ""}` });
}

function makeNumber(key) {
  return make("li", { textContent: shortNumber(key), dataset: { order: key } });
}

/** Shows texts below an order's number. */
function showCaptions(item, texts) {
  const shown = [...item.querySelectorAll(".caption")].map(({ textContent }) => textContent);
  if (shown.join("\n") === texts.map(visible).join("\n")) return;
  item.replaceChildren(shortNumber(item.dataset.order), ...texts.flatMap((text) => [" ", makeCaption(text)]));
}

/** Makes a text of which the middle is left out if it is too long. */
function makeCaption(text) {
  const characters = [...visible(text)];
  const end = characters.splice(-CAPTION_END);
  const parts = [make("span", { className: "start" }, characters.join("")), make("span", {}, end.join(""))];
  return make("span", { className: "caption", dir: "auto" }, ...parts);
}

/**
 * Returns what tells an order apart from others with the same short number: its date, if a later business
 * day has reached its number, and the reference by which a platform or a courier calls it.
 */
function captionsOf([key, { reference }]) {
  const isUsedAgain = dateIn(key) < dateIn(latest) && Number(shortNumber(key)) <= Number(shortNumber(latest));
  return [isUsedAgain ? otherDayOf(key) : null, reference].filter(Boolean);
}

function dateIn(key) {
  return key.split("_")[1];
}

const preparing = new Column("preparing");
const ready = new Column("ready");
const clock = document.getElementById("clock");
const announcement = document.getElementById("announcement");
let latest = load(LATEST, "__"); // the latest order number that was shown, also before a reload
let known = null; // keys of the orders that were ready before; null until the first snapshot

const types = requestedTypes(document.getElementById("notice"));
const query = types === null ? "" : `?order_types=${types.join(",")}`;
const view = new LiveView(`/live/board${query}`, { changed: show, live: showConnection });
setInterval(tick, 1000);

function show(entries) {
  const all = ordersIn(entries);
  const leftOut = entries.get(LEFT_OUT);
  const done = all.filter(([, order]) => order.status === "ready");
  latest = all.map(([key]) => key).concat(latest).sort((a, b) => byDate(b, a))[0];
  store(LATEST, latest);
  const captions = new Map(all.map((entry) => [entry[0], captionsOf(entry)]));
  preparing.show(all.filter(([, order]) => order.status !== "ready").sort(byNumber), captions, leftOut?.preparing);
  ready.show(done.sort(latestFirst), captions, leftOut?.ready);
  announce(done, captions);
  tick();
}

function ordersIn(entries) {
  return [...entries].filter(([key]) => key !== LEFT_OUT);
}

/** Announces to screen readers which orders have become ready since the last call. */
function announce(orders, captions) {
  const news = known === null ? [] : orders.filter(([key]) => !known.has(key));
  known = new Set(orders.map(([key]) => key));
  if (news.length === 0) return;
  ready.showFirstPage();
  const numbers = news.map(([key]) => nameOf(key, captions.get(key))).join(", ");
  announcement.textContent = translate("board.announcement", { numbers, count: news.length });
}

function nameOf(key, texts) {
  return texts.length ? `${shortNumber(key)} (${texts.join(" · ")})` : shortNumber(key);
}

function tick() {
  const isNew = ([, order]) => order.ready_at !== null && now() - new Date(order.ready_at) < HIGHLIGHT_DURATION;
  ready.highlight(new Set(ordersIn(view.entries).filter(isNew).map(([key]) => key)));
  if (view.lastGood !== null) write(clock, timeOfDay(new Date(now())));
}

function byNumber([a], [b]) {
  return a.length - b.length || (a < b ? -1 : 1);
}

/** Compares order numbers by their dates first. */
function byDate(a, b) {
  return dateIn(a) < dateIn(b) ? -1 : dateIn(a) > dateIn(b) ? 1 : byNumber([a], [b]);
}

function latestFirst([a, one], [b, other]) {
  return new Date(other.ready_at) - new Date(one.ready_at) || (a < b ? 1 : -1);
}
