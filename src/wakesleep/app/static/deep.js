// A deep Boltzmann machine on typed arrays: mean field, chains of all its layers, half a picture filled in. Pure functions
// that are called as those of engine.js for a deep belief net; each does what the Python function named beside it does.

import {
  activitiesOf,
  bernoulli,
  bytes,
  choice,
  even,
  evidence,
  feedForward,
  fitting,
  logSoftmax,
  random,
  shares,
  sigmoid,
  softmax,
  topInput,
  totalInput,
} from "./engine.js";
import { layer, totalInputs } from "./products.js";

const STEPS = 30; // of mean field, at most (models/dbm.py)
const SETTLED = 1e-4; // the largest change of a mean in a step that need not be followed by another

// Return the machine of a spec {sizes, labels} and its tensors: one RBM between the even and the odd layers, the label
// beside the layer below the top. Layers are named as those of a deep belief net, for fields.js: what is joined is the same.
export function network({ sizes, labels }, tensors, netTensors = {}) {
  const depth = sizes.length - 1,
    widths = [0, 0];
  const place = (size, side) => ({ size, side, from: (widths[side] += size) - size });
  const places = sizes.map((size, at) => place(size, at % 2)),
    label = place(labels, (depth - 1) % 2);
  const weights = fitting(tensors["rbm.weight"], widths[0] * widths[1]).values;
  const biases = ["visible", "hidden"].map(
    (name, side) => fitting(tensors[`rbm.${name}_bias`], widths[side]).values,
  );
  const weightAt = (one, other, row, column) =>
    one.side
      ? weightAt(other, one, column, row)
      : weights[(one.from + row) * widths[1] + other.from + column];
  const biasOf = ({ side, from, size }) => biases[side].slice(from, from + size);
  const between = (from, to) =>
    layer(from.size, to.size, (row, column) => weightAt(from, to, row, column), biasOf(to));
  const below = places.slice(0, -1),
    [top, next] = [places[depth], places[depth - 1]];
  const beside = (at) => (at < next.size ? [next, at] : [label, at - next.size]); // units below the top: features, then labels
  const fromBeside = (at, unit) => weightAt(beside(at)[0], top, beside(at)[1], unit);
  const memory = {
    up: layer(next.size + labels, top.size, fromBeside, biasOf(top)),
    down: layer(
      top.size,
      next.size + labels,
      (unit, at) => fromBeside(at, unit),
      Float32Array.of(...biasOf(next), ...biasOf(label)),
    ),
  };
  const recognition = below.slice(0, -1).map((from, at) => between(from, places[at + 1]));
  const generative = below.slice(0, -1).map((to, at) => between(places[at + 1], to));
  const classifier = feedForward(netTensors);
  const layers = [...recognition, ...generative, memory.up, memory.down, ...(classifier ?? [])];
  return {
    sizes,
    labels,
    features: next.size,
    top: top.size,
    recognition,
    generative,
    memory,
    classifier,
    layers,
  };
}

// The total input of layer `at` of each chain {states, labels} from the layers beside it; that of the layer below the top is
// followed by the labels'.
function inputsOf(net, chains, at) {
  const { recognition, generative, memory, features } = net,
    top = net.sizes.length - 1;
  if (at === top)
    return totalInputs(
      memory.up,
      chains.map(({ states, labels }) => Float32Array.of(...states[top - 1], ...labels)),
    );
  const above = totalInputs(
    at === top - 1 ? memory.down : generative[at],
    chains.map(({ states }) => states[at + 1]),
  );
  if (!at) return above;
  const { bias } = recognition[at - 1]; // both sides have it
  totalInputs(
    recognition[at - 1],
    chains.map(({ states }) => states[at - 1]),
  ).forEach((sums, chain) => {
    for (let unit = 0; unit < (at === top - 1 ? features : sums.length); unit++)
      above[chain][unit] += sums[unit] - bias[unit];
  });
  return above;
}

// Move every second layer from `first` on: `take(inputs)` makes states of a layer's total inputs, `name(inputs)` shares of the
// labels'.
function move(net, chains, first, take, name) {
  for (let at = first; at < net.sizes.length; at += 2) {
    const inputs = inputsOf(net, chains, at),
      size = net.sizes[at];
    chains.forEach((chain, number) => {
      const own = inputs[number];
      chain.states[at] = take(own.subarray(0, size), at, chain);
      if (own.length > size) chain.labels = chain.held ?? name(own.subarray(size));
    });
  }
}

// Means of all layers and of the labels that coordinate ascent finds for a picture, {states, labels} (DBM.mean_field).
export function meanField(net, picture, held = null, steps = STEPS) {
  const top = net.sizes.length - 1,
    states = [picture];
  for (let at = 1; at < top; at++) {
    // the way up, weights doubled: there is nothing from above yet
    const { bias } = net.recognition[at - 1];
    states.push(
      totalInput(net.recognition[at - 1], states[at - 1]).map((input, unit) =>
        sigmoid(2 * input - bias[unit]),
      ),
    );
  }
  const chain = { states, labels: held ?? even(net), held };
  states.push(inputsOf(net, [chain], top)[0].map(sigmoid));
  const means = (inputs) => inputs.map(sigmoid),
    evens = () => states.filter((_, at) => at % 2 === 0);
  for (let step = 0; step < steps; step++) {
    const before = evens();
    for (const first of [1, 2]) move(net, [chain], first, means, softmax); // the picture stays
    if (
      evens().every((layer, at) =>
        layer.every((mean, unit) => Math.abs(mean - before[at][unit]) < SETTLED),
      )
    )
      break;
  }
  move(net, [chain], 1, means, softmax);
  return chain;
}

