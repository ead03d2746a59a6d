"use strict";
// Builds the image cards from the page's own data. Text enters as text nodes only.
(() => {
  const PAGE = 60; // cards added at a time, so that a phone stays quick
  const data = JSON.parse(document.getElementById("data").textContent);
  const grid = document.getElementById("grid");
  const more = document.getElementById("more");
  const score = (card) => card.scores[data.sortedBy] ?? 0;
  const faults = (card) => (card.wrong ? card.wrong.length : 0);
  const orders = {
    set: () => 0,
    worst: (a, b) => faults(b) - faults(a) || score(a) - score(b),
    best: (a, b) => faults(a) - faults(b) || score(b) - score(a),
  };
  let ordered = data.images;

  function make(tag, className, text) {
    const element = document.createElement(tag);
    if (className) element.className = className;
    if (text !== undefined) element.textContent = text;
    return element;
  }

  // Darkens regions by how little attention they have; the region with the largest weight stays clear.
  function drawAttention(canvas, attention, word) {
    const { rows, columns, bytes } = attention;
    const small = make("canvas");
    small.width = columns;
    small.height = rows;
    const pixels = new ImageData(columns, rows);
    for (let region = 0; region < rows * columns; region += 1) {
      const weight = bytes[word * rows * columns + region] / 255;
      pixels.data.set([8, 12, 24, 190 * (1 - weight)], 4 * region);
    }
    small.getContext("2d").putImageData(pixels, 0, 0);
    canvas.width = canvas.clientWidth;
    canvas.height = canvas.clientHeight;
    const context = canvas.getContext("2d");
    context.imageSmoothingEnabled = true;
    context.imageSmoothingQuality = "high";
    context.drawImage(small, 0, 0, canvas.width, canvas.height);
    canvas.classList.add("on");
  }

  function makeView(card) {
    const view = make("div", "view");
    if (!card.image) {
      view.append(make("p", "none", "The image could not be read."));
      return { view };
    }
    const image = make("img");
    image.src = card.image;
    image.alt = card.key;
    view.append(image);
    if (!card.attention) return { view };
    const canvas = make("canvas");
    canvas.setAttribute("aria-hidden", "true");
    const peak = make("span", "peak");
    view.append(canvas, peak);
    return { view, canvas, peak };
  }

  function makeWords(card, canvas, peak) {
    const line = make("p", "words");
    if (!canvas || !card.words.length) {
      line.textContent = card.candidate || "(nothing)";
      return line;
    }
    const bytes = Uint8Array.from(atob(card.attention.maps), (letter) => letter.charCodeAt(0));
    const attention = { ...card.attention, bytes };
    const words = card.words.map((text) => make("span", "word", text));
    let pinned = -1; // the word that was tapped
    const show = (index) => {
      words.forEach((word, other) => word.classList.toggle("on", other === index));
      peak.textContent = index >= 0 ? `${attention.peaks[index]} %` : "";
      if (index >= 0) drawAttention(canvas, attention, index);
      else canvas.classList.remove("on");
    };
    line.classList.add("attended");
    line.setAttribute("role", "group");
    line.setAttribute("aria-label", `${card.candidate}. Arrow keys show where the decoder attended for each word.`);
    words.forEach((word, index) => {
      word.tabIndex = index === 0 ? 0 : -1; // one tab stop a caption, arrows within
      word.addEventListener("pointerenter", (event) => event.pointerType === "mouse" && show(index));
      word.addEventListener("pointerleave", (event) => event.pointerType === "mouse" && show(pinned));
      word.addEventListener("focus", () => show(index));
      word.addEventListener("blur", () => { pinned = -1; show(-1); });
      word.addEventListener("click", () => {
        pinned = pinned === index ? -1 : index;
        show(pinned);
      });
      line.append(word, " ");
    });
    line.addEventListener("keydown", (event) => {
      const last = words.length - 1;
      const current = words.indexOf(document.activeElement);
      const target = { ArrowRight: Math.min(current + 1, last), ArrowLeft: Math.max(current - 1, 0), Home: 0, End: last }[event.key];
      if (current < 0) return;
      if (event.key === "Escape") show(-1);
      if (target === undefined) return;
      event.preventDefault();
      words.forEach((word, index) => { word.tabIndex = index === target ? 0 : -1; });
      words[target].focus();
    });
    return line;
  }

  function makeList(title, lines) {
    const details = make("details");
    details.append(make("summary", "", title));
    const list = make("ul");
    lines.forEach((line) => list.append(make("li", "", line)));
    details.append(list);
    return details;
  }

  function makeCard(card) {
    const item = make("li", "card");
    const { view, canvas, peak } = makeView(card);
    const text = make("div", "text");
    text.append(makeWords(card, canvas, peak));
    if (card.wrong) {
      const isRight = card.wrong.length === 0;
      text.append(make("p", isRight ? "badge right" : "badge wrong", isRight ? "✓ right" : `✗ ${card.wrong.join("; ")}`));
    }
    const [first, ...others] = card.references;
    if (first !== undefined) text.append(make("p", "true", first));
    const scores = ["CIDEr-D", "BLEU-4"].filter((name) => name in card.scores);
    text.append(make("p", "facts", [...scores.map((name) => `${name} ${card.scores[name]}`), card.key].join(" · ")));
    if (others.length) {
      text.append(makeList(`${others.length} more ${others.length === 1 ? "reference" : "references"}`, others));
    }
    if (card.neighbours.length) {
      const lines = card.neighbours.map(([percent, key, captions]) => `${percent} % ${key}: ${captions.join(" · ")}`);
      text.append(makeList("Similar images whose captions chose this one", lines));
    }
    item.append(view, text);
    return item;
  }

  function addCards() {
    const start = grid.children.length;
    ordered.slice(start, start + PAGE).forEach((card) => grid.append(makeCard(card)));
    const left = ordered.length - grid.children.length;
    more.hidden = left <= 0;
    more.textContent = `Show more (${left} left)`;
  }

  document.querySelectorAll("[data-order]").forEach((button) => {
    button.addEventListener("click", () => {
      document.querySelectorAll("[data-order]").forEach((other) => other.setAttribute("aria-pressed", String(other === button)));
      ordered = [...data.images].sort(orders[button.dataset.order]);
      grid.replaceChildren();
      addCards();
    });
  });
  more.addEventListener("click", () => {
    const next = grid.children.length;
    addCards();
    grid.children[next]?.querySelector("[tabindex], summary")?.focus();
  });
  if (!data.images.length) grid.replaceWith(make("p", "none", "No predictions yet."));
  else addCards();
})();
