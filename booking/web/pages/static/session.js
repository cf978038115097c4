// The session of the signed-in user, in all tabs of this browser. A token expires after an hour; renewal.js gets another.

import { now } from "./clock.js";

const NAME = "booking.session";
const ACCOUNT_PREFIX = "account:"; // of the user ids of the service's own accounts
const RENEWABLE_SECONDS = 86_400;
const listeners = new Set();
let current = read();

function read() {
  try {
    return JSON.parse(localStorage.getItem(NAME));
  } catch {
    return null; // this browser stores nothing: then the session ends with the page
  }
}

function claimsOf(token) {
  try {
    const text = atob(token.split(".")[1].replaceAll("-", "+").replaceAll("_", "/"));
    return JSON.parse(new TextDecoder().decode(Uint8Array.from(text, (letter) => letter.charCodeAt(0))));
  } catch {
    return {};
  }
}

function notify() {
  for (const listener of listeners) listener();
}

/** Calls `listener` after each sign-in and sign-out, in this or another tab. A renewed token is neither. */
export function onChange(listener) {
  listeners.add(listener);
}

export const token = () => current?.token ?? null;
export const email = () => current?.email ?? "";
export const userId = () => claimsOf(current?.token ?? "").sub ?? "";
export const isSignedIn = () => current !== null && Boolean(current.token);
export const isOrganizer = () => isSignedIn() && ["organizer", "admin"].includes(claimsOf(current.token).role);

/** Whether the signed-in organizer may see and change an event: its own ones; an administrator all of them. */
export function owns(event) {
  const { role, sub } = claimsOf(current?.token ?? "");
  return role === "admin" || (role === "organizer" && sub === event.organizer_id);
}

/** Whether the user must sign in again, because the server no longer accepts the token. */
export const hasEnded = () => current !== null && !current.token;

/** Milliseconds until the token expires. */
export const remaining = () => (claimsOf(current?.token ?? "").exp ?? Infinity) * 1000 - now();

/** Whether the signed-in user has an account of this service. */
export const hasAccount = () => userId().startsWith(ACCOUNT_PREFIX);

/** Whether the token can be exchanged for one that is valid for longer: an account's, within a day after the login. */
export function isRenewable() {
  const { exp, iat, auth_time: login = iat } = claimsOf(current?.token ?? "");
  return hasAccount() && exp < login + RENEWABLE_SECONDS;
}

/** Stores the token that a valid one was exchanged for, unless that one is not the session's any more. */
export function renew(oldToken, newToken) {
  if (token() === oldToken) store({ ...current, token: newToken }, false);
}

export function begin(newToken, newEmail) {
  store({ token: newToken, email: newEmail });
}

/** Ends the session after its token has expired; the email is kept for the sign-in form. */
export function end() {
  if (isSignedIn()) store({ token: null, email: current.email });
}

export function signOut() {
  store(null);
}

function store(session, isNews = true) {
  current = session;
  try {
    if (session) localStorage.setItem(NAME, JSON.stringify(session));
    else localStorage.removeItem(NAME);
  } catch {
    // The session lasts only as long as this page.
  }
  if (isNews) notify();
}

addEventListener("storage", (event) => {
  if (event.key === NAME || event.key === null) {
    const before = userId();
    current = read();
    if (userId() !== before || !before) notify();
  }
});
