// The orders of the day for staff (services/tracking/order_list.py): find one, open it, act on it.

import { showConnection } from "./banner.js";
import { businessDate, datedNumber, otherDayOf } from "./business-date.js";
import { arrange, make, makeUserText, write } from "./elements.js";
import { listenForKeys } from "./keys.js";
import { LiveView } from "./live.js";
import { announce, toast } from "./notices.js";
import { OrderActs } from "./order-acts.js";
import { OrderDetails } from "./order-details.js";
import { FILTERS, isLate, matches, searchTextOf, stateOf, wordsOf } from "./order-search.js";
import { TapGuard } from "./tap-guard.js";
import { describeOrder } from "./ticket-contents.js";
import { timeOfDay, timeOrDate } from "./times.js";
import { UndoBar } from "./undo-bar.js";
import { channelName, money, shortNumber, translate } from "./words.js";

const PART = 60; // rows that are made at a time, when the end of the list comes into view
const UNTOUCHED = 10000; // ms without any input after which a new order may move the others
const INPUTS = ["pointerdown", "pointermove", "keydown", "wheel", "scroll"];
const MAX_FINISHED = 3000; // finished orders in the list (database/order_list.py)

const part = (id) => document.getElementById(id);
const query = new URLSearchParams(location.search);
const rows = new Map(); // by order number
const chips = new Map(); // buttons and their counts, by filter
const bar = new UndoBar(part("undo"));
const acts = new OrderActs({ bar, changed: refresh, refused: showRefusal, done: announce, undone: toast });
const guard = new TapGuard(part("list"), { released: release });
const details = new OrderDetails(part("details"), acts, focusRow);
let filter = query.get("state") in FILTERS ? query.get("state") : "open";
let shown = []; // the numbers of the orders in the list, in their order
const listed = new Set(); // the numbers of the orders that were in the list since it was shown from its beginning
let limit = PART;
let today = businessDate(); // the rows of other days have their date
let isTouched; // whether somebody may be about to tap
let touching; // the timer that ends that
let lastTap = null; // `{ clientX, clientY, at }`
let wanted = query.get("order"); // is opened once the list is there

const view = new LiveView("/live/orders", { changed: update, live: setLive });
makeFilters();
part("search").value = query.get("q") ?? "";
part("search").addEventListener("input", () => restart());
part("search").addEventListener("keydown", searchKey);
part("others").addEventListener("click", () => choose("all"));
part("more").addEventListener("click", () => restart());
part("list").addEventListener("click", click);
part("details").addEventListener("close", () => lastTap && guard.uncovered(lastTap)); // a second tap is not for the row below
addEventListener("pointerdown", ({ clientX, clientY }) => (lastTap = { clientX, clientY, at: performance.now() }), true);
for (const kind of INPUTS) addEventListener(kind, touch, { capture: true, passive: true });
setInterval(tick, 1000);
touch();
new IntersectionObserver(([entry]) => entry.isIntersecting && showMore(), { rootMargin: "600px" }).observe(part("end"));
listenForKeys({
  digit: search,
  shiftedDigit: search,
  keys: {
    "/": () => part("search").focus(),
    u: () => bar.undoLatest(),
    ArrowDown: () => moveFocus(1),
    ArrowUp: () => moveFocus(-1),
  },
});

function update(entries, keys) {
  for (const number of keys) {
    const entry = entries.get(number);
    if (!entry) rows.delete(number);
    else if (rows.has(number)) rows.get(number).show(entry);
    else rows.set(number, new OrderRow(number, entry));
    details.changed(number, entry ?? null);
  }
  acts.update(entries, keys);
  show();
  if (wanted) openWanted(wanted);
  wanted = null;
}

/** Opens the order of the address, which may be too old for the list. */
function openWanted(number) {
  if (view.entries.has(number)) open(number);
  else toast(translate("orders.not_listed", { number }));
}

function setLive(isLive, lastGood) {
  showConnection(isLive, lastGood);
  acts.setLive(isLive);
}

function tick() {
  acts.expire(view.lastGood);
  const isNextDay = today !== businessDate();
  today = businessDate();
  const changed = [...rows.values()].filter((row) => isNextDay || row.isLate !== isLate(row.entry));
  for (const row of changed) row.show(row.entry);
  if (changed.length) show();
}

/** Shows an order again, after an act on it began, waits or ended, and how many acts wait. */
function refresh(number) {
  rows.get(number)?.refresh();
  details.refresh(number);
  write(part("kept"), acts.kept ? translate("kitchen.kept", { count: acts.kept }) : "");
}

function showRefusal(text, number) {
  guard.release(number);
  toast(text);
}

