// The card of an image.
import { announce, captions, copy, make, makeButton, makeCaption, percent } from "./dom.js";
import { describe, draw, pack } from "./attention.js";
import { isEdited, textOf, toAlt, toCurl, toJson } from "./export.js";
import { settings } from "./service.js";

const UNSURE = 0.1; // words that the model gave less are underlined
const UNLIKELY = 0.4; // the same of words whose confidence is calibrated
const likely = (logProb) => Math.exp(logProb ?? -Infinity); // JSON has no infinity
const UNDERWAY = { waiting: "Waiting", preparing: "Making it smaller", captioning: "Captioning" };

export class Card {
	constructor(item, actions) {
		Object.assign(this, { item, actions });
		this.image = make("img");
		Object.assign(this.image, { loading: "lazy", decoding: "async", alt: `${item.path}, not captioned yet` });
		const none = make("p", "none", "This browser has no preview of it.");
		this.image.onerror = () => this.frame.replaceWith(none);
		this.image.onload = () => this.frame.style.setProperty("--ratio", this.image.naturalWidth / this.image.naturalHeight);
		this.canvas = make("canvas");
		this.peak = make("span", "peak");
		this.canvas.ariaHidden = this.peak.ariaHidden = "true"; // the same is there in words
		this.frame = make("div", "frame", this.image, this.canvas, this.peak);
		const remove = makeButton("×", () => actions.remove(item), "remove");
		remove.ariaLabel = `Remove ${item.path}`;
		this.name = make("h3", "name", item.path);
		this.name.tabIndex = -1;
		this.body = make("div");
		const article = make("article", "", make("div", "view", this.frame, remove), make("div", "text", this.name, this.body));
		article.ariaLabel = item.path;
		this.element = make("li", "card", article);
		this.#show(item.file);
	}

