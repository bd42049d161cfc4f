// The counter page: an order is composed from the menu or typed, placed once, and shown with its number.

import { showConnection } from "./banner.js";
import { decimal } from "./counter-cents.js";
import { Draft } from "./counter-draft.js";
import { hideError, hideErrors, showErrors, summarize } from "./counter-errors.js";
import { OrderItems } from "./counter-items.js";
import { Menu } from "./counter-menu.js";
import { Sending } from "./counter-sending.js";
import { write } from "./elements.js";
import { money, translate, shortNumber } from "./words.js";

const MISSES_BEFORE_STOP = 3; // attempts without a response after which a person can stop waiting

const part = (id) => document.getElementById(id);
const [form, summary, unconfirmedNote, addTyped, clear] = ["order", "summary", "unconfirmed", "add-typed", "clear"].map(part);

const draft = new Draft(show);
const orderItems = new OrderItems(part("order-items"), draft, announceItem);
const menu = new Menu(part("menu"), { picked: pick, changed: showMenu, live: showConnection });
const sending = new Sending(showWaiting);
let isSending = false;

function pick(item) {
  if (!item.available) {
    announce(translate("counter.not_available", { name: item.name }));
    return;
  }
  hideError(addTyped);
  announceItem(draft.addFromMenu(item));
}

function announceItem(id) {
  const { name, quantity } = draft.item(id);
  announce(translate("counter.now", { name, quantity, total: total() }));
}

function announce(text) {
  part("announcement").textContent = text;
}

function total() {
  return money(decimal(draft.totalCents));
}

// Rendering -------------------------------------------------------------------------------------

function show() {
  const { phase, items } = draft.state;
  part("counter").hidden = phase === "placed";
  part("no-menu").hidden = menu.sections?.length !== 0;
  part("no-order-items").hidden = items.length > 0;
  orderItems.show((item) => menu.differenceTo(item));
  menu.count(items);
  showFields();
  showBar();
  showUnconfirmed();
  showPlaced();
  follow();
}

/** Shows a changed menu, and announces which items of the order it changes. */
function showMenu() {
  show();
  const changes = draft.state.items.flatMap((item) => {
    const text = menu.differenceTo(item)?.text;
    return text ? [translate("counter.differs", { name: item.name, text })] : [];
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
  write(clear, translate(draft.canBringBack ? "counter.bring_back" : "counter.clear"));
}

function showBar() {
  const isSent = draft.state.phase === "sent";
  part("menu-pane").inert = isSent;
  form.inert = isSent;
  part("place").setAttribute("aria-disabled", String(isSent));
  write(part("place"), translate(isSent ? "counter.sending" : "counter.place"));
  write(part("count"), translate("counter.count", { count: draft.itemCount }));
  write(part("total"), total());
  if (!isSent) for (const id of ["waiting", "waiting-actions", "stop"]) part(id).hidden = true;
}

function showUnconfirmed() {
  const { unconfirmed } = draft.state;
  unconfirmedNote.hidden = unconfirmed === null;
  write(unconfirmedNote, unconfirmed === null ? "" : translate(unconfirmed));
}

function showPlaced() {
  const { phase, placed } = draft.state;
  const appears = part("placed").hidden;
  part("placed").hidden = phase !== "placed";
  if (phase !== "placed") return;
  const { orderNumber, totalAmount, trackingUrl } = placed;
  write(part("placed-number"), shortNumber(orderNumber));
  write(part("placed-full"), orderNumber);
  write(part("placed-total"), money(totalAmount));
  part("placed-link").href = trackingUrl ?? `/track/${orderNumber}`; // an order of an earlier release has no link
  if (appears) part("next").focus();
}

// Sending the order -----------------------------------------------------------------------------

/** Sends the order until there is a response, also one that was sent before a reload. */
async function follow() {
  if (isSending || draft.state.phase !== "sent") return;
  isSending = true;
  const { key } = draft.state;
  const response = await sending.send(draft.state);
  isSending = false;
  const isCurrent = draft.state.phase === "sent" && draft.state.key === key;
  if (isCurrent) settle(response);
  else follow(); // another window of this browser got the response first
}

function settle(response) {
  if (response === null) reopenUnconfirmed("counter.stopped");
  else if (response.status === 201) place(response.body);
  else if (response.status === 422) reopenUnconfirmed("counter.reused");
  else refuse(response.body);
}

function place({ order_number: orderNumber, total_amount: totalAmount, tracking_url: trackingUrl }) {
  draft.place(orderNumber, totalAmount, trackingUrl);
}

function reopenUnconfirmed(text) {
  draft.reopenUnconfirmed(text);
  unconfirmedNote.focus();
}

function refuse({ detail, errors = [] }) {
  draft.reopen();
  const unplaced = showErrors(form, errors);
  if (errors.length > 0 && unplaced.length === 0) return;
  summarize(summary, errors.length ? translate("counter.refused") : detail, unplaced);
  if (unplaced.length === errors.length) summary.focus();
}

function showWaiting(misses) {
  part("waiting").hidden = false;
  part("waiting-actions").hidden = false;
  part("stop").hidden = misses < MISSES_BEFORE_STOP;
}

// Events ---------------------------------------------------------------------------------------

form.addEventListener("submit", (event) => {
  event.preventDefault();
  if (draft.state.phase !== "open") return;
  hideErrors(form);
  summary.hidden = true;
  part("place").focus(); // everything else is inert until there is a response
  draft.send();
});

form.addEventListener("input", ({ target }) => {
  if (target.name === "type") draft.write("type", target.value);
  else if (target.dataset.draft) {
    hideError(target);
    draft.write(target.dataset.draft, target.value);
  }
});

// Enter places the order from its button and its own fields, but not from the fields of an item.
part("order-items").addEventListener("keydown", (event) => {
  if (event.key !== "Enter" || event.target.tagName !== "INPUT") return;
  event.preventDefault();
  addTyped.focus();
});

addTyped.addEventListener("click", () => {
  hideError(addTyped);
  orderItems.focus(draft.addTyped());
});

clear.addEventListener("click", () => {
  hideErrors(form);
  summary.hidden = true;
  if (draft.canBringBack) draft.bringBack();
  else draft.clear();
});

part("next").addEventListener("click", () => {
  draft.next();
  scrollTo(0, 0);
  (part("menu").querySelector("button") ?? addTyped).focus();
});

part("retry-now").addEventListener("click", () => sending.retryNow());
part("stop").addEventListener("click", () => {
  part("place").focus();
  part("waiting-actions").hidden = true;
  sending.stop();
});

await menu.watch();
show();
