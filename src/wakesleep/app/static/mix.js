// Mix: let a drawing become something else, rub out a part and have it filled in, or hold two labels half and half.

import { examples } from "./examples.js";
import { Dreaming, ask } from "./link.js";
import { Machine } from "./machine.js";
import { bars, element, ink, keep, paint, signed } from "./pictures.js";
import { Stage } from "./stage.js";

const SWEEPS = 200; // Gibbs steps, of which the second half is what they make of it
const $ = (id) => document.getElementById(id);
const WORDS = {
  free: [
    "The network begins with your drawing, then nothing holds it. See what it turns into.",
    "your drawing",
  ],
  fill: [
    "Rub out a part. What is left stays; the network dreams up the rest so that it fits.",
    "rub here, or use the buttons",
  ],
  half: ["Hold two labels at once. The memory looks for pictures that are a little of both.", ""],
};

export function setup(app) {
  const { model } = app,
    [rows, columns] = model.shape;
  const machine = new Machine($("mix-machine"), model, app.inspect, { asleep: true });
  const stage = new Stage($("mix-pictures"), model),
    dreaming = new Dreaming();
  let way = "free",
    known = new Uint8Array(model.sizes[0]).fill(1),
    playing = true,
    going = false,
    pixels = null,
    cursor = null,
    asked = 0;

  function drawRub() {
    const canvas = $("rub"),
      side = 10;
    if (canvas.width !== columns * side)
      [canvas.width, canvas.height, canvas.style.aspectRatio] = [
        columns * side,
        rows * side,
        `${columns} / ${rows}`,
      ];
    const context = canvas.getContext("2d"),
      lut = ink(),
      style = getComputedStyle(document.documentElement);
    context.clearRect(0, 0, canvas.width, canvas.height);
    for (let at = 0; at < known.length; at++) {
      const [x, y] = [(at % columns) * side, Math.floor(at / columns) * side];
      const colour = lut[pixels ? pixels[at] : 0];
      context.fillStyle = known[at]
        ? `rgb(${colour & 255} ${(colour >> 8) & 255} ${(colour >> 16) & 255})`
        : style.getPropertyValue("--unit-low");
      context.fillRect(x, y, side, side);
      if (known[at]) continue;
      context.strokeStyle = style.getPropertyValue("--muted");
      context.lineWidth = 0.6;
      context.beginPath();
      context.moveTo(x, y + side);
      context.lineTo(x + side, y);
      context.stroke();
    }
    if (!cursor || document.activeElement !== canvas) return;
    const reach = columns / 9;
    Object.assign(context, { strokeStyle: style.getPropertyValue("--accent"), lineWidth: 3 });
    context.beginPath();
    context.arc(side * cursor[0], side * cursor[1], side * reach, 0, 2 * Math.PI);
    context.stroke();
  }

  const rub = ({ offsetX, offsetY, target }) =>
    rubAt((offsetX * columns) / target.clientWidth, (offsetY * rows) / target.clientHeight);

  function rubAt(column, row) {
    const reach = columns / 9;
    for (let at = 0; at < known.length; at++)
      if (Math.hypot((at % columns) + 0.5 - column, Math.floor(at / columns) + 0.5 - row) < reach)
        known[at] = 0;
    drawRub();
  }

  function half(which) {
    known = known.map((_, at) => {
      const [x, y] = [at % columns, Math.floor(at / columns)];
      return {
        top: y >= rows / 2,
        bottom: y < rows / 2,
        left: x >= columns / 2,
        right: x < columns / 2,
        none: true,
      }[which]
        ? 1
        : 0;
    });
    drawRub();
  }

  const share = () => Number($("mix-share").value);
  const mixture = () => {
    const [first, second] = [$("mix-first").value, $("mix-second").value];
    return first === second ? { [first]: 1 } : { [first]: 1 - share(), [second]: share() };
  };

  function start() {
    const seed = Math.floor(Math.random() * 1_000_000);
    playing = true;
    going = true;
    const options = { seed, speed: way === "fill" ? 15 : 30, playing };
    if (way === "half") dreaming.watch({ ...options, held: mixture() }, frame);
    else if (!pixels) {
      going = false;
      say("Draw something first, on the Draw screen.");
      return;
    } else
      dreaming.watch({ ...options, picture: pixels, ...(way === "fill" ? { known } : {}) }, frame);
    say("");
    if (model.deep && way === "fill" && pixels) differ(seed);
  }

  // What is hidden, filled in by one pass up and back, by all layers together, and where the two differ.
  async function differ(seed) {
    const mine = ++asked,
      [pass, together] = await ask("complete", { pixels, known, sweeps: SWEEPS, seed });
    if (mine !== asked) return;
    const apart = together.map((level, at) => 128 + (level - pass[at]) / 2); // bytes around 128
    paint($("mix-pass"), pass, model.shape);
    paint($("mix-together"), together, model.shape);
    paint($("mix-differ"), apart, model.shape, signed);
  }

  function frame(found) {
    stage.frame(found);
    machine.frame(found);
    const labels = found.layers[model.sizes.length];
    if (labels)
      bars(
        $("mix-bars"),
        model.classes,
        Array.from(labels.values, (value) => value / 255),
      );
    if (found.number % 15 === 0) say(`${found.step} steps`);
  }

  function say(words) {
    $("mix-pause").disabled = !going;
    $("mix-pause").textContent = playing ? "Pause" : "Play";
    $("mix-status").textContent = words;
  }

  function choose(value) {
    way = value;
    [$("mix-lead").textContent, $("mix-hint").textContent] = WORDS[way];
    $("mix-source").hidden = way === "half";
    $("mix-halves").hidden = way !== "fill";
    $("mix-ways-differ").hidden = way !== "fill" || !model.deep;
    $("mix-labels").hidden = way !== "half";
    if (way === "fill" && known.every(Boolean)) half("bottom");
    if (way !== "fill") half("none");
    start();
  }

  for (const input of document.getElementsByName("mix-way")) {
    if (input.value === "half" && !model.labels) input.parentElement.hidden = true;
    input.addEventListener("change", () => choose(input.value));
  }
  for (const id of ["mix-first", "mix-second"]) {
    $(id).replaceChildren(
      ...model.classes.map((name, value) => element("option", { value }, name)),
    );
    $(id).addEventListener("change", () => going && dreaming.change({ held: mixture() }));
  }
  [$("mix-first").value, $("mix-second").value] = [
    4 % model.classes.length,
    9 % model.classes.length,
  ];
  const shares = () => ($("mix-share-value").textContent = `${Math.round(share() * 100)}%`);
  $("mix-share").addEventListener("input", () => {
    shares();
    if (going) dreaming.change({ held: mixture() });
  });
  for (const button of document.querySelectorAll("[data-half]"))
    button.addEventListener("click", () => {
      half(button.dataset.half);
      start();
    });
  $("rub").addEventListener("pointerdown", (event) => {
    if (way !== "fill") return;
    event.target.setPointerCapture(event.pointerId);
    rub(event);
  });
  $("rub").addEventListener("keydown", (event) => {
    const move = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[
      event.key
    ];
    if (way !== "fill" || !(move || event.key === " ")) return;
    event.preventDefault();
    cursor ??= [columns / 2, rows / 2];
    if (move)
      cursor = cursor.map((place, axis) =>
        Math.min([columns, rows][axis], Math.max(0, place + (event.shiftKey ? 4 : 1) * move[axis])),
      );
    if (!move) rubAt(...cursor);
    drawRub();
    if (!move) start();
  });
  $("rub").addEventListener("blur", drawRub);
  $("rub").addEventListener(
    "pointermove",
    (event) => event.target.hasPointerCapture(event.pointerId) && rub(event),
  );
  $("rub").addEventListener("pointerup", () => way === "fill" && start());
  $("mix-go").addEventListener("click", start);
  $("mix-pause").addEventListener("click", () => {
    playing = !playing;
    dreaming.change({ playing });
    say(playing ? "" : "It pauses.");
  });
  shares();
  keep($("rub"), drawRub);

  async function show() {
    const before = pixels;
    pixels = app.answer?.picture ?? pixels;
    if (pixels && pixels === before && going) return dreaming.resume(); // as it was left
    if (!pixels) {
      const { items } = await examples(model, 7, 1);
      pixels = items[0]?.pixels ?? null;
      $("mix-hint").textContent = "a picture to begin with; draw your own on the Draw screen";
    }
    const hint = $("mix-hint").textContent;
    choose(way);
    if (!app.answer && way !== "half") $("mix-hint").textContent = hint;
  }

  return { show, hide: () => dreaming.rest() };
}
