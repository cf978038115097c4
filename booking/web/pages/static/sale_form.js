// The form that creates a sale, or changes one.

import { call, request } from "./api.js";
import { now } from "./clock.js";
import { byId, el, field, setFault, setText } from "./elements.js";
import { digitsOf, priceOf, typed } from "./money.js";
import { paymentSecret } from "./payment_secret.js";
import { count, inWords, number } from "./words.js";
import { fromInput, here, isZone, toInput, zones } from "./zones.js";

const LAST = "9999-12-31T23:59:59"; // it also keeps a browser from accepting years of six digits
const DATE = { type: "datetime-local", max: LAST }; // it shows seconds if there are any: without them there is room for AM and PM on a phone
const whole = (min, max, more = {}) => ({ type: "number", min, max, inputmode: "numeric", ...more });

// Each group's title and fields: an input's name, label, attributes and hint.
const GROUPS = [
  ["The event", [
    ["event_name", "Name", { type: "text", required: true, maxlength: 200, dir: "auto" }, ""],
    ["description", "Description", { element: "textarea", maxlength: 5_000, rows: 4, dir: "auto" }, "What people should know. Line breaks stay."],
    ["venue", "Where", { type: "text", maxlength: 200, dir: "auto" }, ""],
    ["time_zone", "Time zone", { type: "text", list: "zones", autocomplete: "off", spellcheck: "false" }, "All times here are in it."],
    ["starts_at", "Begins", DATE, ""],
    ["ends_at", "Ends", DATE, ""],
    ["visibility", "Who finds it", { element: "select" }, ""],
  ]],
  ["The sale", [
    ["available_tickets", "Tickets", whole(1, 10_000_000, { required: true }), ""],
    ["max_per_user", "Most tickets a person", whole(1, 100, { required: true }), ""],
    ["amount", "Price", { type: "number", min: 0, step: "any", inputmode: "decimal" }, "Told to people, not charged."],
    ["currency", "Currency", { type: "text", maxlength: 3, autocapitalize: "characters", autocomplete: "off", spellcheck: "false" }, "Such as EUR."],
    ["opens_at", "Opens", DATE, "Empty: at once."],
    ["closes_at", "Closes", DATE, "Empty: never by itself."],
  ]],
  ["Holds and waiting list", [
    ["hold_seconds", "Seconds to confirm", whole(0, 86_400, { required: true }), "0: a booking counts at once."],
    ["offer_seconds", "Offer to those who wait, in seconds", whole(0, 604_800), "Empty: as long as any hold."],
    ["waitlist_limit", "Waiting list, in tickets", whole(0, undefined), "Empty: as long as it gets. 0: none."],
    ["payment_url", "Payment link", { type: "url", maxlength: 2_000, autocomplete: "off", spellcheck: "false" }, "Where a held ticket is paid for, with {event_id}, {user_id}, {payment_id} and {signature}."],
  ]],
];
const DATES = ["starts_at", "ends_at", "opens_at", "closes_at"];
const LABELS = new Map(GROUPS.flatMap(([, fields]) => fields.map(([name, label]) => [name, label])));
const VISIBILITIES = [["listed", "Everyone: it is in the list"], ["unlisted", "Only who has the link"], ["archived", "Nobody can book any more"]];

// The inputs that show the faults of a field of the body, if it is another name.
const PLACES = { name: "event_name", capacity: "available_tickets", price: "amount", "price/amount": "amount", "price/currency": "currency" };

/** A fault of the service in the words of this form: it names fields by their labels. */
function explained(detail) {
  const text = detail.replace(/^\w+: /, "").replace(/\b[a-z]+(_[a-z]+)+\b/g, (name) => (LABELS.has(name) ? `“${LABELS.get(name)}”` : name));
  return text[0].toUpperCase() + text.slice(1);
}

function inputOf([name, , { element = "input", ...attributes }]) {
  const options = element === "select" ? VISIBILITIES.map(([value, label]) => el("option", { value }, label)) : [];
  return el(element, { id: `sale-${name}`, name, ...attributes }, ...options);
}

/** What the inputs show at first. */
function startOf(details) {
  if (!details) return { max_per_user: 1, hold_seconds: 0, visibility: "listed", time_zone: isZone(here) ? here : "" };
  const zone = details.time_zone ?? here;
  return {
    ...details,
    event_name: details.name,
    available_tickets: details.capacity,
    offer_seconds: details.offer_seconds === details.hold_seconds ? null : details.offer_seconds,
    amount: details.price && typed(details.price),
    currency: details.price?.currency,
    ...Object.fromEntries(DATES.map((name) => [name, toInput(details[name], isZone(zone) ? zone : here)])),
  };
}

