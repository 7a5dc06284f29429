// The whole machine in one picture: the digit, every layer with its strongest features, the memory and the labels,
// joined by the strongest weights between them. Awake the flow goes up from the digit, asleep down from the memory.

import { ask } from "./link.js";
import { cells, element, glow, paint, sheet, signed } from "./pictures.js";

const SHOWN = 8,
  WIRES = 14; // features of a layer, weights between two layers
const PAUSE = { answer: 140, frame: 700 }; // milliseconds until the features are looked up again
const SVG = "http://www.w3.org/2000/svg";
const across = (units) => Math.min(units, Math.ceil(Math.sqrt(units * 9)));

export class Machine {
  // `model` as worker.js tells it; `pick(layer, unit)` is called for a click.
  constructor(box, model, pick, { asleep = false } = {}) {
    Object.assign(this, { box, model, pick, timer: 0, version: 0 });
    this.levels = model.sizes.map((units) => new Float32Array(units));
    box.classList.toggle("asleep", asleep);
    const rows = [];
    if (model.labels) {
      this.names = element(
        "div",
        { className: "names" },
        ...model.classes.map((name) => element("span", {}, element("b"), element("em", {}, name))),
      );
      this.names.setAttribute("aria-hidden", "true");
      rows.push(
        element(
          "div",
          { className: "layer" },
          caption("Labels", "what it takes it for"),
          this.names,
        ),
      );
    }
    this.wires = [];
    this.features = [];
    this.canvases = [];
    for (let layer = model.sizes.length - 1; layer >= 0; layer--) {
      if (rows.length) rows.push((this.wires[layer + 1] = wiring()));
      rows.push(layer ? this.#layer(layer) : this.#digit());
    }
    box.replaceChildren(...rows);
    this.clear();
  }

  #layer(layer) {
    const units = this.model.sizes[layer],
      top = layer === this.model.sizes.length - 1;
    const canvas = (this.canvases[layer] = element("canvas")),
      name = nameOf(this.model, layer);
    canvas.setAttribute("role", "img");
    canvas.setAttribute("aria-label", `${name}, ${units} units; brighter is more active`);
    canvas.addEventListener("click", (event) => this.pick(layer, unitAt(canvas, units, event)));
    const words = caption(name, `${units.toLocaleString("en")} units`);
    if (top) this.memoryWords = words.lastChild;
    // one canvas for all of a layer's features, and a button over each: a canvas each would cost every frame
    const shown = Math.min(SHOWN, units),
      buttons = Array.from({ length: shown }, (_, place) => {
        const button = element("button", {
          type: "button",
          disabled: true,
          ariaLabel: "No unit yet",
        });
        button.style.gridColumn = place + 1;
        button.addEventListener("click", () => this.pick(layer, Number(button.dataset.unit)));
        return button;
      });
    const pictures = element("canvas", { ariaHidden: "true" });
    this.features[layer] = { pictures, buttons, shown };
    const row = element("div", { className: "features" }, pictures, ...buttons);
    row.style.gridTemplateColumns = `repeat(${shown}, 1fr)`;
    return element("div", { className: "layer" }, words, row, canvas);
  }

