// My tickets: every booking of the signed-in user, what became of it, and what can be done with it.

import { call } from "./api.js";
import { now } from "./clock.js";
import { byId, el, setText } from "./elements.js";
import { Live } from "./live.js";
import { isLive, MyTicket } from "./my_ticket.js";
import { Notices } from "./notices.js";
import { withdraw } from "./question.js";
import * as session from "./session.js";
import { signInForm, showAccount } from "./sign_in.js";
import { inWords, t } from "./words.js";

const PAGE = 20;
const PAGE_MAX = 100;
const NAMED_MAX = 32; // the most events that the stream takes
const TICK_MS = 250;
const AGAIN_MS = 5_000;
const OUTCOME_MS = 15_000; // between two questions for what a late payment came to: no stream tells of a refund
const LATE_MS_MAX = 3_600_000; // how long after the end of a hold its payment is waited for

const notices = new Notices(byId("notices"));
const rows = new Map(); // MyTicket by booking id
const events = new Map(); // what is known of each event, by id
let user = session.userId();
let loaded = false;
let reloading = false;
let again = 0;

const page = {
  say(text, good = true) {
    byId("news").classList.toggle("good", good);
    setText(byId("news"), text);
  },
  complain: (text) => setText(byId("trouble"), text),
  eventOf: (eventId) => events.get(eventId),
  reload: () => load(),
  cameLate: ({ id, payment_id: payment }) => bookings().some((one) => one.id !== id && one.payment_id === payment),
  take,
};

const bookings = () => [...rows.values()].map(({ booking }) => booking);

/** Whether a payment may still come late, and to an outcome. */
const isAwaited = (booking) => {
  const { status, payment_id: payment, refund, ended_at: ended } = booking;
  return status === "expired" && payment && !refund && now() - Date.parse(ended) < LATE_MS_MAX && !page.cameLate(booking);
};

/** Shows a booking, or its newer state. */
function take(booking) {
  const row = rows.get(booking.id);
  const before = row?.booking;
  if (before && !isLive(before) && isLive(booking)) return; // a message that was under way when it ended
  if (row) row.show(booking);
  else rows.set(booking.id, new MyTicket(booking, page));
  if (before?.status === "waiting") notices.tell(booking, events.get(booking.event_id));
  if (before && before.status !== booking.status) withdraw(); // a question about what has changed since
  if (!events.has(booking.event_id)) learn(booking.event_id);
  if (!before || before.status !== booking.status) live.rename();
  if (!before && booking.payment_id) for (const one of rows.values()) one.show(one.booking); // it may be a late payment's
  draw();
}

/** Asks for the name, time and place of an event. */
async function learn(eventId) {
  events.set(eventId, undefined);
  try {
    note((await call("GET", `/events/${eventId}/details`)).data);
  } catch {
    events.delete(eventId); // the list shows the booking's number, and asks again with the next load
  }
}

/** Notes what is new about an event, and shows it with its bookings. */
function note(event) {
  events.set(event.id, { ...events.get(event.id), ...event });
  for (const row of rows.values()) if (row.booking.event_id === event.id) row.show(row.booking);
}

const newestFirst = () =>
  [...rows.values()].sort((one, other) => other.booking.created_at.localeCompare(one.booking.created_at));

function draw() {
  const sorted = newestFirst();
  const focused = document.activeElement;
  for (const [id, wanted] of [["now", true], ["before", false]]) {
    const list = byId(id).querySelector("ul");
    const elements = sorted.filter(({ booking }) => isLive(booking) === wanted).map(({ element }) => element);
    // Elements that are there stay: one that is moved would lose the focus.
    elements.forEach((element, place) => {
      if (list.children[place] !== element) list.insertBefore(element, list.children[place] ?? null);
    });
    while (list.children.length > elements.length) list.lastChild.remove();
    byId(id).hidden = !elements.length;
  }
  if (focused !== document.activeElement && focused.isConnected) focused.focus(); // it has moved with its booking
  notices.show(bookings().some(({ status }) => status === "waiting"));
  live.isPatient = bookings().some(({ status }) => ["waiting", "held"].includes(status));
  byId("login").hidden = session.isSignedIn();
  const none = [t("me.none"), " ", el("a", { href: "./" }, t("me.see_sales"))];
  if (loaded && !rows.size && session.isSignedIn()) byId("state").replaceChildren(...none);
  else setText(byId("state"), loaded || !session.isSignedIn() ? "" : t("me.loading"));
}

/** Loads the newest bookings: as many as are shown, up to 100. With `after`, the next ones older than that. */
async function load(after = null) {
  if (!session.isSignedIn() || (reloading && !after)) return;
  const asking = user;
  reloading = true;
  clearTimeout(again);
  const limit = after ? PAGE : Math.min(PAGE_MAX, Math.max(PAGE, rows.size));
  try {
    const path = `/bookings?with_events=true&limit=${limit}${after ? `&starting_after=${after}` : ""}`;
    const { data, events: told, has_more: more, up_to_date: complete } = await call("GET", path);
    if (asking !== user) return;
    loaded = complete || data.length > 0;
    if (after || rows.size <= data.length) byId("older").hidden = !more;
    told.forEach(note);
    data.forEach(take);
    if (!complete) again = setTimeout(load, AGAIN_MS);
    else if (bookings().some(isAwaited)) again = setTimeout(load, OUTCOME_MS);
    draw();
  } catch {
    if (asking !== user) return;
    setText(byId("state"), t("me.unread"));
    again = setTimeout(load, AGAIN_MS);
  } finally {
    reloading = false;
  }
}

const liveEvents = () => {
  const live = [...rows.values()].map(({ booking }) => booking).filter(isLive);
  return [...new Set(live.map((booking) => booking.event_id))].slice(0, NAMED_MAX);
};

const live = new Live(
  null,
  {
    onEvent: note,
    onBooking(booking, eventId) {
      const shown = [...rows.values()].filter((row) => row.booking.event_id === eventId && isLive(row.booking));
      for (const row of shown) row.see(booking);
      if (booking) take(booking);
      if (shown.some((row) => row.booking.id !== booking?.id)) load(); // the database knows how it ended
    },
    onLink: (connected) => setText(byId("connection"), connected ? "" : t("sale.lost")),
    onGone() {},
  },
  liveEvents,
);

function begin() {
  rows.clear();
  loaded = false;
  page.say("");
  page.complain(session.hasEnded() ? inWords({ code: "unauthenticated" }) : "");
  draw();
  if (session.isSignedIn()) load();
}

const form = signInForm();
form.say(t("me.sign_in"), t("me.sign_in_text"));
byId("login").append(form.element);
byId("older").addEventListener("click", () => load(newestFirst().at(-1).booking.id));
session.onChange(() => {
  if (session.userId() === user && user) return; // the same user, with a new token
  user = session.userId();
  begin();
});
showAccount(byId("account"));
setInterval(() => rows.forEach((row) => row.tick()), TICK_MS);
begin();
