// The pass: the orders that are ready, by type, with one tap for the hand-over of each.

import { showConnection } from "./banner.js";
import { datedNumber } from "./business-date.js";
import { write } from "./elements.js";
import { listenForKeys } from "./keys.js";
import { LiveView } from "./live.js";
import { News } from "./news.js";
import { announce, toast } from "./notices.js";
import { OrderActs, UNDO } from "./order-acts.js";
import { stateOf } from "./order-search.js";
import { ORDER_TYPES, requestedTypes } from "./order-types.js";
import { actsOn, PassSection, READY, UNCOLLECTED } from "./pass-section.js";
import { soundButton } from "./sound-button.js";
import { TapGuard } from "./tap-guard.js";
import { describeOrder } from "./ticket-contents.js";
import { UndoBar } from "./undo-bar.js";
import { translate } from "./words.js";

const DIGITS = "1234567890";
const PLACES = [READY, UNCOLLECTED]; // the states of the orders that are shown
const MOVE_GRACE = 400; // ms after orders have moved for which a digit is meant for the order that had it

const part = (id) => document.getElementById(id);
const types = requestedTypes(part("notice")) ?? ORDER_TYPES;
const orders = new Map(); // cooking and ready ones by number, with their number and state
const tapped = new Map(); // orders that are handed over, by number, as they were: each stays in its place for a moment
const bar = new UndoBar(part("undo"));
const guard = new TapGuard(part("sections"), { released: release });
const bell = soundButton(part("sound-button"), "pass-muted");
const news = new News("pass-unseen", bell, show, {
  status: "ready",
  one: (order) => translate("pass.news.order", { number: datedNumber(order.order_number), what: describeOrder(order) }),
  many: (count) => translate("pass.news.orders", { count }),
});
const acts = new OrderActs({ bar, storedAs: "/orders/", begins: prepare, changed: showTap, refused: showRefusal, done: announce, undone: toast });
const sections = [...types, UNCOLLECTED].map((name) => new PassSection(name, { pendingText, isNew: (number) => news.has(number), act }));
let digits = []; // the numbers of the orders with a digit
const formerDigits = []; // by position: `{ number, until }` of the order that had the digit before
let gap = null; // the position of the order that had the focus until it has gone
let hasSnapshot = false;

part("sections").append(...sections.map(({ element }) => element));
part("links").append(...sections.map(({ link }) => link));
listenForKeys({
  digit: (digit) => handOver(numberAt(digit)),
  shiftedDigit: (digit) => focus(numberAt(digit)),
  keys: {
    n: () => actOnFocused("uncollected", UNDO.uncollected),
    k: () => actOnFocused("send-back"),
    u: () => bar.undoLatest(),
    m: () => bell.toggle(),
    ArrowDown: () => moveFocus(1),
    ArrowRight: () => moveFocus(1),
    ArrowUp: () => moveFocus(-1),
    ArrowLeft: () => moveFocus(-1),
  },
});
const view = new LiveView("/live/orders", { changed: change, live: setLive });
setInterval(tick, 1000);

function change(entries, keys) {
  for (const number of keys) {
    const entry = entries.get(number);
    if (entry && types.includes(entry.order_type) && (entry.status === "cooking" || entry.status === "ready")) {
      orders.set(number, { ...entry, order_number: number, state: stateOf(entry) });
    } else {
      orders.delete(number);
    }
  }
  hasSnapshot = true;
  news.update(orders);
  acts.update(entries, keys);
  show();
}

function tick() {
  for (const section of sections) section.tick();
  acts.expire(view.lastGood);
}

/** Shows the orders in their sections, the oldest first; what was not fetched, the latest first. */
function show() {
  const others = [...orders.values()].filter(({ order_number: number, state }) => PLACES.includes(state) && !tapped.has(number));
  const all = [...others, ...tapped.values()].sort(oldestFirst);
  const ready = all.filter(({ state }) => state === READY);
  const uncollected = all.filter(({ state }) => state === UNCOLLECTED).reverse();
  giveDigits(ready.slice(0, DIGITS.length).map((order) => order.order_number));
  const [before, active] = [cards(), document.activeElement];
  guard.arrange(() => {
    for (const section of sections) {
      const own = section.name === UNCOLLECTED ? uncollected : ready.filter((order) => order.order_type === section.name);
      section.show(own, (number) => DIGITS[digits.indexOf(number)] ?? "");
    }
    part("sections").style.setProperty("--types", Math.max(1, sections.filter(({ name, element }) => name !== UNCOLLECTED && !element.hidden).length));
  });
  restoreFocus(before, active);
  write(part("empty"), hasSnapshot && ready.length === 0 ? translate("pass.empty") : "");
  document.title = ready.length ? translate("pass.tab", { count: ready.length }) : translate("pass.title");
}

