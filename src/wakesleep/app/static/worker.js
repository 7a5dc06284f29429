// The thread that thinks: it holds the network and the dreams that are under way, and answers
// questions (link.js asks them) one after the other.

import * as engine from "./engine.js";
import * as looks from "./fields.js";
import { SEVERAL, readModel } from "./model.js";
import { surprise } from "./novelty.js";
import { prepare } from "./prepare.js";
import { place } from "./products.js";
import * as senses from "./senses.js";

// Who thinks for a net by its class, of others engine; what the first screen of most does not need comes when it is asked for.
const MINDS = { DBM: () => import("./deep.js"), [SEVERAL]: () => senses };
const sound = () => import("./sound.js");
let net = null,
  mind = engine,
  how = null,
  usual = null,
  shape = null,
  known = []; // `known`: what the units of each layer look for
const dreams = new Map();

const METHODS = {
  // Read the model's file; return what the page has to know of it.
  async load() {
    const products = fetch(new URL("products.wasm", import.meta.url)).then((reply) =>
      reply.arrayBuffer(),
    );
    const reply = await fetch(new URL("model.safetensors", import.meta.url));
    if (!reply.ok)
      throw new Error(`The model's file does not come (${reply.status}); load the page again.`);
    const { header, spec, tensors, netTensors } = readModel(await reply.arrayBuffer());
    mind = (await MINDS[spec.class]?.()) ?? engine;
    net =
      mind === senses
        ? senses.network(spec, tensors, header.senses)
        : mind.network(spec, tensors, netTensors);
    await products.then((wasm) => place(net.layers, wasm)).catch(() => {}); // refused: plain loops
    how = header.preparation ?? header.senses; // of each sense its own
    usual = header.novelty ?? null;
    const { classes, card } = header;
    shape = header.shape;
    known = [];
    const parameters = Object.values(tensors).reduce((sum, { values }) => sum + values.length, 0);
    return {
      class: spec.class ?? "DBN",
      deep: spec.class === "DBM",
      senses: header.senses,
      sizes: spec.sizes,
      labels: spec.labels,
      classes,
      shape,
      card: card ?? {},
      parameters,
    };
  },

  // Of a picture, {pixels: bytes of the network's size}, or {grey: {rows, columns, values: bytes}};
  // with `every`, also as each layer sees it.
  recognize(picture) {
    const pixels = asCase(picture),
      way = mind.up(net, pixels);
    const answer = mind.recognize(net, pixels, picture.every, way);
    if (usual) {
      answer.surprise = surprise(net, way, usual, answer.label);
      answer.unfamiliar = answer.surprise > usual.threshold;
    }
    return answer;
  },

  // The units of a layer, strokes and blobs first, noise last.
  order: async ({ layer }) => (await look(layer)).order,

  // Bytes around 128, unit by unit: what units of a layer look for.
  fields: ({ layer, units }) => fields(layer, units),

  unit({ layer, unit }) {
    const adds = looks.projectiveField(net, layer, unit);
    return {
      layer,
      unit,
      prefers: looks.signedBytes(looks.receptiveField(net, layer, unit)),
      contributes: looks.signedBytes(adds),
      largest_contribution: adds.reduce((most, value) => Math.max(most, Math.abs(value)), 0),
      labels: layer === net.sizes.length - 1 && net.labels ? looks.labelWeights(net, unit) : null,
    };
  },

  // Of each layer, given how much each unit counts: the strongest units, those first that have most
  // structure, as pictures; and the weights between them and those below them.
  async strongest({ values, count }) {
    const levels = await Promise.all(
      values.map(async (counts, at) => {
        const { structure } = await look(at + 1),
          units = [...counts.keys()].sort((one, other) => counts[other] - counts[one]);
        const chosen = units
          .slice(0, 3 * count)
          .sort((one, other) => structure[other] - structure[one])
          .slice(0, count);
        return { units: chosen, pictures: await fields(at + 1, chosen), ties: null };
      }),
    );
    levels
      .slice(1)
      .forEach(
        (level, at) => (level.ties = looks.ties(net, at + 2, level.units, levels[at].units)),
      );
    const { units } = levels.at(-1);
    return {
      levels,
      labels: Array.from({ length: net.labels }, (_, label) =>
        units.map((unit) => looks.labelWeights(net, unit)[label]),
      ),
    };
  },

  // A picture, bytes, filled in where it is not known: by each layer alone (of a deep Boltzmann machine: by one pass up and
  // back), and by the whole.
  complete: ({ pixels, known, sweeps, seed }) =>
    mind.completions(net, parts(pixels), known, sweeps, seed).map(engine.bytes),

  // Begin a dream under a number; `picture` is bytes of the network's size.
  begin({ dream, picture, given, ...options }) {
    if (given)
      return void dreams.set(dream, senses.begin(net, { ...options, given: caseOf(given) }));
    dreams.set(dream, mind.begin(net, { ...options, picture: picture && parts(picture) }));
  },

  change({ dream, held, temperature }) {
    if (held !== undefined) mind.hold(net, dreams.get(dream), held);
    if (temperature !== undefined) dreams.get(dream).temperature = temperature;
  },

  // Move a dream `steps` steps on, but for no longer than `budget` milliseconds; return what it
  // shows.
  advance({ dream, steps, budget = Infinity, focus }) {
    const until = performance.now() + budget,
      now = dreams.get(dream);
    for (let step = 0; step < steps; step++) {
      mind.advance(net, now, 1);
      if (performance.now() > until) break;
    }
    return mind.look(net, now, focus);
  },

  // Samples of a recording as a log-mel picture; a picture as samples.
  hear: async ({ sense, wave }) => (await sound()).picture(wave, how[sense]),
  say: async ({ sense, values }) => (await sound()).toWave(values, how[sense]),
};

// Found out once, and in small parts, so that other questions are answered meanwhile.
const look = (layer) => (known[layer] ??= findOut(layer));

async function findOut(layer) {
  const finding = looks.receptiveFields(net, layer);
  let step = finding.next();
  for (; !step.done; step = finding.next()) await new Promise((resolve) => setTimeout(resolve));
  const structure = looks.structure(step.value, shape);
  return {
    all: step.value,
    structure,
    order: Int32Array.from(structure.keys()).sort(
      (one, other) => structure[other] - structure[one],
    ),
  };
}

async function fields(layer, units) {
  const { all } = await look(layer),
    size = net.sizes[0],
    out = new Uint8Array(units.length * size);
  units.forEach((unit, at) =>
    out.set(looks.signedBytes(all.subarray(unit * size, (unit + 1) * size)), at * size),
  );
  return out;
}

// What is given to a net of several senses, {sense: picture} or a label.
function caseOf(given) {
  return Object.fromEntries(
    Object.entries(given).map(([name, value]) => [
      name,
      net.pathways[name]?.kind === "picture" ? asCase(value, how[name]) : value,
    ]),
  );
}

function asCase({ pixels, grey, drawing }, preparation = how) {
  if (pixels) return parts(pixels);
  return prepare({ ...grey, values: parts(grey.values) }, preparation, { drawing });
}

// Bytes as parts of 255; a loop, for Float32Array.from takes ten times as long.
function parts(bytes) {
  const out = new Float32Array(bytes.length);
  for (let at = 0; at < out.length; at++) out[at] = bytes[at] / 255;
  return out;
}

addEventListener("message", async ({ data: { id, method, given } }) => {
  try {
    postMessage({ id, result: await METHODS[method](given) });
  } catch (error) {
    postMessage({ id, error: error.message });
  }
});
