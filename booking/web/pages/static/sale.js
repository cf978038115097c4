// The buyer's page: listens to the event and to the buyer's own booking, and books, confirms and cancels.

import { Attempt, Clicks } from "./attempt.js";
import { atMost, now } from "./clock.js";
import { Countdown } from "./countdown.js";
import { byId, setText } from "./elements.js";
import { Live, ownBooking } from "./live.js";
import { ask, withdraw } from "./question.js";
import { showChip, showRules, stateOf } from "./sale_state.js";
import * as session from "./session.js";
import { focusForm, showAccount } from "./sign_in.js";
import { Stock } from "./stock.js";
import { viewOf } from "./ticket.js";
import { clockface, count, inWords, number, waitWords, when } from "./words.js";

const TICK_MS = 250;
const POSITION_MS_MIN = 10_000; // between two messages about the position: a long list moves too fast to read out
const eventId = Number(location.pathname.split("/").pop());
const stock = new Stock(byId("stock"));
const opening = new Countdown({ label: "That is in", spoken: (words) => `The sale opens in ${words}.` });
byId("countdown").append(opening.element);

let event = null;
let booking; // undefined: not signed in; null: signed in, without a booking
let reportedPlace = { place: Infinity, at: -Infinity };
let stateShown = "";
let view = null;
let viewKey = "";
let user = session.userId();
let lostHold = null; // what was held when the sign-in ended
const cancelled = new Set(); // bookings cancelled on this page: later messages about them are out of date

/** The text that is read out when the organizer or the clock changes a sale's state. */
const SPOKEN = {
  scheduled: "The sale is not open yet.",
  open: "The sale is open.",
  paused: "The sale is paused.",
  closed: "The sale is over.",
};

const says = (text, good = true) => {
  byId("news").classList.toggle("good", good);
  setText(byId("news"), text);
};
const complain = (text) => setText(byId("trouble"), text);

function draw() {
  if (event === null) return;
  setText(byId("name"), event.name);
  showChip(byId("state"), event);
  setText(byId("window"), windowWords());
  stock.show(event);
  showRules(byId("rules"), event);
  const state = stateOf(event);
  if (stateShown && state !== stateShown) setText(byId("milestone"), SPOKEN[state]);
  stateShown = state;
  byId("countdown").hidden = state !== "scheduled";
  if (state === "scheduled") opening.show(Date.parse(event.opens_at));
  if (booking !== undefined || !session.isSignedIn()) drawTicket();
  reportPlace();
  document.title = `${titleNews()}${event.name}`;
}

const keyOf = (one) => (one ? `${one.id} ${one.status} ${one.quantity} ${one.expires_at}` : String(one));

function drawTicket() {
  const key = keyOf(booking);
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
  if (state === "scheduled") return `The sale opens ${when(event.opens_at)}`;
  return state === "closed" && event.closes_at ? `The sale closed ${when(event.closes_at)}` : "";
}

/** A prefix of the page's title, for users who look at another tab. */
function titleNews() {
  if (booking?.status === "held") return `Confirm ${clockface(Date.parse(booking.expires_at) - now())} · `;
  if (booking?.status === "waiting") return `No. ${number(booking.position)} · `;
  if (stateOf(event) === "scheduled") return `${clockface(Date.parse(event.opens_at) - now())} · `;
  return "";
}

/** Shows the current booking, and reports a change that the buyer did not make on this page. */
function take(latest) {
  const before = booking;
  const isOld = latest && (cancelled.has(latest.id) || (before?.id === latest.id && before.status === "confirmed" && latest.status !== "confirmed"));
  if (isOld) return;
  booking = latest;
  live.isPatient = ["waiting", "held"].includes(latest?.status);
  if (keyOf(before) !== keyOf(latest)) says(...newsOf(before, latest)); // the earlier message is out of date
  draw();
}

/** Reports from time to time that the buyer has moved up, and always the final position. */
function reportPlace() {
  const place = booking?.position ?? Infinity;
  const isDue = performance.now() - reportedPlace.at >= POSITION_MS_MIN;
  if (place < reportedPlace.place && reportedPlace.place < Infinity) {
    if (!isDue) return;
    says(`You moved up to place ${number(place)}.`);
    reportedPlace.at = performance.now();
  }
  reportedPlace.place = place;
}

