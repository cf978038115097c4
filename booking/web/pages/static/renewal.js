// Keeps the session alive while a page is open: exchanges the token for a new one before it expires.

import { call } from "./api.js";
import * as session from "./session.js";

const LOOK_MS = 30_000;
const RENEW_MS_LEFT = 15 * 60_000; // many attempts fit in, also in a tab whose timers the browser slows down

async function renewOnce() {
  if (!(session.remaining() < RENEW_MS_LEFT && session.remaining() > 0 && session.isRenewable())) return;
  const token = session.token();
  const { data } = await call("POST", "/auth/renew");
  session.renew(token, data.token);
}

/** Renews the token if it is about to expire. All tabs of the browser take turns, so that one of them asks. */
async function renewIfDue() {
  try {
    if (navigator.locks) await navigator.locks.request("booking.renewal", renewOnce);
    else await renewOnce(); // a page over plain HTTP has no locks: then each tab asks
  } catch {
    // Asked again at the next look. If the service refuses the token, the session has ended.
  }
}

/** Looks from now on, and at once when the user comes back to the page. */
export function keepSession() {
  setInterval(renewIfDue, LOOK_MS);
  document.addEventListener("visibilitychange", () => document.hidden || renewIfDue());
  renewIfDue();
}
