// The navigation of staff: links to the pages that the person may open, and who is signed in, with a
// button to sign out, or on a shared device to switch the user. In a restaurant without signing in it
// has the links alone. On screens with the class `folded` it is behind one button.

import { make } from "./elements.js";
import { places } from "./restaurant.js";
import { fetchSession, jsonAtLoad, placesFor, sendJson, signIn } from "./session.js";
import { translate } from "./words.js";

const CHECK_INTERVAL = 30000; // ms until a page notices that its session has ended

addManifest();
const navigation = document.getElementById("places");
start();

/**
 * Names the manifest with which the page is added to a home screen. It is for this address: that of a
 * station, for example, has the name of the station.
 */
function addManifest() {
  const place = places.find(({ path }) => path === location.pathname);
  if (place === undefined) return;
  document.head.append(make("link", { rel: "manifest", href: `/manifest/${place.name}${location.search}` }));
}

async function start() {
  const session = await jsonAtLoad("/session");
  if (session === null) return;
  show(session);
  if (session.name !== null) setInterval(checkSession, CHECK_INTERVAL);
}

function show(session) {
  const links = placesFor(session).map(linkTo);
  const isUseful = session.name !== null || links.some((link) => !link.hasAttribute("aria-current"));
  if (!isUseful) return;
  const list = make("ul", { role: "list" }, ...links.map((link) => make("li", {}, link)));
  const content = session.name === null ? [list] : [list, makeAccount(session)];
  const isFolded = navigation.matches(".folded");
  navigation.replaceChildren(...(isFolded ? [folded(content)] : [makeSkip(), ...content]));
}

/** Makes a button that is shown while it has the focus: with a keyboard, it leads past the links. */
function makeSkip() {
  const main = document.querySelector("main");
  const skip = () => {
    main.tabIndex = -1;
    main.focus();
  };
  return make("button", { type: "button", className: "skip", onclick: skip }, translate("account.skip"));
}

function linkTo({ path, name }) {
  const link = make("a", { href: path }, translate(`account.place.${name}`));
  if (path === location.pathname) link.setAttribute("aria-current", "page");
  return link;
}

function makeAccount({ name, device }) {
  const button = device === null
    ? make("button", {}, translate("account.sign_out"))
    : make("button", { type: "button", onclick: switchUser }, translate("account.switch"));
  const form = make("form", { method: "post", action: "/sign-out" }, button);
  const who = make("a", { href: "/sign-in", className: "user-text", dir: "auto" }, name);
  return make("div", { className: "account" }, who, form);
}

/** Makes a button that shows the links until a tap elsewhere, or Escape. */
function folded(content) {
  const button = make("summary", {}, translate("account.places"));
  const fold = make("details", {}, button, make("div", { className: "panel" }, ...content));
  document.addEventListener("pointerdown", ({ target }) => {
    if (!fold.contains(target)) fold.open = false;
  });
  fold.addEventListener("keydown", (event) => {
    event.stopPropagation(); // a digit or a space is no action on a ticket here
    if (event.key !== "Escape") return;
    fold.open = false;
    button.focus();
  });
  return fold;
}

/** Ends the session; the next person signs in with a PIN, and sees this page again. */
async function switchUser({ currentTarget: button }) {
  button.disabled = true;
  const response = await sendJson("DELETE", "/session");
  button.disabled = false;
  if (response?.ok) signIn();
}

async function checkSession() {
  const session = await fetchSession();
  if (session !== null && session.name === null) signIn();
}
