// The network from the top down: labels, memory, layers, picture. Units glow; a click asks what one is for.

import { cells, element, glow, paint, signed } from "./pictures.js";

const across = (units) => Math.min(units, Math.ceil(Math.sqrt(units * 5)));

export class Brain {
  // `model` as /api/model tells; `pick(layer, unit)` is called for a click.
  constructor(box, model, pick, { picture = true } = {}) {
    this.model = model;
    this.levels = model.sizes.map((units) => new Float32Array(units));
    const rows = [];
    if (model.labels) {
      this.names = element("div", { className: "names" }, ...model.classes.map((name) => element("span", {}, element("b"), element("em", {}, name))));
      this.names.setAttribute("aria-hidden", "true");
      rows.push(element("div", { className: "layer" }, caption("labels", `${model.labels} units that add up to one`), this.names));
    }
    this.canvases = model.sizes.map((units, layer) => {
      const canvas = element("canvas", { className: layer ? "" : "picture base" });
      const top = layer === model.sizes.length - 1;
      const name = layer === 0 ? "picture" : top ? "associative memory" : `layer ${layer}`;
      canvas.setAttribute("role", "img");
      canvas.setAttribute("aria-label", `${name}, ${units} units; brighter is more active`);
      const words = caption(name, layer ? `${units.toLocaleString("en")} features` : `${units} pixels`);
      if (layer) canvas.addEventListener("click", (event) => pick(layer, this.#unitAt(canvas, units, event)));
      if (top) this.memoryWords = words.lastChild;
      if (layer || picture) rows.splice(model.labels ? 1 : 0, 0, element("div", { className: "layer" }, words, canvas));
      return canvas;
    });
    box.replaceChildren(...rows);
    this.clear();
  }

  #unitAt(canvas, units, { offsetX, offsetY }) {
    const columns = across(units), side = canvas.clientWidth / columns;
    return Math.min(units - 1, Math.floor(offsetY / side) * columns + Math.min(columns - 1, Math.floor(offsetX / side)));
  }

  clear() {
    this.levels.forEach((level, layer) => this.#draw(layer, level.fill(0)));
    this.labels(this.model.classes.map(() => 0));
    this.memoryWords.textContent = `${this.model.sizes.at(-1).toLocaleString("en")} features`;
  }

  #draw(layer, values, colours = glow) {
    if (layer) cells(this.canvases[layer], values, across(this.model.sizes[layer]), colours);
    else paint(this.canvases[0], values, this.model.shape);
  }

  labels(probs) {
    if (!this.names) return;
    [...this.names.children].forEach((cell, label) => {
      cell.firstChild.style.height = `${100 * (probs[label] || 0)}%`;
      cell.classList.toggle("on", probs[label] > 0.75);
    });
  }

  // States flicker; the eye sees their mean over the last few frames.
  frame(frame, keepOf = 0.7) {
    this.model.sizes.forEach((units, layer) => {
      const { values, chains } = frame.layers[layer], level = this.levels[layer];
      const from = chains > 1 ? frame.focus * units : 0, old = layer ? keepOf : 0;
      for (let unit = 0; unit < units; unit++) level[unit] = old * level[unit] + (1 - old) * values[from + unit];
      this.#draw(layer, level);
    });
    const labels = frame.layers[this.model.sizes.length];
    if (labels) this.labels(Array.from(labels.values.subarray(frame.focus * labels.units, (frame.focus + 1) * labels.units), (value) => value / 255));
  }

  // An answer: activities of the way up; the memory shows who spoke for the label and who for the runner-up.
  answer(answer) {
    [answer.picture, ...answer.activities].forEach((values, layer) => {
      this.levels[layer].set(values);
      this.#draw(layer, this.levels[layer]);
    });
    if (answer.probs) this.labels(answer.probs);
    if (!answer.evidence) return;
    const most = answer.evidence.reduce((most, nats) => Math.max(most, Math.abs(nats)), 1e-9);
    this.#draw(this.levels.length - 1, Uint8Array.from(answer.evidence, (nats) => 128 + Math.sign(nats) * 127 * Math.sqrt(Math.abs(nats) / most)), signed);
    const [label, other] = [answer.label, answer.runner_up].map((number) => this.model.classes[number]);
    this.memoryWords.replaceChildren(element("span", { className: "drives" }, `spoke for ${label}`), ", ", element("span", { className: "holds" }, `for ${other}`));
  }
}

function caption(name, words) {
  return element("p", {}, element("b", {}, name), element("span", {}, words));
}