/** Shows the orders that match the search and the filter, by `change(arrangeRows)`, and how many match in each state. */
function show(change = (arrangeRows) => guard.arrange(arrangeRows)) {
  const words = wordsOf(part("search").value);
  const found = [...rows.values()].map((row) => [row, matches(words, row.number, row.text)]).filter(([, match]) => match > 0);
  const counts = new Map();
  for (const [{ state }] of found) counts.set(state, (counts.get(state) ?? 0) + 1);
  for (const [name, { button, count }] of chips) {
    write(count, String(name === "late" ? found.filter(([row]) => row.isLate).length : FILTERS[name].reduce((sum, state) => sum + (counts.get(state) ?? 0), 0)));
    button.setAttribute("aria-pressed", String(name === filter));
  }
  const isWanted = (row) => (filter === "late" ? row.isLate : FILTERS[filter].includes(row.state));
  const matching = found.filter(([row]) => isWanted(row) || guard.isKept(row.number));
  shown = withoutThoseThatMove(matching.sort(filter === "ready" ? bestThenOldest : bestThenLatest).map(([{ number }]) => number));
  change(showRows);
  part("more").hidden = shown.length === matching.length;
  write(part("more"), translate("orders.more", { count: matching.length - shown.length }));
  showEmpty(words, found.length);
}

/** Notes an input, and shows new orders by themselves once there has been none for a while. */
function touch() {
  isTouched = true;
  clearTimeout(touching);
  touching = setTimeout(() => {
    isTouched = false;
    show();
  }, UNTOUCHED);
}

/** Leaves out new orders that come before one in the list: they would move it while somebody is about to tap it. */
function withoutThoseThatMove(numbers) {
  if (!isTouched) listed.clear();
  const last = numbers.reduce((latest, number, position) => (listed.has(number) ? position : latest), -1);
  const staying = numbers.filter((number, position) => listed.has(number) || position > last);
  for (const number of staying) listed.add(number);
  return staying;
}

function bestThenLatest([one, match], [other, otherMatch]) {
  return otherMatch - match || other.placedAt - one.placedAt || (one.number < other.number ? 1 : -1);
}

/** In the sequence in which they became ready, so that one more does not move the others. */
function bestThenOldest([one, match], [other, otherMatch]) {
  return otherMatch - match || one.readyAt - other.readyAt || (one.number < other.number ? -1 : 1);
}

function showRows() {
  const list = part("list");
  const focused = [...list.children].findIndex((row) => row.contains(document.activeElement));
  arrange(list, shown.slice(0, limit).map((number) => rows.get(number).element));
  if (focused < 0 || list.contains(document.activeElement)) return;
  const next = list.children[Math.min(focused, list.children.length - 1)];
  next?.querySelector("button").focus({ preventScroll: true });
}

/** Says why the list is empty, and offers what was found in other states. */
function showEmpty(words, count) {
  const isEmpty = shown.length === 0 && view.lastGood !== null;
  const reason = words.length ? "none_found" : rows.size ? "none" : "none_today";
  write(part("empty"), isEmpty ? translate(`orders.${reason}`) : "");
  part("others").hidden = !(isEmpty && words.length && count > 0);
  write(part("others"), translate("orders.found_elsewhere", { count }));
  const finished = [...rows.values()].filter(({ entry }) => entry.status === "completed" || entry.status === "cancelled");
  part("left-out").hidden = finished.length < MAX_FINISHED;
}

function showMore() {
  if (limit >= shown.length) return;
  limit += PART;
  showRows();
  requestAnimationFrame(() => part("end").getBoundingClientRect().top < innerHeight + 600 && showMore());
}

function makeFilters() {
  for (const name of Object.keys(FILTERS)) {
    const count = make("span", { className: "count number" });
    const button = make("button", { type: "button", onclick: () => choose(name) }, translate(`orders.filter.${name}`), " ", count);
    chips.set(name, { button, count });
    part("filters").append(button);
  }
}

function choose(name) {
  filter = name;
  restart();
}

/** Shows the list from its beginning; the address keeps what is shown. */
function restart() {
  guard.forgetKept();
  listed.clear();
  limit = PART;
  const chosen = new URLSearchParams();
  if (filter !== "open") chosen.set("state", filter);
  if (part("search").value) chosen.set("q", part("search").value);
  scrollTo(0, 0);
  history.replaceState(null, "", `${location.pathname}${chosen.toString() ? `?${chosen}` : ""}`);
  show((arrangeRows) => arrangeRows()); // as the user asks for it
}

/** Begins a search with the first digit of a number. */
function search(digit) {
  part("search").value = digit;
  part("search").focus();
  restart();
}

function searchKey(event) {
  event.stopPropagation(); // a letter in the field is no command
  if (event.key === "Enter" && shown.length > 0) open(shown[0]);
  else if (event.key === "ArrowDown") part("list").querySelector("button")?.focus();
  else if (event.key === "Escape") {
    part("search").value = "";
    restart();
  } else return;
  event.preventDefault();
}

function moveFocus(step) {
  const buttons = [...part("list").querySelectorAll("button.open")];
  const current = buttons.indexOf(document.activeElement?.closest("li")?.querySelector("button.open"));
  const next = buttons[current < 0 ? 0 : current + step];
  next?.focus();
  next?.scrollIntoView({ block: "nearest" });
}

