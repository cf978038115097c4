// The ticket part of the page: one view for each state of a booking. A view is built once and then only updated, so that
// typed text and the keyboard focus are kept.

import { ROOT } from "./api.js";
import { now } from "./clock.js";
import { Countdown } from "./countdown.js";
import { el, isUsable, setText, setUsable } from "./elements.js";
import { stateOf, wouldWait } from "./sale_state.js";
import { signInForm } from "./sign_in.js";
import { clockface, inWords, lasting, number, t, when } from "./words.js";

const button = (text, act, kind = "") =>
  el("button", { type: "button", class: kind, onclick: ({ currentTarget }) => isUsable(currentTarget) && act() }, text);
const heading = (text) => el("h2", { tabindex: -1 }, text);
const many = (booking) => ({ count: booking.quantity });
const stub = (booking) =>
  el("p", { class: "quiet stub" }, t("booking.id", { id: booking.id }), " · ", el("a", { href: `${ROOT}/me` }, t("page.my_tickets")));

/**
 * The view for this booking (null: none; undefined: not signed in). `acts` has book, confirm, pay and cancel. `hold` is
 * what was held when the sign-in ended.
 */
export function viewOf(event, booking, acts, hold = null) {
  if (booking === undefined) return signedOut(event, hold);
  if (booking === null) return offer(event, acts);
  return { held, waiting, confirmed }[booking.status](booking, acts, event);
}

/** Title and text of the form: what signing in is good for at the moment. */
function signInWords(event) {
  const state = stateOf(event);
  if (state === "scheduled") return ["sign_in.book", "sign_in.scheduled_text"];
  if (state === "paused") return ["sign_in.see", "sign_in.paused_text"];
  if (state === "closed") return ["sign_in.see", "sign_in.closed_text"];
  if (!wouldWait(event)) return ["sign_in.book", "sign_in.book_text"];
  return event.waitlist_limit === 0 ? ["sign_in.see", "sign_in.sold_out_text"] : ["sign_in.join", "offer.list"];
}

function signedOut(event, hold) {
  if (hold) return signInToConfirm(hold, event.takes_payment);
  const form = signInForm();
  return { element: form.element, show: (latest) => form.say(...signInWords(latest).map((key) => t(key))) };
}

/** The form for a user whose sign-in has ended while tickets are held, to be paid for if `pays`: the time that is left stays above the fields. */
function signInToConfirm(hold, pays) {
  const clock = holdClock(hold, pays);
  const form = signInForm(clock.element);
  return {
    element: form.element,
    show() {
      const isOver = clock.show(Date.parse(hold.expires_at)) <= 0;
      clock.element.hidden = isOver;
      form.say(
        t(isOver ? "form.sign_in" : pays ? "sign_in.pay" : "sign_in.confirm"),
        isOver ? inWords({ code: "hold_expired" }) : t("sign_in.confirm_text", many(hold)),
      );
    },
  };
}

/** The countdown of a hold that has to be confirmed, or paid for. */
export function holdClock(booking, pays = false) {
  return new Countdown({
    label: t(pays ? "held.pay_clock" : "held.clock"),
    spoken: (time) => t(pays ? "held.pay_spoken" : "held.spoken", { time }),
    lengthMs: Math.max(Date.parse(booking.expires_at) - now(), 1),
  });
}

/** How long a hold was given for, in milliseconds; as the event says it now. */
export function lengthOf({ payment_id: payment, source }, event) {
  const offered = source === "waitlist" ? (event.offer_seconds ?? event.hold_seconds) : event.hold_seconds;
  return (payment ? event.payment_seconds : offered) * 1000;
}

function offer(event, acts) {
  let current = event;
  const select = el("select", { id: "quantity", onchange: () => show(current) });
  const label = el("label", { for: "quantity" }, t("offer.how_many"));
  const choice = el("div", { class: "field" }, label, select);
  const book = button("", () => acts.book(Number(select.value) || 1), "wide");
  const why = el("p", { class: "quiet", id: "why" });
  book.setAttribute("aria-describedby", "why");
  const title = heading(t("offer.your_ticket"));

  function show(latest) {
    current = latest;
    const most = Math.min(latest.max_per_user, latest.capacity);
    choice.hidden = most === 1;
    while (select.length < most) select.append(el("option", { value: select.length + 1 }, number(select.length + 1)));
    while (select.length > most) select.lastChild.remove();
    const quantity = Number(select.value) || 1;
    const [name, usable, reason] = offerOf(latest, quantity);
    setText(title, t(most === 1 ? "offer.your_ticket" : "offer.your_tickets"));
    setText(book, name);
    setText(why, reason);
    setUsable(book, usable);
  }
  return { element: el("div", {}, title, choice, book, why), show };
}

