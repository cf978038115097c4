// One booking in the list of one's own tickets: what became of it, and what can be done with it.

import { request, ROOT } from "./api.js";
import { Attempt, Clicks } from "./attempt.js";
import { byId, el, isUsable, setText, setUsable } from "./elements.js";
import { forgetPaying, leaveToPay, paymentBegun } from "./paying.js";
import { ask } from "./question.js";
import { holdClock, lengthOf, nextStepOf, questionOf } from "./ticket.js";
import { inWords, number, t, tickets, waitWords, when } from "./words.js";

const COLOURS = { confirmed: "good", held: "warn", waiting: "soon", cancelled: "done", expired: "done" };

const PICTURE_MS_MAX = 15_000;

export const isLive = ({ status }) => ["confirmed", "held", "waiting"].includes(status);

const button = (text, act, kind = "plain") =>
  el("button", { type: "button", class: kind, onclick: ({ currentTarget }) => isUsable(currentTarget) && act() }, text);

/**
 * A booking as an element. `page` has say(text, good), complain(text), reload(), take(booking), eventOf(eventId), and
 * cameLate(booking): whether another booking was made of its payment.
 */
export class MyTicket {
  #page;
  #booking;
  #chip = el("span");
  #name = el("a", { dir: "auto" });
  #what = el("p", {});
  #where = el("p", { class: "quiet", dir: "auto" });
  #body = el("div");
  #countdown = null;
  #confirm = null;
  #shown = "";
  #clicks = new Clicks({
    onWait: (refusal, pause) => this.#page.say(waitWords(refusal, pause), false),
    onKnown: (attempt, booking) => attempt.known(booking),
    onRefused: (_, refusal) => {
      this.#page.say("");
      this.#page.complain(inWords(refusal, this.#event));
      this.#page.reload();
    },
    onUnproven: () => this.#page.reload(),
    onIdle: () => this.element.removeAttribute("aria-busy"),
  });

  constructor(booking, page) {
    this.#page = page;
    this.#booking = booking;
    this.#name.href = `${ROOT}/sale/${booking.event_id}`;
    this.element = el("li", { class: "card mine" }, this.#chip, el("h3", {}, this.#name), this.#what, this.#where, this.#body);
    this.show(booking);
  }

  get booking() {
    return this.#booking;
  }

  get #event() {
    return this.#page.eventOf(this.#booking.event_id);
  }

  /** What the stream shows: null if there is no live booking of the event any more. */
  see(booking) {
    this.#clicks.see(booking);
  }

  /** Shows a newer state of the booking, or of its event. */
  show(booking) {
    this.#booking = booking;
    const begun = paymentBegun(booking.event_id);
    if (begun && begun === booking.payment_id && booking.status !== "held") forgetPaying(booking.event_id); // it shows how it ended
    const event = this.#event;
    setText(this.#name, event?.name ?? t("booking.id", { id: booking.id }));
    const isToPay = booking.status === "held" && event?.takes_payment;
    setText(this.#chip, t(isToPay ? "me.status.pay" : `me.status.${booking.status}`));
    this.#chip.className = `chip ${COLOURS[booking.status]}`;
    setText(this.#what, this.#words());
    const starts = event?.starts_at ? when(event.starts_at, event.time_zone) : "";
    setText(this.#where, [starts, event?.venue].filter(Boolean).join(" · "));
    const { status, quantity, expires_at: expires, payment_id: payment } = booking;
    const key = JSON.stringify([status, quantity, expires, payment, event?.starts_at, event?.takes_payment]);
    if (key !== this.#shown) {
      this.#shown = key;
      const hadFocus = this.#body.contains(document.activeElement);
      this.#countdown = this.#confirm = null;
      this.#body.replaceChildren(...this.#controls());
      if (hadFocus) this.#name.focus();
    }
    this.tick();
  }

  /** Updates the countdown. */
  tick() {
    if (this.#countdown && this.#event) this.#countdown.lengthMs = Math.max(lengthOf(this.#booking, this.#event), this.#countdown.lengthMs);
    // Until the event is known, so is not whether the hold is confirmed or paid for.
    if (this.#countdown) setUsable(this.#confirm, this.#countdown.show(Date.parse(this.#booking.expires_at)) > 0 && this.#event);
  }

  #words() {
    const { status, quantity, source, position, created_at: created, expires_at: expires, ended_at: ended, payment_id: payment, refund } = this.#booking;
    const moment = { held: expires, cancelled: ended, expired: ended }[status] ?? created;
    const values = { tickets: tickets(quantity), when: when(moment, this.#event?.time_zone), place: position };
    if (status === "waiting" && position === undefined) return t("me.what.waiting_unknown", values);
    if (status === "held" && payment && this.#event?.takes_payment) return t("me.what.paying", values);
    if (refund) return t(`me.what.refund_${refund}`, values);
    if (status === "expired" && payment) return t(this.#page.cameLate(this.#booking) ? "me.what.paid_late" : "me.what.unpaid", values);
    if (status === "expired") return t(source === "waitlist" ? "me.what.expired_offer" : "me.what.expired_hold", values);
    return t(`me.what.${status}`, values);
  }

  #controls() {
    const { status, quantity } = this.#booking;
    if (!isLive(this.#booking)) return [];
    if (status === "held") {
      const pays = this.#event?.takes_payment;
      this.#countdown = holdClock(this.#booking, pays);
      this.#confirm = button(nextStepOf(this.#booking, pays), () => (pays ? this.#pay() : this.#confirmIt()), "");
      const back = button(t("held.give_back", { count: quantity }), () => this.#cancel());
      return [this.#countdown.element, el("div", { class: "buttons" }, this.#confirm, back)];
    }
    if (status === "waiting") return [el("div", { class: "buttons" }, button(t("waiting.leave"), () => this.#cancel()))];
    const file = `${ROOT}/events/${this.#booking.event_id}/calendar.ics`;
    const calendar = el("a", { class: "button plain", href: file, download: true }, t("me.calendar"));
    return [
      el(
        "div",
        { class: "buttons" },
        button(t("confirmed.show"), () => this.#showPicture(), ""),
        this.#event?.starts_at ? calendar : null,
        button(t("confirmed.cancel"), () => this.#cancel()),
      ),
      quantity > 1 ? this.#reduction() : null,
    ].filter(Boolean);
  }

  /** Gives back a part of the tickets. */
  #reduction() {
    const { id, quantity } = this.#booking;
    const choice = el("select", { id: `keep-${id}` });
    for (let kept = quantity - 1; kept >= 1; kept -= 1) choice.append(el("option", { value: kept }, number(kept)));
    const act = async () => {
      const kept = Number(choice.value);
      const title = t("me.fewer_ask", { tickets: tickets(quantity - kept) });
      const text = t("me.fewer_text", { tickets: tickets(kept) });
      if (!(await ask({ title, text, yes: t("ask.give_back_yes"), no: t("ask.keep") }))) return;
      const isProvenBy = (one) => one?.id === id && one.quantity === kept;
      this.#act("/cancel", { quantity: quantity - kept }, isProvenBy, "doing.cancel", (rest) => {
        this.#page.take(rest);
        this.#page.say(t("news.reduced", { tickets: tickets(rest.quantity) }));
      });
    };
    const label = el("label", { for: choice.id }, t("me.fewer"));
    return el("div", { class: "fewer" }, label, choice, button(t("me.fewer_do"), act));
  }

  #act(path, body, isProvenBy, doing, known) {
    const attempt = new Attempt(path, { event_id: this.#booking.event_id, ...body }, isProvenBy);
    attempt.known = known;
    if (!this.#clicks.want(attempt)) return;
    this.#page.complain("");
    this.#page.say(t(doing));
    this.element.setAttribute("aria-busy", "true");
  }

  #pay() {
    this.#act("/checkout", {}, null, "doing.pay", (booking) => {
      this.#page.take(booking);
      this.#page.say("");
      if (booking.payment_url) leaveToPay(booking);
    });
  }

  #confirmIt() {
    const { id } = this.#booking;
    this.#act("/confirm", {}, (one) => one?.id === id && one.status === "confirmed", "doing.confirm", (booking) => {
      this.#page.take(booking);
      this.#page.say(t("news.confirmed_now"));
    });
  }

  async #cancel() {
    const { id, status } = this.#booking;
    const waiting = this.#event?.waiting_list_count ?? 0;
    if (!(await ask(questionOf(this.#booking, { waiting_list_count: waiting })))) return;
    this.#act("/cancel", {}, (one) => one?.id !== id, "doing.cancel", () => {
      this.#page.say(t(status === "waiting" ? "news.left" : waiting > 0 ? "news.cancelled_next" : "news.cancelled"));
      this.#page.take({ ...this.#booking, status: "cancelled" });
    });
  }

  /** Shows the code of the ticket. It is loaded with the token, which an image's address could not carry. */
  async #showPicture() {
    const dialog = byId("picture");
    try {
      const signal = AbortSignal.timeout(PICTURE_MS_MAX);
      const response = await request("GET", `/events/${this.#booking.event_id}/ticket.svg`, { signal });
      const address = URL.createObjectURL(await response.blob());
      const done = el("button", { type: "button", class: "wide", autofocus: true, onclick: () => dialog.close() }, t("me.close"));
      dialog.replaceChildren(
        el("h2", { id: "picture-title", dir: "auto" }, this.#event?.name ?? t("me.qr")),
        el("img", { src: address, alt: t("me.qr"), class: "code" }),
        el("p", { class: "center" }, `${tickets(this.#booking.quantity)} · ${t("booking.id", { id: this.#booking.id })}`),
        el("p", { class: "quiet center" }, t("me.qr_text")),
        done,
      );
      dialog.onclose = () => URL.revokeObjectURL(address);
      dialog.showModal();
    } catch (refusal) {
      this.#page.complain(refusal.code && refusal.code !== "no_answer" ? inWords(refusal) : t("me.qr_failed"));
    }
  }
}