function click({ target }) {
  const button = target.closest("button");
  const number = button?.closest("li").dataset.order;
  if (!number) return;
  if (button.matches(".open")) open(number);
  else if (button.getAttribute("aria-disabled") !== "true") act(number, button.dataset.act);
}

/** Performs the act that is due; the row stays for a moment, so that a second tap is not on the next one. */
function act(number, name) {
  guard.keep(number);
  if (name === "undo") acts.undo(number, "hand-over");
  else acts.perform(number, name);
}

function release(numbers) {
  for (const number of numbers) rows.get(number)?.refresh();
  show();
}

/** Moves the focus to an order in the list, or away from the search, so that the keys are commands. */
function focusRow(number) {
  const { element } = rows.get(number);
  if (element.isConnected) element.querySelector("button").focus({ preventScroll: true });
  else document.activeElement.blur();
}

function open(number) {
  details.open(number, view.entries.get(number));
}

/** One order of the list: a button that opens it, and one for the act that is due. */
class OrderRow {
  constructor(number, entry) {
    this.number = number;
    this.show(entry);
  }

  /** The row, which is made when it is first in view. */
  get element() {
    if (!this._element) this._make();
    return this._element;
  }

  show(entry) {
    this.entry = entry;
    this.state = stateOf(entry);
    this.isLate = isLate(entry);
    this.placedAt = Date.parse(entry.created_at);
    this.readyAt = Date.parse(entry.completed_at);
    this.text = searchTextOf(this.number, entry);
    this.refresh();
  }

  refresh() {
    if (this._element) this._fill();
  }

  _make() {
    this._open = make("button", { type: "button", className: "open" });
    this._act = make("button", { type: "button", className: "act" });
    this._element = make("li", { dataset: { order: this.number } }, this._open, this._act);
    this._fill();
  }

  _fill() {
    const { entry } = this;
    const pending = acts.pendingOf(this.number);
    this._element.dataset.state = this.state;
    this._element.classList.toggle("late", this.isLate);
    this._open.replaceChildren(
      makeNumber(this.number),
      make("span", { className: "what" }, describeOrder(entry), ...allergyMark(entry)),
      make("span", { className: "who" }, ...whoOf(entry)),
      make("span", { className: "when number" }, whenOf(entry)),
      make("span", { className: "amount number" }, amountOf(entry)),
      make("span", { className: "state" }, pending ?? stateText(this)),
    );
    const isKept = guard.isKept(this.number);
    this._act.setAttribute("aria-disabled", String(pending !== null || isKept));
    if (!isKept) this._fillAct();
  }

  _fillAct() {
    const act = { ready: "hand-over", uncollected: "hand-over", handed_over: "undo" }[this.state];
    this._act.hidden = !act;
    if (!act) return;
    if (this._act.dataset.act !== act && this._element.isConnected) guard.changed(this._act);
    this._act.dataset.act = act;
    this._act.classList.toggle("main", act !== "undo");
    const text = translate(act === "undo" ? "acts.name.undo" : "acts.name.hand_over");
    this._act.replaceChildren(text, make("span", { className: "unseen" }, ` ${datedNumber(this.number)}`));
  }
}

function stateText({ state, isLate: late }) {
  const text = translate(`orders.state.${state}`);
  return late ? translate("orders.late", { state: text }) : text;
}

function makeNumber(number) {
  const day = otherDayOf(number);
  const element = make("strong", { className: "order-number number" }, shortNumber(number));
  if (day !== null) element.append(make("small", {}, day));
  return element;
}

function allergyMark({ has_allergy_note: hasAllergyNote }) {
  return hasAllergyNote ? [" ", make("span", { className: "allergy-mark" }, translate("orders.allergy"))] : [];
}

function whoOf({ customer_name: name, reference, channel }) {
  return [name, reference, channel && channelName(channel)].filter(Boolean).map((text) => makeUserText("span", text));
}

/** The time that matters now: when it is to be ready, when it was ready, or when it was placed. */
function whenOf(entry) {
  const time = (moment) => timeOrDate(new Date(moment));
  if (entry.ready_at && entry.status === "received") return translate("orders.for", { time: time(entry.ready_at) });
  if (entry.estimated_completion) return translate("orders.due", { time: timeOfDay(new Date(entry.estimated_completion)) });
  if (entry.status === "ready") return translate("orders.ready_since", { time: time(entry.completed_at) });
  return time(entry.created_at);
}

/** What is still to be paid, before the order is handed over; else the total. */
function amountOf({ status, handed_over_at: handedOverAt, total_amount: total, amount_due: due }) {
  const isOver = handedOverAt || status === "completed" || status === "cancelled";
  return due && !isOver ? translate("orders.to_pay", { amount: money(due) }) : money(total);
}
