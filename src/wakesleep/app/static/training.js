// Watch training: curves, filters and dreams of a run folder as they form.

import { Dreaming, ask, fetchJson } from "./link.js";
import { element, sheet, signed } from "./pictures.js";
import { Stage } from "./stage.js";

const $ = (id) => document.getElementById(id);
const PLOTS = [
  ["Reconstruction error: a sign of life, no measure of the model", ["reconstruction_error"]],
  ["Pseudo-log-likelihood, nats a unit: higher is better", ["pseudo_log_likelihood"]],
  ["Free-energy gap, nats: one that grows is overfitting", ["free_energy_gap"]],
  ["Hidden activity", ["hidden_activity"]],
  ["Errors on validation cases", ["validation_errors"]],
  ["Error on training cases, %", ["train_error_percent"]],
];
const SVG = "http://www.w3.org/2000/svg";

export function setup(app) {
  const { model } = app;
  const stage = new Stage($("run-dreams"), model, (focus) => dreaming.change({ focus }));
  const dreaming = new Dreaming();
  let timer = 0;

  async function look() {
    try {
      const run = await fetchJson("api/run");
      $("run-name").textContent = run.name;
      const last = run.metrics.at(-1);
      const place = last
        ? `${last.stage}, pass ${last.epoch} of ${last.epochs}`
        : "nothing is finished yet";
      const part = run.evaluation[0]?.part ?? "test"; // a run of an earlier version had test cases alone
      const tested = run.evaluation
        .map((row) => `${row[`${part}_error_percent`].toFixed(2)} % (${row.method})`)
        .join(", ");
      $("run-state").textContent = run.finished
        ? `It is finished${tested ? `; ${part === "train" ? "training" : part} error ${tested}` : ""}.`
        : `It is learning: ${place}.`;
      $("curves").replaceChildren(
        ...PLOTS.map(([title, keys]) => plot(title, series(run.metrics, keys))).filter(Boolean),
      );
    } catch (error) {
      app.trouble(error);
    }
    timer = setTimeout(look, 2000);
  }

  async function filters() {
    const narrow = $("run-fields").parentElement.clientWidth < 480,
      count = Math.min(narrow ? 36 : 96, model.sizes[1]);
    const values = await ask("fields", {
      layer: 1,
      units: Array.from({ length: count }, (_, unit) => unit),
    });
    sheet($("run-fields"), values, count, model.shape, narrow ? 6 : 12, signed);
  }

  return {
    show() {
      look();
      filters();
      dreaming.watch(
        { held: model.labels ? "all" : null, seed: 1, speed: 30, playing: !app.still },
        (frame) => stage.frame(frame),
      );
    },
    hide() {
      clearTimeout(timer);
      dreaming.rest();
    },
    model: filters,
  };
}

// Curves by stage, passes counted through.
function series(metrics, keys) {
  const found = new Map();
  metrics.forEach((line, pass) => {
    for (const key of keys) {
      if (!(key in line)) continue;
      if (!found.has(line.stage)) found.set(line.stage, []);
      found.get(line.stage).push([pass + 1, line[key]]);
    }
  });
  return [...found];
}

function plot(title, lines) {
  if (!lines.length) return null;
  const points = lines.flatMap(([, line]) => line),
    [wide, high, left, bottom] = [420, 200, 48, 24];
  const values = points.map(([, value]) => value),
    least = Math.min(0, ...values),
    most = Math.max(0, ...values) || (least ? 0 : 1),
    last = Math.max(...points.map(([pass]) => pass), 2),
    first = Math.min(...points.map(([pass]) => pass));
  const x = (pass) => left + ((pass - first) / Math.max(1, last - first)) * (wide - left - 8),
    y = (value) => high - bottom - ((value - least) / (most - least)) * (high - bottom - 12);
  const svg = draw("svg", {
    viewBox: `0 0 ${wide} ${high}`,
    role: "img",
    "aria-label": `${title}: ${lines.map(([name, line]) => `${name} ends at ${line.at(-1)[1].toPrecision(3)}`).join("; ")}`,
  });
  svg.append(
    draw("path", { class: "axis", d: `M${left} 8V${high - bottom}H${wide - 8}`, fill: "none" }),
  );
  for (const value of [least, (least + most) / 2, most])
    svg.append(
      words(
        left - 6,
        y(value) + 4,
        Math.abs(value) >= 10 ? Math.round(value) : Number(value.toPrecision(2)),
        "end",
      ),
    );
  svg.append(
    words(left, high - 6, `pass ${first}`, "start"),
    words(wide - 8, high - 6, last, "end"),
  );
  lines.forEach(([, line], number) =>
    svg.append(
      draw("polyline", {
        class: `line c${number % 4}`,
        points: line.map(([pass, value]) => `${x(pass)},${y(value)}`).join(" "),
      }),
    ),
  );
  const legend = element("ul", { className: "legend" });
  lines.forEach(([name], number) => {
    const mark = draw("svg", { viewBox: "0 0 18 8", "aria-hidden": "true" });
    mark.append(draw("path", { class: `line c${number % 4}`, d: "M0 4H18" }));
    legend.append(element("li", {}, mark, name));
  });
  return element("figure", {}, element("h3", {}, title), svg, legend);
}

function draw(tag, attributes) {
  const made = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  return made;
}

function words(x, y, text, anchor) {
  const made = draw("text", { x, y, "text-anchor": anchor });
  made.textContent = text;
  return made;
}
