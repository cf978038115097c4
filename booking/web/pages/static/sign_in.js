// Sign-in, registration and the request for a new password in one form, and the page header's account area.

import { call, ROOT } from "./api.js";
import { byId, el, field, setFault, setText } from "./elements.js";
import { keepSession } from "./renewal.js";
import * as session from "./session.js";
import { inWords, lasting, t } from "./words.js";

const ENDS_SOON_MS = 5 * 60_000;
export const PASSWORD_MIN = 8; // characters

/** Whether the service sends mail, and so links for a new password. */
export const SENDS_MAIL = document.documentElement.dataset.mail === "on";

/** What the form does in each mode: its button, where it posts, and the other modes that it offers. */
const MODES = {
  signIn: { submit: t("form.sign_in"), path: "/auth/login", others: ["register", ...(SENDS_MAIL ? ["forgot"] : [])] },
  register: { title: t("form.register_title"), submit: t("form.register"), path: "/auth/register", others: ["signIn"] },
  forgot: { title: t("form.forgot_title"), submit: t("form.forgot"), path: "/auth/forgot", others: ["signIn"] },
};
const OFFERS = { signIn: t("form.offer.sign_in"), register: t("form.offer.register"), forgot: t("form.offer.forgot") };

/** A form that signs in, creates an account (which signs in, too), or has a link for a new password sent. */
export class SignInForm {
  #mode = "signIn";
  #title = "";
  #lead = "";
  #email = el("input", { id: "email", type: "email", autocomplete: "username", required: true, maxlength: 254 });
  #password = el("input", { id: "password", type: "password", required: true, maxlength: 256 });
  #passwordField = field(t("form.password"), this.#password);
  #heading = el("h2", { tabindex: -1 });
  #leadWords = el("p", { class: "quiet" });
  #submit = el("button", { type: "submit" });
  #buttons = el("div", { class: "buttons" });
  #news = el("p", { class: "notice good", role: "status" });
  #trouble = el("p", { class: "notice bad", role: "alert" });

  /** `above` is an element that stays above the fields, such as the countdown of a hold. */
  constructor(above = null) {
    this.element = el(
      "form",
      { method: "post", novalidate: true, class: "sign-in", onsubmit: (submission) => this.#send(submission) },
      this.#heading,
      this.#leadWords,
      above,
      field(t("form.email"), this.#email),
      this.#passwordField,
      this.#news,
      this.#trouble,
      this.#buttons,
    );
    this.#email.value = session.email();
    this.show("signIn");
  }

  /** Sets the texts of the mode in which users sign in. */
  say(title, lead) {
    this.#title = title;
    this.#lead = lead;
    this.#write();
  }

  /** Shows the form in another mode. */
  show(mode) {
    this.#mode = mode;
    const creates = mode === "register";
    this.#passwordField.hidden = mode === "forgot";
    this.#password.autocomplete = creates ? "new-password" : "current-password";
    this.#password.placeholder = creates ? t("account.password_hint") : "";
    setText(this.#submit, MODES[mode].submit);
    const offer = (other) => el("button", { type: "button", class: "plain", onclick: () => this.#turnTo(other) }, OFFERS[other]);
    this.#buttons.replaceChildren(this.#submit, ...MODES[mode].others.map(offer));
    setText(this.#news, "");
    setText(this.#trouble, "");
    this.#write();
  }

  #turnTo(mode) {
    this.show(mode);
    (this.#email.value && mode !== "forgot" ? this.#password : this.#email).focus();
  }

  #write() {
    setText(this.#heading, MODES[this.#mode].title ?? this.#title);
    setText(this.#leadWords, this.#mode === "forgot" ? t("account.forgot_lead") : this.#lead);
  }

  /** Marks what is wrong with the fields; returns the first of them that is wrong. */
  #check() {
    const least = { signIn: 1, register: PASSWORD_MIN, forgot: 0 }[this.#mode];
    setFault(this.#email, this.#email.validity.valid ? "" : t("account.no_email"));
    const short = this.#mode === "register" ? t("account.short_password") : t("account.no_password");
    setFault(this.#password, this.#password.value.length < least ? short : "");
    return this.element.querySelector("[aria-invalid]");
  }

  async #send(submission) {
    submission.preventDefault();
    setText(this.#news, "");
    setText(this.#trouble, "");
    const wrong = this.#check();
    if (wrong || this.#submit.disabled) return wrong?.focus();
    this.#submit.disabled = true;
    const email = this.#email.value.trim();
    const body = this.#mode === "forgot" ? { email } : { email, password: this.#password.value };
    try {
      const { data } = await call("POST", MODES[this.#mode].path, { body });
      if (this.#mode === "forgot") setText(this.#news, t("account.sent", { email }));
      else session.begin(data.token, data.user.email);
    } catch (refusal) {
      this.#explain(refusal);
    } finally {
      this.#submit.disabled = false;
    }
  }

  #explain(refusal) {
    if (refusal.code === "email_taken") this.show("signIn");
    if (refusal.faults.some(({ pointer }) => pointer === "/email")) {
      setFault(this.#email, t("account.no_email")); // the service is stricter than browsers are
      return this.#email.focus();
    }
    setText(this.#trouble, refusal.code === "not_found" ? t("account.no_accounts") : inWords(refusal));
    (this.#mode === "forgot" ? this.#email : this.#password).focus();
  }
}

/** The form as `element` and `say(title, lead)`. */
export const signInForm = (above = null) => new SignInForm(above);

const endsIn = (ms) => (ms > 0 ? t("form.ends_in", { time: lasting(Math.ceil(ms / 60_000) * 60) }) : t("form.has_ended"));

/**
 * Keeps the session alive, and the account area up to date: the signed-in user, and a warning in the last five minutes
 * of a session that cannot be renewed any more.
 */
export function showAccount(place) {
  const draw = () => {
    const soon = session.isSignedIn() && session.remaining() < ENDS_SOON_MS;
    place.replaceChildren(
      ...(session.isSignedIn()
        ? [
            el("a", { class: "who", href: `${ROOT}/account` }, session.email()),
            soon ? el("span", { class: "chip warn" }, endsIn(session.remaining())) : "",
            el("button", { type: "button", class: "plain", onclick: soon ? session.end : session.signOut }, t(soon ? "form.again" : "form.sign_out")),
          ]
        : []),
    );
  };
  let wasSoon = null;
  keepSession();
  session.onChange(draw);
  setInterval(() => {
    const soon = session.isSignedIn() && session.remaining() < ENDS_SOON_MS && Math.max(0, Math.ceil(session.remaining() / 60_000));
    if (soon !== wasSoon) draw();
    wasSoon = soon;
  }, 1000);
  draw();
}

/** Focuses the first empty field of the form. */
export function focusForm() {
  (byId("email").value ? byId("password") : byId("email")).focus();
}
