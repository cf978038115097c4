// The buyer's page: listens to the event and to the buyer's own booking, and books, confirms and cancels.

import { attempt } from "./attempt.js";
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
const TIDINGS_MS_MAX = 15_000; // a crowded service looks at each sale more seldom
const PLACE_MS_MIN = 10_000; // between two words about the place: a long list moves faster than anybody can listen
const eventId = Number(location.pathname.split("/").pop());
const stock = new Stock(byId("stock"));
const opening = new Countdown({ label: "That is in", spoken: (words) => `The sale opens in ${words}.` });
byId("countdown").append(opening.element);

let event = null;
let booking; // undefined: nobody is signed in; null: signed in, with none
let told; // the same as the stream said last
let placeTold = { place: Infinity, at: -Infinity };
let stateShown = "";
let view = null;
let viewKey = "";
let busy = false;
const given = new Set(); // bookings given up here: news of them that is still under way is old

/** What is read out when a sale goes into a state, by the organizer's doing or by the clock. */
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
  tellPlace();
  document.title = `${titleNews()}${event.name}`;
}

const keyOf = (one) => (one ? `${one.id} ${one.status} ${one.expires_at}` : String(one));

function drawTicket() {
  const key = keyOf(booking);
  if (key !== viewKey) {
    withdraw(); // whoever said yes to giving up a place did not mean the ticket that it has become
    const hadFocus = byId("ticket").contains(document.activeElement);
    view = viewOf(event, booking, acts);
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

/** What somebody who looks at another tab should see in the name of this one. */
function titleNews() {
  if (booking?.status === "held") return `Confirm ${clockface(Date.parse(booking.expires_at) - now())} · `;
  if (booking?.status === "waiting") return `No. ${number(booking.position)} · `;
  if (stateOf(event) === "scheduled") return `${clockface(Date.parse(event.opens_at) - now())} · `;
  return "";
}

/** Takes the booking as it is now, and tells what happened to it if that was not the buyer's own doing. */
function take(latest) {
  const before = booking;
  const isOld = latest && (given.has(latest.id) || (before?.id === latest.id && before.status === "confirmed"));
  if (isOld) return;
  booking = latest;
  if (keyOf(before) !== keyOf(latest)) says(...newsOf(before, latest)); // what was said of it before is out of date
  draw();
}

/** Says now and then that the buyer has moved up, and in the end to where. */
function tellPlace() {
  const place = booking?.position ?? Infinity;
  const isDue = performance.now() - placeTold.at >= PLACE_MS_MIN;
  if (place < placeTold.place && placeTold.place < Infinity) {
    if (!isDue) return;
    says(`You moved up to place ${number(place)}.`);
    placeTold.at = performance.now();
  }
  placeTold.place = place;
}

function newsOf(before, latest) {
  if (before?.status === "waiting" && latest?.status === "held") return ["A ticket became free and is held for you. Confirm it in time."];
  if (before?.status === "waiting" && latest?.status === "confirmed") return ["A ticket became free, and it is yours."];
  if (!before || latest || given.has(before.id)) return [""];
  if (before.status === "held" && !(atMost() < Date.parse(before.expires_at))) return [inWords({ code: "hold_expired" }), false];
  return ["Your booking was cancelled: by you in another window, or by the organizer.", false];
}

/** Makes one change: says what is going on, repeats it safely, and puts a refusal into words. */
async function act(path, body, doing, done) {
  if (busy) return;
  busy = true;
  const whose = session.token();
  complain("");
  says(doing);
  byId("ticket").setAttribute("aria-busy", "true");
  let repeated = false;
  try {
    const onWait = (refusal, pause) => {
      if (session.token() !== whose) return;
      repeated = true;
      says(waitWords(refusal, pause), false);
    };
    const { data } = await attempt(path, { event_id: eventId, ...body }, onWait);
    if (session.token() !== whose) return;
    done(data);
    // The stream tells of what it finds changed; a booking that was made and undone between two looks is none of that.
    setTimeout(() => session.token() === whose && keyOf(told) !== keyOf(booking) && askAgain(), TIDINGS_MS_MAX);
  } catch (refusal) {
    if (session.token() !== whose) return;
    says("");
    complain(inWords(refusal, event));
    if (refusal.code === "already_booked") take(refusal.data.booking);
    repeated ||= ["hold_expired", "booking_not_found", "still_waiting"].includes(refusal.code);
  } finally {
    if (session.token() === whose) rest();
  }
  if (repeated) askAgain(); // a repetition brings the first answer, and much may have happened since
}

function rest() {
  busy = false;
  byId("ticket").removeAttribute("aria-busy");
}

/** Asks how the booking is now, for whoever is signed in until the answer comes. */
async function askAgain() {
  const whose = session.token();
  const latest = await ownBooking(eventId).catch(() => undefined);
  if (latest !== undefined && session.token() === whose) take(latest);
}

const BOOKED = {
  held: "Held for you. Confirm it in time.",
  confirmed: "Booked. See you there!",
  waiting: "All tickets are taken at the moment; you are on the waiting list.",
};

const acts = {
  book: (quantity) =>
    act("/book", { quantity }, "Booking…", (data) => {
      take(data);
      says(BOOKED[data.status] ?? "");
    }),
  confirm: () =>
    act("/confirm", {}, "Confirming…", (data) => {
      take(data);
      says("Confirmed. See you there!");
    }),
  async cancel() {
    const { id, status, quantity } = booking;
    if (!(await ask(QUESTIONS[status](quantity === 1 ? "The ticket" : `All ${count(quantity, "ticket")}`)))) return;
    await act("/cancel", {}, "One moment…", () => {
      given.add(id);
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
    told = latest;
    take(latest);
  },
  onLink: (connected) => setText(byId("line"), connected ? "" : event === null ? UNREAD : LOST),
  onGone: () => complain(inWords({ code: "event_not_found" })),
});

session.onChange(() => {
  booking = told = undefined;
  rest();
  if (session.hasEnded()) complain(inWords({ code: "unauthenticated" }));
  else complain("");
  says("");
  live.restart();
  draw();
  if (!session.isSignedIn() && event) focusForm();
});

showAccount(byId("account"));
setInterval(draw, TICK_MS);
