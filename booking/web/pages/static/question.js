// A question that is asked before something is given up, in the browser's own dialog: Escape means no.

import { byId, el } from "./elements.js";

let settle = () => {};

/** Asks; resolves to whether the answer was yes. The safe answer has the focus. */
export function ask({ title, text, yes, no }) {
  const dialog = byId("question");
  dialog.replaceChildren(
    el("h2", { id: "question-title" }, title),
    el("p", {}, text),
    el(
      "form",
      { method: "dialog", class: "buttons" },
      el("button", { value: "no", class: "plain", autofocus: true }, no),
      el("button", { value: "yes", class: "danger" }, yes),
    ),
  );
  settle(false); // the end of a question is told a moment after it, when the next may stand there already
  dialog.returnValue = "no";
  dialog.onclose = () => dialog.open || settle(dialog.returnValue === "yes");
  dialog.showModal();
  return new Promise((resolve) => {
    settle = resolve;
  });
}

/** Takes a question back that no longer fits: the answer is no. */
export function withdraw() {
  if (byId("question").open) byId("question").close("no");
}
