// Captions in all the forms in which they leave the page.

export const textOf = (item) => item.edits?.at(-1) ?? item.caption?.text ?? "";
export const isEdited = (item) => Boolean(item.edits?.length) && item.caption !== undefined && textOf(item) !== item.caption.text;

/** Returns what was edited when, who wrote it before, and how: model, fingerprint, and the options that were changed. */
const provenanceOf = (item) => isEdited(item) && { edited_at: item.editedAt, ...item.writtenBy };

/** Returns a row like those of `showtell caption --format jsonl`, with the machine's caption. */
export function rowOf(item) {
	if (item.state === "failed") return { path: item.path, error: item.problem.message };
	const { text, score, confidence } = item.caption; // JSON leaves out what is undefined
	return { path: item.path, caption: textOf(item), score, confidence, machine_caption: text, ...provenanceOf(item) };
}

export function toJson(item) {
	const { words, alternatives, neighbours, log_prob } = item.caption;
	return JSON.stringify({ ...rowOf(item), log_prob, words, alternatives, neighbours }, null, 2);
}

export function toAlt(item) {
	const escape = (text) => text.replace(/[&<>"]/g, (mark) => `&#${mark.charCodeAt(0)};`);
	return `<img src="${escape(encodeURI(item.path))}" alt="${escape(textOf(item))}">`;
}

export function toCurl(item, withKey) {
	const quote = (text) => `'${text.replaceAll("'", "'\\''")}'`;
	const name = `"${item.path.replace(/["\\]/g, "\\$&")}"`;
	const url = new URL("v1/captions", document.baseURI).href;
	const fields = item.parameters.map(([key, value]) => ` -F ${quote(`${key}=${value}`)}`);
	const key = withKey ? ' -H "Authorization: Bearer $SHOWTELL_API_KEY"' : "";
	return `curl -sS ${quote(url)}${key} -F ${quote(`images=@${name}`)}${fields.join("")}`;
}

export const toJsonLines = (items) => items.map((item) => `${JSON.stringify(rowOf(item))}\n`).join("");

export function toCsv(items) {
	// To spreadsheets, a cell that begins like this is a formula; an apostrophe makes it text.
	const text = (value) => (/^[=+\-@\t\r]/.test(value) ? `'${value}` : value);
	const cell = (value) => (/[",\r\n]/.test(value) ? `"${value.replaceAll('"', '""')}"` : value);
	const rows = items.map((item) => {
		const { path, caption = "", score, error = "", machine_caption = "" } = rowOf(item);
		return [text(path), text(caption), `${score ?? ""}`, text(error), text(isEdited(item) ? machine_caption : "")];
	});
	return [["path", "caption", "score", "error", "machine_caption"], ...rows].map((row) => `${row.map(cell).join(",")}\r\n`).join("");
}

export function toSideCars(items) {
	const taken = new Set();
	return zip(items.filter((item) => item.caption).map((item) => {
		const stem = `${item.path.replace(/\.[^./]*$/, "")}.txt`;
		const name = unique([stem, `${item.path}.txt`], taken);
		return [name, new Blob([`${textOf(item)}\n`])];
	}));
}

/** Returns a zip of the edited captions with their images: an imagefolder, which `showtell prepare` reads. */
export function toTrainingSet(items) {
	const taken = new Set();
	const rows = items.filter(isEdited).map((item) => {
		const suffix = item.asItIs ? (item.path.match(/\.[^./]*$/)?.[0] ?? "") : ".jpg";
		const stem = item.path.replace(/\.[^./]*$/, "").replace(/[^\p{L}\p{N}_-]+/gu, "_");
		const { path, caption, ...others } = rowOf(item);
		return { row: { file_name: unique([`images/${stem}${suffix}`], taken), text: caption, ...others, path }, image: item.sent };
	});
	const lines = rows.map(({ row }) => `${JSON.stringify(row)}\n`);
	return zip([["metadata.jsonl", new Blob(lines)], ...rows.map(({ row, image }) => [row.file_name, image])]);
}

function unique(names, taken) {
	let name = names.find((each) => !taken.has(each.toLowerCase()));
	for (let number = 2; !name; number += 1) {
		const other = names.at(-1).replace(/(\.[^./]*)?$/, `-${number}$1`);
		if (!taken.has(other.toLowerCase())) name = other;
	}
	taken.add(name.toLowerCase());
	return name;
}

const CRC_TABLE = Uint32Array.from({ length: 256 }, (_, byte) => {
	for (let bit = 0; bit < 8; bit += 1) byte = byte & 1 ? (byte >>> 1) ^ 0xedb88320 : byte >>> 1;
	return byte;
});

function crc32(bytes) {
	let crc = ~0;
	for (const byte of bytes) crc = (crc >>> 8) ^ CRC_TABLE[(crc ^ byte) & 255];
	return ~crc >>> 0;
}

/** Returns a zip of [name, Blob] pairs, stored: deflate would not make JPEG smaller. */
export async function zip(files) {
	if (files.length > 0xfffe) throw new Error("A zip holds 65,534 files at most.");
	const parts = [], directory = [];
	let offset = 0;
	for (const [name, blob] of files) {
		const encoded = new TextEncoder().encode(name);
		const crc = crc32(new Uint8Array(await blob.arrayBuffer()));
		const common = [[20, 2], [0x0800, 2], [0, 2], [0, 2], [33, 2], [crc, 4], [blob.size, 4], [blob.size, 4], [encoded.length, 2], [0, 2]];
		// Version 2.0, names in UTF-8, stored, 1 January 1980.
		parts.push(record([[0x04034b50, 4], ...common]), encoded, blob);
		directory.push(record([[0x02014b50, 4], [20, 2], ...common, [0, 2], [0, 2], [0, 2], [0, 4], [offset, 4]]), encoded);
		offset += 30 + encoded.length + blob.size;
	}
	if (offset > 0xffffffff) throw new Error("A zip holds 4 GB at most.");
	const size = directory.reduce((sum, part) => sum + part.length, 0);
	const end = record([[0x06054b50, 4], [0, 2], [0, 2], [files.length, 2], [files.length, 2], [size, 4], [offset, 4], [0, 2]]);
	return new Blob([...parts, ...directory, end], { type: "application/zip" });
}

function record(fields) {
	const view = new DataView(new ArrayBuffer(fields.reduce((sum, [, width]) => sum + width, 0)));
	let at = 0;
	for (const [value, width] of fields) {
		if (width === 2) view.setUint16(at, value, true);
		else view.setUint32(at, value, true);
		at += width;
	}
	return new Uint8Array(view.buffer);
}

export function save(blob, name) {
	const link = document.createElement("a");
	link.href = URL.createObjectURL(blob);
	link.download = name;
	link.click();
	setTimeout(() => URL.revokeObjectURL(link.href), 60000);
}
