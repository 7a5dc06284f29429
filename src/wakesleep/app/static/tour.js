// Why a network that dreams recognises better, in five steps, each with a live part.

import { remember } from "./app.js";
import { examples } from "./examples.js";
import { Dreaming, ask } from "./link.js";
import { Pad } from "./pad.js";
import { cells, element, paint } from "./pictures.js";

const $ = (id) => document.getElementById(id);
const dreaming = new Dreaming();
let app = null,
  all = [],
  step = 0,
  closed = () => {},
  leave = () => {};

const figure = (canvas, words) => element("figure", {}, canvas, element("figcaption", {}, words));
const text = (...paragraphs) => paragraphs.map((words) => element("p", {}, words));
const arrow = (sign = "→") =>
  Object.assign(element("span", { className: "arrow" }, sign), { ariaHidden: "true" });

async function example(label, seed) {
  const { items } = await examples(app.model, seed, 120);
  return (items.find((item) => item.label === label) ?? items[0])?.pixels ?? null;
}

const SETTLED = 150; // steps after which nine of ten dreams are of the label that is held
const FIRST = 12; // the seed of the opening: of 1 to 16, the one whose ten dreams the shipped network names right most surely

// The steps for the network on show; of one that learned no digits they say "picture".
const steps = ({ classes, labels, card, deep }, digits = classes.join("") === "0123456789") => [
  {
    title: "To recognise shapes, first learn to generate images",
    text: text(
      `Nobody drew these. A network dreamed them up, just now${labels ? ", with one name held in mind for each" : ""}.`,
      `Why teach it that, if all you want is to recognise ${digits ? "digits" : "shapes"}? Because a name says so little about a picture: which of ${classes.length === 10 ? "ten" : classes.length} it is, no more. The picture itself says hundreds of times as much. A network that can make such pictures has found out what they are made of. Naming them is then easy.`,
    ),
    live(box) {
      const names = app.model.labels ? app.model.classes : [""];
      const canvases = names.map(() => element("canvas", { ariaHidden: "true" }));
      box.append(
        element(
          "div",
          { className: "strip" },
          ...canvases.map((canvas, label) => figure(canvas, names[label])),
        ),
      );
      const held = app.model.labels ? "all" : null;
      return void dreaming.watch(
        { held, seed: FIRST, speed: 8, playing: !app.still, settled: SETTLED },
        ({ layers: [pictures] }) => {
          canvases.forEach((canvas, chain) =>
            paint(
              canvas,
              pictures.values.subarray(chain * pictures.units, (chain + 1) * pictures.units),
              app.model.shape,
            ),
          );
        },
      );
    },
  },
  {
    title: `Now you: your ${digits ? "digit" : "drawing"} becomes a dream`,
    text: text(
      `Draw ${digits ? "a digit" : "something"} on the left. The network says what it is, and then lets go of your drawing: on the right it paints pictures of that kind from memory, beginning with yours.`,
      `One memory does both: it recognises and it dreams. Nobody programmed either; the network looked at ${card.data === "mnist" ? "60,000 digits" : "pictures"} and learned.`,
    ),
    live(box) {
      const place = element("div", { className: "pad" }),
        canvas = element("canvas", { className: "picture" }),
        word = element("p", { className: "tour-word" }, "?");
      word.setAttribute("aria-live", "polite");
      box.append(
        element(
          "div",
          { className: "flow own" },
          figure(place, `your ${digits ? "digit" : "drawing"}`),
          word,
          figure(canvas, "its dream"),
        ),
      );
      paint(canvas, new Uint8Array(app.model.sizes[0]), app.model.shape);
      let timer = 0;
      const pad = new Pad(place, {
        file() {},
        changed() {
          clearTimeout(timer);
          dreaming.rest();
          if (!pad.blank) timer = setTimeout(become, 450);
        },
      });
      async function become() {
        const answer = await ask("recognize", pad.picture()),
          named = answer.probs && app.model.labels;
        word.textContent = named ? app.model.classes[answer.label] : "→";
        word.classList.toggle("name", word.textContent.length > 2);
        paint(canvas, answer.picture, app.model.shape);
        dreaming.watch(
          {
            picture: answer.picture,
            held: named ? answer.label : null,
            seed: 1,
            speed: 8,
            playing: !app.still,
            settled: app.still ? 20 : 1,
          },
          ({ layers: [dream] }) => paint(canvas, dream.values, app.model.shape),
        );
      }
      return () => clearTimeout(timer);
    },
  },
  {
    title: `Layer upon layer: from strokes to ${digits ? "digits" : "shapes"}`,
    text: text(
      `The first layer finds spots and strokes that explain the pixels. The second finds what such strokes make together. On top, ${deep ? "another layer" : "a memory"} ties it all ${labels ? "to the names" : "together"}. ${deep ? "Each layer is joined to the ones beside it both ways" : "Each layer learned by itself"}, and nobody told it what to look for.`,
      deep
        ? `Here half a ${digits ? "digit" : "picture"} is rubbed out. One pass up and back fills in what the strokes suggest. All layers together go on until they agree.`
        : `Here half a ${digits ? "digit" : "picture"} is rubbed out, and each layer fills in what it expects. The lower ones know strokes. Only the whole network knows ${digits ? "digits" : "whole shapes"}.`,
    ),
    async live(box) {
      const pixels = await example(2, 9);
      if (!pixels) return;
      const { model } = app,
        known = Uint8Array.from(pixels, (_, at) => Number(at < pixels.length / 2));
      const filled = await ask("complete", { pixels, known, sweeps: 40, seed: 2 });
      const names = [
        `half a ${digits ? "digit" : "picture"}`,
        ...filled.map((_, at) =>
          at === filled.length - 1
            ? deep
              ? "all layers together"
              : "the whole network"
            : deep
              ? "one pass up and back"
              : `up to layer ${at + 1}`,
        ),
      ];
      const shown = [pixels.map((pixel, at) => pixel * known[at]), ...filled],
        canvases = shown.map(() => element("canvas"));
      box.append(
        element(
          "div",
          { className: "flow" },
          ...canvases.flatMap((canvas, place) =>
            place ? [arrow(), figure(canvas, names[place])] : [figure(canvas, names[place])],
          ),
        ),
      );
      shown.forEach((values, place) => paint(canvases[place], values, model.shape));
    },
  },
  {
    title: "Wake and sleep",
    text: text(
      ...(deep
        ? [
            "How did it learn? By day and by night. Awake, a real picture is held, and every connection grows where the units at its two ends are on together. Asleep, the network dreams freely, and every connection weakens where they are.",
            "When nothing is left to learn, its dreams are like its days.",
          ]
        : [
            "How did it learn? By day and by night. Awake, a real picture runs up, and the connections that lead down learn to paint it. Asleep, the memory dreams a picture down, and the connections that lead up learn to see what it was made from.",
            "So by day it learns to dream better, and by night it learns to see better.",
          ]),
    ),
    async live(box) {
      const { model } = app,
        columns = (units) => Math.ceil(Math.sqrt(units * 8));
      const tower = (title, sign, caption) => {
        const picture = element("canvas", { className: "picture" }),
          layers = model.sizes.slice(1).map(() => element("canvas", { className: "units" }));
        const made = element(
          "div",
          {},
          element("h3", {}, title),
          element(
            "div",
            { className: "tower" },
            ...[...layers].reverse(),
            arrow(sign),
            picture,
            element("figcaption", {}, caption),
          ),
        );
        return {
          made,
          draw: (values) =>
            [picture, ...layers].forEach((canvas, layer) =>
              layer
                ? cells(canvas, values[layer], columns(model.sizes[layer]))
                : paint(canvas, values[0], model.shape),
            ),
        };
      };
      const wake = tower("Wake", "↑", "a real picture goes up"),
        sleep = tower("Sleep", "↓", "a dream comes down");
      box.append(element("div", { className: "phases" }, wake.made, sleep.made));
      dreaming.watch({ held: null, seed: 5, speed: 12, playing: !app.still }, ({ layers }) =>
        sleep.draw(layers.map((layer) => layer.values)),
      );
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
    title: "Does it help? See for yourself",
    text: text(
      "Two nets of the same size learn to name digits from 100 examples. One of them has dreamed first, of pictures that had no names. In 20 races it named 8 of 100 new digits wrongly, the other 19.",
      "Pictures without names are everywhere, and names are dear. That is why learning to generate comes first.",
    ),
    live(box) {
      const bar = (words, percent, kind) =>
        element(
          "div",
          { className: `tour-bar ${kind}` },
          element("span", {}, words),
          Object.assign(element("i"), { style: `width: ${5 * percent}%` }),
          element("b", {}, `${percent}%`),
        );
      const go = element(
        "button",
        { type: "button", className: "primary" },
        "Race them, here and now",
      );
      go.addEventListener("click", () => {
        $("tour").close();
        app.go("race");
        $("race-go").click();
      });
      box.append(
        element(
          "div",
          { className: "tour-race" },
          element("p", {}, "Digits named wrongly:"),
          bar("dreamed first", 8.4, "dreamed"),
          bar("never dreamed", 19.2, "random"),
          go,
        ),
      );
    },
  },
];

async function show() {
  leave();
  leave = () => {};
  dreaming.rest();
  const { title, text: words, live } = all[step],
    mine = step;
  $("tour-count").textContent = `${step + 1} of ${all.length}`;
  $("tour-title").textContent = title;
  $("tour-text").replaceChildren(...words.map((paragraph) => paragraph.cloneNode(true)));
  const box = element("div");
  $("tour-live").replaceChildren(box);
  $("tour-back").disabled = step === 0;
  $("tour-next").textContent = step === all.length - 1 ? "Look around" : "Next";
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
  all = steps(app.model);
  closed = after;
  $("tour-dots").replaceChildren(...all.map(() => element("i")));
  $("open-tour").addEventListener("click", open);
  $("tour-close").addEventListener("click", () => $("tour").close());
  $("tour-back").addEventListener("click", () => {
    step -= 1;
    show();
  });
  $("tour-next").addEventListener("click", () => {
    if (step === all.length - 1) return $("tour").close();
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
