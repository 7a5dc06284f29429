// Dream: hold a label or none, and watch the memory settle.

import { Brain } from "./brain.js";
import { ask, stream } from "./link.js";
import { element } from "./pictures.js";
import { Stage } from "./stage.js";

const $ = (id) => document.getElementById(id);
const SPEEDS = [1, 2, 4, 8, 15, 30, 60, 120, 300, 900, null]; // Gibbs steps a second; null: as fast as it goes
const KEPT = 120; // frames of a movie

export function setup(app) {
  const { model } = app;
  const brain = new Brain($("dream-brain"), model, app.inspect, { picture: false });
  const stage = new Stage($("dream-pictures"), model, (focus) => {
    stream.change({ focus });
    if (!playing) stream.step();
  });
  let playing = !app.still, held = model.labels ? 3 % model.labels : null, kept = [], last = null;

  const speed = () => SPEEDS[$("dream-speed").value];
  const temperature = () => Number($("dream-temperature").value);

  function start() {
    kept = [];
    stream.watch({ held, seed: Number($("dream-seed").value) || 0, temperature: temperature(), speed: speed(), playing }, frame);
    title();
  }

  function frame(found) {
    last = found;
    stage.frame(found);
    brain.frame(found, playing ? 0.7 : 0);
    if (kept.push(found.layers[0]) > KEPT) kept.shift();
    if (found.number % 10 === 0 || !playing) $("dream-title").textContent = `${name()}, after ${found.step.toLocaleString("en")} steps`;
  }

  const name = () => (held === null ? "A free dream" : held === "all" ? "All labels side by side" : `A dream of ${model.classes[held]}`);

  function title() {
    $("dream-title").textContent = name();
    $("dream-play").textContent = playing ? "Pause" : "Play";
    $("dream-step").disabled = playing;
    $("dream-speed-value").textContent = speed() === null ? "as fast as it goes" : `${speed()} step${speed() > 1 ? "s" : ""} a second`;
    $("dream-temperature-value").textContent = temperature().toFixed(2);
    const still = app.still && !playing ? " Your system asks for less motion, so it waits: press Play or Step." : "";
    $("dream-status").textContent = (playing ? "The memory is settling." : "It pauses.") + still;
  }

  function labels() {
    const choices = [["free", null], ...(model.labels ? model.classes.map((label, number) => [label, number]) : []), ...(model.labels ? [["all", "all"]] : [])];
    $("dream-labels").replaceChildren(
      ...choices.map(([words, value]) => {
        const input = element("input", { type: "radio", name: "dream-label", checked: value === held });
        input.addEventListener("change", () => {
          const goesOn = last && value !== "all" && held !== "all" && last.layers[0].chains === 1;
          held = value;
          if (!goesOn) return start();
          stream.change({ held }); // the same chain, another thought: watch it turn
          if (!playing) stream.step();
          title();
        });
        return element("label", {}, input, element("span", {}, words));
      }),
    );
  }

  function play(on) {
    playing = on;
    stream.change({ playing });
    title();
  }

  $("dream-play").addEventListener("click", () => play(!playing));
  $("dream-step").addEventListener("click", () => stream.step());
  $("dream-again").addEventListener("click", () => {
    $("dream-seed").value = Math.floor(Math.random() * 1_000_000);
    start();
  });
  $("dream-seed").addEventListener("change", start);
  $("dream-speed").addEventListener("input", () => {
    stream.change({ speed: speed() });
    title();
  });
  $("dream-temperature").addEventListener("input", () => {
    stream.change({ temperature: temperature() });
    title();
  });
  $("dream-png").addEventListener("click", () => picture(stage.canvases).then((blob) => save(blob, "dream.png")));
  $("dream-gif").addEventListener("click", async () => {
    if (!kept.length) return app.trouble("There is no frame to save yet.");
    $("dream-status").textContent = "Making the movie.";
    const frames = kept.map(({ values }) => btoa(Array.from(values, (value) => String.fromCharCode(value)).join("")));
    try {
      save(await ask("movie", { frames, columns: 5 }), "dream.gif");
      $("dream-status").textContent = `Saved the last ${frames.length} frames.`;
    } catch (error) {
      app.trouble(error);
    }
  });
  labels();
  title();
  return { show: start, hide: () => stream.stop() };
}

// The pictures on show as one PNG.
function picture(canvases) {
  const columns = Math.min(canvases.length, 5), side = 168, gap = 8, rows = Math.ceil(canvases.length / columns);
  const sheet = element("canvas", { width: columns * (side + gap) + gap, height: rows * (side + gap) + gap });
  const context = sheet.getContext("2d");
  context.fillStyle = "#59595f";
  context.fillRect(0, 0, sheet.width, sheet.height);
  canvases.forEach((canvas, number) => context.drawImage(canvas, gap + (number % columns) * (side + gap), gap + Math.floor(number / columns) * (side + gap), side, side));
  return new Promise((resolve) => sheet.toBlob(resolve));
}

function save(blob, name) {
  const link = element("a", { href: URL.createObjectURL(blob), download: name });
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
}
