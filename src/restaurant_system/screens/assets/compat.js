// Fallbacks for browsers of 2021 and 2022, such as those of tablets that end at iPadOS 15. Which features
// need one is listed in scripts/check_browser_features.py, which `make check` runs.

const FOCUSABLE = "a[href], button, input, select, textarea, summary, [tabindex]";

/** Returns a signal that aborts after `ms`, as `AbortSignal.timeout` of newer browsers does. */
export function timeoutSignal(ms) {
  const controller = new AbortController();
  setTimeout(() => controller.abort(), ms);
  return controller.signal;
}

document.getElementById("old-browser")?.remove(); // the browser runs the modules of the page

if (!("inert" in HTMLElement.prototype)) addInert();
if (typeof HTMLDialogElement === "undefined") addDialogs(HTMLUnknownElement.prototype);
else if (!HTMLDialogElement.prototype.showModal) addDialogs(HTMLDialogElement.prototype);

/** Adds `inert`: base.css keeps pointers away from such elements, and the focus is moved out here. */
function addInert() {
  Object.defineProperty(HTMLElement.prototype, "inert", {
    configurable: true,
    get() {
      return this.hasAttribute("inert");
    },
    set(isInert) {
      this.toggleAttribute("inert", isInert);
      if (isInert && this.contains(document.activeElement)) document.activeElement.blur();
    },
  });
  addEventListener("focusin", ({ target, relatedTarget }) => {
    if (target.closest("[inert]")) leaveInert(target, relatedTarget);
  });
}

/** Moves the focus from an inert element to the next one that is not, in the direction of the focus. */
function leaveInert(target, previous) {
  const all = [...document.querySelectorAll(FOCUSABLE)].filter(isFocusable);
  const follows = (one, other) => one.compareDocumentPosition(other) & Node.DOCUMENT_POSITION_FOLLOWING;
  const isBackward = previous !== null && follows(target, previous);
  const candidates = isBackward ? all.reverse().filter((each) => !follows(target, each)) : all.filter((each) => follows(target, each));
  target.blur();
  (candidates[0] ?? all[0])?.focus();
}

function isFocusable(element) {
  return element.tabIndex >= 0 && !element.disabled && element.getClientRects().length > 0 && !element.closest("[inert]");
}

/**
 * Adds modal dialogs to the elements of `prototype`. While one is open, everything around it is inert;
 * a backdrop, the position and the hiding of closed dialogs are in base.css.
 */
function addDialogs(prototype) {
  const opened = []; // { dialog, before, around }, the one on top last

  Object.defineProperties(prototype, {
    open: {
      configurable: true,
      get() {
        return this.hasAttribute("open");
      },
    },
    showModal: {
      configurable: true,
      value() {
        if (this.open) return;
        const before = document.activeElement;
        const around = surroundingsOf(this).filter((each) => !each.inert);
        this.setAttribute("open", "");
        this.setAttribute("role", "dialog");
        this.setAttribute("aria-modal", "true");
        this.classList.add("modal");
        for (const each of around) each.inert = true;
        opened.push({ dialog: this, before, around });
        const first = this.querySelector("[autofocus]") ?? [...this.querySelectorAll(FOCUSABLE)].find(isFocusable);
        first?.focus();
      },
    },
    close: {
      configurable: true,
      value() {
        if (!this.open) return;
        this.removeAttribute("open");
        this.classList.remove("modal");
        const index = opened.findIndex(({ dialog }) => dialog === this);
        const [{ before, around }] = index < 0 ? [{ before: null, around: [] }] : opened.splice(index, 1);
        for (const each of around) each.inert = false;
        before?.focus();
        setTimeout(() => this.dispatchEvent(new Event("close")));
      },
    },
  });

  addEventListener("keydown", (event) => {
    if (event.key !== "Escape" || event.defaultPrevented || opened.length === 0) return;
    const { dialog } = opened[opened.length - 1];
    if (dialog.dispatchEvent(new Event("cancel", { cancelable: true }))) dialog.close();
  });
  addEventListener("submit", (event) => {
    if (event.target.getAttribute("method") !== "dialog") return;
    event.preventDefault();
    event.target.closest("dialog").close();
  }, true);
}

/** Returns the elements that are neither in nor around an element: its siblings and those of its parents. */
function surroundingsOf(element) {
  const found = [];
  for (let each = element; each !== document.body; each = each.parentElement) {
    found.push(...[...each.parentElement.children].filter((other) => other !== each));
  }
  return found;
}