/** Opens the form for a new sale. After saving, it calls `done(event)` with the saved event. */
export const openForm = (done) => new SaleForm(null, "", done);

/** Opens the form for an event, with what its organizer has set now. Throws a Refusal if that cannot be read. */
export async function openChange(eventId, done) {
  const response = await request("GET", `/events/${eventId}/details`);
  return new SaleForm((await response.json()).data, response.headers.get("ETag"), done);
}

class SaleForm {
  #dialog = byId("form");
  #inputs = new Map(GROUPS.flatMap(([, fields]) => fields.map((one) => [one[0], inputOf(one)])));
  #trouble = el("p", { class: "notice bad", role: "alert" });
  #warning = el("p", { class: "notice warn", role: "status" });
  #save;
  #buttons;
  #discard;

  constructor(details, tag, done) {
    this.details = details;
    this.tag = tag;
    this.done = done;
    const start = startOf(details);
    for (const [name, input] of this.#inputs) input.value = start[name] ?? "";
    this.before = new Map([...this.#inputs].map(([name, input]) => [name, input.value]));
    const button = (text, act, kind = "plain") => el("button", { type: "button", class: kind, onclick: act }, text);
    this.#save = el("button", { type: "submit" }, details ? "Save" : "Create the sale");
    this.#buttons = el("div", { class: "buttons" }, this.#save, button("Never mind", () => this.#leave()));
    this.#discard = el(
      "div",
      { class: "notice warn", role: "alert", hidden: true },
      el("p", {}, "What you have entered is not saved."),
      el("div", { class: "buttons" }, button("Go on", () => this.#ask(false)), button("Throw it away", () => this.#dialog.close(), "danger")),
    );
    const groups = GROUPS.map(([title, fields]) =>
      el("fieldset", {}, el("legend", {}, title), el("div", { class: "grid" }, ...fields.map(([name, label, , hint]) => field(label, this.#inputs.get(name), hint)))),
    );
    this.form = el(
      "form",
      { method: "post", novalidate: true, onsubmit: (submission) => this.#send(submission), oninput: () => this.#warn() },
      el("h2", { id: "form-title" }, details ? "Change the sale" : "New sale"),
      ...groups,
      details && paymentSecret(details.id),
      el("datalist", { id: "zones" }, ...zones().map((name) => el("option", { value: name }))),
      this.#warning,
      this.#trouble,
      this.#discard,
      this.#buttons,
    );
    this.#dialog.replaceChildren(this.form);
    // Escape as a key, which a page can stop each time, and as a gesture to go back, which it can stop once.
    this.#dialog.onkeydown = (event) => void (event.key === "Escape" && this.#keep(event));
    this.#dialog.oncancel = (event) => void this.#keep(event);
    this.#dialog.showModal();
    this.#warn();
  }

  #value = (name) => this.#inputs.get(name).value.trim();
  #isFilled = () => [...this.#inputs].some(([name, input]) => input.value !== this.before.get(name));

  /** Keeps a filled form open, and asks. */
  #keep(event) {
    if (!this.#isFilled()) return;
    event.preventDefault();
    this.#ask(true);
  }

  #leave() {
    if (!this.#isFilled()) return this.#dialog.close();
    return this.#ask(true);
  }

  #ask(asks) {
    this.#discard.hidden = !asks;
    this.#buttons.hidden = asks;
    (asks ? this.#discard.querySelector("button") : this.#inputs.get("event_name")).focus();
  }

  /** The zone in which the dates are typed. */
  #zone = () => this.#value("time_zone") || here;

  #timeOf(name) {
    return this.#value(name) && isZone(this.#zone()) ? (fromInput(this.#value(name), this.#zone())[0] ?? null) : null;
  }

  /** Says what is allowed and rarely meant. */
  #warn() {
    const closes = this.#timeOf("closes_at");
    const twice = DATES.filter((name) => this.#value(name) && isZone(this.#zone()) && fromInput(this.#value(name), this.#zone()).length > 1);
    const words = [
      closes && Date.parse(closes) <= now() && "The sale closes in the past, so nobody can book.",
      ...twice.map((name) => `“${LABELS.get(name)}” is there twice, because the clocks are set back; the first time is meant.`),
      this.#value("visibility") === "archived" && "Of an archived event nothing can be booked.",
      this.#value("payment_url") && this.#value("hold_seconds") === "0" && "Without seconds to confirm, a booking counts at once, unpaid.",
    ];
    setText(this.#warning, words.filter(Boolean).join(" "));
  }

  /** Marks what is wrong before anything is sent. */
  #check() {
    const zone = this.#zone();
    const faults = { time_zone: isZone(zone) ? "" : "This is not a time zone, such as Europe/Berlin." };
    for (const name of DATES) if (this.#value(name) && isZone(zone) && !fromInput(this.#value(name), zone).length) faults[name] = "The clocks skip this time.";
    const [amount, currency] = [this.#value("amount"), this.#value("currency").toUpperCase()];
    if (amount && !/^[A-Z]{3}$/.test(currency)) faults.currency = "Three letters, such as EUR.";
    else if (amount && !priceOf(amount, currency)) faults.amount = `${currency} has ${count(digitsOf(currency), "digit")} after the point.`;
    else if (currency && !amount) faults.amount = "How much?";
    for (const [name, input] of this.#inputs) setFault(input, isValid(input) ? (faults[name] ?? "") : input.validationMessage);
    return this.form.querySelector("[aria-invalid]");
  }

  #bodyOf() {
    const price = this.#value("amount") ? priceOf(this.#value("amount"), this.#value("currency").toUpperCase()) : null;
    const body = {};
    for (const [name, input] of this.#inputs) {
      const value = this.#value(name);
      if (name === "amount" || name === "currency") body.price = price;
      else if (DATES.includes(name)) body[name] = this.#timeOf(name);
      else body[name] = value === "" ? null : input.type === "number" ? Number(value) : value;
    }
    if (!this.details) return Object.fromEntries(Object.entries(body).filter(([, value]) => value !== null));
    const { available_tickets: capacity, event_name: name, ...others } = body;
    const before = { ...this.details, offer_seconds: this.before.get("offer_seconds") === "" ? null : this.details.offer_seconds };
    const changed = Object.entries({ name, capacity, ...others }).filter(([field, value]) => !isSame(value, before[field], DATES.includes(field)));
    return Object.fromEntries(changed.map(([field, value]) => [field === "name" ? "event_name" : field, value]));
  }

  async #send(submission) {
    submission.preventDefault();
    setText(this.#trouble, "");
    const wrong = this.#check();
    if (wrong || this.#save.disabled) return wrong?.focus();
    const body = this.#bodyOf();
    if (!Object.keys(body).length) return this.#dialog.close();
    this.#save.disabled = true;
    try {
      const [method, path] = this.details ? ["PATCH", `/events/${this.details.id}`] : ["POST", "/initialize"];
      const { data } = await call(method, path, { body, headers: this.details ? { "If-Match": this.tag } : {} });
      this.#dialog.close();
      this.done(data);
    } catch (refusal) {
      this.#explain(refusal);
    } finally {
      this.#save.disabled = false;
    }
  }

  #explain(refusal) {
    if (refusal.code === "capacity_below_sold") {
      const input = this.#inputs.get("available_tickets");
      setFault(input, `${number(refusal.data.floor)} are sold or held already; it cannot be fewer.`);
      return input.focus();
    }
    if (refusal.code === "precondition_failed") {
      return setText(this.#trouble, "Somebody has changed this sale since the form was opened. Open it again to see the change.");
    }
    const unplaced = refusal.faults.filter(({ pointer, detail }) => {
      const name = pointer.slice(1);
      const input = this.#inputs.get(PLACES[name] ?? name);
      if (input) setFault(input, explained(detail));
      return !input;
    });
    if (unplaced.length || !refusal.faults.length) {
      setText(this.#trouble, unplaced.length ? unplaced.map(({ detail }) => explained(detail)).join(" ") : inWords(refusal));
    }
    return this.form.querySelector("[aria-invalid]")?.focus();
  }
}

/** Whether the browser accepts the value; seconds are no fault of a time. */
function isValid({ type, validity }) {
  return validity.valid || (type === DATE.type && validity.stepMismatch && !validity.badInput && !validity.rangeOverflow);
}

/** Whether two values of a field are the same: times by their instant. */
function isSame(one, other, areTimes) {
  const [a, b] = [one ?? null, other ?? null].map((value) => (areTimes && value !== null ? Date.parse(value) : value));
  return a === b || JSON.stringify(a) === JSON.stringify(b);
}
