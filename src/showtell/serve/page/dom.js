// Elements, announcements and text that the other modules share.

/** Makes an element; strings become text, never markup. */
export function make(tag, className = "", ...content) {
	const element = document.createElement(tag);
	if (className) element.className = className;
	element.append(...content);
	return element;
}

export const captions = { lang: "" }; // "": unknown
export const makeCaption = (...parts) => Object.assign(make(...parts), captions);

export function makeButton(text, action, className = "small") {
	const button = make("button", className, text);
	button.type = "button";
	button.addEventListener("click", action);
	return button;
}

export const find = (id) => document.getElementById(id);

let pending = [];
/** Tells screen readers a text; what comes within a second is told at once. */
export function announce(text) {
	if (pending.push(text) > 1) return;
	setTimeout(() => {
		find("live").textContent = pending.length > 3 ? `${pending.at(-1)} (and ${pending.length - 1} more)` : pending.join(" ");
		pending = [];
	}, 900);
}

export const plural = (count, one, many = `${one}s`) => `${count.toLocaleString("en")} ${count === 1 ? one : many}`;
export const percent = (fraction) => `${Math.round(100 * fraction)} %`;
export const megabytes = (bytes) => `${(bytes / 2 ** 20).toFixed(1)} MB`;

/** Copies text; false if that is refused. Without TLS, pages have no clipboard interface but the old command. */
export async function copy(text) {
	if (navigator.clipboard?.writeText) {
		try {
			await navigator.clipboard.writeText(text);
			return true;
		} catch { /* the old command may be allowed */ }
	}
	const area = make("textarea", "unseen");
	area.value = text;
	const focused = document.activeElement;
	document.body.append(area);
	area.select();
	const done = document.execCommand("copy");
	area.remove();
	focused?.focus();
	return done;
}
