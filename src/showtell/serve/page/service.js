// The service: requests, answers word by word, and problems in plain words.

/** What went wrong; status 0: no answer, or only a part of one. */
export class Problem extends Error {
	constructor({ title, detail, hint = "", status = 0, retryAfter = 0 }) {
		super(detail || title);
		Object.assign(this, { title, detail, hint, status, retryAfter });
	}
}

export const settings = { key: "" };

const unreachable = () => new Problem({ title: "The server does not answer", detail: "The connection was lost." });

async function problemOf(response) {
	const { status } = response;
	if (status === 502) return unreachable(); // a proxy whose server is away
	let told = {};
	try {
		told = await response.json();
	} catch { /* a proxy's page */ }
	const retryAfter = Math.min(Number(response.headers.get("Retry-After")) || 2, 60);
	return new Problem({ title: "The server failed", detail: `It answered with status ${status}.`, ...told, status, retryAfter });
}

/** Fetches from the service; throws a Problem unless the answer is good. */
export async function request(path, { headers = {}, ...options } = {}) {
	if (settings.key) headers = { ...headers, Authorization: `Bearer ${settings.key}` };
	let response;
	try {
		response = await fetch(path, { ...options, headers, cache: "no-store" });
	} catch (error) {
		throw error.name === "AbortError" ? error : unreachable();
	}
	if (!response.ok) throw await problemOf(response);
	return response;
}

export async function readModel() {
	return (await request("v1/model")).json();
}

/** Captions one image; `onWord` gets each word when it is chosen, where the method allows that. */
export async function caption(image, parameters, { signal, onWord }) {
	const query = new URLSearchParams(parameters);
	let answer;
	const response = await request(`v1/captions?${query}`, {
		method: "POST", body: image, signal,
		headers: { "Content-Type": image.type || "application/octet-stream", Accept: "text/event-stream, application/json;q=0.9" },
	});
	try {
		if (!response.headers.get("Content-Type")?.startsWith("text/event-stream")) {
			return checked((await response.json()).captions[0]);
		}
		for await (const [event, data] of eventsOf(response.body)) {
			if (event === "word") onWord(data);
			if (event === "error") throw new Problem({ ...data, retryAfter: 2 });
			if (event === "caption") answer = checked(data); // read on, so that the connection can be used again
		}
	} catch (error) {
		if (error instanceof Problem || error.name === "AbortError") throw error;
	}
	if (answer) return answer;
	throw unreachable();
}

function checked(answer) {
	if (answer.error) throw new Problem({ status: 422, ...answer.error });
	return answer;
}

async function* eventsOf(body) {
	const reader = body.pipeThrough(new TextDecoderStream()).getReader();
	let buffer = "";
	for (;;) {
		const { value, done } = await reader.read();
		if (done) return;
		const blocks = (buffer + value).replaceAll("\r\n", "\n").split("\n\n");
		buffer = blocks.pop();
		for (const block of blocks) {
			const fields = block.split("\n").map((line) => [line.split(":", 1)[0], line.replace(/^\w*: ?/, "")]);
			const data = fields.filter(([name]) => name === "data").map(([, text]) => text).join("\n");
			if (data) yield [fields.find(([name]) => name === "event")?.[1] ?? "message", JSON.parse(data)];
		}
	}
}

/** Whether the service is ready: true, false while it starts, or null where nothing answers. */
export async function isReady() {
	try {
		await request("readyz");
		return true;
	} catch (problem) {
		return problem.status === 503 ? false : null;
	}
}
