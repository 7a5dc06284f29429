// The paper's story in five steps, each with a live part.

import { remember } from "./app.js";
import { examples } from "./examples.js";
import { Dreaming, ask } from "./link.js";
import { Pad } from "./pad.js";
import { bars, cells, element, paint, sheet, signed } from "./pictures.js";

const $ = (id) => document.getElementById(id);
const dreaming = new Dreaming();
let app = null, step = 0, closed = () => {}, leave = () => {};

const figure = (canvas, words) => element("figure", {}, canvas, element("figcaption", {}, words));
const text = (...paragraphs) => paragraphs.map((words) => element("p", {}, words));
const arrow = (sign = "→") => Object.assign(element("span", { className: "arrow" }, sign), { ariaHidden: "true" });

async function example(label, seed) {
  const { items } = await examples(app.model, seed, 120);
  return (items.find((item) => item.label === label) ?? items[0])?.pixels ?? null;
}

const STEPS = [
  {
    title: "To recognise shapes, first learn to generate images",
    text: text(
      "Nobody drew these. A network is making them up, right now, one label held in mind for each.",
      "Why teach it that, if all you want is to recognise digits? Because a label says so little: which of ten it is, some three bits. A picture says hundreds of times more. A network that has learned to make pictures has found out what they are made of. Naming them is then easy.",
    ),
    live(box) {
      const count = app.model.labels || 1, canvases = Array.from({ length: count }, () => element("canvas", { ariaHidden: "true" }));
      box.append(element("div", { className: "strip" }, ...canvases));
      dreaming.watch({ held: app.model.labels ? "all" : null, seed: 3, speed: 30, playing: !app.still }, ({ layers: [pictures] }) => {
        canvases.forEach((canvas, chain) => paint(canvas, pictures.values.subarray(chain * pictures.units, (chain + 1) * pictures.units), app.model.shape));
      });
    },
  },
  {
    title: "One layer: features that explain pixels",
    text: text(
      "A restricted Boltzmann machine has pixels below and features above. Each feature looks at all pixels and switches on if it finds what it looks for; then the features paint the picture anew.",
      "It learns by comparing the two: make what was there likelier, make its own version less likely. Nobody names anything. Strokes and edges come out as features, because they explain pictures well.",
    ),
    async live(box) {
      const pixels = await example(3, 11);
      if (!pixels) return;
      const answer = await ask("recognize", { pixels, every: true }), active = Array.from(answer.activities[0], (value, unit) => [value, unit]).sort((a, b) => b[0] - a[0]).slice(0, 9);
      const found = await Promise.all(active.map(([, unit]) => ask("unit", { layer: 1, unit })));
      const [from, middle, to] = [element("canvas"), element("canvas"), element("canvas")];
      box.append(element("div", { className: "flow" }, figure(from, "a picture"), arrow(), figure(middle, "nine of the features it switches on"), arrow(), figure(to, "painted anew by the features")));
      paint(from, pixels, app.model.shape);
      paint(to, answer.seen[0], app.model.shape);
      sheet(middle, Uint8Array.from(found.flatMap((unit) => [...unit.prefers])), 9, app.model.shape, 3, signed);
    },
  },
  {
    title: "Then features of features",
    text: text(
      "What the first layer finds becomes the picture for a second machine, and so on. Each layer is trained on its own, without labels. On top sits an associative memory that ties the last features to one another and to ten label units.",
      "Here is one picture as each layer knows it: sent up to that layer and down again. The higher you go, the more it is the idea of a digit, and the less this very drawing.",
    ),
    async live(box) {
      const pixels = await example(5, 4);
      if (!pixels) return;
      const answer = await ask("recognize", { pixels, every: true }), canvases = [pixels, ...answer.seen].map(() => element("canvas"));
      const names = ["the picture", ...answer.seen.map((_, layer) => (layer === answer.seen.length - 1 ? "the memory" : `layer ${layer + 1}`))];
      box.append(element("div", { className: "flow" }, ...canvases.flatMap((canvas, place) => (place ? [arrow(), figure(canvas, names[place])] : [figure(canvas, names[place])]))));
      [pixels, ...answer.seen].forEach((values, place) => paint(canvases[place], values, app.model.shape));
    },
  },
  {
    title: "Wake and sleep",
    text: text(
      "Awake, a real picture runs up the network, and the downward connections learn to make it again from its features. Asleep, the memory dreams a picture down, and the upward connections learn to recover the features that made it.",
      "By day it learns to dream better; by night it learns to see better. In between the memory settles only a few steps, so nothing has to wait: contrastive wake-sleep.",
    ),
    async live(box) {
      const { model } = app, columns = (units) => Math.ceil(Math.sqrt(units * 8));
      const tower = (title, sign, caption) => {
        const picture = element("canvas", { className: "picture" }), layers = model.sizes.slice(1).map(() => element("canvas", { className: "units" }));
        const made = element("div", {}, element("h3", {}, title), element("div", { className: "tower" }, ...[...layers].reverse(), arrow(sign), picture, element("figcaption", {}, caption)));
        return { made, draw: (values) => [picture, ...layers].forEach((canvas, layer) => (layer ? cells(canvas, values[layer], columns(model.sizes[layer])) : paint(canvas, values[0], model.shape))) };
      };
      const wake = tower("Wake", "↑", "a real picture goes up"), sleep = tower("Sleep", "↓", "a dream comes down");
      box.append(element("div", { className: "phases" }, wake.made, sleep.made));
      dreaming.watch({ held: null, seed: 5, speed: 12, playing: !app.still }, ({ layers }) => sleep.draw(layers.map((layer) => layer.values)));
      const { items } = await examples(app.model, 21, 20);
      let next = 0;
      const turn = async () => {
        if (!items.length) return;
        const answer = await ask("recognize", { pixels: items[next++ % items.length].pixels });
        wake.draw([answer.picture, ...answer.activities]);
      };
      await turn();
      const timer = app.still ? 0 : setInterval(turn, 1400);
      return () => clearInterval(timer);
    },
  },
  {
    title: "And now it recognises",
    text: text(
      "Draw a digit. The picture runs up to the memory, which asks of each label: how well does it go with this? The label that makes the whole least surprising wins; the same memory that dreams a three when you hold “3” knows yours when it sees it.",
      "Learn to generate, and recognising comes almost for free. Now play: draw, dream, mix, look inside.",
    ),
    live(box) {
      const place = element("div", { className: "pad" }), right = element("div", { className: "bars" });
      right.setAttribute("aria-live", "polite");
      box.append(element("div", { className: "try" }, place, right));
      bars(right, app.model.classes, app.model.classes.map(() => 0));
      let asking = false;
      const pad = new Pad(place, {
        file() {},
        async changed() {
          const picture = pad.picture();
          if (asking || !picture) return;
          asking = true;
          try {
            const answer = await ask("recognize", picture);
            if (answer.probs) bars(right, app.model.classes, answer.probs);
          } finally {
            asking = false;
          }
        },
      });
      place.addEventListener("pointerup", () => setTimeout(pad.changed, 60));
    },
  },
];

