// The organizer's webhooks: registered, tried, repaired and replayed, with the last deliveries of each.

import { call } from "./api.js";
import { byId, el, field, scrollTable, setFault, setText } from "./elements.js";
import { ask } from "./question.js";
import * as session from "./session.js";
import { focusForm, showAccount, signInForm } from "./sign_in.js";
import { briefly, inWords, number, t } from "./words.js";

const PERIOD_MS = 5_000;
const KINDS = ["promoted", "expired", "cancelled", "confirmed", "changed", "created", "booked", "held", "joined", "left", "reduced", "checkout", "refund_due"];
const DEFAULT_KINDS = 5; // the first ones
const COLUMNS = ["at", "type", "message", "attempt", "result", "answer"];
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
  say(`${words} ${t("webhooks.secret", { secret: data.secret })}`);
}

function newForm() {
  const url = input("url", { type: "url", inputmode: "url", placeholder: "https://shop.example/hooks" });
  const description = input("description", { maxlength: 200 });
  const boxes = KINDS.map((kind, place) => input(`kind-${kind}`, { type: "checkbox", value: kind, checked: place < DEFAULT_KINDS }));
  const kinds = el("fieldset", {}, el("legend", {}, t("webhooks.kinds")), el("div", { class: "choices" }, ...boxes.map((box) => el("label", { class: "choice" }, box, box.value))));
  byId("new").replaceChildren(
    el("h2", {}, t("webhooks.new")),
    field(t("webhooks.address"), url, t("webhooks.address_hint")),
    field(t("field.description"), description),
    kinds,
    el("div", { class: "buttons" }, el("button", {}, t("webhooks.register"))),
  );
  byId("new").onsubmit = doing(async () => {
    setFault(url, "");
    const body = { url: url.value.trim(), description: description.value, kinds: boxes.filter((box) => box.checked).map((box) => box.value) };
    try {
      tellSecret(await call("POST", "/webhooks", { body }), t("webhooks.registered"));
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
    say(t("webhooks.replayed", { event: String(body.event_id), after: String(body.after) }));
  };
  return el(
    "details",
    {},
    el("summary", {}, t("webhooks.replay")),
    el(
      "form",
      { onsubmit: doing(replay), novalidate: true },
      field(t("webhooks.event"), event, t("webhooks.event_hint")),
      field(t("webhooks.after"), after, t("webhooks.after_hint")),
      el("div", { class: "buttons" }, el("button", {}, t("webhooks.send_again"))),
    ),
  );
}

function deliveriesTable(webhook, deliveries) {
  if (!deliveries.length) return el("p", { class: "quiet" }, t("webhooks.nothing_sent"));
  const rows = deliveries.map((one) =>
    el(
      "tr",
      {},
      el("td", {}, briefly(one.at)),
      el("td", {}, one.type),
      el("td", {}, one.message_id),
      el("td", {}, number(one.attempt)),
      el("td", {}, one.delivered ? t("webhooks.result", { status: String(one.status), ms: one.duration_ms }) : (one.error ?? "")),
      el("td", { dir: "auto" }, one.answer ?? ""),
    ),
  );
  return scrollTable(t("webhooks.deliveries_of", { id: String(webhook.id) }), COLUMNS.map((name) => t(`webhooks.column.${name}`)), el("tbody", {}, ...rows));
}

async function cardOf(webhook) {
  const path = `/webhooks/${webhook.id}`;
  const enabled = webhook.status === "enabled";
  const test = async () => {
    const { data } = await call("POST", `${path}/test`);
    if (data.delivered) say(t("webhooks.tested", { status: String(data.status), ms: data.duration_ms }));
    else setText(byId("trouble"), `${t("webhooks.test_failed")} ${data.error}`);
  };
  const repair = async () => {
    await call("PATCH", path, { body: { status: "enabled" } });
    say(t("webhooks.repaired"));
  };
  const rotate = async () => tellSecret(await call("POST", `${path}/rotate`), t("webhooks.rotated"));
  const remove = async () => {
    const question = { title: t("webhooks.ask_remove"), text: t("webhooks.ask_remove_text"), yes: t("webhooks.remove"), no: t("webhooks.keep") };
    if (await ask(question)) await call("DELETE", path);
  };
  const toggle = async () => void (open.delete(webhook.id) || open.add(webhook.id));
  const scope = webhook.event_id ? t("webhooks.of_event", { event: String(webhook.event_id) }) : t("webhooks.of_all");
  const shown = open.has(webhook.id);
  const deliveries = shown ? (await call("GET", `${path}/deliveries?limit=50`)).data : [];
  return el(
    "section",
    { class: "card", "aria-label": t("webhooks.one", { id: String(webhook.id) }) },
    el("h2", { dir: "ltr" }, webhook.url),
    el("p", {}, el("span", { class: `chip ${enabled ? "good" : "bad"}` }, t(enabled ? "webhooks.enabled" : "webhooks.disabled")), ` ${webhook.disabled_reason ?? ""}`),
    el("p", { class: "quiet" }, [webhook.description, scope, webhook.kinds.join(", ")].filter(Boolean).join(" · ")),
    el(
      "div",
      { class: "buttons" },
      enabled ? null : button(t("webhooks.repair"), repair, ""),
      button(t("webhooks.test"), test),
      button(t(shown ? "webhooks.hide" : "webhooks.deliveries"), toggle),
      button(t("webhooks.rotate"), rotate),
      button(t("webhooks.remove"), remove, "danger"),
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
  byId("list").replaceChildren(...(cards.length ? cards : [el("p", { class: "quiet" }, t("webhooks.none"))]));
  if (at >= 0) byId("list").querySelectorAll("button")[at]?.focus();
}

async function enter() {
  const allowed = session.isOrganizer();
  byId("webhooks").hidden = !allowed;
  byId("login").hidden = allowed;
  setText(byId("trouble"), session.hasEnded() ? inWords({ code: "unauthenticated" }) : session.isSignedIn() && !allowed ? inWords({ code: "forbidden" }) : "");
  if (!allowed) {
    const form = signInForm();
    form.say(t("webhooks.title"), t("console.sign_in"));
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
