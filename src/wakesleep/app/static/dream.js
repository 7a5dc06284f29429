// Dream: hold a label or none, and watch the memory settle.

import { gif } from "./gif.js";
import { Dreaming } from "./link.js";
import { Machine } from "./machine.js";
import { element, ink } from "./pictures.js";
import { handOut, save, within } from "./share.js";
import { Stage } from "./stage.js";

const $ = (id) => document.getElementById(id);
const SPEEDS = [1, 2, 4, 8, 15, 30, 60, 120, 300, 900, null]; // Gibbs steps a second; null: as fast as it goes
const KEPT = 120; // frames of a movie
// Steps before the first frame: of one dream as many as take a fifth of a second, after which 97 of 100 are of the label that
// is held; of all labels together fewer, nine of ten.
const SETTLED = { one: 600, all: 150 };

export function setup(app) {
  const { model } = app,
    dreaming = new Dreaming();
  const machine = new Machine($("dream-machine"), model, app.inspect, { asleep: true });
  const stage = new Stage($("dream-pictures"), model, (focus) => {
    dreaming.change({ focus });
    if (!playing) dreaming.step(0);
  });
  let playing = !app.still,
    held = model.labels ? 3 % model.labels : null,
    kept = [],
    last = null;

  const speed = () => SPEEDS[$("dream-speed").value];
  const temperature = () => Number($("dream-temperature").value);
  const seed = () => Number($("dream-seed").value) || 0;

  // What makes this dream again, as it stands in the page's address.
  const address = () => ({
    label: held === null ? "none" : held === "all" ? "all" : model.classes[held],
    seed: seed(),
    temperature: temperature(),
  });

  // Take over what an address says; what it does not say, or says wrongly, stays. Return whether anything changed.
  function take(asked) {
    const before = JSON.stringify(address()),
      label = asked.get("label"),
      number = model.classes.indexOf(label);
    if (label === "none") held = null;
    else if (label === "all" && model.labels) held = "all";
    else if (number >= 0 && model.labels) held = number;
    for (const [name, input] of [
      ["seed", $("dream-seed")],
      ["temperature", $("dream-temperature")],
    ]) {
      const value = asked.get(name);
      if (
        value !== null &&
        value !== "" &&
        Number(value) >= Number(input.min) &&
        Number(value) <= Number(input.max)
      )
        input.value = value;
    }
    return JSON.stringify(address()) !== before;
  }

  function start() {
    kept = [];
    last = null;
    dreaming.watch(
      {
        held,
        seed: seed(),
        temperature: temperature(),
        speed: speed(),
        playing,
        settled: app.still || !dreaming.begun ? SETTLED[held === "all" ? "all" : "one"] : 1,
      },
      frame,
    ); // the first is there at once
    title();
    app.address(address());
  }

  function frame(found) {
    last = found;
    stage.frame(found);
    machine.frame(found, playing ? 0.7 : 0);
    if (kept.push(found.layers[0]) > KEPT) kept.shift();
    if (found.number % 10 === 0 || !playing)
      $("dream-title").textContent = `${name()}, after ${found.step.toLocaleString("en")} steps`;
  }

  const name = () =>
    held === null
      ? "A free dream"
      : held === "all"
        ? "All labels side by side"
        : `A dream of ${model.classes[held]}`;

  function title() {
    $("dream-title").textContent = name();
    $("dream-play").textContent = playing ? "Pause" : "Play";
    $("dream-step").disabled = playing;
    $("dream-speed-value").textContent =
      speed() === null ? "as fast as it goes" : `${speed()} step${speed() > 1 ? "s" : ""} a second`;
    $("dream-temperature-value").textContent = temperature().toFixed(2);
    const still =
      app.still && !playing
        ? " Your system asks for less motion, so it waits: press Play or Step."
        : "";
    $("dream-status").textContent =
      (playing ? `${model.deep ? "All layers are" : "The memory is"} settling.` : "It pauses.") +
      still;
  }

  function labels() {
    const choices = [
      ["none", null],
      ...(model.labels ? model.classes.map((label, number) => [label, number]) : []),
      ...(model.labels ? [["all", "all"]] : []),
    ];
    $("dream-labels").replaceChildren(
      ...choices.map(([words, value]) => {
        const input = element("input", {
          type: "radio",
          name: "dream-label",
          checked: value === held,
        });
        input.addEventListener("change", () => {
          const goesOn = last && value !== "all" && held !== "all" && last.layers[0].chains === 1;
          held = value;
          if (!goesOn) return start();
          dreaming.change({ held }); // the same chain, another thought: watch it turn
          if (!playing) dreaming.step();
          title();
          app.address(address());
        });
        return element("label", {}, input, element("span", {}, words));
      }),
    );
  }

  function play(on) {
    playing = on;
    dreaming.change({ playing });
    title();
  }

  $("dream-play").addEventListener("click", () => play(!playing));
  $("dream-step").addEventListener("click", () => dreaming.step());
  $("dream-again").addEventListener("click", () => {
    $("dream-seed").value = Math.floor(Math.random() * 1_000_000);
    start();
  });
  $("dream-seed").addEventListener("change", start);
  $("dream-speed").addEventListener("input", () => {
    dreaming.change({ speed: speed() });
    title();
  });
  $("dream-temperature").addEventListener("input", () => {
    dreaming.change({ temperature: temperature() });
    title();
    app.address(address());
  });
  $("dream-png").addEventListener("click", () =>
    picture(stage.canvases).then((blob) => save(blob, "dream.png")),
  );
  $("dream-gif").addEventListener("click", () => {
    if (!kept.length) return app.trouble("There is no frame to save yet.");
    const { chains } = kept[0],
      columns = Math.min(chains, 5),
      sheets = kept.map((pictures) => tile(pictures, model.shape, columns));
    handOut(
      gif(
        sheets.map(({ values }) => values),
        sheets[0].width,
        sheets[0].height,
        ink(),
        15,
      ),
      "dream.gif",
    );
    $("dream-status").textContent = `Saved the last ${sheets.length} frames.`;
  });
  labels();
  title();
  return {
    // A dream survives a visit to another screen; an address that asks for another one begins it.
    show(asked) {
      const other = take(asked);
      if (!dreaming.begun || other) {
        labels();
        return start();
      }
      dreaming.resume();
      app.address(address());
    },
    hide: () => dreaming.rest(),
  };
}

