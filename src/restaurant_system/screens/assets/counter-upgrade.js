// Converts the draft that an earlier release of the page stored. One that was sent becomes one of the sent
// orders, with its key: as a draft, it could be placed a second time.

import { load, removeStored, store } from "./stored.js";

const DRAFT = "counter.draft";

export function upgradeStored() {
  const stored = load(DRAFT);
  const upgraded = stored?.version === 1 ? fromVersion1(stored) : stored;
  if (upgraded?.version !== 2) return;
  const { phase, body, sentAt, placed, ...rest } = upgraded;
  const draft = { ...rest, version: 3 };
  const { key, type } = draft;
  if (phase === "sent") store(`counter.order.${key}`, { key, at: sentAt, type, table: "", draft, state: "waiting", body, sentAt });
  if (phase === "open") store(DRAFT, draft);
  else removeStored(DRAFT);
}

function fromVersion1({ lines, doubt, ...state }) {
  return { ...state, version: 2, items: lines, unconfirmed: doubt };
}
