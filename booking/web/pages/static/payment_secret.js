// The secret with which an event's payment links are signed: shown only when it is asked for.

import { call } from "./api.js";
import { el, field, setText } from "./elements.js";
import { inWords, t } from "./words.js";

/** A button that shows the secret of an event, with another one that copies it. */
export function paymentSecret(eventId) {
  const said = el("p", { class: "quiet", role: "status" });
  const button = (words, act) => el("button", { type: "button", class: "plain", onclick: act }, words);

  async function show() {
    try {
      const { data } = await call("GET", `/events/${eventId}/payment-secret`);
      const input = el("input", { id: "payment-secret", readonly: true, value: data.secret, onfocus: ({ target }) => target.select() });
      const copy = async () => {
        const isCopied = await navigator.clipboard.writeText(data.secret).then(() => true, () => false);
        setText(said, t(isCopied ? "secret.copied" : "secret.not_copied"));
      };
      place.replaceChildren(field(t("secret.label"), input, t("secret.hint")), button(t("secret.copy"), copy), said);
      input.focus();
    } catch (refusal) {
      setText(said, inWords(refusal));
    }
  }

  const place = el("div", { class: "secret" }, button(t("secret.show"), show), said);
  return place;
}
