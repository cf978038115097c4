// The buyer's page: listens to the event and to the buyer's own booking, and books, confirms and cancels.

import { Attempt, Clicks } from "./attempt.js";
import { atMost, isKnown, now } from "./clock.js";
import { Countdown } from "./countdown.js";
import { byId, setText } from "./elements.js";
import { Live, ownBooking } from "./live.js";
import { Notices } from "./notices.js";
import { forgetPaying, leaveToPay, paymentBegun } from "./paying.js";
import { ask, withdraw } from "./question.js";
import { showChip, showRules, stateOf, wouldWait } from "./sale_state.js";
import * as session from "./session.js";
import { focusForm, showAccount } from "./sign_in.js";
import { Stock } from "./stock.js";
import { questionOf, viewOf } from "./ticket.js";
import { clockface, clockTime, inWords, t, waitWords, when } from "./words.js";

const TICK_MS = 250;
const POSITION_MS_MIN = 10_000; // between two messages about the position: a long list moves too fast to read out
const eventId = Number(location.pathname.split("/").pop());
const stock = new Stock(byId("stock"));
const opening = new Countdown({ label: t("sale.opens_in"), spoken: (time) => t("sale.opens_in_spoken", { time }) });
byId("countdown").append(opening.element);
const notices = new Notices(byId("notices"));

let event = JSON.parse(byId("main").dataset.event || null); // from the page: without counters
let booking; // undefined: not signed in; null: signed in, without a booking
let reportedPlace = { place: Infinity, at: -Infinity };
let stateShown = "";
let view = null;
let viewKey = "";
let user = session.userId();
let isTrue = () => true; // whether the complaint that is shown is still true
let lostHold = null; // what was held when the sign-in ended
const cancelled = new Set(); // bookings cancelled on this page: later messages about them are out of date
const heldPayments = new Set(); // of holds that the user saw in this tab: one that is confirmed after its hold came late

const says = (text, good = true) => {
  byId("news").classList.toggle("good", good);
  setText(byId("news"), text);
};

/** Shows a refusal or a fault for as long as it is true, or until the next click. */
const complain = (text, whileTrue = () => true) => {
  isTrue = whileTrue;
  setText(byId("trouble"), text);
};

/** When a refusal stops to be true: it may not stand beside an event that says otherwise. */
function truthOf({ code }, then) {
  const conditions = {
    sold_out: () => wouldWait(event),
    waitlist_full: () => wouldWait(event) && event.waiting_list_count >= then.waiting_list_count,
    sale_not_open: () => stateOf(event) === "scheduled",
    sale_paused: () => stateOf(event) === "paused",
    sale_closed: () => stateOf(event) === "closed",
    quantity_over_limit: () => event.max_per_user === then.max_per_user,
  };
  return conditions[code] ?? (() => true);
}

/** Whether the service has told of the event since the page was loaded. */
const isRead = () => event?.seq !== undefined;

function draw() {
  if (event === null) return;
  if (!isTrue()) complain("");
  setText(byId("name"), event.name);
  showChip(byId("state"), event);
  setText(byId("window"), windowWords());
  if (isRead()) stock.show(event);
  showRules(byId("rules"), event);
  const state = stateOf(event);
  if (stateShown && state !== stateShown) setText(byId("milestone"), t(`sale.spoken.${state}`));
  stateShown = state;
  const opensIn = state === "scheduled" && isKnown();
  byId("countdown").hidden = !opensIn;
  if (opensIn) opening.show(Date.parse(event.opens_at));
  if (booking !== undefined || !session.isSignedIn()) drawTicket();
  notices.show(booking?.status === "waiting");
  reportPlace();
  document.title = `${titleNews()}${event.name}`;
}

const keyOf = (one) => (one ? `${one.id} ${one.status} ${one.quantity} ${one.expires_at} ${one.payment_id}` : String(one));

