// Who is signed in, in all tabs of this browser. The token ends by itself after an hour; the server says when.

import { now } from "./clock.js";

const NAME = "booking.session";
const listeners = new Set();
let current = read();

function read() {
  try {
    return JSON.parse(localStorage.getItem(NAME));
  } catch {
    return null; // nothing was kept, or this browser keeps nothing: then it is forgotten with the page
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

function tell() {
  for (const listener of listeners) listener();
}

/** Calls `listener` whenever somebody signs in or out, here or in another tab. */
export function onChange(listener) {
  listeners.add(listener);
}

export const token = () => current?.token ?? null;
export const email = () => current?.email ?? "";
export const isSignedIn = () => current !== null && Boolean(current.token);
export const isOrganizer = () => isSignedIn() && claimsOf(current.token).role === "organizer";

/** Whether whoever was signed in has to sign in again, since the server no longer takes the token. */
export const hasEnded = () => current !== null && !current.token;

/** Milliseconds until the token ends. */
export const remaining = () => (claimsOf(current?.token ?? "").exp ?? Infinity) * 1000 - now();

export function begin(newToken, newEmail) {
  keep({ token: newToken, email: newEmail });
}

/** The token has ended; the email stays, to be filled in. */
export function end() {
  if (isSignedIn()) keep({ token: null, email: current.email });
}

export function signOut() {
  keep(null);
}

function keep(session) {
  current = session;
  try {
    if (session) localStorage.setItem(NAME, JSON.stringify(session));
    else localStorage.removeItem(NAME);
  } catch {
    // Kept in this page alone.
  }
  tell();
}

addEventListener("storage", (event) => {
  if (event.key === NAME || event.key === null) {
    current = read();
    tell();
  }
});