export const up = (net, picture) => meanField(net, picture);

// E[v | layer 1] of each chain (DBM.visible_means).
const pixelsOf = (net, chains) =>
  activitiesOf(
    net.generative[0],
    chains.map(({ states }) => states[1]),
  );

// log p(label | picture), nats: of the net fine-tuned from the machine, else of the mean field; null where nothing names labels
// (scores.log_probs).
function logProbs(net, { states, labels }) {
  if (!net.classifier) return net.labels ? Float64Array.from(labels, Math.log) : null;
  let inputs = Float32Array.of(
    ...states.filter((_, at) => at % 2 === 0).flatMap((layer) => [...layer]),
  );
  for (const layer of net.classifier.slice(0, -1)) inputs = totalInput(layer, inputs).map(sigmoid);
  return logSoftmax(totalInput(net.classifier.at(-1), inputs));
}

// All that the page tells of a picture, as engine.recognize does; what the machine sees is E[v | the mean field of layer 1].
export function recognize(net, picture, every = false, way = up(net, picture)) {
  const log = logProbs(net, way);
  const answer = {
    picture: bytes(picture),
    logProbs: log,
    seen: [bytes(pixelsOf(net, [way])[0])],
    activities: way.states.slice(1).map(bytes),
  };
  if (!log) return answer;
  const [label, other] = [...log.keys()].sort((one, two) => log[two] - log[one]);
  Object.assign(answer, { label, runner_up: other, probs: Array.from(log, Math.exp) });
  if (net.labels)
    answer.evidence = Float32Array.from(
      evidence(net, topInput(net, way.states.at(-2)), label, other),
    );
  return answer;
}

// ---- chains of all layers ----

// Begin a dream as engine.begin does; a picture, or what is known of it, is taken in by mean field first.
export function begin(
  net,
  { held = null, seed = 0, temperature = 1, picture = null, known = null, count = 1 },
) {
  const uniform = random(seed),
    all = held === "all",
    base = net.generative[0].bias;
  const given = known
    ? picture.map((pixel, at) => (known[at] ? pixel : sigmoid(base[at])))
    : picture;
  const dream = { uniform, temperature, picture, known, step: 0 };
  dream.chains = Array.from({ length: all ? net.labels : count }, (_, label) => {
    const clamp = shares(net, all ? label : held);
    if (picture) return meanField(net, given, clamp);
    const states = net.sizes.map((size) =>
      Float32Array.from({ length: size }, () => (uniform() < 0.5 ? 1 : 0)),
    );
    return { states, held: clamp, labels: clamp ?? drawn(even(net), uniform) };
  });
  if (picture) half(net, dream, 1);
  return dream;
}

export function hold(net, dream, held) {
  const clamp = shares(net, held);
  for (const chain of dream.chains)
    Object.assign(chain, { held: clamp, labels: clamp ?? chain.labels });
}

// One label drawn from shares of them, one-hot.
function drawn(probs, uniform) {
  const states = new Float32Array(probs.length);
  if (states.length) states[choice(probs, uniform)] = 1;
  return states;
}

// Draw every second layer from `first` on given the others; total inputs are divided by the temperature, known pixels stay.
function half(net, { chains, uniform, temperature, known, picture }, first) {
  const take = (inputs, at) => {
    const states = bernoulli(inputs, uniform, temperature);
    return known && !at
      ? states.map((state, pixel) => (known[pixel] ? picture[pixel] : state))
      : states;
  };
  move(net, chains, first, take, (inputs) =>
    drawn(softmax(inputs.map((input) => input / temperature)), uniform),
  );
}

// Move every chain `steps` Gibbs steps on: the even layers, then the odd ones (gibbs.gibbs_step).
export function advance(net, dream, steps) {
  for (let step = 0; step < steps; step++) for (const first of [0, 1]) half(net, dream, first);
  dream.step += steps;
}

const kept = ({ picture, known }, pixels) =>
  known ? picture.map((pixel, at) => (known[at] ? pixel : pixels[at])) : pixels;

// What a dream shows, laid out as engine.look lays it out.
export function look(net, dream, focus = 0) {
  const { chains } = dream,
    count = chains.length,
    here = Math.min(focus, count - 1);
  const joined = (units, rows) => {
    const values = new Uint8Array(count * units);
    rows.forEach((row, chain) => values.set(bytes(row), chain * units));
    return { chains: count, units, values };
  };
  const layers = [
    joined(
      net.sizes[0],
      pixelsOf(net, chains).map((pixels) => kept(dream, pixels)),
    ),
  ];
  for (const states of chains[here].states.slice(1))
    layers.push({ chains: 1, units: states.length, values: bytes(states) });
  if (net.labels)
    layers.push(
      joined(
        net.labels,
        chains.map(({ labels }) => labels),
      ),
    );
  return { step: dream.step, focus: here, layers };
}

// A picture whose pixels are known in part, the rest filled in: by one pass up and back, and by all layers together, the mean
// of what chains make of it in the second half of `sweeps` steps (deep.fill_in).
export function completions(net, picture, known, sweeps, seed) {
  const dream = begin(net, { picture, known, seed }),
    sums = new Float32Array(picture.length);
  const given = kept(dream, Float32Array.from(net.generative[0].bias, sigmoid));
  const pass = kept(dream, pixelsOf(net, [meanField(net, given, null, 0)])[0]),
    from = Math.floor(sweeps / 2);
  for (let step = 0; step < sweeps; step++) {
    advance(net, dream, 1);
    if (step >= from)
      pixelsOf(net, dream.chains)[0].forEach((pixel, at) => (sums[at] += pixel / (sweeps - from)));
  }
  return [pass, kept(dream, sums)];
}
