// Times by the server's clock, in the time zone of the restaurant.

import { language, timezone } from "./restaurant.js";

let clockOffset = 0; // ms by which the server's clock is ahead of this device's

const clock = new Intl.DateTimeFormat(language, { hour: "2-digit", minute: "2-digit", hourCycle: "h23", timeZone: timezone });
const exact = new Intl.DateTimeFormat(language, { hour: "2-digit", minute: "2-digit", second: "2-digit", hourCycle: "h23", timeZone: timezone });
const relative = new Intl.RelativeTimeFormat(language, { style: "short" });
const UNITS = [["day", 86400], ["hour", 3600], ["minute", 60], ["second", 1]]; // with their lengths in s

/** Sets the offset to the server's clock. */
export function setClock(serverTime) {
  clockOffset = serverTime.getTime() - Date.now();
}

/** Returns the current time in ms, by the server's clock. */
export function now() {
  return Date.now() + clockOffset;
}

/** Formats a time of day: 19:05. */
export function timeOfDay(date) {
  return clock.format(date);
}

/** Formats a time of day with seconds: 19:05:09. */
export function exactTimeOfDay(date) {
  return exact.format(date);
}

/** Formats the time since a moment, as on a ticket: 4:09, or 1:04:09 from an hour on. */
export function age(sinceMs) {
  return duration(Math.max(0, now() - sinceMs) / 1000);
}

/** Formats a duration: 4:09, or 1:04:09 from an hour on. */
export function duration(seconds) {
  const whole = Math.floor(seconds);
  const [hours, minutes, rest] = [Math.floor(whole / 3600), Math.floor(whole / 60) % 60, whole % 60];
  const padded = (number) => String(number).padStart(2, "0");
  return hours ? `${hours}:${padded(minutes)}:${padded(rest)}` : `${minutes}:${padded(rest)}`;
}

/** Formats the time since a moment in words: "12 sec. ago", "3 min. ago". */
export function ago(sinceMs) {
  const seconds = Math.max(0, Math.floor((now() - sinceMs) / 1000));
  const [unit, length] = UNITS.find(([, length]) => seconds >= length) ?? UNITS.at(-1);
  return relative.format(-Math.floor(seconds / length), unit);
}
