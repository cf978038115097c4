// The organizer's webhooks: registered, tried, repaired and replayed, with the last deliveries of each.

import { call } from "./api.js";
import { byId, el, field, scrollTable, setFault, setText } from "./elements.js";
import { ask } from "./question.js";
import * as session from "./session.js";
import { focusForm, showAccount, signInForm } from "./sign_in.js";
import { briefly, inWords } from "./words.js";

const PERIOD_MS = 5_000;
const KINDS = ["promoted", "expired", "cancelled", "confirmed", "changed", "created", "booked", "held", "joined", "left", "reduced", "checkout", "refund_due"];
const DEFAULT_KINDS = 5; // the first ones
const open = new Set(); // the webhooks whose deliveries are shown

const say = (text) => setText(byId("done"), text);
const fail = (refusal) => setText(byId("trouble"), refusal.faults?.[0]?.detail ?? inWords(refusal));

/** Runs what a button does, and tells how it failed. */
const doing = (action) => async (event) => {
  event.preventDefault();
  setText(byId("trouble"), "");
  try {
    await action(event);
    await load();
  } catch (refusal) {
    if (!refusal.code) throw refusal;
    fail(refusal);
  }
};

const button = (name, action, style = "plain") => el("button", { type: "button", class: style, onclick: doing(action) }, name);
const input = (id, attributes) => el("input", { id, name: id, autocomplete: "off", ...attributes });

/** The answer that shows a secret: it is not shown again. */
function tellSecret({ data }, words) {
  say(`${words} Its secret, which is not shown again: ${data.secret}`);
}

function newForm() {
  const url = input("url", { type: "url", inputmode: "url", placeholder: "https://shop.example/hooks" });
  const description = input("description", { maxlength: 200 });
  const boxes = KINDS.map((kind, place) => input(`kind-${kind}`, { type: "checkbox", value: kind, checked: place < DEFAULT_KINDS }));
  const kinds = el("fieldset", {}, el("legend", {}, "It is told of changes of these kinds"), el("div", { class: "choices" }, ...boxes.map((box) => el("label", { class: "choice" }, box, box.value))));
  byId("new").replaceChildren(
    el("h2", {}, "New webhook"),
    field("Address", url, "https, and reachable from the internet"),
    field("Description", description),
    kinds,
    el("div", { class: "buttons" }, el("button", {}, "Register")),
  );
  byId("new").onsubmit = doing(async () => {
    setFault(url, "");
    const body = { url: url.value.trim(), description: description.value, kinds: boxes.filter((box) => box.checked).map((box) => box.value) };
    try {
      tellSecret(await call("POST", "/webhooks", { body }), "The webhook is registered.");
    } catch (refusal) {
      const fault = refusal.faults?.find((one) => one.pointer === "/url");
      if (!fault) throw refusal;
      setFault(url, fault.detail);
      url.focus();
      return;
    }
    newForm();
  });
}

function replayForm(webhook) {
  const event = input(`event-${webhook.id}`, { inputmode: "numeric", value: webhook.event_id ?? "" });
  const after = input(`after-${webhook.id}`, { inputmode: "numeric", value: 0 });
  const replay = async () => {
    const body = { event_id: Number(event.value), after: Number(after.value) };
    await call("POST", `/webhooks/${webhook.id}/replay`, { body });
    say(`The changes of event ${body.event_id} after ${body.after} are sent once more.`);
  };
  return el(
    "details",
    {},
    el("summary", {}, "Replay"),
    el(
      "form",
      { onsubmit: doing(replay), novalidate: true },
      field("Event", event, "its number"),
      field("After change", after, "0: all of its changes"),
      el("div", { class: "buttons" }, el("button", {}, "Send again")),
    ),
  );
}

