// The page of a user's account: a new password, the end of the session, and the account's removal.

import { byId, el, setText } from "./elements.js";
import { CURRENT, NEW, passwordForm } from "./password_form.js";
import { ask } from "./question.js";
import * as session from "./session.js";
import { showAccount, signInForm } from "./sign_in.js";
import { ACCOUNT_WORDS, inWords } from "./words.js";

let shown = null; // whose account is shown

const wrongPassword = (refusal) => (refusal.code === "invalid_credentials" ? ACCOUNT_WORDS.wrongPassword : "");

function forms() {
  const email = session.email();
  const change = passwordForm({
    title: "Change your password",
    lead: "You are signed out on all other devices.",
    email,
    asks: [CURRENT, NEW],
    submit: "Change the password",
    path: "/auth/password",
    onDone(data) {
      session.renew(session.token(), data.token);
      setText(byId("news"), ACCOUNT_WORDS.changed);
    },
    onRefused: wrongPassword,
  });
  const remove = passwordForm({
    title: "Remove your account",
    lead: "Your email and your password are erased. What you have booked has to be given back first.",
    email,
    asks: [CURRENT],
    submit: "Remove the account",
    danger: true,
    method: "DELETE",
    path: "/auth/account",
    confirm: () => ask({ title: "Remove your account?", text: `${email} could not sign in any more. This cannot be undone.`, yes: "Remove it", no: "Keep it" }),
    onDone() {
      session.signOut();
      setText(byId("news"), ACCOUNT_WORDS.removed);
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
  if (user) byId("content").replaceChildren(...(session.hasAccount() ? forms() : [el("p", {}, ACCOUNT_WORDS.elsewhere)]));
  else {
    const form = signInForm();
    form.say("Sign in", "Then you can change your password, or remove your account.");
    byId("content").replaceChildren(form.element);
  }
}

showAccount(byId("account"));
session.onChange(show);
show();