async function show() {
  leave();
  leave = () => {};
  dreaming.rest();
  const { title, text: words, live } = STEPS[step], mine = step;
  $("tour-count").textContent = `${step + 1} of ${STEPS.length}`;
  $("tour-title").textContent = title;
  $("tour-text").replaceChildren(...words.map((paragraph) => paragraph.cloneNode(true)));
  const box = element("div");
  $("tour-live").replaceChildren(box);
  $("tour-back").disabled = step === 0;
  $("tour-next").textContent = step === STEPS.length - 1 ? "Play" : "Next";
  [...$("tour-dots").children].forEach((dot, place) => dot.classList.toggle("on", place === step));
  $("tour-title").focus();
  try {
    const undo = await live(box);
    if (!undo) return;
    if (mine === step && $("tour").open) leave = undo;
    else undo();
  } catch (error) {
    box.append(element("p", { className: "note" }, error.message));
  }
}

export function open() {
  app.pause();
  step = 0;
  if (!$("tour").open) $("tour").showModal();
  show();
}

export function setup(shared, after) {
  app = shared;
  closed = after;
  $("tour-dots").replaceChildren(...STEPS.map(() => element("i")));
  $("open-tour").addEventListener("click", open);
  $("tour-close").addEventListener("click", () => $("tour").close());
  $("tour-back").addEventListener("click", () => {
    step -= 1;
    show();
  });
  $("tour-next").addEventListener("click", () => {
    if (step === STEPS.length - 1) return $("tour").close();
    step += 1;
    show();
  });
  $("tour").addEventListener("close", () => {
    remember("toured", "yes");
    leave();
    leave = () => {};
    dreaming.rest();
    $("tour-live").replaceChildren();
    closed();
  });
}
