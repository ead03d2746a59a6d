import { make, makeButton } from "./dom.js";

const WORDS = {
	method: ["How words are chosen", "Beam search is the most careful."],
	beam_size: ["Captions compared", "More can find a likelier caption, and take longer."],
	samples: ["Captions drawn", "The likeliest comes first."],
	temperature: ["Temperature", "Below 1 safer and more alike, above 1 bolder and more often wrong."],
	max_tokens: ["Longest caption", "In words or parts of words."],
	retrieval: ["Similar images", "Prefer what is said of the similar images that it knows."],
};
const CHOICES = {
	beam: "Beam search: compare several", greedy: "Greedy: the likeliest word", sample: "Sampling: draw at random",
	off: "Not used", rerank: "Used to order the captions", true: "Yes", false: "No",
};
const NEEDS = {
	beam_size: "beam", beam_groups: "beam", diversity_penalty: "beam", required: "beam", samples: "sample", without_replacement: "sample", temperature: "sample", top_k: "sample", top_p: "sample", seed: "sample",
	retrieval_weight: "rerank", neighbours: "rerank", retrieve_caption: "rerank",
};

export class Options {
	constructor(form, model, changed) {
		this.defaults = model.options;
		this.fields = new Map();
		const basic = make("div", "grid"), rest = make("div", "grid");
		for (const [name, schema] of Object.entries(model.schema.properties)) {
			if (!model.datastore && (name === "retrieval" || NEEDS[name] === "rerank")) continue;
			const field = this.#makeField(name, schema);
			this.fields.set(name, field);
			(name in WORDS ? basic : rest).append(field.box);
		}
		const more = make("details", "", make("summary", "", "More options"), rest);
		const reset = makeButton("Back to the model's own", () => {
			for (const [name, { input }] of this.fields) input.value = this.defaults[name];
			update();
		}, "");
		this.again = makeButton("Caption all again with these", () => {}, "main");
		this.again.hidden = true;
		form.replaceChildren(basic, more, make("p", "tools", this.again, reset));
		const update = () => {
			this.#check();
			changed();
		};
		form.oninput = update;
		form.onsubmit = (event) => event.preventDefault();
		this.#check();
	}

	#makeField(name, schema) {
		const [label, text] = WORDS[name] ?? [name.replaceAll("_", " "), schema.description ?? ""];
		const { minimum, exclusiveMinimum, maximum, type } = schema;
		const choices = type === "boolean" ? [true, false] : schema.enum, input = make(choices ? "select" : "input");
		if (choices) input.append(...choices.map((value) => new Option(CHOICES[value] ?? value, value)));
		else if (type !== "string") Object.assign(input, { type: "number", step: type === "integer" ? "1" : "any", min: minimum ?? exclusiveMinimum ?? "", max: maximum ?? "" });
		input.id = `option-${name}`;
		input.value = this.defaults[name];
		const title = make("label", "", label), hint = make("p", "hint", text), problem = make("p", "problem");
		title.htmlFor = input.id;
		[hint.id, problem.id] = [`${input.id}-hint`, `${input.id}-problem`];
		input.setAttribute("aria-describedby", `${hint.id} ${problem.id}`);
		return { box: make("div", "", title, input, hint, problem), input, problem, isOpen: exclusiveMinimum !== undefined };
	}

	isUsed(name) {
		const has = (other) => this.fields.get(other)?.input.value === NEEDS[name];
		return !NEEDS[name] || has("method") || has("retrieval");
	}

	#check() {
		for (const [name, { box, input, problem, isOpen }] of this.fields) {
			box.hidden = !this.isUsed(name);
			const { min, max, step, value } = input;
			const isWrong = !input.validity.valid || (value === "" && input.type === "number") || (isOpen && Number(value) <= Number(min));
			const range = [min && `${isOpen ? "more than" : "at least"} ${min}`, max && `at most ${max}`].filter(Boolean).join(", ");
			problem.textContent = isWrong && !box.hidden ? `A ${step === "1" ? "whole " : ""}number, ${range}.` : "";
			input.ariaInvalid = problem.textContent ? "true" : "false";
		}
	}

	get areValid() {
		return [...this.fields.values()].every(({ problem }) => !problem.textContent);
	}

	/** Returns names and values of the options that differ from the model's own and have an effect. */
	values() {
		const all = [...this.fields].map(([name, { input }]) => [name, input.value]);
		return all.filter(([name, value]) => this.isUsed(name) && value !== String(this.defaults[name]));
	}

	summary() {
		const value = (name) => this.fields.get(name)?.input.value;
		const ways = { beam: `beam search, ${value("beam_size")} compared`, sample: `sampling, temperature ${value("temperature")}` };
		return (ways[value("method")] ?? value("method")) + (value("retrieval") === "rerank" ? "; similar images used" : "");
	}
}
