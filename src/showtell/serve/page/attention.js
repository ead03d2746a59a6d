// Where the model looked for each word: drawn over the image, and in words.
import { percent } from "./dom.js";

/** Returns attention in a byte for each region and word, which 500 images can afford. */
export function pack({ grid: [rows, columns], window, weights }) {
	const peaks = weights.map((each) => Math.max(...each, 1e-12));
	const bytes = weights.map((each, word) => Uint8Array.from(each, (weight) => Math.round((255 * weight) / peaks[word])));
	return { rows, columns, window, peaks, bytes };
}

/** Darkens regions by how little attention they have; what the model does not see is as dark as a region without any. */
export function draw(canvas, { rows, columns, window: [left, top, right, bottom], bytes }, word) {
	const small = document.createElement("canvas");
	[small.width, small.height] = [columns, rows];
	const pixels = new ImageData(columns, rows);
	bytes[word].forEach((byte, region) => pixels.data.set([8, 12, 24, 200 * (1 - byte / 255)], 4 * region));
	small.getContext("2d").putImageData(pixels, 0, 0);
	const { clientWidth: width, clientHeight: height } = canvas;
	if (!width) return; // no preview
	[canvas.width, canvas.height] = [width, height];
	const context = canvas.getContext("2d");
	const box = [left * width, top * height, (right - left) * width, (bottom - top) * height].map(Math.round);
	context.fillStyle = "rgb(8 12 24 / 78%)";
	context.fillRect(0, 0, width, height);
	context.clearRect(...box);
	context.imageSmoothingQuality = "high";
	context.drawImage(small, ...box);
	canvas.classList.add("on");
}

const PLACES = ["upper left", "top", "upper right", "left", "middle", "right", "lower left", "bottom", "lower right"];

/** Returns the same in words, by the nine parts of the image. */
export function describe({ rows, columns, window: [left, top, right, bottom], bytes }, word) {
	const parts = new Array(9).fill(0);
	let sum = 0;
	bytes[word].forEach((byte, region) => {
		const x = left + ((region % columns) + 0.5) / columns * (right - left);
		const y = top + (Math.floor(region / columns) + 0.5) / rows * (bottom - top);
		parts[3 * Math.min(2, Math.floor(3 * y)) + Math.min(2, Math.floor(3 * x))] += byte;
		sum += byte;
	});
	const order = parts.map((part, index) => [part / sum, PLACES[index]]).sort((a, b) => b[0] - a[0]);
	if (order[0][0] < 0.22) return "all over";
	const [first, second] = order;
	const places = second[0] > 0.7 * first[0] ? `${first[1]} and ${second[1]}` : first[1];
	return `mostly at the ${places}, ${percent(first[0] + (places === first[1] ? 0 : second[0]))}`;
}