function drawTicket() {
  const key = `${keyOf(booking)} ${(lostHold ?? booking)?.status === "held" && event.takes_payment}`;
  if (key !== viewKey) {
    withdraw(); // a yes to leaving the waiting list must not cancel a ticket that has arrived since
    const hadFocus = byId("ticket").contains(document.activeElement);
    view = viewOf(event, booking, acts, lostHold);
    viewKey = key;
    byId("ticket").replaceChildren(view.element);
    if (hadFocus) view.element.querySelector("h2").focus();
  }
  view.show(event, booking);
}

function windowWords() {
  const state = stateOf(event);
  if (state === "scheduled") return t("sale.opens", { when: when(event.opens_at, event.time_zone) });
  return state === "closed" && event.closes_at ? t("sale.closed", { when: when(event.closes_at, event.time_zone) }) : "";
}

/** A prefix of the page's title, for users who look at another tab. */
function titleNews() {
  const held = event.takes_payment ? "sale.tab.pay" : "sale.tab.held";
  if (booking?.status === "held") return `${t(held, { time: clockface(Date.parse(booking.expires_at) - now()) })} · `;
  if (booking?.status === "waiting") return `${t("sale.tab.waiting", { place: booking.position })} · `;
  if (stateOf(event) === "scheduled" && isKnown()) return `${clockface(Date.parse(event.opens_at) - now())} · `;
  return "";
}

/** Shows the current booking, and reports a change that the buyer did not make on this page. */
function take(latest) {
  const before = booking;
  const isOutdated = before?.id === latest?.id && before?.status === "confirmed" && latest.status !== "confirmed";
  if (latest && (cancelled.has(latest.id) || isOutdated)) return;
  booking = latest;
  const begun = paymentBegun(eventId);
  if (begun && latest?.status !== "held") forgetPaying(eventId); // its hold has ended, and this page shows how
  live.isPatient = ["waiting", "held"].includes(latest?.status);
  if (keyOf(before) !== keyOf(latest)) {
    complain("");
    says(...newsOf(before, latest, begun)); // the earlier message is out of date
    if (before?.status === "waiting") notices.tell(latest, event);
  }
  for (const payment of [begun, latest?.status === "held" && latest.payment_id]) if (payment) heldPayments.add(payment);
  draw();
}

/** Reports from time to time that the buyer has moved up, and always the final position. */
function reportPlace() {
  const place = booking?.position ?? Infinity;
  const isDue = performance.now() - reportedPlace.at >= POSITION_MS_MIN;
  if (place < reportedPlace.place && reportedPlace.place < Infinity) {
    if (!isDue) return;
    says(t("news.moved_up", { place }));
    reportedPlace.at = performance.now();
  }
  reportedPlace.place = place;
}

/** `begun` is the payment that the user has begun in this tab, until the end of its hold is seen. */
function newsOf(before, latest, begun) {
  if (before === undefined && begun) return newsOfPayment(latest, begun);
  if (before?.status === "waiting" && latest?.status === "held") return [t(event?.takes_payment ? "news.promoted_pay" : "news.promoted_held")];
  if (before?.status === "waiting" && latest?.status === "confirmed") return [t("news.promoted")];
  if (latest?.status === "confirmed" && latest.payment_id && before?.status === "held") return [t("news.paid")];
  if (latest?.status === "confirmed" && heldPayments.has(latest.payment_id) && before === null) return [t("news.paid_late")];
  if (!before || latest || cancelled.has(before.id)) return [""];
  if (before.status === "held" && !(atMost() < Date.parse(before.expires_at))) {
    if (before.payment_id) return [t("news.payment_late"), false];
    return [t("news.expired", { time: clockTime(before.expires_at, event?.time_zone) }), false];
  }
  return [t(before.payment_id && before.status === "held" ? "news.payment_ended" : "news.cancelled_elsewhere"), false];
}

/** What became of a payment that was begun before this page was left for the shop's. The page cannot know why its hold ended. */
function newsOfPayment(latest, begun) {
  if (latest?.status === "held") return [""];
  return latest?.payment_id === begun ? [t("news.paid")] : [t("news.payment_unknown"), false];
}

