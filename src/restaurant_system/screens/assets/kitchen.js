// The kitchen display: shows the tickets of one station and performs the actions of people on them.

import { AllDay } from "./allday.js";
import { showConnection } from "./banner.js";
import { Bell } from "./bell.js";
import { write } from "./elements.js";
import { listenForKeys } from "./keys.js";
import { LiveView } from "./live.js";
import { News } from "./news.js";
import { toast } from "./notices.js";
import { Rail } from "./rail.js";
import { Recall } from "./recall.js";
import { nameStation, openStation, showStation, tickClock } from "./station.js";
import { Taps } from "./taps.js";
import { NEXT_ACTION } from "./ticket.js";
import { Undo } from "./undo.js";
import { translate, shortNumber } from "./words.js";

const query = new URLSearchParams(location.search);
const station = query.get("station") || "kitchen";
const address = `/kitchen/stations/${encodeURIComponent(station)}`;
const types = query.get("order_types");
const byId = (id) => document.getElementById(id);
const [soundButton, keysDialog] = [byId("sound-button"), byId("keys")];

const bell = new Bell(showSound);
const news = new News(`${address}/unseen`, bell, (numbers) => numbers.forEach((number) => rail.refresh(number)));
const taps = new Taps(`${address}/tickets/`, { changed: showTap, refused: showRefusal });
const rail = new Rail(byId("rail"), byId("tickets-title"), {
  stateOf: (number) => ({ tap: taps.pendingOf(number), isNew: news.has(number) }),
  act,
  rush,
});
const undo = new Undo(byId("undo"), taps, recall);
const allDay = new AllDay(byId("all-day"), byId("all-day-button"));
const recalls = new Recall(byId("recall"), `${address}/bumped`, recall);

function act(entry) {
  if (entry) taps.add(entry, NEXT_ACTION[entry.status], entry.status);
}

function rush(entry) {
  if (!entry || entry.status === "cancelled" || entry.rushed_at) return;
  taps.add(entry, "rush", entry.status);
}

function recall(entry) {
  taps.add(entry, "recall", "ready");
}

function actOnDigit(digit) {
  const entry = rail.entryAtDigit(digit);
  if (!entry) return;
  rail.focusTicket(entry.order_number);
  act(entry);
}

function undoLatest() {
  if (undo.latest) recall(undo.latest);
}

function showTap(number) {
  rail.refresh(number);
  refreshUndo();
  const count = taps.unanswered.filter((tap) => tap.isWaiting).length;
  write(byId("kept"), count ? translate("kitchen.kept", { count }) : "");
}

/** Shows why a tap was refused: the order has changed, else the message of the server. */
function showRefusal(tap, problem) {
  const number = shortNumber(tap.number);
  if (!problem?.current_status) {
    toast(problem?.detail ?? translate("kitchen.not_done", { number }));
    return;
  }
  const status = translate(`status.${problem.current_status}`).toLowerCase();
  const cook = problem.processed_by;
  toast(translate(cook ? "kitchen.too_late" : "kitchen.too_late_alone", { number, status, cook }));
}

function showSound() {
  const state = bell.isMuted ? "off" : bell.isUnlocked ? "on" : "locked";
  soundButton.dataset.state = state;
  write(soundButton.firstElementChild, translate(`kitchen.sound.${state}`));
}

/** Toggles the sound; the first tap, which browsers require before any sound, does not mute it. */
function toggleSound() {
  if (bell.isUnlocked || bell.isMuted) bell.toggle();
  else bell.unlock();
}

function refreshUndo() {
  if (undo.refresh()) rail.focusTicket(rail.selected?.order_number);
}

function change(entries, keys) {
  news.update(entries);
  rail.show(entries, keys);
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
  refreshUndo();
  tickClock();
}

soundButton.addEventListener("click", toggleSound);
byId("recall-button").addEventListener("click", () => recalls.open());
byId("keys-button").addEventListener("click", () => keysDialog.showModal());
listenForKeys({
  digit: actOnDigit,
  shiftedDigit: (digit) => rush(rail.entryAtDigit(digit)),
  keys: {
    " ": () => act(rail.selected),
    ArrowLeft: () => rail.moveFocus(-1, 0),
    ArrowRight: () => rail.moveFocus(1, 0),
    ArrowUp: () => rail.moveFocus(0, -1),
    ArrowDown: () => rail.moveFocus(0, 1),
    f: () => rush(rail.selected),
    u: undoLatest,
    r: () => recalls.open(),
    a: () => allDay.toggle(),
    m: () => bell.toggle(),
    "?": () => keysDialog.showModal(),
  },
});

nameStation(station);
showSound();
tickClock();
new LiveView(`${address}/live`, {
  changed: change,
  live: setLive,
  before: () => openStation(address, types),
});
setInterval(tick, 1000);