	#show(blob) {
		URL.revokeObjectURL(this.image.src);
		this.image.src = URL.createObjectURL(blob);
	}

	dispose() {
		URL.revokeObjectURL(this.image.src);
	}

	update() {
		const { item } = this;
		this.element.dataset.state = item.state;
		if (item.state === "captioning" && item.sent !== item.file && !this.isSmall) {
			this.isSmall = true;
			this.#show(item.sent);
		}
		if (item.state in UNDERWAY) this.#showProgress();
		else if (item.state === "failed") this.#showProblem();
		else this.#showCaption(true);
	}

	#showProgress() {
		this.#hideAttention();
		const progress = make("progress");
		progress.ariaLabel = `Progress of ${this.item.path}`;
		if (this.item.state === "waiting") progress.value = 0;
		this.stream = make("p", "words");
		this.body.replaceChildren(make("div", "work", progress, `${UNDERWAY[this.item.state]} …`), this.stream);
	}

	addWord({ text }) {
		this.stream?.append(makeCaption("span", "word fresh", text), " ");
	}

	#showProblem() {
		const { problem } = this.item;
		this.image.alt = `${this.item.path}, not captioned`;
		const sentences = [problem.detail, problem.hint].filter(Boolean).map((text) => text.replace(/[^.!?]$/, "$&."));
		this.body.replaceChildren(make("p", "problem", make("strong", "", problem.title), `: ${sentences.join(" ")}`),
			make("div", "tools", makeButton("Try again", () => this.#retry())));
	}

	#retry() {
		this.actions.retry(this.item);
		this.name.focus(); // the button is gone
	}

	#showCaption(isNew = false) {
		const { item } = this, { caption } = item;
		if (caption.attention) {
			item.attention = pack(caption.attention);
			delete caption.attention;
		}
		Object.assign(this.image, { alt: textOf(item) }, captions);
		this.facts = `${this.#confidence()} Took ${item.seconds.toFixed(2)} s.`;
		this.where = make("p", "where", this.facts);
		const words = this.#makeWords(isNew && !this.stream?.children.length);
		const parts = isEdited(item)
			? [makeCaption("p", "final", textOf(item)), make("div", "was", make("p", "edited", "Edited. The machine wrote:"), words)]
			: [words];
		if (caption.truncated) parts.push(make("p", "facts", "Cut off: allow a longer caption under “How captions are written”."));
		parts.push(this.where);
		if (caption.alternatives?.length > 1) parts.push(this.#makeAlternatives());
		if (caption.neighbours?.length) parts.push(this.#makeNeighbours());
		this.stream = null;
		this.body.replaceChildren(...parts, this.#makeTools());
	}

	#confidence() {
		const { confidence, words, unsure } = this.item.caption;
		if (unsure) return `Unsure what this shows: ${percent(confidence)} sure of the caption that it would give.`;
		if (confidence !== undefined && words.length) {
			const least = words.reduce((found, word) => (word.confidence < found.confidence ? word : found));
			const sure = confidence > 0.7 ? "Sure" : confidence > 0.4 ? "Somewhat sure" : "Unsure";
			return `${sure}: ${percent(confidence)} that at least half of it is right; least of “${least.text}”, ${percent(least.confidence)}.`;
		}
		if (!words.length) return "";
		const mean = likely(words.reduce((sum, { log_prob }) => sum + (log_prob ?? -Infinity), 0) / words.length);
		const weakest = words.reduce((least, word) => (likely(word.log_prob) < likely(least.log_prob) ? word : least));
		// A tenth of the shipped captioners' captions have more than the first bound, a tenth less than the second.
		const sure = mean > 0.42 ? "Fairly sure" : mean > 0.3 ? "Somewhat sure" : "Unsure";
		return `${sure} by its own estimate: ${percent(mean)} a word; least of “${weakest.text}”, ${percent(likely(weakest.log_prob))}.`;
	}

	#hideAttention() {
		this.canvas.classList.remove("on");
		this.peak.textContent = "";
	}

	#makeWords(reveals) {
		const { item } = this, { attention } = item, { unsure } = item.caption, words = unsure ? [] : item.caption.words;
		const line = make("div", attention ? "words attended" : "words");
		if (!words.length) line.textContent = unsure ? item.caption.text : "(no words)";
		let pinned = -1; // the word that was pressed
		const parts = words.map(({ text, log_prob, confidence }, index) => {
			const part = makeCaption(attention ? "button" : "span", "word", text);
			if (confidence === undefined ? likely(log_prob) < UNSURE : confidence < UNLIKELY) part.classList.add("unsure");
			if (reveals) {
				part.classList.add("fresh");
				part.style.animationDelay = `${60 * index}ms`;
			}
			return part;
		});
		parts.forEach((part) => line.append(part, " "));
		if (!attention || unsure) return line;

		const show = (index, tells = false) => {
			parts.forEach((part, other) => part.classList.toggle("on", other === index));
			if (index < 0) {
				this.where.textContent = this.facts;
				return this.#hideAttention();
			}
			draw(this.canvas, attention, index);
			this.peak.textContent = percent(attention.peaks[index]);
			const { text, log_prob, confidence = likely(log_prob) } = words[index];
			this.where.textContent = `“${text}”, ${percent(confidence)} sure: ${describe(attention, index)}`;
			if (tells) announce(this.where.textContent);
		};
		line.role = "group";
		line.ariaLabel = "The machine's caption. Arrow keys show where it looked for each word.";
		parts.forEach((part, index) => {
			part.type = "button";
			part.tabIndex = index === 0 ? 0 : -1; // one tab stop a caption, arrows within
			part.addEventListener("pointerenter", (event) => event.pointerType === "mouse" && show(index));
			part.addEventListener("pointerleave", (event) => event.pointerType === "mouse" && show(pinned));
			part.addEventListener("focus", () => part.matches(":focus-visible") && show(index, true));
			part.addEventListener("blur", () => show(pinned = -1));
			part.addEventListener("click", () => {
				pinned = pinned === index ? -1 : index;
				show(pinned, true);
			});
		});
		line.addEventListener("keydown", (event) => {
			const current = parts.indexOf(document.activeElement), last = parts.length - 1;
			if (event.key === "Escape") show(pinned = -1);
			const target = { ArrowRight: Math.min(current + 1, last), ArrowLeft: Math.max(current - 1, 0), Home: 0, End: last }[event.key];
			if (target === undefined || current < 0) return;
			event.preventDefault();
			parts.forEach((part, index) => { part.tabIndex = index === target ? 0 : -1; });
			parts[target].focus();
		});
		return line;
	}

	#makeAlternatives() {
		const { alternatives } = this.item.caption;
		const list = make("ol");
		for (const { text, score } of alternatives) {
			const row = make("li", "", makeCaption("span", "", text), make("span", "soft", score === null ? " " : ` (${score.toFixed(2)}) `));
			if (text !== textOf(this.item)) {
				const use = makeButton("Use", () => this.#edit(text));
				use.ariaLabel = `Use “${text}”`;
				row.append(use);
			}
			list.append(row);
		}
		return make("details", "alternatives", make("summary", "", `${alternatives.length} captions compared`),
			make("p", "facts", "Scores in brackets: the highest wins."), list);
	}

	#makeNeighbours() {
		const rows = this.item.caption.neighbours.map(({ key, similarity, captions: texts }) =>
			make("li", "", make("strong", "", `${percent(similarity)} alike, ${key}: `), makeCaption("span", "", texts.join(" · "))));
		return make("details", "neighbours", make("summary", "", "Similar images it knows, and their captions"), make("ul", "", ...rows));
	}

	#makeTools() {
		const { item } = this;
		const copier = (label, what, text) => makeButton(label, async () => {
			const done = await copy(text());
			announce(this.where.textContent = done ? `${what} copied.` : "The browser did not allow copying.");
		});
		this.editButton = makeButton("Edit", () => this.#startEdit());
		const undo = makeButton("Undo edit", () => {
			item.edits.pop();
			this.#afterEdit("Edit undone.");
		});
		undo.hidden = !item.edits?.length;
		const more = make("details", "more", make("summary", "", "More"), make("div", "tools",
			copier("Copy as alt", "alt text", () => toAlt(item)),
			copier("Copy as JSON", "JSON", () => toJson(item)),
			copier("Copy curl line", "curl line", () => toCurl(item, Boolean(settings.key))),
			makeButton("Caption again", () => this.#retry())));
		return make("div", "tools", this.editButton, undo, copier("Copy", "Caption", () => textOf(item)), more);
	}

	#startEdit() {
		const area = makeCaption("textarea");
		area.value = textOf(this.item);
		area.ariaLabel = `Caption of ${this.item.path}`;
		area.rows = 3;
		const close = () => {
			this.#showCaption();
			this.editButton.focus();
		};
		const keep = () => {
			const text = area.value.replace(/\s+/g, " ").trim();
			if (text && text !== textOf(this.item)) this.#edit(text);
			else close();
		};
		area.addEventListener("keydown", (event) => {
			if (event.key === "Escape") close();
			if (event.key === "Enter" && !event.shiftKey && !event.isComposing) {
				event.preventDefault();
				keep();
			}
		});
		this.#hideAttention();
		this.body.replaceChildren(area, make("p", "facts", "Enter keeps it, Escape leaves it as it was."),
			make("div", "tools", makeButton("Keep", keep), makeButton("Cancel", close)));
		area.focus();
		area.select();
	}

	#edit(text) {
		(this.item.edits ??= []).push(text);
		this.item.editedAt = new Date().toISOString();
		this.#afterEdit("Caption edited.");
	}

	#afterEdit(text) {
		this.#showCaption();
		this.editButton.focus();
		announce(text);
		this.actions.edited(this.item);
	}
}
