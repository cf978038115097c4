// The page behind the link in a mail: the user chooses a new password.

import { ROOT } from "./api.js";
import { byId, el, setText } from "./elements.js";
import { NEW, passwordForm } from "./password_form.js";
import * as session from "./session.js";
import { SENDS_MAIL, showAccount, SignInForm } from "./sign_in.js";
import { t } from "./words.js";

/** The token is in the fragment, which browsers send to no server. */
const tokenOf = () => new URLSearchParams(location.hash.slice(1)).get("token") ?? "";

function showChoice() {
  const form = passwordForm({
    title: t("reset.heading"),
    lead: t("reset.text"),
    asks: [NEW],
    submit: t("reset.button"),
    path: "/auth/reset",
    more: { reset_token: tokenOf() },
    onDone(data) {
      history.replaceState(null, "", location.pathname); // the token is used
      session.begin(data.token, data.user.email);
      setText(byId("news"), t("account.reset", { email: data.user.email }));
      byId("content").replaceChildren(el("p", {}, el("a", { class: "button", href: `${ROOT}/` }, t("missing.link"))));
    },
    onRefused(refusal) {
      if (refusal.code === "not_found") return t("account.no_mail");
      if (refusal.code !== "invalid_credentials") return "";
      showRequest();
      return "";
    },
  });
  byId("content").replaceChildren(form);
}

/** Shows the form that has another link sent. */
function showRequest() {
  const form = new SignInForm();
  form.show("forgot");
  const why = tokenOf() ? el("p", { class: "notice bad", role: "alert" }, t("account.bad_link")) : "";
  byId("content").replaceChildren(why, SENDS_MAIL ? form.element : el("p", {}, t("account.no_mail")));
}

function show() {
  setText(byId("news"), "");
  if (tokenOf() && SENDS_MAIL) showChoice();
  else showRequest();
}

showAccount(byId("account"));
addEventListener("hashchange", show);
show();
