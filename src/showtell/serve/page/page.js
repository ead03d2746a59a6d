import { announce, captions, find, make, megabytes, plural } from "./dom.js";
import { Card } from "./card.js";
import { isEdited, save, textOf, toCsv, toJsonLines, toSideCars, toTrainingSet } from "./export.js";
import { filesOfClipboard, filesOfDrop, filesOfFolder, named, takeFrame } from "./files.js";
import { Options } from "./options.js";
import { Queue } from "./queue.js";
import { settings } from "./service.js";

let items = [], removed = [], model = null, options = null, unsaved = false;

const isOver = ({ state }) => state === "done" || state === "failed";

const queue = new Queue({
	changed(item) {
		item.card.update();
		const isLast = !queue.waiting.length && queue.running.size < 2;
		if (item.state === "failed") announce(`${item.path}: ${item.problem.title}.`);
		else if (isLast && isOver(item)) announce(`${item.path}: ${textOf(item)}.`);
		showCounts();
	},
	word: (item, word) => item.card.addWord(word),
	waiting: showWait,
	model: showModel,
	limits: () => model?.limits,
	parameters,
	captioner: () => ({ model: model.id, model_fingerprint: model.fingerprint, options: Object.fromEntries(options.values()) }),
});

/** Returns names and values of a request; "neighbours" is the name of an option and of a part of the answer. */
function parameters() {
	const wanted = ["alternatives", model.attention && "attention", model.datastore && "neighbours"].filter(Boolean);
	return [...options.values(), ...wanted.map((name) => [name, "true"])];
}

const actions = {
	retry(item) {
		item.cuts = 0;
		queue.add([item]);
	},
	remove(item) {
		const next = item.card.element.nextElementSibling ?? item.card.element.previousElementSibling;
		take([item]);
		(next?.querySelector("button") ?? find("choose")).focus();
	},
	edited() {
		unsaved = true;
		showCounts();
	},
};

async function add(found, left = 0) {
	const news = `${plural(found.length, "image")} added.`;
	const rest = left ? ` ${plural(left, "other file is not an image and was", "other files are not images and were")} left out.` : "";
	showNote(rest && news + rest);
	if (!rest) announce(news);
	for (let start = 0; start < found.length; start += 50) { // in parts, so that the page stays fluid
		const added = found.slice(start, start + 50).map((each) => ({ ...each }));
		for (const item of added) item.card = new Card(item, actions);
		items.push(...added);
		find("list").append(...added.map((item) => item.card.element));
		queue.add(added);
		showCounts();
		await new Promise((resolve) => setTimeout(resolve));
	}
}

function take(which) {
	for (const { item } of removed) item.card.dispose(); // only the last ones can be put back
	removed = which.map((item) => ({ item, at: items.indexOf(item) }));
	for (const item of which) {
		queue.remove(item);
		item.card.element.remove();
	}
	const gone = new Set(which);
	items = items.filter((item) => !gone.has(item));
	showNote(`${which.length === 1 ? which[0].path : plural(which.length, "image")} removed.`, true);
	showCounts();
}

find("undo").onclick = () => {
	const again = [];
	for (const { item, at } of removed) {
		items.splice(at, 0, item);
		find("list").insertBefore(item.card.element, find("list").children[at] ?? null);
		if (!isOver(item)) again.push(item);
	}
	removed = [];
	showNote("");
	queue.add(again);
	announce("Put back.");
	showCounts();
	find("results").focus();
};

const isFileDrag = (event) => event.dataTransfer?.types.includes("Files");
addEventListener("dragover", (event) => {
	if (!isFileDrag(event)) return;
	event.preventDefault();
	document.body.classList.add("dropping");
});
addEventListener("dragleave", (event) => event.relatedTarget || document.body.classList.remove("dropping"));
addEventListener("drop", async (event) => {
	document.body.classList.remove("dropping");
	if (!isFileDrag(event)) return;
	event.preventDefault();
	const { found, left } = await filesOfDrop(event.dataTransfer);
	add(found, left);
});
addEventListener("paste", (event) => {
	const files = [...(event.clipboardData?.files ?? [])];
	if (!files.length) return;
	event.preventDefault();
	add(files.map((file) => (file.name && file.name !== "image.png" ? { file, path: file.name } : named(file))));
});

const chosen = (input, read) => {
	find(input).onchange = ({ target }) => {
		const { found, left } = read(target.files);
		if (found.length || left) add(found, left);
		target.value = ""; // so that the same files can be chosen again
	};
};
chosen("files", (files) => ({ found: [...files].map((file) => ({ file, path: file.name })) }));
chosen("folder", filesOfFolder);
chosen("lens", (files) => ({ found: [...files].map((file) => named(file, "photo")) }));
find("choose").onclick = () => find("files").click();
find("choose-folder").onclick = () => find("folder").click();
find("paste").onclick = async () => {
	let found = [];
	try {
		found = await filesOfClipboard();
	} catch { /* refused: the same advice as for nothing there */ }
	if (found.length) add(found);
	else showNote("The browser found no image there, or may not read it. Press Ctrl+V (⌘V) instead.");
};

find("take").onclick = async () => {
	// Phones have a camera of their own for this; pages without TLS have no other.
	if (matchMedia("(pointer: coarse)").matches || !navigator.mediaDevices) return find("lens").click();
	try {
		find("finder").srcObject = await navigator.mediaDevices.getUserMedia({ video: { width: 1920 } });
		find("camera").showModal();
	} catch {
		showNote("There is no camera, or the browser may not use it.");
	}
};
find("camera").onclose = () => find("finder").srcObject?.getTracks().forEach((track) => track.stop());
find("camera-close").onclick = () => find("camera").close();
find("shoot").onclick = async () => {
	if (!find("finder").videoWidth) return; // the camera has not started yet
	const photo = await takeFrame(find("finder"));
	find("camera").close();
	add([named(photo, "photo")]);
};