// Pictures {chains, units, values} of one frame side by side, each pixel enlarged: {width, height, values}.
function tile({ chains, units, values }, [rows, wide], columns) {
  const scale = Math.max(1, Math.round((chains > 1 ? 112 : 280) / Math.max(rows, wide))),
    gap = scale,
    lines = Math.ceil(chains / columns);
  const width = columns * (wide * scale + gap) + gap,
    height = lines * (rows * scale + gap) + gap,
    out = new Uint8Array(width * height).fill(96);
  for (let chain = 0; chain < chains; chain++) {
    const [left, top] = [
      gap + (chain % columns) * (wide * scale + gap),
      gap + Math.floor(chain / columns) * (rows * scale + gap),
    ];
    for (let y = 0; y < rows * scale; y++)
      for (let x = 0; x < wide * scale; x++)
        out[(top + y) * width + left + x] =
          values[chain * units + Math.floor(y / scale) * wide + Math.floor(x / scale)];
  }
  return { width, height, values: out };
}

// The pictures on show as one PNG.
function picture(canvases) {
  const columns = Math.min(canvases.length, 5),
    side = 168,
    gap = 8,
    rows = Math.ceil(canvases.length / columns);
  const sheet = element("canvas", {
    width: columns * (side + gap) + gap,
    height: rows * (side + gap) + gap,
  });
  const context = sheet.getContext("2d");
  context.fillStyle = "#59595f";
  context.fillRect(0, 0, sheet.width, sheet.height);
  canvases.forEach((canvas, number) =>
    within(
      context,
      canvas,
      gap + (number % columns) * (side + gap),
      gap + Math.floor(number / columns) * (side + gap),
      side,
    ),
  );
  return new Promise((resolve) => sheet.toBlob(resolve));
}
