// The pass: the orders that are ready, by type, with one tap for the hand-over of each.

import { showConnection } from "./banner.js";
import { write } from "./elements.js";
import { listenForKeys } from "./keys.js";
import { LiveView } from "./live.js";
import { News } from "./news.js";
import { announce, toast } from "./notices.js";
import { problemText, TEXTS, UNDO } from "./order-acts.js";
import { stateOf } from "./order-search.js";
import { ORDER_TYPES, requestedTypes } from "./order-types.js";
import { actsOn, PassSection, READY, UNCOLLECTED } from "./pass-section.js";
import { soundButton } from "./sound-button.js";
import { TapGuard } from "./tap-guard.js";
import { Taps } from "./taps.js";
import { describeOrder } from "./ticket-contents.js";
import { UndoBar } from "./undo-bar.js";
import { shortNumber, translate } from "./words.js";

const DIGITS = "1234567890";
const PLACES = [READY, UNCOLLECTED]; // the states of the orders that are shown

const part = (id) => document.getElementById(id);
const types = requestedTypes(part("notice")) ?? ORDER_TYPES;
const orders = new Map(); // cooking and ready ones by number, with their number and state
const states = new Map(); // of all orders, as the taps compare them
const tapped = new Map(); // orders that are handed over, by number, as they were: each stays in its place for a moment
const bar = new UndoBar(part("undo"));
const offered = new Map(); // when orders changed by the acts that can be undone, by number
const guard = new TapGuard(part("sections"), release);
const bell = soundButton(part("sound-button"), "pass-muted");
const news = new News("pass-unseen", bell, show, {
  status: "ready",
  one: (order) => translate("pass.news.order", { number: shortNumber(order.order_number), what: describeOrder(order) }),
  many: (count) => translate("pass.news.orders", { count }),
});
const taps = new Taps("/orders/", { changed: showTap, refused: showRefusal, done: offerUndo, bodyOf });
const sections = [...types, UNCOLLECTED].map((name) => new PassSection(name, { pendingText, isNew: (number) => news.has(number), act }));
let digits = []; // the numbers of the orders with a digit
let hasSnapshot = false;

part("sections").append(...sections.map(({ element }) => element));
listenForKeys({
  digit: (digit) => handOver(orders.get(digits[DIGITS.indexOf(digit)])),
  shiftedDigit: (digit) => focus(digits[DIGITS.indexOf(digit)]),
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
    withdrawOffer(number, entry);
    const isHere = entry && types.includes(entry.order_type);
    if (isHere) states.set(number, { status: stateOf(entry) });
    else states.delete(number);
    if (isHere && (entry.status === "cooking" || entry.status === "ready")) {
      orders.set(number, { ...entry, order_number: number, state: stateOf(entry) });
    } else {
      orders.delete(number);
    }
  }
  hasSnapshot = true;
  news.update(orders);
  taps.update(states);
  show();
}

function tick() {
  for (const section of sections) section.tick();
  taps.expire(view.lastGood);
}

/** Shows the orders in their sections, the oldest first; what was not fetched, the latest first. */
function show() {
  const others = [...orders.values()].filter(({ order_number: number, state }) => PLACES.includes(state) && !tapped.has(number));
  const all = [...others, ...tapped.values()].sort(oldestFirst);
  const ready = all.filter(({ state }) => state === READY);
  const uncollected = all.filter(({ state }) => state === UNCOLLECTED).reverse();
  digits = ready.slice(0, DIGITS.length).map((order) => order.order_number);
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

function oldestFirst(one, other) {
  return Date.parse(one.completed_at) - Date.parse(other.completed_at) || (one.order_number < other.order_number ? -1 : 1);
}

// Acts -----------------------------------------------------------------------------------------------

/** Performs an act on an order as it is shown; taps are kept until the server has answered. */
function act(order, action) {
  const { order_number: number, state } = order;
  if (taps.pendingOf(number) || tapped.has(number)) return;
  bar.withdraw(number); // of an earlier act
  if (action === "hand-over") keepInPlace(order);
  else guard.changedAll(); // the buttons of the order close, so that a second tap is not for the one below
  if (action === UNDO["send-back"]) news.expect(number, "ready");
  taps.add(order, action, state);
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

function handOver(order) {
  if (!order) return;
  focus(order.order_number);
  act(order, "hand-over");
}

/** An act on an order that has changed since it was shown is refused; an undo, when it is too late. */
function bodyOf({ action, asOf }) {
  return action in UNDO ? { as_of: asOf } : {};
}

function offerUndo({ number, action }) {
  const short = shortNumber(number);
  const text = action in UNDO ? translate(`acts.done.${TEXTS[action]}`, { number: short }) : translate("acts.undone", { number: short });
  if (action in UNDO) announce(text);
  else toast(text);
  if (!(action in UNDO)) return;
  offered.set(number, orders.get(number)?.updated_at);
  bar.offer(number, translate("acts.undo", { what: text }), () => undo(number, UNDO[action]));
}

/** Ends the offer to undo an act on an order that has changed since, which may be by somebody else's act. */
function withdrawOffer(number, entry) {
  if (!offered.has(number) || offered.get(number) === entry?.updated_at) return;
  offered.delete(number);
  bar.withdraw(number);
}

function undo(number, action) {
  tapped.delete(number);
  act(orders.get(number) ?? { order_number: number }, action);
}

/** Returns the text for the act on an order that is not over yet, or null. */
function pendingText(number) {
  const tap = taps.pendingOf(number);
  if (!tap) return tapped.has(number) ? translate("orders.state.handed_over") : null;
  return translate(tap.isWaiting ? "pass.waiting" : `acts.sending.${TEXTS[tap.action] ?? "undo"}`);
}

function showTap() {
  const count = taps.unanswered.filter(({ isWaiting }) => isWaiting).length;
  write(part("kept"), count ? translate("kitchen.kept", { count }) : "");
  show();
}

function showRefusal({ number, action }, problem, status) {
  tapped.delete(number);
  show();
  const hasChanged = action in UNDO && problem?.current_status === "ready" && !problem.handed_over;
  toast(hasChanged ? translate("pass.changed", { number: shortNumber(number) }) : problemText(number, status, problem));
}

function setLive(isLive, lastGood) {
  showConnection(isLive, lastGood);
  taps.setLive(isLive);
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
  const next = all[current < 0 ? 0 : current + step];
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

/** Moves the focus from an order that has gone to the next one. */
function restoreFocus(before, active) {
  if (active === document.activeElement) return;
  const position = before.indexOf(active.closest("li")?.querySelector("button.hand-over") ?? active);
  if (position < 0) return;
  const after = cards();
  (after[Math.min(position, after.length - 1)] ?? part("sections")).focus({ preventScroll: true });
}