const clicks = new Clicks({
  onWait: (refusal, pause) => says(waitWords(refusal, pause), false),
  onKnown(attempt, data) {
    attempt.known(data);
    // The first response, which a repetition returns, may be out of date.
    if (attempt.repeated && attempt.state !== "settled" && !clicks.isBusy) askAgain();
  },
  onRefused(attempt, refusal) {
    says("");
    complain(inWords(refusal, event), truthOf(refusal, event));
    if (refusal.code === "already_booked") showBooked(refusal);
    if (attempt.repeated || ["hold_expired", "booking_not_found", "still_waiting"].includes(refusal.code)) askAgain();
  },
  onUnproven: () => askAgain(),
  onIdle: () => byId("ticket").removeAttribute("aria-busy"),
});

/** Shows the booking that a refusal tells of, and the refusal beside it. */
function showBooked(refusal) {
  take(refusal.data.booking);
  complain(inWords(refusal, event), () => Boolean(booking));
}

/** Makes one change. It is sent once the outcome of the click before it is known. */
function act(path, body, isProvenBy, doing, known) {
  const attempt = new Attempt(path, { event_id: eventId, ...body }, isProvenBy);
  attempt.known = known;
  if (!clicks.want(attempt)) return;
  complain("");
  says(t(doing));
  byId("ticket").setAttribute("aria-busy", "true");
}

/** Loads the booking again; ignores the response if another user has signed in since. */
async function askAgain() {
  const asking = session.userId();
  const latest = await ownBooking(eventId).catch(() => undefined);
  if (latest === undefined || session.userId() !== asking) return;
  const complaint = byId("trouble").textContent;
  take(latest);
  if (complaint && !latest) complain(complaint);
}

const acts = {
  book(quantity) {
    const before = booking;
    const isProvenBy = (one) => one !== null && one.id !== before?.id && !cancelled.has(one.id);
    act("/book", { quantity }, isProvenBy, "doing.book", (data) => {
      take(data);
      says(t(data.status === "held" && event?.takes_payment ? "news.pay" : `news.${data.status}`));
    });
  },
  pay() {
    act("/checkout", {}, null, "doing.pay", (data) => {
      take(data);
      says("");
      if (data.payment_url) leaveToPay(data);
    });
  },
  confirm() {
    const { id } = booking;
    act("/confirm", {}, (one) => one?.id === id && one.status === "confirmed", "doing.confirm", (data) => {
      take(data);
      says(t("news.confirmed_now"));
    });
  },
  async cancel() {
    const { id, status } = booking;
    if (!(await ask(questionOf(booking, event)))) return;
    const given = event.waiting_list_count > 0 ? "news.cancelled_next" : "news.cancelled"; // now: they move on at once
    act("/cancel", {}, (one) => one?.id !== id, "doing.cancel", () => {
      cancelled.add(id);
      take(null);
      says(t(status === "waiting" ? "news.left" : given));
    });
  },
};

const live = new Live(eventId, {
  onEvent(latest) {
    event = latest;
    draw();
  },
  onBooking(latest) {
    clicks.see(latest);
    take(latest);
  },
  onLink: (connected) => setText(byId("connection"), connected ? "" : t(isRead() ? "sale.lost" : "sale.unread")),
  onGone: () => complain(inWords({ code: "event_not_found" })),
});

session.onChange(() => {
  if (session.userId() === user && user) return; // the same user, with a new token
  user = session.userId();
  lostHold = session.hasEnded() && booking?.status === "held" ? booking : null;
  booking = undefined;
  clicks.clear();
  byId("ticket").removeAttribute("aria-busy");
  if (session.hasEnded()) complain(inWords({ code: "unauthenticated" }), () => !session.isSignedIn());
  else complain("");
  says("");
  draw();
  if (!session.isSignedIn() && event) focusForm();
});

for (const time of document.querySelectorAll("time")) setText(time, when(time.dateTime)); // of an event without a zone
showAccount(byId("account"));
draw();
setInterval(draw, TICK_MS);
