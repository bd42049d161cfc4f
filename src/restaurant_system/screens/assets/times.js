// Times by the server's clock, in the time zone of the restaurant.

import { language, timezone } from "./restaurant.js";

let clockOffset = 0; // ms by which the server's clock is ahead of this device's

const clock = new Intl.DateTimeFormat(language, { hour: "2-digit", minute: "2-digit", hourCycle: "h23", timeZone: timezone });
const dated = new Intl.DateTimeFormat(language, { day: "numeric", month: "short", hour: "2-digit", minute: "2-digit", hourCycle: "h23", timeZone: timezone });
const short = new Intl.DateTimeFormat(language, { day: "numeric", month: "short", timeZone: "UTC" });
const day = new Intl.DateTimeFormat("en-CA", { year: "numeric", month: "2-digit", day: "2-digit", timeZone: timezone }); // 2024-12-16
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

/** Formats a time of today as 19:05, and of another day with its date. */
export function timeOrDate(date) {
  return (dateOf(date) === dateOf(new Date(now())) ? clock : dated).format(date);
}

/** Returns the date of a moment in the restaurant: 2024-12-16. */
export function dateOf(date) {
  return day.format(date);
}

/** Formats a date without a time, 2024-12-16, as 16 Dec. */
export function shortDate(date) {
  return short.format(new Date(`${date}T00:00Z`));
}

/**
 * Returns the moment (a Date) of a time of day, "20:00", in the restaurant: on a date, or without one the
 * next time that the clock shows it.
 */
export function nextInstant(date, time) {
  if (date !== "") return instantOf(date, time);
  const today = instantOf(dateOf(new Date(now())), time);
  return today >= now() ? today : instantOf(dateOf(new Date(now() + 86400000)), time);
}

/** Returns the moment at which the clock of the restaurant shows this date and time. */
function instantOf(date, time) {
  const wall = Date.parse(`${date}T${time}Z`);
  const guess = wall - zoneOffset(wall);
  return new Date(wall - zoneOffset(guess)); // the offset may have changed between both
}

/** Returns by how many ms the clock of the restaurant is ahead of UTC at a moment (in ms). */
function zoneOffset(at) {
  const minute = Math.floor(at / 60000) * 60000;
  return Date.parse(`${dateOf(new Date(minute))}T${timeOfDay(new Date(minute))}Z`) - minute;
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
  const [unit, length] = UNITS.find(([, length]) => seconds >= length) ?? UNITS[UNITS.length - 1];
  return relative.format(-Math.floor(seconds / length), unit);
}