/** Gives digits to these orders; for a moment, a key is still for the order that had its digit before. */
function giveDigits(numbers) {
  const until = performance.now() + MOVE_GRACE;
  digits.forEach((number, position) => {
    if (number !== numbers[position]) formerDigits[position] = { number, until };
  });
  digits = numbers;
}

function numberAt(digit) {
  const position = DIGITS.indexOf(digit);
  const { number, until } = formerDigits[position] ?? {};
  return performance.now() < until ? number : digits[position];
}

function oldestFirst(one, other) {
  return Date.parse(one.completed_at) - Date.parse(other.completed_at) || (one.order_number < other.order_number ? -1 : 1);
}

// Acts -----------------------------------------------------------------------------------------------

/** Performs an act on an order as it is shown; it is kept until the server has answered. */
function act({ order_number: number }, action) {
  if (!acts.pendingOf(number) && !tapped.has(number)) acts.perform(number, action);
}

/** Prepares the list for an act on an order, or for its undo. */
function prepare(number, action) {
  if (action === "hand-over") return keepInPlace(orders.get(number));
  tapped.delete(number);
  guard.changedAll(); // the buttons of the order close, so that a second tap is not for the one below
  if (action === UNDO["send-back"]) news.expect(number, "ready");
}

/** Leaves an order where it is for a moment, so that a second tap is not on the next one. */
function keepInPlace(order) {
  tapped.set(order.order_number, order);
  guard.keep(order.order_number);
}

function release(numbers) {
  for (const number of numbers) tapped.delete(number);
  show();
}

function handOver(number) {
  const order = orders.get(number);
  if (!PLACES.includes(order?.state)) return;
  focus(number);
  act(order, "hand-over");
}

/** Returns the text for the act on an order that is not over yet, or null. */
function pendingText(number) {
  return acts.pendingOf(number) ?? (tapped.has(number) ? translate("orders.state.handed_over") : null);
}

function showTap() {
  write(part("kept"), acts.kept ? translate("kitchen.kept", { count: acts.kept }) : "");
  show();
}

function showRefusal(text, number) {
  tapped.delete(number);
  show();
  toast(text);
}

function setLive(isLive, lastGood) {
  showConnection(isLive, lastGood);
  acts.setLive(isLive);
}

// The keyboard ---------------------------------------------------------------------------------------

function cards() {
  return [...part("sections").querySelectorAll("button.hand-over")];
}

function focus(number) {
  sections.forEach((section) => section.focus(number));
}

function moveFocus(step) {
  const all = cards();
  const current = all.indexOf(focusedCard()?.querySelector("button.hand-over"));
  const next = all[current < 0 ? positionAfterGap(step) : current + step];
  next?.focus();
  next?.scrollIntoView({ block: "nearest" });
}

function focusedCard() {
  return part("sections").contains(document.activeElement) ? document.activeElement.closest("li") : null;
}

function actOnFocused(...actions) {
  const card = focusedCard();
  const order = card && orders.get(card.dataset.order);
  const action = order && actsOn(order).find((each) => actions.includes(each));
  if (action) act(order, action);
}

/** The position of the first order, or of the one next to that which had the focus and has gone. */
function positionAfterGap(step) {
  if (gap === null || document.activeElement !== part("sections")) return 0;
  return step > 0 ? Math.min(gap, cards().length - 1) : gap - 1;
}

/** Moves the focus from an order that has gone to none: Enter must not act on the next one. */
function restoreFocus(before, active) {
  if (active === document.activeElement) return;
  const position = before.indexOf(active.closest("li")?.querySelector("button.hand-over") ?? active);
  if (position < 0) return;
  gap = position;
  part("sections").focus({ preventScroll: true });
}
