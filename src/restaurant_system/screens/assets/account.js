// Shows who is signed in, with a button to sign out; on a restaurant without signing in, nothing.

import { make } from "./elements.js";
import { fetchSession, signIn } from "./session.js";
import { translate } from "./words.js";

const CHECK_INTERVAL = 30000; // ms until a page notices that its session has ended

const signedIn = await fetchSession();
if (signedIn !== null && signedIn.name !== null) {
  showAccount(signedIn.name);
  setInterval(checkSession, CHECK_INTERVAL);
}

function showAccount(name) {
  const form = make("form", { method: "post", action: "/sign-out" }, make("button", {}, translate("account.sign_out")));
  const who = make("a", { href: "/sign-in", className: "user-text", dir: "auto" }, name);
  document.body.append(make("footer", { className: "account" }, who, form));
}

async function checkSession() {
  const session = await fetchSession();
  if (session !== null && session.name === null) signIn();
}
