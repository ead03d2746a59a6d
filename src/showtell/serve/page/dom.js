// Elements, announcements and text that the other modules share.

/** Makes an element; text enters as text nodes only. */
export function make(tag, className = "", ...content) {
  const element = document.createElement(tag);
  if (className) element.className = className;
  element.append(...content);
  return element;
}

export function makeButton(text, action, className = "small") {
  const button = make("button", className, text);
  button.type = "button";
  button.addEventListener("click", action);
  return button;
}

export const find = (id) => document.getElementById(id);

/** Tells screen readers one thing; what comes within a second is told as one. */
export const announce = (() => {
  let pending = [], timer = 0;
  return (text) => {
    pending.push(text);
    if (timer) return;
    timer = setTimeout(() => {
      find("live").textContent = pending.length > 3 ? `${pending.at(-1)} (and ${pending.length - 1} more)` : pending.join(" ");
      pending = [];
      timer = 0;
    }, 900);
  };
})();

export const plural = (count, one, many = `${one}s`) => `${count.toLocaleString("en")} ${count === 1 ? one : many}`;
export const percent = (fraction) => `${Math.round(100 * fraction)} %`;
export const megabytes = (bytes) => `${(bytes / 2 ** 20).toFixed(1)} MB`;

/** Copies text; pages without TLS have no clipboard interface, so the old command serves them. */
export async function copy(text) {
  if (navigator.clipboard?.writeText) {
    try {
      return await navigator.clipboard.writeText(text);
    } catch { /* refused by the browser: the old command may still work */ }
  }
  const area = make("textarea", "unseen");
  area.value = text;
  const focused = document.activeElement;
  document.body.append(area);
  area.select();
  const done = document.execCommand("copy");
  area.remove();
  focused?.focus();
  if (!done) throw new Error("The browser did not allow copying.");
}
