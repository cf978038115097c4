// Sign-in and registration in one form, and the page header's account area.

import { call } from "./api.js";
import { byId, el, field, setFault, setText } from "./elements.js";
import * as session from "./session.js";
import { inWords, lasting } from "./words.js";

const ENDS_SOON_MS = 5 * 60_000;
const NO_ACCOUNTS = "This service has no accounts of its own. Sign in where you came from.";
const NO_EMAIL = "Enter an email address, such as ann@example.com.";

/** A form that signs in or creates an account, which also signs in. `say(title, lead)` sets its texts. */
export function signInForm() {
  let creating = false;
  let title = "";
  const email = el("input", { id: "email", type: "email", autocomplete: "username", required: true, maxlength: 254 });
  const password = el("input", { id: "password", type: "password", required: true, maxlength: 256 });
  const heading = el("h2", { tabindex: -1 });
  const lead = el("p", { class: "quiet" });
  const submit = el("button", { type: "submit" });
  const other = el("button", { type: "button", class: "plain", onclick: () => show(!creating) });
  const trouble = el("p", { class: "notice bad", role: "alert" });
  const form = el(
    "form",
    { method: "post", novalidate: true, class: "sign-in", onsubmit: send },
    heading,
    lead,
    field("Email", email),
    field("Password", password),
    trouble,
    el("div", { class: "buttons" }, submit, other),
  );
  email.value = session.email();

  function show(create) {
    creating = create;
    setText(heading, create ? "Create an account" : title);
    setText(submit, create ? "Create account" : "Sign in");
    setText(other, create ? "I have an account" : "I need an account");
    password.autocomplete = create ? "new-password" : "current-password";
    password.placeholder = create ? "At least 8 characters" : "";
    setText(trouble, "");
  }

  async function send(submission) {
    submission.preventDefault();
    setText(trouble, "");
    setFault(email, email.validity.valid ? "" : NO_EMAIL);
    const short = password.value.length < (creating ? 8 : 1);
    setFault(password, short ? (creating ? "At least 8 characters, please." : "Enter your password.") : "");
    const wrong = form.querySelector("[aria-invalid]");
    if (wrong || submit.disabled) return wrong?.focus();
    submit.disabled = true;
    try {
      const body = { email: email.value.trim(), password: password.value };
      const { data } = await call("POST", creating ? "/auth/register" : "/auth/login", { body });
      session.begin(data.token, data.user.email);
    } catch (refusal) {
      if (refusal.code === "email_taken") show(false);
      if (refusal.faults.some(({ pointer }) => pointer === "/email")) {
        setFault(email, NO_EMAIL); // the service is stricter than browsers are
        return email.focus();
      }
      setText(trouble, refusal.code === "not_found" ? NO_ACCOUNTS : inWords(refusal));
      password.focus();
    } finally {
      submit.disabled = false;
    }
  }

  function say(newTitle, newLead) {
    title = newTitle;
    setText(heading, creating ? "Create an account" : title);
    setText(lead, newLead);
  }

  show(false);
  return { element: form, say };
}

const endsIn = (ms) => (ms > 0 ? `Sign-in ends in ${lasting(Math.ceil(ms / 60_000) * 60)}` : "Sign-in has ended");

/** Keeps the account area up to date: the signed-in user, and a warning in the last five minutes of the session. */
export function showAccount(place) {
  const draw = () => {
    const soon = session.isSignedIn() && session.remaining() < ENDS_SOON_MS;
    place.replaceChildren(
      ...(session.isSignedIn()
        ? [
            el("span", { class: "who" }, session.email()),
            soon ? el("span", { class: "chip warn" }, endsIn(session.remaining())) : "",
            el("button", { type: "button", class: "plain", onclick: soon ? session.end : session.signOut }, soon ? "Sign in again" : "Sign out"),
          ]
        : []),
    );
  };
  let wasSoon = null;
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
