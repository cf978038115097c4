// A payment that was begun in this tab: the shop is another site, and the buyer comes back to a page that knows nothing.

import { userId } from "./session.js";

const nameOf = (eventId) => `booking.paying ${eventId}`;

/** Opens the shop's page. */
export function leaveToPay(eventId, url) {
  try {
    sessionStorage.setItem(nameOf(eventId), userId());
  } catch {
    // This browser stores nothing: the page will show the booking, and will not say what became of the payment.
  }
  location.assign(url);
}

/** Whether the user has begun to pay for this event in this tab. */
export function wasPaying(eventId) {
  try {
    return userId() !== "" && sessionStorage.getItem(nameOf(eventId)) === userId();
  } catch {
    return false;
  }
}

/** Forgets it: the user was told what became of it. */
export function forgetPaying(eventId) {
  try {
    sessionStorage.removeItem(nameOf(eventId));
  } catch {
    // Nothing was stored.
  }
}
