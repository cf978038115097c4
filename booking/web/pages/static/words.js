// Texts for users, in the language of the page: from its catalogue in ../words. Numbers and times by Intl.

import { language, texts } from "./catalogue.js";

const REGIONS = { en: "en-GB", de: "de-DE" };

/** The user's own variant of the page's language, for example `en-US`. */
export const locale = navigator.languages.find((one) => one.split("-")[0] === language) ?? REGIONS[language] ?? language;

const whole = new Intl.NumberFormat(locale);
const plural = new Intl.PluralRules(locale);
const HOUR = { hour: "numeric", minute: "2-digit", timeZoneName: "short" };
const MOMENT = { ...HOUR, weekday: "long", year: "numeric", month: "long", day: "numeric" };
const STAMP = { ...HOUR, year: "numeric", month: "short", day: "numeric", second: "2-digit" };
const TICK = { hour: "2-digit", minute: "2-digit", hourCycle: "h23" };
const formats = new Map();

export const number = (value) => whole.format(value);

/** A text of the catalogue. `{name}` stands for `values.name`, if there is one; `values.count` chooses a plural form. */
export function t(key, values = {}) {
  const entry = texts[key];
  const text = typeof entry === "string" ? entry : (entry[plural.select(values.count)] ?? entry.other);
  return text.replace(/\{(\w+)\}/g, (place, name) => (typeof values[name] === "number" ? number(values[name]) : (values[name] ?? place)));
}

/** Whether the catalogue has a text with this key. */
export const has = (key) => key in texts;

export const tickets = (value) => t("tickets", { count: value });

/** The format of a kind of time in a zone: the event's, or the user's own for null and for one that the browser lacks. */
function formatOf(kind, zone) {
  const key = `${JSON.stringify(kind)} ${zone}`;
  const made = (timeZone) => new Intl.DateTimeFormat(locale, { ...kind, timeZone });
  try {
    if (!formats.has(key)) formats.set(key, made(zone ?? undefined));
  } catch {
    formats.set(key, made()); // an older browser knows Europe/Kiev only
  }
  return formats.get(key);
}

// Texts name the zone of each time: it may not be the reader's, and an hour is there twice when summer time ends.
const timeIn = (kind) => (time, zone = null) => formatOf(kind, zone).format(new Date(time));

/** A time: `Thursday 26 November 2026 at 20:00 CET`. */
export const when = timeIn(MOMENT);

/** A time in short form, for a table's column: `26 Nov 2026, 20:00:00 CET`. */
export const briefly = timeIn(STAMP);

/** A time of day: `20:00 CET`. */
export const clockTime = timeIn(HOUR);

/** A time at the axis of a chart, `20:00`, and one of a chart of more than a day. The chart names the zone once. */
export const axisTime = timeIn(TICK);
export const axisDay = timeIn({ ...TICK, month: "short", day: "numeric" });

/** The name of the zone at a time: `CET`. */
export const zoneName = (time, zone = null) =>
  formatOf(HOUR, zone).formatToParts(new Date(time)).find(({ type }) => type === "timeZoneName").value;

const inUnit = (value, unit) => new Intl.NumberFormat(locale, { style: "unit", unit, unitDisplay: "long" }).format(value);

/** Remaining time as `2 days 03:04:05`, `1:02:03` or `4:05`; a part of a second is rounded up. */
export function clockface(ms) {
  const seconds = Math.max(0, Math.ceil(ms / 1000));
  const [days, hours, minutes] = [Math.floor(seconds / 86_400), Math.floor(seconds / 3600) % 24, Math.floor(seconds / 60) % 60];
  const two = (value) => String(value).padStart(2, "0");
  const clock = days || hours ? `${hours}:${two(minutes)}` : `${minutes}`;
  return `${days ? `${inUnit(days, "day")} ` : ""}${clock}:${two(seconds % 60)}`;
}

/** A length of time in words: `45 seconds`, `2 minutes`, `2 minutes 30 seconds`, `1 hour`. */
export function lasting(seconds) {
  const parts = [
    [Math.floor(seconds / 3600), "hour"],
    [Math.floor(seconds / 60) % 60, "minute"],
    [Math.round(seconds % 60), "second"],
  ].filter(([amount]) => amount > 0);
  return parts.slice(0, 2).map(([amount, unit]) => inUnit(amount, unit)).join(" ") || t("time.moment");
}

/** Refusals whose text depends on more than their code. They are called with the Refusal, and the event or null. */
const REFUSALS = {
  sale_not_open: ({ data }, event) =>
    data.opens_at ? t("refusal.sale_not_open_until", { when: when(data.opens_at, event?.time_zone) }) : t("refusal.sale_not_open"),
  quantity_over_limit: (_, event) =>
    event ? t("refusal.quantity_over_limit_most", { tickets: tickets(event.max_per_user) }) : t("refusal.quantity_over_limit"),
  invalid_request: ({ faults }) => faults.map((fault) => fault.detail).join(" ") || t("refusal.invalid_request"),
  rate_limited: ({ retryAfter }) => t("refusal.rate_limited", { time: lasting(retryAfter || 1) }),
  internal_error: ({ requestId }) => t("refusal.internal_error", { id: requestId }),
};

/** Whether the catalogue has a text of its own for a problem code. */
export const hasWords = (code) => has(`refusal.${code}`);

/** A refusal in words for a buyer; if there are none, the service's own text. */
export function inWords(refusal, event = null) {
  if (refusal.code in REFUSALS) return REFUSALS[refusal.code](refusal, event);
  if (hasWords(refusal.code)) return t(`refusal.${refusal.code}`);
  return refusal.code ? refusal.message : t("refusal.page_fault", { message: refusal.message });
}

/** The text that is shown before a request is repeated. */
export function waitWords(refusal, pauseMs) {
  const reason = `again.${refusal.code}`;
  return `${t(has(reason) ? reason : "again.unavailable")} ${t("again", { time: lasting(Math.ceil(pauseMs / 1000)) })}`;
}
