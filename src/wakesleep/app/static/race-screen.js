// The race on the page: two curves and a third, the features as they form, and a drawing that all three nets answer.

import { Pad } from "./pad.js";
import { element, keep, sheet } from "./pictures.js";
import { CLASSES, UPDATES, small } from "./race.js";

const $ = (id) => document.getElementById(id);
const NAMES = {
  dreamed: "dreamed first",
  random: "never dreamed",
  relu: "never dreamed, other units (ReLU)",
};
const SIDE = 8,
  SHOWN = 30;
const PEN = 3 / 28; // so that drawings have as much ink as the small digits, 19.5 pixels of 64

export function setup(app) {
  const worker = new Worker(new URL("race-worker.js", import.meta.url), { type: "module" });
  let points = [],
    state = "ready",
    seed = 1,
    number = 0,
    lessons = "";
  const own = []; // the visitor's drawings that have a name: { picture, label }

  const pad = new Pad($("race-pad"), { changed: ask, file() {} });
  $("race-go").addEventListener("click", start);
  $("race-clear").addEventListener("click", () => pad.clear());
  $("race-labels").addEventListener(
    "input",
    () => ($("race-labels-value").textContent = labelled()),
  );
  $("race-names").replaceChildren(
    ...Array.from({ length: CLASSES }, (_, label) => {
      const button = element("button", { type: "button" }, String(label));
      button.addEventListener("click", () => teach(label));
      return button;
    }),
  );
  worker.onmessage = ({ data }) => told(data);
  worker.onerror = () =>
    app.trouble(new Error("The race stopped: this browser cannot run it. Try a newer one."));
  keep($("race-curves"), draw);

  const counts = [10, 20, 50, 100, 200, 500, 1000];
  function labelled() {
    return counts[$("race-labels").valueAsNumber];
  }

  function start() {
    points = [];
    state = "dreaming";
    seed = 1 + Math.floor(Math.random() * 1e6);
    const mine = $("race-use-own").checked && {
      pictures: Float32Array.from(own.flatMap(({ picture }) => [...picture])),
      labels: Uint8Array.from(own, ({ label }) => label),
    };
    lessons = mine ? `your ${own.length} drawings` : `the same ${labelled()} examples`;
    worker.postMessage({ kind: "start", seed, labelled: labelled(), own: mine || null });
    $("race-go").textContent = "Start again";
    say(
      "One net dreams first: it looks at pictures without names and learns to make such pictures. The others wait.",
    );
    answers(null);
    draw();
  }

  function told(data) {
    if (data.kind === "dreaming") {
      say(
        `Dreaming: layer ${data.layer} of 3, pass ${data.pass} of 20 over 1,297 pictures without names.`,
      );
      features(data);
    }
    if (data.kind === "point") {
      points.push(data);
      state = "racing";
      say(
        `All three now learn from ${lessons}: lesson ${data.update.toLocaleString("en")} of ${UPDATES.toLocaleString("en")}.`,
      );
      draw();
      ask();
    }
    if (data.kind === "done") {
      state = "done";
      const { dreamed, random, relu } = points.at(-1).errors;
      const ahead =
        dreamed < random
          ? "The net that dreamed first wins"
          : dreamed > random
            ? "This time the net that dreamed first loses"
            : "A draw";
      say(
        `${ahead}: it names ${dreamed.toFixed(1)}% of 500 new pictures wrongly, its twin ${random.toFixed(1)}%, the net with ReLU units ${relu.toFixed(1)}%. Draw a digit and see what each makes of it.`,
      );
      ask();
    }
    if (data.kind === "answers" && data.number === number) answers(data.answers);
  }

  // Keep the drawing as an example of a digit, and make room for the next.
  function teach(label) {
    const picture = drawn();
    if (!picture) return say("Draw a digit first, then say what it is.");
    own.push({ picture, label });
    pad.clear();
    const counts = own.reduce(
      (counts, one) => ({ ...counts, [one.label]: (counts[one.label] ?? 0) + 1 }),
      {},
    );
    $("race-own-count").textContent =
      `learn from my ${own.length} drawing${own.length > 1 ? "s" : ""} alone (${Object.entries(
        counts,
      )
        .map(([label, count]) => (count > 1 ? `${count} × ${label}` : label))
        .join(", ")})`;
    $("race-use-own").disabled = false;
  }

  function say(words) {
    $("race-status").textContent = words;
  }

  // What the first layer's units look for, as they form.
  function features({ weight, units }) {
    const bytes = new Uint8Array(SHOWN * SIDE * SIDE);
    for (let unit = 0; unit < SHOWN; unit++) {
      let most = 1e-9;
      for (let at = 0; at < SIDE * SIDE; at++)
        most = Math.max(most, Math.abs(weight[at * units + unit]));
      for (let at = 0; at < SIDE * SIDE; at++)
        bytes[unit * SIDE * SIDE + at] = Math.round(128 + (127 * weight[at * units + unit]) / most);
    }
    $("race-features-box").hidden = false;
    sheet($("race-features"), bytes, SHOWN, [SIDE, SIDE], 10);
  }

  function ask() {
    const picture = state === "ready" || state === "dreaming" ? null : drawn();
    if (picture) worker.postMessage({ kind: "answer", number: ++number, picture });
  }

  function drawn() {
    const shown = pad.picture(PEN);
    if (!shown) return null;
    const { rows, columns, values } = shown.grey,
      ink = new Float32Array(values.length);
    for (let at = 0; at < ink.length; at++) ink[at] = values[at] / 255;
    return small(ink, rows, columns);
  }

  function answers(found) {
    for (const side of Object.keys(NAMES)) {
      const probabilities = found?.[side],
        best = probabilities ? probabilities.indexOf(Math.max(...probabilities)) : -1;
      $(`race-says-${side}`).replaceChildren(
        best < 0 ? "?" : String(best),
        element("small", {}, best < 0 ? "" : `${Math.round(100 * probabilities[best])}%`),
      );
    }
  }

  function draw() {
    const canvas = $("race-curves"),
      scale = devicePixelRatio || 1,
      [width, height] = [canvas.clientWidth || 600, 300];
    [canvas.width, canvas.height] = [width * scale, height * scale];
    const context = canvas.getContext("2d"),
      style = getComputedStyle(document.documentElement),
      colour = (name) => style.getPropertyValue(name).trim();
    const left = 46,
      right = width - 12,
      top = 14,
      bottom = height - 40;
    const x = (update) => left + (update / UPDATES) * (right - left),
      y = (error) => bottom - (error / 100) * (bottom - top);
    context.scale(scale, scale);
    context.font = "13px system-ui, sans-serif";
    context.fillStyle = colour("--muted");
    context.strokeStyle = colour("--line");
    context.textAlign = "right";
    for (const error of [0, 25, 50, 75, 100]) {
      context.beginPath();
      context.moveTo(left, y(error));
      context.lineTo(right, y(error));
      context.stroke();
      context.fillText(`${error}%`, left - 6, y(error) + 4);
    }
    context.textAlign = "center";
    for (const update of [0, 250, 500, 750, 1000])
      context.fillText(update.toLocaleString("en"), Math.min(x(update), right - 14), bottom + 18);
    context.fillText("lessons with labels", (left + right) / 2, height - 4);
    const dashes = { dreamed: [], random: [7, 4], relu: [2, 3] };
    for (const side of ["relu", "random", "dreamed"]) {
      context.strokeStyle = colour(`--race-${side}`);
      context.lineWidth = side === "dreamed" ? 3.5 : 2.5;
      context.setLineDash(dashes[side]);
      context.beginPath();
      points.forEach(({ update, errors }, at) =>
        context[at ? "lineTo" : "moveTo"](x(update), y(errors[side])),
      );
      context.stroke();
    }
    context.setLineDash([]);
    for (const side of Object.keys(NAMES))
      $(`race-error-${side}`).textContent = points.length
        ? `${points.at(-1).errors[side].toFixed(1)}%`
        : "";
    const last = points.at(-1)?.errors;
    canvas.setAttribute(
      "aria-label",
      last
        ? `Errors after ${points.at(-1).update} lessons: ${Object.entries(NAMES)
            .map(([side, name]) => `${name} ${last[side].toFixed(1)} percent`)
            .join(", ")}`
        : "Errors of three nets; the race has not begun",
    );
  }

  $("race-labels-value").textContent = labelled();
  answers(null);
  return { show: draw };
}
