// Shows who is signed in, with a button to sign out, or on a shared device to switch the user; in a
// restaurant without signing in, nothing.

import { make } from "./elements.js";
import { fetchSession, sendJson, signIn } from "./session.js";
import { translate } from "./words.js";

const CHECK_INTERVAL = 30000; // ms until a page notices that its session has ended

const signedIn = await fetchSession();
if (signedIn !== null && signedIn.name !== null) {
  showAccount(signedIn);
  setInterval(checkSession, CHECK_INTERVAL);
}

function showAccount({ name, device }) {
  const button = device === null
    ? make("button", {}, translate("account.sign_out"))
    : make("button", { type: "button", onclick: switchUser }, translate("account.switch"));
  const form = make("form", { method: "post", action: "/sign-out" }, button);
  const who = make("a", { href: "/sign-in", className: "user-text", dir: "auto" }, name);
  document.body.append(make("footer", { className: "account" }, who, form));
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
