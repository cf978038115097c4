// The ticket part of the page: one view for each state of a booking. A view is built once and then only updated, so that
// typed text and the keyboard focus are kept.

import { now } from "./clock.js";
import { Countdown } from "./countdown.js";
import { el, isUsable, setText, setUsable } from "./elements.js";
import { stateOf, wouldWait } from "./sale_state.js";
import { signInForm } from "./sign_in.js";
import { clockface, count, inWords, lasting, number, when } from "./words.js";

const button = (text, act, kind = "") =>
  el("button", { type: "button", class: kind, onclick: ({ currentTarget }) => isUsable(currentTarget) && act() }, text);
const heading = (text) => el("h2", { tabindex: -1 }, text);
const tickets = (booking) => count(booking.quantity, "ticket");
const stub = (booking) => el("p", { class: "quiet stub" }, `Booking ${booking.id}`);

/**
 * The view for this booking (null: none; undefined: not signed in). `acts` has book, confirm and cancel. `hold` is what
 * was held when the sign-in ended.
 */
export function viewOf(event, booking, acts, hold = null) {
  if (booking === undefined) return signedOut(hold);
  if (booking === null) return offer(event, acts);
  return { held, waiting, confirmed }[booking.status](booking, acts);
}

const SIGN_IN = {
  scheduled: ["Sign in to book", "Do it now, so that you are ready when the sale opens."],
  closed: ["Sign in to see your booking", "The sale is over."],
};

function signedOut(hold) {
  if (hold) return signInToConfirm(hold);
  const form = signInForm();
  return { element: form.element, show: (event) => form.say(...(SIGN_IN[stateOf(event)] ?? ["Sign in to book", "It takes a moment."])) };
}

/** The form for a user whose sign-in has ended while tickets are held: the time that is left stays above the fields. */
function signInToConfirm(hold) {
  const clock = holdClock(hold);
  const form = signInForm(clock.element);
  return {
    element: form.element,
    show() {
      const isOver = clock.show(Date.parse(hold.expires_at)) <= 0;
      clock.element.hidden = isOver;
      form.say(isOver ? "Sign in" : "Sign in to confirm", isOver ? inWords({ code: "hold_expired" }) : `${tickets(hold)}: held for you.`);
    },
  };
}

function holdClock(booking) {
  return new Countdown({
    label: "Confirm within",
    spoken: (words) => `${words} left to confirm your booking.`,
    lengthMs: Math.max(Date.parse(booking.expires_at) - now(), 1),
  });
}

function offer(event, acts) {
  let current = event;
  const select = el("select", { id: "quantity", onchange: () => show(current) });
  const label = el("label", { for: "quantity" }, "How many?");
  const choice = el("div", { class: "field" }, label, select);
  const book = button("Book", () => acts.book(Number(select.value) || 1), "wide");
  const why = el("p", { class: "quiet", id: "why" });
  book.setAttribute("aria-describedby", "why");
  const title = heading("Your ticket");

  function show(latest) {
    current = latest;
    const most = Math.min(latest.max_per_user, latest.capacity);
    choice.hidden = most === 1;
    while (select.length < most) select.append(el("option", { value: select.length + 1 }, String(select.length + 1)));
    while (select.length > most) select.lastChild.remove();
    const quantity = Number(select.value) || 1;
    const [name, usable, reason] = offerOf(latest, quantity);
    setText(title, most === 1 ? "Your ticket" : "Your tickets");
    setText(book, name);
    setText(why, reason);
    setUsable(book, usable);
  }
  return { element: el("div", {}, title, choice, book, why), show };
}

/** The button's text, whether it can be used, and the reason. */
function offerOf(event, quantity) {
  const book = `Book ${count(quantity, "ticket")}`;
  const state = stateOf(event);
  if (state === "scheduled") return [book, false, `Opens in ${clockface(Date.parse(event.opens_at) - now())}. The button wakes up by itself.`];
  if (state === "paused") return [book, false, "The organizer has paused the sale. The button comes back by itself."];
  if (state === "closed") return [book, false, "The sale is over."];
  if (!wouldWait(event, quantity)) return [book, true, event.hold_seconds ? `Held for you for ${lasting(event.hold_seconds)}, until you confirm.` : "Yours at once."];
  const left = event.waiting_list_count ? 0 : event.available_tickets;
  const only = left ? `Only ${count(left, "ticket is", "tickets are")} left. ` : "";
  if (event.waitlist_limit === 0 && left) return [book, false, `${only}Choose fewer.`];
  if (event.waitlist_limit === 0) return ["Sold out", false, "There is no waiting list. A cancelled ticket goes on sale here at once."];
  return ["Join the waiting list", true, `${only}First come, first served. You can leave it at any time.`];
}

function held(booking, acts) {
  const left = Date.parse(booking.expires_at) - now();
  const clock = holdClock(booking);
  const confirm = button(`Confirm ${tickets(booking)}`, acts.confirm, "wide");
  const came = booking.source === "waitlist" ? "A place on the waiting list well used." : "Nobody else can take what is held for you.";
  const element = el(
    "div",
    {},
    heading(booking.quantity === 1 ? "Your ticket is held" : `Your ${tickets(booking)} are held`),
    clock.element,
    confirm,
    el("p", { class: "quiet" }, came),
    button(booking.quantity === 1 ? "Give it back" : "Give them back", acts.cancel, "plain"),
    stub(booking),
  );
  return {
    element,
    show(event) {
      clock.lengthMs = Math.max(event.hold_seconds * 1000, left);
      setUsable(confirm, clock.show(Date.parse(booking.expires_at)) > 0);
    },
  };
}

function waiting(booking, acts) {
  const place = el("span", { class: "time" });
  const ahead = el("p", {});
  const terms = el("p", { class: "quiet" });
  const element = el(
    "div",
    {},
    heading("You are on the waiting list"),
    el("div", { class: "clock" }, el("span", { class: "label" }, "Your place"), place),
    ahead,
    terms,
    button("Leave the waiting list", acts.cancel, "plain"),
    stub(booking),
  );
  return {
    element,
    show(event, latest) {
      setText(place, number(latest.position));
      setText(ahead, latest.position === 1 ? "You are next." : `${count(latest.position - 1, "person is", "people are")} ahead of you.`);
      setText(
        terms,
        event.hold_seconds
          ? `When ${latest.quantity === 1 ? "a ticket becomes" : "tickets become"} free, you have ${lasting(event.hold_seconds)} to confirm here.`
          : `The next free ${latest.quantity === 1 ? "ticket is" : "tickets are"} booked for you at once.`,
      );
    },
  };
}

function confirmed(booking, acts) {
  const element = el(
    "div",
    { class: "yours" },
    heading(booking.quantity === 1 ? "The ticket is yours" : `${tickets(booking)} are yours`),
    el("p", {}, `Booked on ${when(booking.created_at)}.`),
    button("Cancel the booking", acts.cancel, "plain"),
    stub(booking),
  );
  return { element, show() {} };
}
