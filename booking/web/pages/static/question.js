// A confirmation dialog, in the browser's own dialog element. Escape means no.

import { byId, el } from "./elements.js";

let settle = () => {};

/** Asks the question; resolves to true for yes. The safe answer has the focus. `more` is a field whose value matters. */
export function ask({ title, text, yes, no, more = null }) {
  const dialog = byId("question");
  dialog.replaceChildren(
    el("h2", { id: "question-title" }, title),
    el("p", {}, text),
    more ?? "",
    el(
      "form",
      { method: "dialog", class: "buttons" },
      el("button", { value: "no", class: "plain", autofocus: true }, no),
      el("button", { value: "yes", class: "danger" }, yes),
    ),
  );
  settle(false); // a `close` event comes late, when the next question may be open already
  dialog.returnValue = "no";
  dialog.onclose = () => dialog.open || settle(dialog.returnValue === "yes");
  dialog.showModal();
  return new Promise((resolve) => {
    settle = resolve;
  });
}

/** Closes an open question that no longer applies, with the answer no. */
export function withdraw() {
  if (byId("question").open) byId("question").close("no");
}
