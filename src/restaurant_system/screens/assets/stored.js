// Values in the browser's storage. Where it is not available, nothing is stored, without an error.

/** Tells whether values can be stored: not if the user forbids it, or the storage is full. */
export function isStorageAvailable() {
  try {
    localStorage.setItem("test", "");
    localStorage.removeItem("test");
    return true;
  } catch {
    return false;
  }
}

/** Stores a value, as JSON. */
export function store(name, value) {
  try {
    localStorage.setItem(name, JSON.stringify(value));
  } catch {
    // The storage is full or not allowed.
  }
}

/** Returns a stored value, else `otherwise`. */
export function load(name, otherwise = null) {
  try {
    return parsed(localStorage.getItem(name)) ?? otherwise;
  } catch {
    return otherwise;
  }
}

/** Stores a value, as JSON, for this tab alone, where it survives a reload. */
export function storeInTab(name, value) {
  try {
    sessionStorage.setItem(name, JSON.stringify(value));
  } catch {
    // The storage is full or not allowed.
  }
}

/** Returns a value that was stored for this tab, else `otherwise`. */
export function loadInTab(name, otherwise = null) {
  try {
    return parsed(sessionStorage.getItem(name)) ?? otherwise;
  } catch {
    return otherwise;
  }
}

export function removeStored(name) {
  try {
    localStorage.removeItem(name);
  } catch {
    // The storage is not allowed, so nothing was stored.
  }
}

/** Returns all values whose names start with `prefix`. */
export function loadAll(prefix) {
  try {
    const names = Object.keys(localStorage).filter((name) => name.startsWith(prefix));
    return names.map((name) => load(name)).filter((value) => value !== null);
  } catch {
    return [];
  }
}

/** Calls `changed(name, value)` when another tab stores a value under `prefix`, or removes it (null). */
export function onStoredElsewhere(prefix, changed) {
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
