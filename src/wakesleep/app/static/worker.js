// The thread that thinks: it holds the network and the dreams that are under way, and answers
// questions (link.js asks them) one after the other.

import * as engine from "./engine.js";
import { readModel } from "./model.js";
import { surprise } from "./novelty.js";
import { prepare } from "./prepare.js";
import { place } from "./products.js";

let net = null, how = null, usual = null;
const dreams = new Map();

const METHODS = {
  // Read the model's file; return what the page has to know of it.
  async load() {
    const products = fetch(new URL("products.wasm", import.meta.url)).then((reply) => reply.arrayBuffer());
    const reply = await fetch(new URL("model.safetensors", import.meta.url));
    if (!reply.ok) throw new Error(`The model's file does not come (${reply.status}); load the page again.`);
    const { header, spec, tensors, netTensors } = readModel(await reply.arrayBuffer());
    net = engine.network(spec, tensors, netTensors);
    await products.then((wasm) => place(net.layers, wasm)).catch(() => {}); // refused: plain loops
    how = header.preparation;
    usual = header.novelty ?? null;
    const { classes, shape, card } = header;
    const parameters = Object.values(tensors).reduce((sum, { values }) => sum + values.length, 0);
    return { sizes: spec.sizes, labels: spec.labels, classes, shape, card: card ?? {}, parameters };
  },

  // Of a picture, {pixels: bytes of the network's size}, or {grey: {rows, columns, values: bytes}};
  // with `every`, also as each layer sees it.
  recognize(picture) {
    const pixels = asCase(picture), way = engine.up(net, pixels);
    const answer = engine.recognize(net, pixels, picture.every, way);
    if (usual) {
      answer.surprise = surprise(net, way, usual, answer.label);
      answer.unfamiliar = answer.surprise > usual.threshold;
    }
    return answer;
  },

  // Bytes around 128, unit by unit: what units of a layer look for.
  fields({ layer, start, count }) {
    const size = net.sizes[0], out = new Uint8Array(count * size);
    for (let at = 0; at < count; at++)
      out.set(engine.signedBytes(engine.receptiveField(net, layer, start + at)), at * size);
    return out;
  },

  unit({ layer, unit }) {
    const adds = engine.projectiveField(net, layer, unit);
    return {
      layer, unit,
      prefers: engine.signedBytes(engine.receptiveField(net, layer, unit)),
      contributes: engine.signedBytes(adds),
      largest_contribution: adds.reduce((most, value) => Math.max(most, Math.abs(value)), 0),
      labels: layer === net.sizes.length - 1 && net.labels ? engine.labelWeights(net, unit) : null,
    };
  },

  // Begin a dream under a number; `picture` is bytes of the network's size.
  begin({ dream, picture, ...options }) {
    dreams.set(dream, engine.begin(net, { ...options, picture: picture && parts(picture) }));
  },

  change({ dream, held, temperature }) {
    if (held !== undefined) engine.hold(net, dreams.get(dream), held);
    if (temperature !== undefined) dreams.get(dream).temperature = temperature;
  },

  // Move a dream `steps` steps on, but for no longer than `budget` milliseconds; return what it
  // shows.
  advance({ dream, steps, budget = Infinity, focus }) {
    const until = performance.now() + budget, now = dreams.get(dream);
    for (let step = 0; step < steps; step++) {
      engine.advance(net, now, 1);
      if (performance.now() > until) break;
    }
    return engine.look(net, now, focus);
  },
};

function asCase({ pixels, grey, drawing }) {
  if (pixels) return parts(pixels);
  return prepare({ ...grey, values: parts(grey.values) }, how, { drawing });
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
