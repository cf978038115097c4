// The form that creates a sale, or changes one.

import { call, request } from "./api.js";
import { now } from "./clock.js";
import { byId, el, field, setFault, setText } from "./elements.js";
import { digitsOf, priceOf, typed } from "./money.js";
import { paymentSecret } from "./payment_secret.js";
import { has, inWords, t } from "./words.js";
import { fromInput, here, isZone, toInput, zones } from "./zones.js";

const LAST = "9999-12-31T23:59:59"; // it also keeps a browser from accepting years of six digits
const DATE = { type: "datetime-local", max: LAST }; // it shows seconds if there are any: without them there is room for AM and PM on a phone
const whole = (min, max, more = {}) => ({ type: "number", min, max, inputmode: "numeric", ...more });

// Each group's fields: an input's name and attributes. The catalogue has the texts of both, and the hints of some.
const GROUPS = {
  event: [
    ["event_name", { type: "text", required: true, maxlength: 200, dir: "auto" }],
    ["description", { element: "textarea", maxlength: 5_000, rows: 4, dir: "auto" }],
    ["venue", { type: "text", maxlength: 200, dir: "auto" }],
    ["time_zone", { type: "text", list: "zones", autocomplete: "off", spellcheck: "false" }],
    ["starts_at", DATE],
    ["ends_at", DATE],
    ["visibility", { element: "select" }],
  ],
  sale: [
    ["available_tickets", whole(1, 10_000_000, { required: true })],
    ["max_per_user", whole(1, 100, { required: true })],
    ["amount", { type: "number", min: 0, step: "any", inputmode: "decimal" }],
    ["currency", { type: "text", maxlength: 3, autocapitalize: "characters", autocomplete: "off", spellcheck: "false" }],
    ["opens_at", DATE],
    ["closes_at", DATE],
  ],
  holds: [
    ["hold_seconds", whole(0, 86_400, { required: true })],
    ["offer_seconds", whole(0, 604_800)],
    ["payment_seconds", whole(60, 3_600)],
    ["waitlist_limit", whole(0, undefined)],
    ["payment_url", { type: "url", maxlength: 2_000, autocomplete: "off", spellcheck: "false" }],
  ],
};
const FIELDS = Object.values(GROUPS).flat();
const DATES = ["starts_at", "ends_at", "opens_at", "closes_at"];
const VISIBILITIES = ["listed", "unlisted", "archived"];
const labelOf = (name) => t(`field.${name}`);
const hintOf = (name) => (has(`field.${name}_hint`) ? t(`field.${name}_hint`) : "");

// The inputs that show the faults of a field of the body, if it is another name.
const PLACES = { name: "event_name", capacity: "available_tickets", price: "amount", "price/amount": "amount", "price/currency": "currency" };

/** A fault of the service, which is in English: it names fields by the labels of this form. */
function explained(detail) {
  const text = detail.replace(/^\w+: /, "").replace(/\b[a-z]+(_[a-z]+)+\b/g, (name) => (has(`field.${name}`) ? `“${labelOf(name)}”` : name));
  return text[0].toUpperCase() + text.slice(1);
}

function inputOf([name, { element = "input", ...attributes }]) {
  const options = element === "select" ? VISIBILITIES.map((value) => el("option", { value }, t(`field.visibility.${value}`))) : [];
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
  #inputs = new Map(FIELDS.map((one) => [one[0], inputOf(one)]));
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
    this.#save = el("button", { type: "submit" }, t(details ? "sale_form.save" : "sale_form.create"));
    this.#buttons = el("div", { class: "buttons save" }, this.#save, button(t("sale_form.never_mind"), () => this.#leave()));
    this.#discard = el(
      "div",
      { class: "notice warn", role: "alert", hidden: true },
      el("p", {}, t("sale_form.unsaved")),
      el("div", { class: "buttons" }, button(t("sale_form.go_on"), () => this.#ask(false)), button(t("sale_form.throw_away"), () => this.#dialog.close(), "danger")),
    );
    const groups = Object.entries(GROUPS).map(([group, fields]) => {
      const shown = fields.map(([name]) => field(labelOf(name), this.#inputs.get(name), hintOf(name)));
      return el("fieldset", {}, el("legend", {}, t(`sale_form.group.${group}`)), el("div", { class: "grid" }, ...shown));
    });
    this.form = el(
      "form",
      { method: "post", novalidate: true, onsubmit: (submission) => this.#send(submission), oninput: () => this.#warn() },
      el("h2", { id: "form-title" }, t(details ? "sale_form.change" : "sale_form.new")),
      details ? null : el("p", { class: "quiet" }, t("sale_form.needed")),
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
    const pays = this.#value("payment_url");
    const twice = DATES.filter((name) => this.#value(name) && isZone(this.#zone()) && fromInput(this.#value(name), this.#zone()).length > 1);
    const words = [
      closes && Date.parse(closes) <= now() && t("sale_form.past"),
      ...twice.map((name) => t("sale_form.twice", { field: labelOf(name) })),
      this.#value("visibility") === "archived" && t("console.state.archived"),
      pays && this.#value("hold_seconds") === "0" && t("sale_form.unpaid"),
      pays && this.#value("offer_seconds") === "0" && t("sale_form.unpaid_offer"),
    ];
    setText(this.#warning, words.filter(Boolean).join(" "));
  }

  /** Marks what is wrong before anything is sent. */
  #check() {
    const zone = this.#zone();
    const faults = { time_zone: isZone(zone) ? "" : t("sale_form.no_zone") };
    for (const name of DATES) if (this.#value(name) && isZone(zone) && !fromInput(this.#value(name), zone).length) faults[name] = t("sale_form.skipped");
    const [amount, currency] = [this.#value("amount"), this.#value("currency").toUpperCase()];
    if (amount && !/^[A-Z]{3}$/.test(currency)) faults.currency = t("sale_form.no_currency");
    else if (amount && !priceOf(amount, currency)) faults.amount = t("sale_form.digits", { currency, count: digitsOf(currency) });
    else if (currency && !amount) faults.amount = t("sale_form.how_much");
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
      setFault(input, t("sale_form.below_sold", { count: refusal.data.floor }));
      return input.focus();
    }
    if (refusal.code === "precondition_failed") {
      return setText(this.#trouble, t("sale_form.changed_since"));
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
