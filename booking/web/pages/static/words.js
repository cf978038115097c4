// Texts for users: times, numbers, and every refusal in words for buyers.

// The pages are in English; dates and numbers use the user's own variant of English.
export const locale = navigator.languages.find((language) => language.startsWith("en")) ?? "en-GB";
const whole = new Intl.NumberFormat(locale);
const moment = new Intl.DateTimeFormat(locale, { dateStyle: "full", timeStyle: "short" });
const stamp = new Intl.DateTimeFormat(locale, { dateStyle: "medium", timeStyle: "medium" });

export const number = (value) => whole.format(value);

/** `1 ticket`, `2 tickets`. */
export const count = (value, one, many = `${one}s`) => `${number(value)} ${value === 1 ? one : many}`;

/** A time in the user's time zone: `Thursday, November 26, 2026 at 8:00 PM`. */
export const when = (iso) => moment.format(new Date(iso));

/** A time in short form, for a table's column: `26 Nov 2026, 20:00:00`. */
export const briefly = (iso) => stamp.format(new Date(iso));

/** Remaining time as `2 days 03:04:05`, `1:02:03` or `4:05`; a part of a second is rounded up. */
export function clockface(ms) {
  const seconds = Math.max(0, Math.ceil(ms / 1000));
  const [days, hours, minutes] = [Math.floor(seconds / 86_400), Math.floor(seconds / 3600) % 24, Math.floor(seconds / 60) % 60];
  const two = (value) => String(value).padStart(2, "0");
  const clock = days || hours ? `${hours}:${two(minutes)}` : `${minutes}`;
  return `${days ? `${count(days, "day")} ` : ""}${clock}:${two(seconds % 60)}`;
}

/** A length of time in words: `45 seconds`, `2 minutes`, `2 minutes 30 seconds`, `1 hour`. */
export function lasting(seconds) {
  const parts = [
    [Math.floor(seconds / 3600), "hour"],
    [Math.floor(seconds / 60) % 60, "minute"],
    [Math.round(seconds % 60), "second"],
  ].filter(([amount]) => amount > 0);
  return parts.slice(0, 2).map(([amount, unit]) => count(amount, unit)).join(" ") || "a moment";
}

/** The texts of the forms for accounts. */
export const ACCOUNT_WORDS = {
  noAccounts: "This service has no accounts of its own. Sign in where you came from.",
  noEmail: "Enter an email address, such as ann@example.com.",
  noPassword: "Enter your password.",
  shortPassword: "At least 8 characters, please.",
  passwordHint: "At least 8 characters",
  forgotLead: "We send you a link with which you choose a new one.",
  sent: (email) => `If ${email} has an account here, a mail with a link is on its way to it. The link works once, for 30 minutes.`,
  badLink: "This link does not work any more: it works once, for 30 minutes, and only the newest one counts. Have a new one sent.",
  noMail: "This service sends no mail, so it cannot send links either. Ask the organizer for a new password.",
  reset: (email) => `Your new password is set, and you are signed in as ${email}.`,
  changed: "Your new password is set. You are signed out everywhere else.",
  wrongPassword: "That is not your password.",
  removed: "Your account is removed. Nothing of your email or password is kept.",
  elsewhere: "Your account is not kept by this service, but where you came from. There it can be changed.",
  makeOrganizer: "The operator of this service makes an account an organizer’s with this command:",
  noMailSent: "No mail is sent: buyers hear of their tickets on these pages alone. BOOKING_SMTP_URL turns mail on.",
};

const SOON = "The service cannot do this at the moment, and nothing was changed. Please try again shortly.";

/** The text for each problem code that a buyer can get. Functions are called with the Refusal and the event, or null. */
export const REFUSALS = {
  unauthenticated: "Your sign-in has ended. Sign in again, and you can go on where you were.",
  invalid_credentials: "That email and password do not belong together. Check both, or create an account.",
  forbidden: "This is for organizers, and this account is not one.",
  has_live_bookings: "This account has bookings. Give them back first; then it can be removed.",
  email_taken: "There is an account with this email already. Sign in instead.",
  sale_not_open: ({ data }) =>
    data.opens_at ? `The sale has not opened yet. It opens on ${when(data.opens_at)}.` : "The sale has not opened yet.",
  sale_closed: "The sale is over. Nothing more can be booked.",
  sale_paused: "The organizer has paused the sale. Stay here: the button comes back by itself when it goes on.",
  event_not_found: "This sale does not exist, or no longer does.",
  booking_not_found: "You have no booking here. It may have been cancelled, or the time to confirm it ran out.",
  already_booked: "You have booked already; your booking is shown here. Cancel it first to book another number of tickets.",
  sold_out: "Sold out, a moment before you. This sale has no waiting list, but a cancelled ticket goes on sale at once.",
  waitlist_full: "Sold out, and the waiting list is full as well. Watch this page: places become free when people cancel.",
  still_waiting: "You are still on the waiting list; there is nothing to confirm before a ticket becomes free.",
  hold_expired: "The time to confirm ran out, and the ticket went to the next person. You can book again if any are left.",
  quantity_over_limit: (_, event) =>
    event ? `That is more than one person may book: at most ${count(event.max_per_user, "ticket")}.` : "That is too many tickets.",
  invalid_request: ({ faults }) => faults.map((fault) => fault.detail).join(" ") || "Something in this form is not right.",
  rate_limited: ({ retryAfter }) => `That was too often in a short time. Please wait ${lasting(retryAfter || 1)}.`,
  idempotency_key_reused: "This page got out of step. Load it again; your booking is safe.",
  outcome_unknown: "Your request was sent, but whether it arrived is not known yet. It counts once at most, however often you ask.",
  no_answer: "No answer came back. Check your connection and try again; a request that did arrive is not counted twice.",
  inventory_unavailable: SOON,
  database_unavailable: SOON,
  identity_unavailable: "We cannot check who you are at the moment. Please try again shortly.",
  overloaded: "Very many people are here right now. Please try again in a moment.",
  internal_error: ({ requestId }) => `Something went wrong on our side. If you write to us, give this number: ${requestId}.`,
};

/** A refusal in words for a buyer; if there are none, the service's own text. */
export function inWords(refusal, event = null) {
  const words = REFUSALS[refusal.code] ?? (refusal.code ? refusal.message : `Something is wrong with this page: ${refusal.message}`);
  return typeof words === "function" ? words(refusal, event) : words;
}

/** The text that is shown before a request is repeated. */
export function waitWords(refusal, pauseMs) {
  const again = `We ask again in ${lasting(Math.ceil(pauseMs / 1000))}; you need not do anything, and it counts only once.`;
  if (refusal.code === "rate_limited") return `A little too fast. ${again}`;
  if (refusal.code === "overloaded") return `Very many people are here right now. ${again}`;
  if (refusal.code === "no_answer") return `No answer yet. ${again}`;
  if (refusal.code === "outcome_unknown") return `Your request is on its way, but its answer got lost. ${again}`;
  return `Not available for a moment. ${again}`;
}