  #digit() {
    const canvas = (this.canvases[0] = element("canvas", { className: "picture" }));
    canvas.setAttribute("role", "img");
    canvas.setAttribute("aria-label", "The picture at the bottom");
    return element("div", { className: "layer base" }, canvas);
  }

  clear() {
    clearTimeout(this.timer);
    this.version++;
    this.levels.forEach((level, layer) => this.#draw(layer, level.fill(0)));
    this.labels(this.model.classes.map(() => 0));
    this.memoryWords.textContent = `${this.model.sizes.at(-1).toLocaleString("en")} units`;
    for (const wires of this.wires) wires?.replaceChildren();
    for (const { pictures, buttons, shown } of this.features.flat()) {
      sheet(
        pictures,
        new Uint8Array(shown * this.model.sizes[0]).fill(128),
        shown,
        this.model.shape,
        shown,
      );
      for (const button of buttons) {
        button.disabled = true;
        button.removeAttribute("title");
      }
    }
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
      const { values, chains } = frame.layers[layer],
        level = this.levels[layer];
      const from = chains > 1 ? frame.focus * units : 0,
        old = layer ? keepOf : 0;
      for (let unit = 0; unit < units; unit++)
        level[unit] = old * level[unit] + (1 - old) * values[from + unit];
      this.#draw(layer, level);
    });
    const labels = frame.layers[this.model.sizes.length];
    if (labels)
      this.labels(
        Array.from(
          labels.values.subarray(frame.focus * labels.units, (frame.focus + 1) * labels.units),
          (value) => value / 255,
        ),
      );
    this.#later(this.levels.slice(1), PAUSE.frame, false);
  }

  // An answer: activities of the way up; the memory shows what spoke for the label and what for the runner-up.
  answer(answer) {
    [answer.picture, ...answer.activities].forEach((values, layer) => {
      this.levels[layer].set(values);
      this.#draw(layer, this.levels[layer]);
    });
    if (answer.probs) this.labels(answer.probs);
    const counts = [...answer.activities];
    if (answer.evidence) {
      const most = answer.evidence.reduce((most, nats) => Math.max(most, Math.abs(nats)), 1e-9);
      this.#draw(
        this.levels.length - 1,
        Uint8Array.from(
          answer.evidence,
          (nats) => 128 + Math.sign(nats) * 127 * Math.sqrt(Math.abs(nats) / most),
        ),
        signed,
      );
      const [label, other] = [answer.label, answer.runner_up].map(
        (number) => this.model.classes[number],
      );
      this.memoryWords.replaceChildren(
        element("span", { className: "drives" }, `for ${label}`),
        ", ",
        element("span", { className: "holds" }, `for ${other}`),
      );
      counts[counts.length - 1] = answer.evidence;
    }
    this.#later(counts, PAUSE.answer, true);
  }

  // Look the strongest features up once things are quiet (`anew`), or from time to time.
  #later(counts, pause, anew) {
    if (this.timer && !anew) return;
    clearTimeout(this.timer);
    const mine = this.version;
    this.timer = setTimeout(async () => {
      const found = await ask("strongest", { values: counts, count: SHOWN });
      this.timer = 0;
      if (mine === this.version && this.box.isConnected) this.#show(found);
    }, pause);
  }

  #show({ levels, labels }) {
    const { model } = this;
    levels.forEach(({ units, pictures, ties }, at) => {
      const layer = at + 1,
        row = this.features[layer];
      sheet(row.pictures, pictures, row.shown, model.shape, row.shown);
      units.forEach((unit, place) => {
        const button = row.buttons[place];
        Object.assign(button, {
          disabled: false,
          title: `Unit ${unit} of ${nameOf(model, layer).toLowerCase()}. Ink on orange switches it on, ink on blue switches it off.`,
        });
        button.dataset.unit = unit;
        button.setAttribute(
          "aria-label",
          `Unit ${unit} of ${nameOf(model, layer).toLowerCase()}; look at it`,
        );
      });
      join(this.wires[layer], layer === 1 ? [units.map(() => 1)] : ties);
    });
    // the wires above the memory: labels above, features below
    if (model.labels)
      join(
        this.wires[model.sizes.length],
        labels[0].map((_, unit) => labels.map((row) => row[unit])),
      );
  }
}

export const nameOf = (model, layer) =>
  layer === model.sizes.length - 1 && !model.deep ? "Memory" : `Layer ${layer}`;

function unitAt(canvas, units, { offsetX, offsetY }) {
  const columns = across(units),
    side = canvas.clientWidth / columns;
  return Math.min(
    units - 1,
    Math.floor(offsetY / side) * columns + Math.min(columns - 1, Math.floor(offsetX / side)),
  );
}

function wiring() {
  const svg = document.createElementNS(SVG, "svg");
  for (const [name, value] of Object.entries({
    class: "wires",
    viewBox: "0 0 100 20",
    preserveAspectRatio: "none",
    "aria-hidden": "true",
  }))
    svg.setAttribute(name, value);
  return svg;
}

// Draw the strongest of the weights, a row for each thing below; the wider the stronger.
function join(svg, weights) {
  const lines = weights.flatMap((row, below) =>
    row.map((weight, above) => ({
      weight,
      below: (below + 0.5) / weights.length,
      above: (above + 0.5) / row.length,
    })),
  );
  const strongest = lines
      .sort((one, other) => Math.abs(other.weight) - Math.abs(one.weight))
      .slice(0, WIRES),
    most = Math.abs(strongest[0]?.weight) || 1;
  svg.replaceChildren(
    ...strongest.map(({ weight, below, above }) => {
      const path = document.createElementNS(SVG, "path"),
        [from, to] = [100 * below, 100 * above];
      path.setAttribute("d", `M${from} 20L${to} 0`);
      path.setAttribute("class", weight > 0 ? "drive" : "hold");
      path.setAttribute("stroke-width", 0.6 + (2 * Math.abs(weight)) / most);
      return path;
    }),
  );
}

function caption(name, words) {
  return element("p", {}, element("b", {}, name), element("span", {}, words));
}
