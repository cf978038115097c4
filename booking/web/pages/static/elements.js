// Creates and changes elements. Text is only added as text nodes, so an event's name is never parsed as HTML.

export const byId = (id) => document.getElementById(id);

/** An element with attributes, listeners (`onclick: f`) and children; a child that is a string becomes text. */
export function el(name, attributes = {}, ...children) {
  return filled(document.createElement(name), attributes, children);
}

/** An SVG element with attributes, listeners and children. */
export function svg(name, attributes = {}, ...children) {
  return filled(document.createElementNS("http://www.w3.org/2000/svg", name), attributes, children);
}

function filled(element, attributes, children) {
  for (const [key, value] of Object.entries(attributes)) {
    if (key.startsWith("on")) element.addEventListener(key.slice(2), value);
    else if (value === true) element.setAttribute(key, "");
    else if (value !== false && value !== null && value !== undefined) element.setAttribute(key, value);
  }
  element.append(...children.filter((child) => child !== null && child !== undefined));
  return element;
}

/** Sets the text only if it differs: screen readers read a live region out again after each write. */
export function setText(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

/** A table in a region that can be scrolled with the keyboard, too. The caller fills `body`. */
export function scrollTable(caption, columns, body) {
  const head = columns.map((name) => el("th", { scope: "col" }, name));
  const table = el("table", {}, el("caption", { class: "visually-hidden" }, caption), el("thead", {}, el("tr", {}, ...head)), body);
  return el("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": caption }, table);
}

/** A label above its input, with an optional hint and an element for the input's fault. */
export function field(label, input, hint = "") {
  const id = input.id;
  const fault = el("span", { id: `${id}-fault`, class: "fault" });
  input.setAttribute("aria-describedby", hint ? `${id}-hint ${id}-fault` : `${id}-fault`);
  const hinted = hint ? el("span", { id: `${id}-hint`, class: "hint" }, hint) : null;
  return el("div", { class: "field" }, el("label", { for: id }, label), hinted, input, fault);
}

/** Marks an input as invalid with the reason `text`; an empty text marks it as valid. */
export function setFault(input, text) {
  if (text) input.setAttribute("aria-invalid", "true");
  else input.removeAttribute("aria-invalid");
  setText(byId(`${input.id}-fault`), text);
}

/** Disables or enables a button. `aria-disabled` keeps the keyboard focus, which `disabled` would lose. */
export function setUsable(button, usable) {
  if (usable) button.removeAttribute("aria-disabled");
  else button.setAttribute("aria-disabled", "true");
}

export const isUsable = (button) => button.getAttribute("aria-disabled") !== "true";
