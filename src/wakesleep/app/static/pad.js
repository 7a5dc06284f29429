// A place to draw: pointer, touch and keyboard; a picture that is dropped on it; and what to send of all that.

import { element, keep } from "./pictures.js";
import { greyOf } from "./prepare.js";

const SIDE = 280,
  PEN = 21;
// Parts of the field that the ink's longer side and a stroke's width take: 20 of 28 pixels in MNIST, and so wide that digits
// have as much ink as MNIST's have (a mean of 94 pixels).
const FIELD = 20 / 28,
  WIDTH = 2.4 / 28;

export class Pad {
  constructor(box, { changed, file }) {
    this.strokes = [];
    this.pixels = null;
    this.changed = changed;
    this.cursor = [SIDE / 2, SIDE / 2];
    this.penDown = false;
    this.canvas = element("canvas", { width: SIDE, height: SIDE, tabIndex: 0 });
    this.canvas.setAttribute("role", "application");
    this.canvas.setAttribute(
      "aria-label",
      "Drawing pad. Arrow keys move the pen, space puts it down or lifts it, delete clears.",
    );
    this.hint = element("span", { className: "pad-hint" }, "draw here");
    this.hint.setAttribute("aria-hidden", "true");
    this.answer = element("span", { className: "pad-answer" }); // on a phone the answer itself is out of sight
    this.answer.setAttribute("aria-hidden", "true");
    box.replaceChildren(this.canvas, this.hint, this.answer);
    keep(this.canvas, () => this.draw());
    this.#listen(box, file);
  }

  #listen(box, file) {
    const { canvas } = this;
    const at = (event) => [
      (event.offsetX * SIDE) / canvas.clientWidth,
      (event.offsetY * SIDE) / canvas.clientHeight,
    ];
    canvas.addEventListener("pointerdown", (event) => {
      if (event.button) return;
      canvas.setPointerCapture(event.pointerId);
      this.strokes.push([at(event)]);
      this.update();
    });
    canvas.addEventListener("pointermove", (event) => {
      if (!canvas.hasPointerCapture(event.pointerId)) return;
      const events = event.getCoalescedEvents?.() ?? [];
      for (const one of events.length ? events : [event]) this.strokes.at(-1).push(at(one));
      this.update();
    });
    canvas.addEventListener("keydown", (event) => this.#key(event));
    canvas.addEventListener("blur", () => (this.penDown = false));
    const undo = (event) => {
      if (!canvas.isConnected) return removeEventListener("keydown", undo);
      if (
        !(event.ctrlKey || event.metaKey) ||
        event.key !== "z" ||
        !canvas.offsetParent ||
        event.target.matches("input")
      )
        return;
      event.preventDefault();
      this.undo();
    };
    addEventListener("keydown", undo);
    takeDropped(box, file);
  }

  #key(event) {
    const move = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[
      event.key
    ];
    if (move) {
      const far = event.shiftKey ? 28 : 14;
      this.cursor = this.cursor.map((place, axis) =>
        Math.min(SIDE - 14, Math.max(14, place + far * move[axis])),
      );
      if (this.penDown) this.strokes.at(-1).push([...this.cursor]);
    } else if (event.key === " ") {
      this.penDown = !this.penDown;
      if (this.penDown) this.strokes.push([[...this.cursor]]);
    } else if (event.key === "Delete" || event.key === "Backspace") {
      this.clear();
    } else return;
    event.preventDefault();
    this.withCursor = true;
    this.update();
  }

  update() {
    this.draw();
    this.changed();
  }

  draw() {
    const context = this.canvas.getContext("2d"),
      style = getComputedStyle(document.documentElement);
    context.clearRect(0, 0, SIDE, SIDE);
    const colour = style.getPropertyValue("--picture-high");
    this.#ink(context, colour);
    if (this.withCursor && document.activeElement === this.canvas) {
      context.strokeStyle = style.getPropertyValue("--accent");
      context.lineWidth = 2;
      context.strokeRect(this.cursor[0] - 7, this.cursor[1] - 7, 14, 14);
    }
    this.hint.hidden = !this.blank;
  }

  #ink(context, colour) {
    if (this.pixels) context.drawImage(spread(this.pixels, this.shape, colour), 0, 0, SIDE, SIDE);
    this.#strokes(context, colour, this.strokes, PEN);
  }

  #strokes(context, colour, strokes, width) {
    Object.assign(context, {
      lineWidth: width,
      lineCap: "round",
      lineJoin: "round",
      strokeStyle: colour,
    });
    for (const [first, ...rest] of strokes) {
      context.beginPath();
      context.moveTo(...first);
      context.lineTo(first[0] + 0.01, first[1]);
      for (const point of rest) context.lineTo(...point);
      context.stroke();
    }
  }

  say(words) {
    this.answer.textContent = words;
    this.answer.classList.toggle("name", words.length > 2);
  }

  // Paint the drawing, white, as large as `side`.
  drawOn(context, side) {
    context.scale(side / SIDE, side / SIDE);
    this.#ink(context, "#ffffff");
  }

  get blank() {
    return !this.strokes.length && !this.pixels;
  }

  clear() {
    this.strokes = [];
    this.pixels = null;
    this.penDown = false;
    this.update();
  }

  undo() {
    if (this.strokes.pop() === undefined) this.pixels = null;
    this.penDown = false;
    this.update();
  }

  // Show a picture of the network's own size.
  show(pixels, shape) {
    this.strokes = [];
    this.pixels = pixels;
    this.shape = shape;
    this.update();
  }

  // What to ask about: pixels as they are, or the drawing's grey levels, white on black, by a pen of `width` parts of the field.
  picture(width = WIDTH) {
    if (this.blank) return null;
    if (this.pixels && !this.strokes.length) return { pixels: this.pixels };
    this.sheet ??= new OffscreenCanvas(SIDE, SIDE).getContext("2d", { willReadFrequently: true });
    this.sheet.fillStyle = "#000000";
    this.sheet.fillRect(0, 0, SIDE, SIDE);
    if (this.pixels) this.#ink(this.sheet, "#ffffff");
    else this.#strokes(this.sheet, "#ffffff", enlarged(this.strokes, width), width * SIDE);
    const { data } = this.sheet.getImageData(0, 0, SIDE, SIDE),
      values = new Uint8Array(SIDE * SIDE);
    for (let at = 0; at < values.length; at++) values[at] = data[4 * at];
    return { grey: { rows: SIDE, columns: SIDE, values }, drawing: true };
  }
}

