// Captions the images of the list, a few at a time, and waits where the server is busy, away or wants a key.
import { caption, isReady, Problem, readModel } from "./service.js";
import { shrink } from "./files.js";

const AT_ONCE = 4;
const MOST_CUTS = 3; // an image during which the server vanished so often is given up

/** Hooks: `changed(item)`, `word(item, word)`, `waiting(reason, seconds)`, `model(model)`, `parameters()`, `captioner()`, `limits()`. */
export class Queue {
	constructor(hooks) {
		this.hooks = hooks;
		this.waiting = [];
		this.running = new Set();
		this.reason = "connecting"; // why nothing is started
		this.wake = () => {};
	}

	add(items) {
		for (const item of items) {
			item.state = "waiting";
			this.hooks.changed(item);
		}
		this.waiting.push(...items);
		this.#start();
	}

	remove(item) {
		this.waiting = this.waiting.filter((other) => other !== item);
		item.controller?.abort();
	}

	hurry() {
		this.wake();
	}

	#start() {
		while (!this.reason && this.running.size < AT_ONCE && this.waiting.length) this.#run(this.waiting.shift());
	}

	async #run(item) {
		this.running.add(item);
		item.controller = new AbortController();
		const { signal } = item.controller;
		const enter = (state) => {
			item.state = state;
			this.hooks.changed(item);
		};
		try {
			enter("preparing");
			item.sent ??= await shrink(item, this.hooks.limits());
			signal.throwIfAborted();
			enter("captioning");
			item.parameters = this.hooks.parameters();
			item.writtenBy = this.hooks.captioner();
			const start = performance.now();
			item.caption = await caption(item.sent, item.parameters, { signal, onWord: (word) => this.hooks.word(item, word) });
			item.seconds = (performance.now() - start) / 1000;
			item.cuts = 0;
			enter("done");
		} catch (error) {
			if (!signal.aborted) this.#fail(item, error, enter);
		}
		this.running.delete(item);
		this.#start();
	}

	#fail(item, error, enter) {
		const { status, retryAfter } = error;
		const isAway = error instanceof Problem && status === 0;
		if (isAway) item.cuts = (item.cuts ?? 0) + 1;
		if (status === 503 || status === 401 || (isAway && item.cuts < MOST_CUTS)) {
			this.waiting.unshift(item);
			enter("waiting");
			if (status === 503) this.#wait("busy", retryAfter);
			else this.#wait(status === 401 ? "locked" : "away");
			return;
		}
		item.problem = error instanceof Problem ? error : new Problem({ title: "It failed", detail: String(error.message) });
		enter("failed");
		if (isAway) this.#wait("away");
	}

	/** Waits for a busy server some seconds, for one that is away until it is back, or for a key. */
	async #wait(reason, seconds = 1) {
		if (this.reason) return;
		const wait = async (now, duration) => {
			this.reason = now;
			this.hooks.waiting(now, duration);
			await new Promise((resolve) => {
				this.wake = resolve;
				if (Number.isFinite(duration)) setTimeout(resolve, 1000 * duration);
			});
		};
		if (reason === "busy") await wait("busy", seconds);
		else if (reason === "locked") await wait("locked", Infinity);
		else for (let pause = 1; ; pause = Math.min(pause + 1, 5)) {
			await wait(reason, reason === "starting" ? 2 : pause);
			const ready = await isReady();
			if (ready) break;
			reason = ready === false ? "starting" : "away";
		}
		this.reason = null;
		this.hooks.waiting(null, 0);
		if (reason !== "busy") await this.connect();
		else this.#start();
	}

	/** Reads what the server's model is, which may be another one after a restart, and goes on. */
	async connect() {
		this.reason = "connecting";
		try {
			this.hooks.model(await readModel());
			this.reason = null;
			this.#start();
		} catch (error) {
			if (!(error instanceof Problem)) throw error;
			this.reason = null;
			this.#wait({ 401: "locked", 503: "starting" }[error.status] ?? "away");
		}
	}
}
