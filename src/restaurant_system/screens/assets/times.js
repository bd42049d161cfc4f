// Time as the restaurant has it: the server's clock, in the restaurant's zone.

import { language, timezone } from "./house.js";

let ahead = 0; // ms that the server's clock is ahead of this device's

const clock = new Intl.DateTimeFormat(language, { hour: "2-digit", minute: "2-digit", hourCycle: "h23", timeZone: timezone });
const exact = new Intl.DateTimeFormat(language, { hour: "2-digit", minute: "2-digit", second: "2-digit", hourCycle: "h23", timeZone: timezone });
const relative = new Intl.RelativeTimeFormat(language, { style: "short" });
const UNITS = [["day", 86400], ["hour", 3600], ["minute", 60], ["second", 1]]; // with their lengths in s

/** Goes by the server's clock from now on. */
export function setClock(serverTime) {
  ahead = serverTime.getTime() - Date.now();
}

/** The time now, in ms, by the server's clock. */
export function now() {
  return Date.now() + ahead;
}

/** A time of day such as 19:05. */
export function timeOfDay(date) {
  return clock.format(date);
}

/** A time of day such as 19:05:09. */
export function exactTimeOfDay(date) {
  return exact.format(date);
}

/** How long ago, as on a ticket: 4:09, or 1:04:09 after an hour. */
export function age(sinceMs) {
  return duration(Math.max(0, now() - sinceMs) / 1000);
}

/** A time that something takes: 4:09, or 1:04:09 from an hour on. */
export function duration(seconds) {
  const whole = Math.floor(seconds);
  const [hours, minutes, rest] = [Math.floor(whole / 3600), Math.floor(whole / 60) % 60, whole % 60];
  const padded = (number) => String(number).padStart(2, "0");
  return hours ? `${hours}:${padded(minutes)}:${padded(rest)}` : `${minutes}:${padded(rest)}`;
}

/** How long ago, in words, to the nearest unit: "12 sec. ago", "3 min. ago". */
export function ago(sinceMs) {
  const seconds = Math.max(0, Math.floor((now() - sinceMs) / 1000));
  const [unit, length] = UNITS.find(([, length]) => seconds >= length) ?? UNITS.at(-1);
  return relative.format(-Math.floor(seconds / length), unit);
}