function newsOf(before, latest) {
  if (before?.status === "waiting" && latest?.status === "held") return ["A ticket became free and is held for you. Confirm it in time."];
  if (before?.status === "waiting" && latest?.status === "confirmed") return ["A ticket became free, and it is yours."];
  if (!before || latest || cancelled.has(before.id)) return [""];
  if (before.status === "held" && !(atMost() < Date.parse(before.expires_at))) return [inWords({ code: "hold_expired" }), false];
  return ["Your booking was cancelled: by you in another window, or by the organizer.", false];
}

const clicks = new Clicks({
  onWait: (refusal, pause) => says(waitWords(refusal, pause), false),
  onKnown(attempt, data) {
    attempt.known(data);
    if (attempt.repeated && attempt.state !== "settled" && !clicks.isBusy) askAgain(); // a repetition returns the first response
  },
  onRefused(attempt, refusal) {
    says("");
    complain(inWords(refusal, event));
    if (refusal.code === "already_booked") take(refusal.data.booking);
    if (attempt.repeated || ["hold_expired", "booking_not_found", "still_waiting"].includes(refusal.code)) askAgain();
  },
  onUnproven: () => askAgain(),
  onIdle: () => byId("ticket").removeAttribute("aria-busy"),
});

/** Makes one change. It is sent once the outcome of the click before it is known. */
function act(path, body, isProvenBy, doing, known) {
  const attempt = new Attempt(path, { event_id: eventId, ...body }, isProvenBy);
  attempt.known = known;
  if (!clicks.want(attempt)) return;
  complain("");
  says(doing);
  byId("ticket").setAttribute("aria-busy", "true");
}

/** Loads the booking again; ignores the response if another user has signed in since. */
async function askAgain() {
  const asking = session.userId();
  const latest = await ownBooking(eventId).catch(() => undefined);
  if (latest !== undefined && session.userId() === asking) take(latest);
}

const BOOKED = {
  held: "Held for you. Confirm it in time.",
  confirmed: "Booked. See you there!",
  waiting: "All tickets are taken at the moment; you are on the waiting list.",
};

const acts = {
  book(quantity) {
    const before = booking;
    const isProvenBy = (one) => one !== null && one.id !== before?.id && !cancelled.has(one.id);
    act("/book", { quantity }, isProvenBy, "Booking…", (data) => {
      take(data);
      says(BOOKED[data.status] ?? "");
    });
  },
  confirm() {
    const { id } = booking;
    act("/confirm", {}, (one) => one?.id === id && one.status === "confirmed", "Confirming…", (data) => {
      take(data);
      says("Confirmed. See you there!");
    });
  },
  async cancel() {
    const { id, status, quantity } = booking;
    if (!(await ask(QUESTIONS[status](quantity === 1 ? "The ticket" : `All ${count(quantity, "ticket")}`)))) return;
    act("/cancel", {}, (one) => one?.id !== id, "One moment…", () => {
      cancelled.add(id);
      take(null);
      says(status === "waiting" ? "You have left the waiting list." : "Cancelled. The next person in line has it now, or anyone who books.");
    });
  },
};

const QUESTIONS = {
  held: (what) => ({ title: "Give it back?", text: `${what} would go to the next person at once.`, yes: "Give it back", no: "Keep it" }),
  confirmed: (what) => ({ title: "Cancel your booking?", text: `${what} would go to the next person at once.`, yes: "Cancel the booking", no: "Keep it" }),
  waiting: () => ({ title: "Leave the waiting list?", text: "You would lose your place.", yes: "Leave", no: "Stay" }),
};

const UNREAD = "The sale cannot be read at the moment. This page asks again by itself.";
const LOST = "The connection is lost. We are trying to get it back…";

const live = new Live(eventId, {
  onEvent(latest) {
    event = latest;
    draw();
  },
  onBooking(latest) {
    clicks.see(latest);
    take(latest);
  },
  onLink: (connected) => setText(byId("connection"), connected ? "" : event === null ? UNREAD : LOST),
  onGone: () => complain(inWords({ code: "event_not_found" })),
});

session.onChange(() => {
  if (session.userId() === user && user) return; // the same user, with a new token
  user = session.userId();
  lostHold = session.hasEnded() && booking?.status === "held" ? booking : null;
  booking = undefined;
  clicks.clear();
  byId("ticket").removeAttribute("aria-busy");
  if (session.hasEnded()) complain(inWords({ code: "unauthenticated" }));
  else complain("");
  says("");
  draw();
  if (!session.isSignedIn() && event) focusForm();
});

showAccount(byId("account"));
setInterval(draw, TICK_MS);
