// What this browser keeps for a page over a reload. Where it may keep nothing, the page goes on without.

/** Keeps a value that JSON can say. */
export function keep(name, value) {
  try {
    localStorage.setItem(name, JSON.stringify(value));
  } catch {
    // Full, or forbidden.
  }
}

/** The value that was kept, else `otherwise`. */
export function kept(name, otherwise = null) {
  try {
    return parsed(localStorage.getItem(name)) ?? otherwise;
  } catch {
    return otherwise;
  }
}

export function forget(name) {
  try {
    localStorage.removeItem(name);
  } catch {
    // Then nothing was kept.
  }
}

/** All values whose names begin with `prefix`. */
export function keptUnder(prefix) {
  try {
    const names = Object.keys(localStorage).filter((name) => name.startsWith(prefix));
    return names.map((name) => kept(name)).filter((value) => value !== null);
  } catch {
    return [];
  }
}

/** Calls `changed(name, value)` when another tab keeps a value under `prefix`, or forgets it (null). */
export function onKeptElsewhere(prefix, changed) {
  addEventListener("storage", ({ key, newValue }) => {
    if (key?.startsWith(prefix)) changed(key, parsed(newValue));
  });
}

function parsed(text) {
  try {
    return JSON.parse(text);
  } catch {
    return null;
  }
}