/** The button's text, whether it can be used, and the reason. */
function offerOf(event, quantity) {
  const book = t("offer.book", { count: quantity });
  const state = stateOf(event);
  if (state === "scheduled") return [book, false, t("offer.opens_in", { time: clockface(Date.parse(event.opens_at) - now()) })];
  if (state === "paused") return [book, false, t("offer.paused")];
  if (state === "closed") return [book, false, t("offer.closed")];
  if (!wouldWait(event, quantity)) {
    const held = event.takes_payment ? "offer.held_to_pay" : "offer.held_for";
    return [book, true, event.hold_seconds ? t(held, { time: lasting(event.hold_seconds) }) : t("offer.at_once")];
  }
  const left = event.waiting_list_count ? 0 : event.available_tickets;
  const only = left ? `${t("offer.only", { count: left })} ` : "";
  if (event.waitlist_limit === 0 && left) return [book, false, only + t("offer.fewer")];
  if (event.waitlist_limit === 0) return [t("offer.sold_out"), false, t("offer.no_list")];
  return [t("offer.join"), true, only + t("offer.list")];
}

/** What a held booking's button says: to confirm, to pay, or to go on paying. */
export function nextStepOf(booking, pays) {
  if (!pays) return t("held.confirm", many(booking));
  return booking.payment_id ? t("held.pay_again") : t("held.pay", many(booking));
}

function held(booking, acts, { takes_payment: pays }) {
  const left = Date.parse(booking.expires_at) - now();
  const clock = holdClock(booking, pays);
  const confirm = button(nextStepOf(booking, pays), pays ? acts.pay : acts.confirm, "wide");
  const until = el("p", { class: "quiet" });
  const element = el(
    "div",
    {},
    heading(t("held.heading", many(booking))),
    clock.element,
    pays && booking.payment_id ? el("p", {}, t("held.paying")) : null,
    confirm,
    until,
    button(t("held.give_back", many(booking)), acts.cancel, "plain"),
    stub(booking),
  );
  return {
    element,
    show(event) {
      clock.lengthMs = Math.max(lengthOf(booking, event), left);
      const came = t(booking.source === "waitlist" ? "held.waited" : "held.yours");
      setText(until, `${t("held.until", { when: when(booking.expires_at, event.time_zone) })} ${came}`);
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
    heading(t("waiting.heading")),
    el("div", { class: "clock" }, el("span", { class: "label" }, t("waiting.place")), place),
    ahead,
    terms,
    button(t("waiting.leave"), acts.cancel, "plain"),
    stub(booking),
  );
  return {
    element,
    show(event, latest) {
      setText(place, number(latest.position));
      setText(ahead, latest.position === 1 ? t("waiting.next") : t("waiting.ahead", { count: latest.position - 1 }));
      const seconds = event.offer_seconds ?? event.hold_seconds;
      const hold = event.takes_payment ? "waiting.pay" : "waiting.hold";
      setText(terms, seconds ? t(hold, { ...many(latest), time: lasting(seconds) }) : t("waiting.at_once", many(latest)));
    },
  };
}

function confirmed(booking, acts) {
  const booked = el("p", {});
  const element = el(
    "div",
    { class: "yours" },
    heading(t("confirmed.heading", many(booking))),
    booked,
    button(t("confirmed.cancel"), acts.cancel, "plain"),
    stub(booking),
  );
  return {
    element,
    show: (event) => setText(booked, t("confirmed.booked", { when: when(booking.created_at, event.time_zone) })),
  };
}

/** The question before a booking is given up, as `ask` takes it. */
export function questionOf(booking, event) {
  if (booking.status === "waiting") {
    return { title: t("ask.leave"), text: t("ask.leave_text"), yes: t("ask.leave_yes"), no: t("ask.stay") };
  }
  const isHeld = booking.status === "held";
  const paying = isHeld && booking.payment_id ? `${t("ask.paying")} ` : "";
  return {
    title: t(isHeld ? "ask.give_back" : "ask.cancel"),
    text: paying + t(event.waiting_list_count > 0 ? "ask.to_next" : "ask.to_sale", { what: t("ask.all", many(booking)) }),
    yes: t(isHeld ? "ask.give_back_yes" : "ask.cancel_yes"),
    no: t("ask.keep"),
  };
}