function showModel(now) {
	const before = model;
	model = now;
	captions.lang = model.lang ?? "";
	if (JSON.stringify(before) !== JSON.stringify(model)) {
		options = new Options(find("fields"), model, showOptions);
		options.again.onclick = () => queue.add(items.filter(isOver));
		showOptions();
	}
	find("options").hidden = find("about").hidden = false;
	const name = model.name ?? model.id;
	find("headline").textContent = `Captions for your images, written by a machine: ${name}.`;
	const about = model.trained_on ?? {}, rows = [];
	const tell = (name, text) => text && rows.push(make("dt", "", name), make("dd", "", text));
	tell("Model", `${name}. ${model.description ?? ""}`);
	tell("Trained on", [about.images && plural(about.images, "image"), about.data && `of ${about.data}`].filter(Boolean).join(" "));
	tell("Vocabulary", `${plural(model.vocabulary_size, "word")}: it can name nothing else.`);
	tell("Similar images", model.datastore && `${plural(model.datastore.images, "image")} with ${plural(model.datastore.captions, "caption")}, to compare with.`);
	tell("Its limits", ["Counting, text in images, left and right are often wrong.", ...(about.limits ?? [])].join(" "));
	tell("Takes", `${model.formats.map((type) => type.split("/")[1]).join(", ")}; at most ${megabytes(model.limits.max_bytes)}.`);
	find("knows").replaceChildren(make("dl", "", ...rows));
}

function showOptions() {
	find("options-now").textContent = options.summary();
	const now = JSON.stringify(parameters());
	options.again.hidden = !items.some((item) => item.parameters && JSON.stringify(item.parameters) !== now);
	options.again.disabled = !options.areValid;
}

const WAITS = {
	busy: ["The server is busy.", "This page goes on in"],
	starting: ["The server is starting.", "Its model is being loaded. Next try in"],
	away: ["The server does not answer.", "Nothing is lost: this page goes on when it is back. Next try in"],
};
let ticking = 0, lastReason = null;

function showWait(reason, seconds) {
	clearInterval(ticking);
	const isLocked = reason === "locked", isNews = reason !== lastReason;
	lastReason = reason;
	find("banner").hidden = !reason || isLocked;
	find("unlock").hidden = !isLocked;
	if (isLocked) {
		find("key-problem").textContent = settings.key && "This key was not accepted.";
		find("key").ariaInvalid = settings.key ? "true" : "false";
		find("key").focus();
	}
	if (isNews && !isLocked) announce(reason ? WAITS[reason].join(" ").replace(/[^.]* in$/, "") : "The server answers again.");
	if (!reason || isLocked) return;
	[find("banner-title").textContent, find("banner-text").textContent] = WAITS[reason];
	const end = performance.now() + 1000 * seconds;
	const tick = () => { find("banner-count").textContent = `${Math.max(0, Math.ceil((end - performance.now()) / 1000))} s.`; };
	tick();
	ticking = setInterval(tick, 250);
}
find("banner-now").onclick = () => queue.hurry();
find("unlock").onsubmit = (event) => {
	event.preventDefault();
	settings.key = find("key").value.trim();
	find("key").value = find("key-problem").textContent = "";
	queue.hurry();
};

function showNote(text, canUndo = false) {
	find("note-bar").hidden = !text;
	find("undo").hidden = !canUndo;
	find("note").textContent = text;
	if (text) announce(text);
}

let isPlanned = false;
function showCounts() {
	if (isPlanned) return;
	isPlanned = true;
	requestAnimationFrame(() => {
		isPlanned = false;
		const count = (test) => items.filter(test).length;
		const done = count(({ state }) => state === "done"), over = count(isOver), failed = over - done, edited = count(isEdited);
		find("results").hidden = !items.length;
		find("hint").hidden = !done || !model?.attention;
		find("counts").textContent = [`${done} of ${plural(items.length, "image")} captioned`, failed && `${failed} failed`, edited && `${edited} edited`].filter(Boolean).join(", ");
		Object.assign(find("overall"), { max: items.length || 1, value: over });
		find("overall").hidden = over === items.length;
		find("retry-all").hidden = !failed;
		find("download").disabled = !done;
		find("remove-all").disabled = !items.length;
		document.title = over < items.length ? `(${over}/${items.length}) showtell` : "showtell: captions for images";
		if (options) showOptions();
	});
}

find("retry-all").onclick = () => queue.add(items.filter((item) => item.state === "failed"));
find("remove-all").onclick = () => {
	take([...items]);
	find("undo").focus();
};
find("download").onclick = async () => {
	const form = find("format").value, ready = items.filter(isOver);
	const text = (content, type) => new Blob([content], { type: `${type};charset=utf-8` });
	try {
		if (form === "txt") save(await toSideCars(ready), "captions.zip");
		if (form === "jsonl") save(text(toJsonLines(ready), "application/jsonl"), "captions.jsonl");
		if (form === "csv") save(text(`\ufeff${toCsv(ready)}`, "text/csv"), "captions.csv");
		if (form === "corrections") {
			if (!ready.some(isEdited)) return showNote("Nothing is edited yet. Correct a caption first: its Edit button.");
			save(await toTrainingSet(ready), "corrections.zip");
			showNote("Unpack it, then: showtell prepare corrections --out data/corrections, for the --data of showtell index or train --from.");
		}
		unsaved = false;
	} catch (error) {
		showNote(error.message);
	}
};
addEventListener("beforeunload", (event) => unsaved && event.preventDefault());

find("host").textContent = location.host;
find("paste").hidden = !navigator.clipboard?.read;
document.documentElement.classList.add("js");
queue.connect();
