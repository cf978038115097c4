// A form with passwords: one new password, or the current one for a change that needs it.

import { call } from "./api.js";
import { el, field, setFault, setText } from "./elements.js";
import { PASSWORD_MIN } from "./sign_in.js";
import { inWords, t } from "./words.js";

export const CURRENT = { id: "password", label: t("account.your_password"), autocomplete: "current-password", least: 1 };
export const NEW = { id: "new_password", label: t("account.new_password"), autocomplete: "new-password", least: PASSWORD_MIN };

/**
 * A form that sends its passwords, with `more` fields, by `method` to `path`. `asks` is a list of CURRENT and NEW.
 * `onDone(data)` gets the response; `onRefused(refusal)` returns the words for a refusal, or "" for the usual ones.
 */
export function passwordForm({ title, lead, email = "", asks, submit, danger = false, method = "POST", path, more = {}, confirm = null, onDone, onRefused = () => "" }) {
  const inputs = asks.map(({ id, autocomplete, least }) =>
    el("input", { id: `${path.split("/").pop()}-${id}`, name: id, type: "password", autocomplete, required: true, maxlength: 256, "data-least": least }),
  );
  const button = el("button", { type: "submit", class: danger ? "danger" : "" }, submit);
  const trouble = el("p", { class: "notice bad", role: "alert" });
  // Password managers look for the account's name beside a password.
  const name = email ? el("input", { type: "email", autocomplete: "username", value: email, hidden: true, readonly: true }) : null;
  const fields = asks.map(({ label, least }, at) => field(label, inputs[at], least > 1 ? `${t("account.password_hint")}.` : ""));
  const form = el("form", { method: "post", novalidate: true, class: "sign-in", onsubmit: send }, el("h2", {}, title), el("p", { class: "quiet" }, lead), name, ...fields, trouble, el("div", { class: "buttons" }, button));

  async function send(submission) {
    submission.preventDefault();
    setText(trouble, "");
    for (const input of inputs) {
      const least = Number(input.dataset.least);
      setFault(input, input.value.length < least ? (least > 1 ? t("account.short_password") : t("account.no_password")) : "");
    }
    const wrong = form.querySelector("[aria-invalid]");
    if (wrong || button.disabled) return wrong?.focus();
    if (confirm && !(await confirm())) return;
    button.disabled = true;
    try {
      const body = { ...more, ...Object.fromEntries(inputs.map((input) => [input.name, input.value])) };
      const { data } = await call(method, path, { body });
      form.reset();
      onDone(data);
    } catch (refusal) {
      setText(trouble, onRefused(refusal) || inWords(refusal));
      inputs[0].focus();
    } finally {
      button.disabled = false;
    }
  }
  return form;
}
