// The form that creates a sale, or changes one.

import { call } from "./api.js";
import { byId, el, field, setFault, setText } from "./elements.js";
import { inWords, number } from "./words.js";

const LAST = "9999-12-31T23:59:59"; // it also keeps a browser from accepting years of six digits
const zone = Intl.DateTimeFormat().resolvedOptions().timeZone;

// Each input's name, label, attributes and hint.
const FIELDS = [
  ["event_name", "Name", { type: "text", required: true, maxlength: 200, dir: "auto" }, ""],
  ["available_tickets", "Tickets", { type: "number", required: true, min: 1, max: 10_000_000, inputmode: "numeric" }, ""],
  ["max_per_user", "Most tickets a person", { type: "number", required: true, min: 1, max: 100, inputmode: "numeric" }, ""],
  ["hold_seconds", "Seconds to confirm", { type: "number", required: true, min: 0, max: 86_400, inputmode: "numeric" }, "0: a booking counts at once."],
  ["waitlist_limit", "Waiting list, in tickets", { type: "number", min: 0, inputmode: "numeric" }, "Empty: as long as it gets. 0: none."],
  ["opens_at", "Opens", { type: "datetime-local", step: 1, max: LAST }, `Your own time (${zone}). Empty: at once.`],
  ["closes_at", "Closes", { type: "datetime-local", step: 1, max: LAST }, "Empty: never by itself."],
];

/** A time in this computer's time zone as `2026-11-26T20:00:00`, which the input expects. */
function toInput(iso) {
  if (iso === null) return "";
  const time = new Date(iso);
  return new Date(time.getTime() - time.getTimezoneOffset() * 60_000).toISOString().slice(0, 19);
}

function valueOf(input) {
  if (input.type === "text") return input.value.trim();
  if (input.value === "") return null;
  return input.type === "number" ? Number(input.value) : new Date(input.value).toISOString();
}

/** Opens the form, for a new sale or to change `event`. After saving, it calls `done(event)` with the saved event. */
export function openForm(event, done) {
  const dialog = byId("form");
  const start = event
    ? { ...event, event_name: event.name, available_tickets: event.capacity, opens_at: toInput(event.opens_at), closes_at: toInput(event.closes_at) }
    : { max_per_user: 1, hold_seconds: 0 };
  const fields = FIELDS.filter(([name]) => !(event && name === "hold_seconds"));
  const inputs = new Map(fields.map(([name, , attributes]) => [name, el("input", { id: `sale-${name}`, name, ...attributes })]));
  for (const [name, input] of inputs) input.value = start[name] ?? "";
  const before = new Map([...inputs].map(([name, input]) => [name, input.value]));
  const trouble = el("p", { class: "notice bad", role: "alert" });
  const save = el("button", { type: "submit" }, event ? "Save" : "Create the sale");
  const form = el(
    "form",
    { method: "post", novalidate: true, onsubmit: send },
    el("h2", { id: "form-title" }, event ? "Change the sale" : "New sale"),
    el("div", { class: "grid" }, ...fields.map(([name, label, , hint]) => field(label, inputs.get(name), hint))),
    trouble,
    el("div", { class: "buttons" }, save, el("button", { type: "button", class: "plain", onclick: () => dialog.close() }, "Never mind")),
  );

  function bodyOf() {
    const changed = [...inputs].filter(([name, input]) => (event ? input.value !== before.get(name) : input.value !== ""));
    return Object.fromEntries(changed.map(([name, input]) => [event && name === "available_tickets" ? "capacity" : name, valueOf(input)]));
  }

  async function send(submission) {
    submission.preventDefault();
    setText(trouble, "");
    for (const input of inputs.values()) setFault(input, input.validity.valid ? "" : input.validationMessage);
    const wrong = form.querySelector("[aria-invalid]");
    if (wrong || save.disabled) return wrong?.focus();
    const body = bodyOf();
    if (!Object.keys(body).length) return dialog.close();
    save.disabled = true;
    try {
      const path = event ? `/events/${event.id}` : "/initialize";
      const { data } = await call(event ? "PATCH" : "POST", path, { body });
      dialog.close();
      done(data);
    } catch (refusal) {
      explain(refusal);
    } finally {
      save.disabled = false;
    }
  }

  function explain(refusal) {
    if (refusal.code === "capacity_below_sold") {
      const input = inputs.get("available_tickets");
      setFault(input, `${number(refusal.data.floor)} are sold or held already; it cannot be fewer.`);
      return input.focus();
    }
    const unplaced = refusal.faults.filter(({ pointer, detail }) => {
      const input = inputs.get(pointer.slice(1).replace("capacity", "available_tickets"));
      if (input) setFault(input, detail);
      return !input;
    });
    if (unplaced.length || !refusal.faults.length) setText(trouble, inWords(refusal));
    form.querySelector("[aria-invalid]")?.focus();
  }

  dialog.replaceChildren(form);
  dialog.showModal();
}
