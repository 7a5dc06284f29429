// Where a dream is shown: one picture, or one for each label, of which a click puts one in focus: larger, with what goes on inside.

import { element, ink, paint } from "./pictures.js";

export class Stage {
  constructor(box, model, focused = () => {}) {
    Object.assign(this, { box, model, focused, canvases: [] });
  }

  frame(frame) {
    const { chains, units, values } = frame.layers[0];
    if (this.canvases.length !== chains) this.#lay(chains);
    for (let chain = 0; chain < chains; chain++)
      paint(
        this.canvases[chain],
        values.subarray(chain * units, (chain + 1) * units),
        this.model.shape,
        ink,
      );
    if (chains === 1) return;
    this.buttons.forEach((button, chain) =>
      button.setAttribute("aria-pressed", chain === frame.focus),
    );
    paint(
      this.large,
      values.subarray(frame.focus * units, (frame.focus + 1) * units),
      this.model.shape,
      ink,
    );
  }

  #lay(chains) {
    this.canvases = Array.from({ length: chains }, () => element("canvas"));
    this.box.classList.toggle("many", chains > 1);
    if (chains === 1) {
      this.canvases[0].setAttribute("role", "img");
      this.canvases[0].setAttribute("aria-label", "The dream as it stands");
      return this.box.replaceChildren(...this.canvases);
    }
    this.buttons = this.canvases.map((canvas, chain) => {
      const button = element(
        "button",
        { type: "button" },
        canvas,
        element("small", {}, this.model.classes[chain] ?? chain),
      );
      button.setAttribute("aria-label", `The dream of ${this.model.classes[chain]}; show it large`);
      button.addEventListener("click", () => this.focused(chain));
      return button;
    });
    this.large = element("canvas", { className: "large" });
    this.large.setAttribute("role", "img");
    this.large.setAttribute("aria-label", "The dream in focus, as it stands");
    this.box.replaceChildren(...this.buttons, this.large);
  }
}
