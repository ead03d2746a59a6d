// Images from drops, folders, the clipboard and the camera, made small before they are sent.
import { Problem } from "./service.js";
import { megabytes } from "./dom.js";

const LONG_EDGE = 1024;
const SHORT_EDGE = 448; // of panoramas, so that the model's view keeps its detail
const IMAGE_NAME = /\.(jpe?g|jfif|png|webp|gif|bmp|tiff?|avif|hei[cf]|jxl|jp2|ppm|pgm)$/i;

const isImage = (file) => file.type.startsWith("image/") || IMAGE_NAME.test(file.name);
const isOfInterest = (file) => isImage(file) && !file.name.startsWith(".");

/** Returns the dropped files, those of folders at any depth, and `left`, the number of other files in folders. */
export async function filesOfDrop(transfer) {
	// The list is emptied when the handler returns.
	const entries = [...transfer.items].filter((item) => item.kind === "file").map((item) => [item.webkitGetAsEntry?.(), item.getAsFile()]);
	const found = [];
	let left = 0;
	const walk = async (entry) => {
		if (entry.isFile) {
			const file = await new Promise((resolve) => entry.file(resolve, () => resolve(null)));
			if (file && isOfInterest(file)) found.push({ file, path: entry.fullPath.slice(1) });
			else left += 1;
			return;
		}
		const reader = entry.createReader();
		for (;;) {
			const batch = await new Promise((resolve) => reader.readEntries(resolve, () => resolve([])));
			if (!batch.length) return;
			for (const child of batch) await walk(child);
		}
	};
	for (const [entry, file] of entries) {
		if (entry?.isDirectory) await walk(entry);
		else if (file) found.push({ file, path: file.name });
	}
	return { found: inOrder(found), left };
}

export function filesOfFolder(list) {
	const all = [...list];
	const found = all.filter(isOfInterest).map((file) => ({ file, path: file.webkitRelativePath || file.name }));
	return { found: inOrder(found), left: all.length - found.length };
}

const inOrder = (found) => found.sort((a, b) => a.path.localeCompare(b.path, "en", { numeric: true }));

export async function filesOfClipboard() {
	const found = [];
	for (const item of await navigator.clipboard.read()) {
		const type = item.types.find((each) => each.startsWith("image/"));
		if (type) found.push(named(await item.getType(type)));
	}
	return found;
}

let pasted = 0;
export function named(blob, kind = "pasted") {
	const suffix = blob.type.split("/")[1]?.replace("jpeg", "jpg") || "png";
	const name = `${kind}-${pasted += 1}.${suffix}`;
	return { file: new File([blob], name, { type: blob.type }), path: name };
}

function toJpeg(source, width, height) {
	const canvas = Object.assign(document.createElement("canvas"), { width, height });
	const context = canvas.getContext("2d");
	context.fillStyle = "#fff"; // what shines through a transparent image, as in the model's own reader
	context.fillRect(0, 0, width, height);
	context.imageSmoothingQuality = "high";
	context.drawImage(source, 0, 0, width, height);
	return new Promise((resolve) => canvas.toBlob(resolve, "image/jpeg", 0.93));
}

/** Returns an image upright, small and without metadata, as JPEG; as it is if the browser does not know its format. */
export async function shrink(item, limits) {
	let bitmap;
	try {
		bitmap = await createImageBitmap(item.file, { imageOrientation: "from-image" });
	} catch {
		item.asItIs = true;
		return checkedSize(item.file, limits);
	}
	const { width, height } = bitmap;
	const scale = Math.min(1, Math.max(LONG_EDGE / Math.max(width, height), SHORT_EDGE / Math.min(width, height)));
	const small = await toJpeg(bitmap, Math.max(1, Math.round(width * scale)), Math.max(1, Math.round(height * scale)));
	bitmap.close();
	if (!small) throw refusal("Too large", "This browser cannot make it smaller.", "Use another program for it first.");
	return small;
}

const refusal = (title, detail, hint) => new Problem({ title, detail, hint, status: 415 });

function checkedSize(file, limits) {
	if (!isImage(file)) throw refusal("Not an image", `${file.name} is another kind of file.`, "Send a JPEG, PNG, WebP or other image file.");
	if (!file.size) throw refusal("Empty", "The file has no bytes.", "Choose another one.");
	const most = limits?.max_bytes ?? Infinity;
	if (file.size > most) {
		const sizes = `It has ${megabytes(file.size)}, the server takes ${megabytes(most)}`;
		throw refusal("Too large", `${sizes}, and this browser cannot make this kind of file smaller.`, "Save it as JPEG first.");
	}
	return file;
}

export const takeFrame = (video) => toJpeg(video, video.videoWidth, video.videoHeight);
