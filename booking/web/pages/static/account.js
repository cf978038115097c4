// The page of a user's account: a new password, the end of the session, and the account's removal.

import { byId, el, setText } from "./elements.js";
import { CURRENT, NEW, passwordForm } from "./password_form.js";
import { ask } from "./question.js";
import * as session from "./session.js";
import { showAccount, signInForm } from "./sign_in.js";
import { inWords, t } from "./words.js";

let shown = null; // whose account is shown

const wrongPassword = (refusal) => (refusal.code === "invalid_credentials" ? t("account.wrong_password") : "");

function forms() {
  const email = session.email();
  const change = passwordForm({
    title: t("account.change"),
    lead: t("account.change_text"),
    email,
    asks: [CURRENT, NEW],
    submit: t("account.change_button"),
    path: "/auth/password",
    onDone(data) {
      session.renew(session.token(), data.token);
      setText(byId("news"), t("account.changed"));
    },
    onRefused: wrongPassword,
  });
  const remove = passwordForm({
    title: t("account.remove"),
    lead: t("account.remove_text"),
    email,
    asks: [CURRENT],
    submit: t("account.remove_button"),
    danger: true,
    method: "DELETE",
    path: "/auth/account",
    confirm: () => ask({ title: t("account.remove_question"), text: t("account.remove_question_text", { email }), yes: t("account.remove_yes"), no: t("account.remove_no") }),
    onDone() {
      session.signOut();
      setText(byId("news"), t("account.removed"));
    },
    onRefused: wrongPassword,
  });
  return [change, remove];
}

function show() {
  const user = session.userId();
  if (user === shown) return;
  shown = user;
  setText(byId("news"), session.hasEnded() ? inWords({ code: "unauthenticated" }) : "");
  if (user) byId("content").replaceChildren(...(session.hasAccount() ? forms() : [el("p", {}, t("account.elsewhere"))]));
  else {
    const form = signInForm();
    form.say(t("form.sign_in"), t("account.sign_in_text"));
    byId("content").replaceChildren(form.element);
  }
}

showAccount(byId("account"));
session.onChange(show);
show();
