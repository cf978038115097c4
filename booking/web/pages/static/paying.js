// A payment that was begun in this tab: the shop is another site, and the buyer comes back to a page that knows nothing.

import { userId } from "./session.js";

const nameOf = (eventId) => `booking.paying ${userId()} ${eventId}`;

/** Opens the shop's page. */
export function leaveToPay({ event_id: eventId, payment_id: payment, payment_url: url }) {
  try {
    sessionStorage.setItem(nameOf(eventId), payment);
  } catch {
    // This browser stores nothing: the page will show the booking, and will not say what became of the payment.
  }
  location.assign(url);
}

/** The id of the payment that the user has begun for this event in this tab; null if there is none. */
export function paymentBegun(eventId) {
  try {
    return sessionStorage.getItem(nameOf(eventId));
  } catch {
    return null;
  }
}

/** Forgets it: the user sees what became of its hold. */
export function forgetPaying(eventId) {
  try {
    sessionStorage.removeItem(nameOf(eventId));
  } catch {
    // Nothing was stored.
  }
}
