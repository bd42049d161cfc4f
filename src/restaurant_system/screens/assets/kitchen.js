// The kitchen display: shows the tickets of one station and performs the actions of people on them.

import { AllDay } from "./allday.js";
import { showConnection } from "./banner.js";
import { datedNumber } from "./business-date.js";
import { inNextFrame, write } from "./elements.js";
import { listenForKeys } from "./keys.js";
import { rememberStation } from "./last-station.js";
import { LiveView } from "./live.js";
import { onLongTap } from "./long-tap.js";
import { News, TICKETS } from "./news.js";
import { toast } from "./notices.js";
import { sentenceOf } from "./problems.js";
import { Rail } from "./rail.js";
import { Recall } from "./recall.js";
import { UNAUTHORIZED } from "./requests.js";
import { ScheduledTickets } from "./scheduled-tickets.js";
import { markSoldOut } from "./sold-out.js";
import { soundButton } from "./sound-button.js";
import { nameStation, openStation, showStation, tickClock } from "./station.js";
import { Taps } from "./taps.js";
import { NEXT_ACTION } from "./ticket.js";
import { TextSize } from "./text-size.js";
import { Undo } from "./undo.js";
import { statusInSentence, translate } from "./words.js";

const query = new URLSearchParams(location.search);
const station = query.get("station") || "kitchen";
const address = `/kitchen/stations/${encodeURIComponent(station)}`;
const types = query.get("order_types");
const byId = (id) => document.getElementById(id);
const keysDialog = byId("keys");

const bell = soundButton(byId("sound-button"), "kitchen-muted");
const news = new News(`${address}/unseen`, bell, showSeen, TICKETS, (number) => !rail.isElsewhere(number));
const taps = new Taps(`${address}/tickets/`, { changed: showTap, refused: showRefusal });
const rail = new Rail(byId("rail"), byId("pages"), byId("tickets-title"), {
  stateOf: (number) => ({ tap: taps.pendingOf(number), isNew: news.has(number), ofItems: taps.pendingOfItems(number) }),
  act,
  rush,
  cross,
});
const undo = new Undo(byId("undo"), taps, takeBack);
const allDay = new AllDay(byId("all-day"), byId("all-day-button"));
const recalls = new Recall(byId("recall"), `${address}/bumped`, recall);
const changed = new Set(); // the keys of entries that are not shown yet
const show = inNextFrame(showChanged);
const scheduled = new ScheduledTickets(byId("scheduled"), types?.split(","));

function act(entry) {
  if (entry && rail.hold(entry.order_number)) taps.add(entry, NEXT_ACTION[entry.status], entry.status);
}

function rush(entry) {
  if (!entry || entry.status === "cancelled" || entry.rushed_at) return;
  if (rail.hold(entry.order_number)) taps.add(entry, "rush", entry.status);
}

/** Crosses off an item, or restores it. */
function cross(entry, item, isDone) {
  if (!rail.isTapped(entry.order_number)) taps.add(entry, isDone ? "cross_off" : "restore", entry.status, item);
}

function recall(entry) {
  taps.add(entry, "recall", "ready");
}

/** Undoes an act. A start can be undone for a few seconds only: without a connection, it would be refused later. */
function takeBack(entry, action) {
  if (action !== "unstart" || taps.isLive) taps.add(entry, action, entry.status);
  else toast(translate("kitchen.undo.offline", { number: datedNumber(entry.order_number) }));
}

function actOnDigit(digit) {
  const entry = rail.entryAtDigit(digit);
  if (!entry) return;
  rail.focusTicket(entry.order_number);
  act(entry);
}

function showSeen(numbers) {
  for (const number of numbers) rail.refresh(number);
}

function showTap(number) {
  rail.refresh(number);
  refreshUndo();
  const count = taps.unanswered.filter((tap) => tap.isWaiting).length;
  write(byId("kept"), count ? translate("kitchen.kept", { count }) : "");
}

/** Shows why a tap was refused. */
function showRefusal(tap, problem, statusCode) {
  const number = datedNumber(tap.number);
  if (!problem) {
    toast(translate(statusCode === UNAUTHORIZED ? "acts.signed_out" : "kitchen.not_done", { number }));
    return;
  }
  if (problem.current_status && tap.action === "unstart") {
    toast(translate("kitchen.undo.too_late", { number }));
    return;
  }
  if (problem.code !== "ticket_changed") {
    toast(sentenceOf(problem));
    return;
  }
  const { current_status: current, processed_by: cook } = problem;
  toast(translate(cook ? "kitchen.too_late" : "kitchen.too_late_alone", { number, status: statusInSentence(current), cook }));
}

function refreshUndo() {
  if (undo.refresh()) rail.takeFocus();
}

function change(entries, keys) {
  news.update(entries);
  for (const key of keys) changed.add(key);
  show();
}

/** Shows what has changed since the last frame; several changes may come together. */
function showChanged() {
  const { entries } = view;
  rail.show(entries, changed);
  changed.clear();
  undo.show(entries);
  allDay.show(entries);
  showStation(entries);
  taps.update(entries);
}

function setLive(isLive, lastGood) {
  showConnection(isLive, lastGood);
  taps.setLive(isLive);
}

function tick() {
  rail.tick();
  taps.expire(view.lastGood);
  refreshUndo();
  tickClock();
}

byId("recall-button").addEventListener("click", () => recalls.open());
byId("scheduled-button").addEventListener("click", () => scheduled.open());
byId("keys-button").addEventListener("click", () => keysDialog.showModal());
onLongTap(byId("rail"), ".items > li", (item) => markSoldOut(item.dataset.name));
listenForKeys({
  digit: actOnDigit,
  shiftedDigit: (digit) => rush(rail.entryAtDigit(digit)),
  keys: {
    " ": () => act(rail.selected),
    ArrowLeft: () => rail.moveFocus(-1, 0),
    ArrowRight: () => rail.moveFocus(1, 0),
    ArrowUp: () => rail.moveFocus(0, -1),
    ArrowDown: () => rail.moveFocus(0, 1),
    PageUp: () => rail.turnPage(-1),
    PageDown: () => rail.turnPage(1),
    f: () => rush(rail.selected),
    u: () => undo.undoLatest(),
    r: () => recalls.open(),
    s: () => scheduled.open(),
    a: () => allDay.toggle(),
    m: () => bell.toggle(),
    "?": () => keysDialog.showModal(),
  },
});

new TextSize(byId("text-size"), station, () => rail.resize());
nameStation(station);
rememberStation(station, types);
tickClock();
const view = new LiveView(`${address}/live`, {
  changed: change,
  live: setLive,
  check: () => openStation(address, types),
});
setInterval(tick, 1000);