function deliveriesTable(webhook, deliveries) {
  if (!deliveries.length) return el("p", { class: "quiet" }, "Nothing was sent yet.");
  const rows = deliveries.map((one) =>
    el(
      "tr",
      {},
      el("td", {}, briefly(one.at)),
      el("td", {}, one.type),
      el("td", {}, one.message_id),
      el("td", {}, String(one.attempt)),
      el("td", {}, one.delivered ? `${one.status} in ${one.duration_ms} ms` : (one.error ?? "")),
      el("td", { dir: "auto" }, one.answer ?? ""),
    ),
  );
  return scrollTable(`Last deliveries of webhook ${webhook.id}`, ["At", "Type", "Message", "Attempt", "Result", "Answer"], el("tbody", {}, ...rows));
}

async function cardOf(webhook) {
  const path = `/webhooks/${webhook.id}`;
  const enabled = webhook.status === "enabled";
  const test = async () => {
    const { data } = await call("POST", `${path}/test`);
    if (data.delivered) say(`The test message was answered with ${data.status} after ${data.duration_ms} ms.`);
    else setText(byId("trouble"), `The test message has failed. ${data.error}`);
  };
  const repair = async () => {
    await call("PATCH", path, { body: { status: "enabled" } });
    say("It goes on from where it stood.");
  };
  const rotate = async () => tellSecret(await call("POST", `${path}/rotate`), "For a day both secrets sign.");
  const remove = async () => {
    const question = { title: "Remove this webhook?", text: "What it was not told yet is not sent.", yes: "Remove", no: "Keep it" };
    if (await ask(question)) await call("DELETE", path);
  };
  const toggle = async () => void (open.delete(webhook.id) || open.add(webhook.id));
  const shown = open.has(webhook.id);
  const deliveries = shown ? (await call("GET", `${path}/deliveries?limit=50`)).data : [];
  return el(
    "section",
    { class: "card", "aria-label": `Webhook ${webhook.id}` },
    el("h2", { dir: "ltr" }, webhook.url),
    el("p", {}, el("span", { class: `chip ${enabled ? "good" : "bad"}` }, enabled ? "Enabled" : "Disabled"), ` ${webhook.disabled_reason ?? ""}`),
    el("p", { class: "quiet" }, `${webhook.description ? `${webhook.description} · ` : ""}${webhook.event_id ? `event ${webhook.event_id}` : "all your sales"} · ${webhook.kinds.join(", ")}`),
    el(
      "div",
      { class: "buttons" },
      enabled ? null : button("Repair", repair, ""),
      button("Send a test", test),
      button(shown ? "Hide deliveries" : "Last deliveries", toggle),
      button("New secret", rotate),
      button("Remove", remove, "danger"),
    ),
    shown ? deliveriesTable(webhook, deliveries) : null,
    replayForm(webhook),
  );
}

/** Reads the list again, unless the user is in it: a form that is being filled in must stay. */
async function load({ gently = false } = {}) {
  if (!session.isOrganizer()) return;
  if (gently && (document.hidden || byId("list").contains(document.activeElement))) return;
  const { data } = await call("GET", "/webhooks?limit=100");
  const cards = await Promise.all(data.map(cardOf));
  const at = [...byId("list").querySelectorAll("button")].indexOf(document.activeElement);
  byId("list").replaceChildren(...(cards.length ? cards : [el("p", { class: "quiet" }, "There is no webhook yet.")]));
  if (at >= 0) byId("list").querySelectorAll("button")[at]?.focus();
}

async function enter() {
  const allowed = session.isOrganizer();
  byId("webhooks").hidden = !allowed;
  byId("login").hidden = allowed;
  setText(byId("trouble"), session.hasEnded() ? inWords({ code: "unauthenticated" }) : session.isSignedIn() && !allowed ? inWords({ code: "forbidden" }) : "");
  if (!allowed) {
    const form = signInForm();
    form.say("Webhooks", "Sign in with an organizer’s account.");
    byId("login").replaceChildren(form.element);
    focusForm();
    return;
  }
  newForm();
  await load().catch(fail);
}

session.onChange(enter);
showAccount(byId("account"));
await enter();
setInterval(() => load({ gently: true }).catch(fail), PERIOD_MS);