// Hand the file that is dropped on a box to `take`.
export function takeDropped(box, take) {
  box.addEventListener("dragover", (event) => {
    event.preventDefault();
    box.classList.add("over");
  });
  box.addEventListener("dragleave", () => box.classList.remove("over"));
  box.addEventListener("drop", (event) => {
    event.preventDefault();
    box.classList.remove("over");
    if (event.dataTransfer.files[0]) take(event.dataTransfer.files[0]);
  });
}

// Strokes at the size of the training pictures: drawn with the pad's pen, a digit of a tenth of the pad would be a blot.
function enlarged(strokes, width) {
  const [xs, ys] = [0, 1].map((axis) =>
    strokes.flatMap((stroke) => stroke.map((point) => point[axis])),
  );
  const ends = [xs, ys].map((values) => [
    values.reduce((a, b) => Math.min(a, b)),
    values.reduce((a, b) => Math.max(a, b)),
  ]);
  const longest = Math.max(...ends.map(([low, high]) => high - low)),
    scale = ((FIELD - width) * SIDE) / Math.max(longest, PEN / 4);
  return strokes.map((stroke) =>
    stroke.map((point) =>
      point.map((place, axis) => SIDE / 2 + scale * (place - (ends[axis][0] + ends[axis][1]) / 2)),
    ),
  );
}

function spread(pixels, [rows, columns], colour) {
  const canvas = new OffscreenCanvas(columns, rows),
    context = canvas.getContext("2d");
  context.fillStyle = colour;
  context.fillRect(0, 0, columns, rows);
  const image = context.getImageData(0, 0, columns, rows);
  pixels.forEach((value, at) => (image.data[4 * at + 3] = value));
  context.putImageData(image, 0, 0);
  return canvas;
}

// The grey levels of a picture file, made small: {rows, columns, values: bytes}. A drawing in SVG, which has no pixels of
// its own, is made as large.
export async function greyLevels(file) {
  const LONGEST = 512,
    drawn = file.type === "image/svg+xml";
  let picture, sides;
  try {
    picture = drawn ? await image(file) : await createImageBitmap(file);
    sides = drawn ? [picture.naturalWidth, picture.naturalHeight] : [picture.width, picture.height];
  } catch {
    throw new Error(`${file.name} is no picture this browser can read.`);
  }
  const scale = LONGEST / Math.max(...sides);
  const [width, height] = sides.map((side) =>
    Math.max(1, Math.round(side * (drawn ? scale : Math.min(1, scale)))),
  );
  const context = new OffscreenCanvas(width, height).getContext("2d");
  context.drawImage(picture, 0, 0, width, height);
  const grey = greyOf(context.getImageData(0, 0, width, height));
  return { ...grey, values: Uint8Array.from(grey.values, (value) => Math.round(255 * value)) };
}

async function image(file) {
  const made = new Image();
  made.src = URL.createObjectURL(file);
  try {
    await made.decode();
  } finally {
    URL.revokeObjectURL(made.src);
  }
  return made;
}
