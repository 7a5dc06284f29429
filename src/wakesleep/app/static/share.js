// A square picture that moves: my drawing, what the network sees, what it dreams. And the way out of the page for a file.

import { gif } from "./gif.js";
import { ask } from "./link.js";
import { element, ink } from "./pictures.js";

const SIDE = 400,
  EDGE = 12,
  SMALL = 158,
  LARGE = 206;
const FRAMES = 24,
  STEPS = 2,
  A_SECOND = 10;

// Return the GIF of a drawing (`draw(context, side)` paints it) and the network's answer to it.
export async function square(model, answer, draw) {
  const held = model.labels ? answer.label : null,
    dream = "share";
  await ask("begin", { dream, picture: answer.picture, held, seed: 1 });
  const context = new OffscreenCanvas(SIDE, SIDE).getContext("2d", { willReadFrequently: true }),
    frames = [];
  Object.assign(context, { textAlign: "center", imageSmoothingQuality: "high" });
  for (let number = 0; number < FRAMES; number++) {
    const { layers } = await ask("advance", { dream, steps: STEPS, focus: 0 });
    const seen = sheet(answer.seen.at(-1), model.shape),
      dreamt = sheet(number ? layers[0].values : answer.picture, model.shape);
    context.fillStyle = "#000";
    context.fillRect(0, 0, SIDE, SIDE);
    const right = SIDE - EDGE - LARGE,
      below = EDGE + SMALL + 44;
    tile(context, EDGE, EDGE, SMALL, "my drawing", () => draw(context, SMALL));
    tile(context, EDGE, below, SMALL, "what it sees", () => within(context, seen, 0, 0, SMALL));
    tile(context, right, EDGE, LARGE, "what it dreams", () => within(context, dreamt, 0, 0, LARGE));
    if (answer.probs) {
      const name = model.classes[answer.label];
      context.fillStyle = "#fff";
      context.font = `600 ${name.length > 2 ? 34 : 96}px Georgia, serif`;
      context.fillText(name, right + LARGE / 2, SIDE - 62, LARGE);
    }
    context.fillStyle = "#999";
    context.font = "14px system-ui, sans-serif";
    context.fillText("wakesleep: a network that dreams", right + LARGE / 2, SIDE - 20, LARGE);
    frames.push(levels(context.getImageData(0, 0, SIDE, SIDE).data));
  }
  return gif(frames, SIDE, SIDE, ink(), A_SECOND);
}

function tile(context, x, y, side, words, draw) {
  context.save();
  context.beginPath();
  context.rect(x, y, side, side);
  context.clip();
  context.translate(x, y);
  draw();
  context.restore();
  context.strokeStyle = "#666";
  context.strokeRect(x - 0.5, y - 0.5, side + 1, side + 1);
  context.fillStyle = "#ccc";
  context.font = "16px system-ui, sans-serif";
  context.fillText(words, x + side / 2, y + side + 21);
}

// Draw a picture, whatever its shape, as large as a square allows, in its middle.
export function within(context, picture, x, y, side) {
  const [wide, high] = [picture.width, picture.height].map(
    (length) => (side * length) / Math.max(picture.width, picture.height),
  );
  context.drawImage(picture, x + (side - wide) / 2, y + (side - high) / 2, wide, high);
}

// Bytes of ink as a picture, white on black.
function sheet(values, [rows, columns]) {
  const canvas = new OffscreenCanvas(columns, rows),
    context = canvas.getContext("2d");
  const image = context.createImageData(columns, rows),
    out = new Uint32Array(image.data.buffer);
  for (let at = 0; at < out.length; at++) out[at] = 0xff000000 | (values[at] * 0x10101);
  context.putImageData(image, 0, 0);
  return canvas;
}

function levels(data) {
  const out = new Uint8Array(data.length / 4);
  for (let at = 0; at < out.length; at++) out[at] = data[4 * at];
  return out;
}

// Hand a file to the phone's own sharing where it takes files, else save it.
export async function handOut(blob, name) {
  const files = [new File([blob], name, { type: blob.type })];
  if (matchMedia("(pointer: coarse)").matches && navigator.canShare?.({ files })) {
    try {
      return void (await navigator.share({ files }));
    } catch (error) {
      if (error.name === "AbortError") return; // the visitor changed their mind
    }
  }
  save(blob, name);
}

export function save(blob, name) {
  const link = element("a", { href: URL.createObjectURL(blob), download: name });
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
}
