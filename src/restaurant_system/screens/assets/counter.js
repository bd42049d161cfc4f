// The counter: an order is made from the menu or typed, sent once, and called by its number.

import { showConnection } from "./banner.js";
import { decimal } from "./counter-cents.js";
import { Draft } from "./counter-draft.js";
import { forgetFault, forgetFaults, showFaults, summarize } from "./counter-faults.js";
import { Lines } from "./counter-lines.js";
import { Menu } from "./counter-menu.js";
import { Sending } from "./counter-sending.js";
import { write } from "./elements.js";
import { money, say, shortNumber } from "./words.js";

const PATIENT = 3; // times without an answer after which one may give up

const part = (id) => document.getElementById(id);
const [form, summary, doubted, addTyped, clear] = ["order", "summary", "doubted", "add-typed", "clear"].map(part);

const draft = new Draft(show);
const lines = new Lines(part("lines"), draft, tell);
const menu = new Menu(part("menu"), { picked: pick, changed: showMenu, live: showConnection });
const sending = new Sending(sayThatItTakesLong);
let isUnderWay = false;

function pick(item) {
  if (!item.available) {
    announce(say("counter.not_available", { name: item.name }));
    return;
  }
  forgetFault(addTyped);
  tell(draft.addFromMenu(item));
}

function tell(id) {
  const { name, quantity } = draft.line(id);
  announce(say("counter.now", { name, quantity, total: total() }));
}

function announce(sentence) {
  part("said").textContent = sentence;
}

function total() {
  return money(decimal(draft.totalCents));
}

// What is shown ---------------------------------------------------------------------------------

function show() {
  const { phase, lines: chosen } = draft.state;
  part("counter").hidden = phase === "placed";
  part("no-menu").hidden = menu.sections?.length !== 0;
  part("no-lines").hidden = chosen.length > 0;
  lines.show((line) => menu.differenceTo(line));
  menu.count(chosen);
  showFields();
  showBar();
  showDoubt();
  showPlaced();
  follow();
}

/** Shows another menu, and says what of the order it has changed. */
function showMenu() {
  show();
  const changes = draft.state.lines.flatMap((line) => {
    const text = menu.differenceTo(line)?.text;
    return text ? [say("counter.differs", { name: line.name, text })] : [];
  });
  if (changes.length > 0) announce(changes.join(" "));
}

function showFields() {
  for (const input of form.querySelectorAll("[data-draft]")) {
    const value = draft.state[input.dataset.draft];
    if (input.value !== value) input.value = value;
  }
  for (const field of form.querySelectorAll("[data-type]")) field.hidden = field.dataset.type !== draft.state.type;
  form.elements.type.value = draft.state.type;
  clear.hidden = draft.isEmpty && !draft.canBringBack;
  write(clear, say(draft.canBringBack ? "counter.bring_back" : "counter.clear"));
}

function showBar() {
  const isSent = draft.state.phase === "sent";
  part("menu-pane").inert = isSent;
  form.inert = isSent;
  part("place").setAttribute("aria-disabled", String(isSent));
  write(part("place"), say(isSent ? "counter.sending" : "counter.place"));
  write(part("count"), say("counter.count", { count: draft.itemCount }));
  write(part("total"), total());
  if (!isSent) for (const id of ["waiting", "impatience", "stop"]) part(id).hidden = true;
}

function showDoubt() {
  const { doubt } = draft.state;
  doubted.hidden = doubt === null;
  write(doubted, doubt === null ? "" : say(doubt));
}

function showPlaced() {
  const { phase, placed } = draft.state;
  const appears = part("placed").hidden;
  part("placed").hidden = phase !== "placed";
  if (phase !== "placed") return;
  const { orderNumber, totalAmount } = placed;
  write(part("placed-number"), shortNumber(orderNumber));
  write(part("placed-full"), orderNumber);
  write(part("placed-total"), money(totalAmount));
  part("placed-link").href = `/track/${orderNumber}`;
  if (appears) part("next").focus();
}

// An order leaves -------------------------------------------------------------------------------

/** Sees to it that what is sent is answered, be it from before a reload. */
async function follow() {
  if (isUnderWay || draft.state.phase !== "sent") return;
  isUnderWay = true;
  const { key } = draft.state;
  const answer = await sending.answerTo(draft.state);
  isUnderWay = false;
  const isStillOurs = draft.state.phase === "sent" && draft.state.key === key;
  if (isStillOurs) settle(answer);
  else follow(); // another window of this browser was faster
}

function settle(answer) {
  if (answer === null) doubt("counter.stopped");
  else if (answer.status === 201) draft.place(answer.body.order_number, answer.body.total_amount);
  else if (answer.status === 422) doubt("counter.reused");
  else refuse(answer.body);
}

function doubt(text) {
  draft.reopenInDoubt(text);
  doubted.focus();
}

function refuse({ detail, errors = [] }) {
  draft.reopen();
  const homeless = showFaults(form, errors);
  if (errors.length > 0 && homeless.length === 0) return;
  summarize(summary, errors.length ? say("counter.refused") : detail, homeless);
  if (homeless.length === errors.length) summary.focus();
}

function sayThatItTakesLong(misses) {
  part("waiting").hidden = false;
  part("impatience").hidden = false;
  part("stop").hidden = misses < PATIENT;
}

// What a person does ----------------------------------------------------------------------------

form.addEventListener("submit", (event) => {
  event.preventDefault();
  if (draft.state.phase !== "open") return;
  forgetFaults(form);
  summary.hidden = true;
  part("place").focus(); // the rest is out of reach until there is an answer
  draft.send();
});

form.addEventListener("input", ({ target }) => {
  if (target.name === "type") draft.write("type", target.value);
  else if (target.dataset.draft) {
    forgetFault(target);
    draft.write(target.dataset.draft, target.value);
  }
});

// An order leaves by its button or from one of its own fields, not while its items are written.
part("lines").addEventListener("keydown", (event) => {
  if (event.key !== "Enter" || event.target.tagName !== "INPUT") return;
  event.preventDefault();
  addTyped.focus();
});

addTyped.addEventListener("click", () => {
  forgetFault(addTyped);
  lines.focus(draft.addTyped());
});

clear.addEventListener("click", () => {
  forgetFaults(form);
  summary.hidden = true;
  if (draft.canBringBack) draft.bringBack();
  else draft.clear();
});

part("next").addEventListener("click", () => {
  draft.next();
  scrollTo(0, 0);
  (part("menu").querySelector("button") ?? addTyped).focus();
});

part("hurry").addEventListener("click", () => sending.hurry());
part("stop").addEventListener("click", () => {
  part("place").focus();
  part("impatience").hidden = true;
  sending.stop();
});

await menu.watch();
show();
