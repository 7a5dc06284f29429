// Mix: let a drawing become something else, rub out a part and have it filled in, or hold two labels half and half.

import { Brain } from "./brain.js";
import { examples } from "./examples.js";
import { Dreaming } from "./link.js";
import { bars, element, ink, keep } from "./pictures.js";
import { Stage } from "./stage.js";

const $ = (id) => document.getElementById(id);
const WORDS = {
  free: ["Start the memory where your drawing leads, hold nothing, and see what it turns into.", "Your drawing; go back to Draw to change it."],
  fill: ["Rub out a part. What is left stays; the network dreams up the rest so that it goes with it.", "Rub with the pointer, or use the buttons."],
  half: ["Hold two labels at once. The memory looks for pictures that both can live with.", ""],
};

export function setup(app) {
  const { model } = app, [rows, columns] = model.shape;
  const brain = new Brain($("mix-brain"), model, app.inspect, { picture: false });
  const stage = new Stage($("mix-pictures"), model), dreaming = new Dreaming();
  let way = "free", known = new Uint8Array(model.sizes[0]).fill(1), playing = true, going = false, pixels = null;

  function drawRub() {
    const canvas = $("rub"), side = 10;
    if (canvas.width !== columns * side) [canvas.width, canvas.height] = [columns * side, rows * side];
    const context = canvas.getContext("2d"), lut = ink(), style = getComputedStyle(document.documentElement);
    context.clearRect(0, 0, canvas.width, canvas.height);
    for (let at = 0; at < known.length; at++) {
      const [x, y] = [(at % columns) * side, Math.floor(at / columns) * side];
      const colour = lut[pixels ? pixels[at] : 0];
      context.fillStyle = known[at] ? `rgb(${colour & 255} ${(colour >> 8) & 255} ${(colour >> 16) & 255})` : style.getPropertyValue("--unit-low");
      context.fillRect(x, y, side, side);
      if (known[at]) continue;
      context.strokeStyle = style.getPropertyValue("--muted");
      context.lineWidth = 0.6;
      context.beginPath();
      context.moveTo(x, y + side);
      context.lineTo(x + side, y);
      context.stroke();
    }
  }

  function rub(event) {
    const canvas = $("rub");
    const [column, row] = [(event.offsetX * columns) / canvas.clientWidth, (event.offsetY * rows) / canvas.clientHeight];
    const reach = columns / 9;
    for (let at = 0; at < known.length; at++)
      if (Math.hypot((at % columns) + 0.5 - column, Math.floor(at / columns) + 0.5 - row) < reach) known[at] = 0;
    drawRub();
  }

  function half(which) {
    known = known.map((_, at) => {
      const [x, y] = [at % columns, Math.floor(at / columns)];
      return { top: y >= rows / 2, bottom: y < rows / 2, left: x >= columns / 2, right: x < columns / 2, none: true }[which] ? 1 : 0;
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
      say("Draw something first, or pick a test image, on the Draw screen.");
      return;
    } else dreaming.watch({ ...options, picture: pixels, ...(way === "fill" ? { known } : {}) }, frame);
    say("");
  }

  function frame(found) {
    stage.frame(found);
    brain.frame(found);
    const labels = found.layers[model.sizes.length];
    if (labels) bars($("mix-bars"), model.classes, Array.from(labels.values, (value) => value / 255));
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
    $(id).replaceChildren(...model.classes.map((name, value) => element("option", { value }, name)));
    $(id).addEventListener("change", () => going && dreaming.change({ held: mixture() }));
  }
  [$("mix-first").value, $("mix-second").value] = [4 % model.classes.length, 9 % model.classes.length];
  const shares = () => ($("mix-share-value").textContent = `${Math.round(share() * 100)} %`);
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
  $("rub").addEventListener("pointermove", (event) => event.target.hasPointerCapture(event.pointerId) && rub(event));
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
      $("mix-hint").textContent = "A picture to begin with; draw your own on the Draw screen.";
    }
    const hint = $("mix-hint").textContent;
    choose(way);
    if (!app.answer && way !== "half") $("mix-hint").textContent = hint;
  }

  return { show, hide: () => dreaming.rest() };
}
