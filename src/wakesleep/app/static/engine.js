// A deep belief net on typed arrays: recognition by label free energies, settling of the memory,
// the way down, and what units are for. Pure functions, for the page, its worker and node alike;
// each does what the Python function named beside it does.

import { layer, totalInputs } from "./products.js";

// Uniform numbers in [0, 1), repeatable by the seed: xoshiro128** (Blackman & Vigna, 2018), its
// state filled by splitmix32.
export function random(seed) {
  const state = new Uint32Array(4);
  let mixed = (seed % 4294967296) ^ Math.floor(seed / 4294967296);
  for (let at = 0; at < 4; at++) {
    mixed = (mixed + 0x9e3779b9) | 0;
    let word = Math.imul(mixed ^ (mixed >>> 16), 0x21f0aaad);
    word = Math.imul(word ^ (word >>> 15), 0x735a2d97);
    state[at] = word ^ (word >>> 15);
  }
  return () => {
    const word = Math.imul(state[1], 5),
      result = Math.imul((word << 7) | (word >>> 25), 9) >>> 0;
    const shifted = state[1] << 9;
    state[2] ^= state[0];
    state[3] ^= state[1];
    state[1] ^= state[2];
    state[0] ^= state[3];
    state[2] ^= shifted;
    state[3] = (state[3] << 11) | (state[3] >>> 21);
    return result / 4294967296;
  };
}

// Return the net of a spec {sizes, labels, tied} and its tensors {name: {shape, values}}.
//
// Layers are kept in the direction in which they are read, so that a sum over the units that are on
// reads whole rows.
export function network({ sizes, labels, tied }, tensors, netTensors = {}) {
  const { recognition, generative } = pathway(tensors, "", sizes.slice(0, -1), tied);
  const features = sizes.at(-2),
    top = sizes.at(-1),
    memory = memoryOf(tensors, features + labels, top);
  const classifier = feedForward(netTensors);
  const layers = [...recognition, ...generative, memory.up, memory.down, ...(classifier ?? [])];
  return { sizes, labels, features, top, recognition, generative, memory, classifier, layers };
}

// The layer that reads inputs x outputs weights as they are, and the one that reads them the other way round.
const straight = ({ values }, bias, inputs, outputs) =>
  layer(inputs, outputs, (row, column) => values[row * outputs + column], bias);
const turned = ({ values }, bias, inputs, outputs) =>
  layer(inputs, outputs, (row, column) => values[column * inputs + row], bias);

// The directed layers between units of `sizes`, from the lowest up; names of their tensors begin with `prefix`.
export function pathway(tensors, prefix, sizes, tied) {
  const recognition = [],
    generative = [];
  for (let at = 0; at + 1 < sizes.length; at++) {
    const [below, above] = [sizes[at], sizes[at + 1]];
    const found = (name, count) => fitting(tensors[`${prefix}${name}`], count);
    recognition.push(
      straight(
        found(`recognition.${at}.weight`, below * above),
        found(`recognition.${at}.bias`, above).values,
        below,
        above,
      ),
    );
    generative.push(
      turned(
        found(`${tied ? "recognition" : "generative"}.${at}.weight`, below * above),
        found(`generative.${at}.bias`, below).values,
        above,
        below,
      ),
    );
  }
  return { recognition, generative };
}

// The memory between `visible` units (codes and labels) and its top, read both ways.
export function memoryOf(tensors, visible, top) {
  const found = (name, count) => fitting(tensors[`memory.${name}`], count),
    weight = found("weight", visible * top);
  return {
    up: straight(weight, found("hidden_bias", top).values, visible, top),
    down: turned(weight, found("visible_bias", visible).values, top, visible),
  };
}

export function fitting(tensor, count) {
  if (tensor?.values.length !== count)
    throw new Error("The model's numbers do not fit the sizes of its layers; the file is damaged.");
  return tensor;
}

// Return the layers of a fine-tuned net (PyTorch's Linear keeps outputs x inputs), or null.
export function feedForward(tensors) {
  const weights = Object.keys(tensors)
    .filter((name) => name.endsWith(".weight"))
    .sort((one, other) => parseInt(one) - parseInt(other));
  return weights.length
    ? weights.map((name) => {
        const {
          shape: [outputs, inputs],
          values,
        } = tensors[name];
        const bias = tensors[name.replace("weight", "bias")].values;
        return layer(inputs, outputs, (row, column) => values[column * inputs + row], bias);
      })
    : null;
}

export const totalInput = (layer, states) => totalInputs(layer, [states])[0];

export const sigmoid = (input) => 1 / (1 + Math.exp(-input));
const softplus = (input) =>
  input > 0 ? input + Math.log1p(Math.exp(-input)) : Math.log1p(Math.exp(input));

export function bernoulli(inputs, uniform, temperature = 1, out = new Float32Array(inputs.length)) {
  for (let unit = 0; unit < out.length; unit++)
    out[unit] = uniform() < sigmoid(inputs[unit] / temperature) ? 1 : 0;
  return out;
}

// E[to | from] of each case, or states drawn from it where a generator is given.
export const activitiesOf = (layer, cases, uniform = null) =>
  totalInputs(layer, cases).map((inputs) =>
    uniform ? bernoulli(inputs, uniform) : inputs.map(sigmoid),
  );

const activities = (layer, states) => totalInput(layer, states).map(sigmoid);

// Activities from the pixels (given) to the penultimate layer (DBN.up), and what led to them: the
// total inputs of these layers, those of the top units with no label on, and each label's score.
export function up(net, picture) {
  const layers = [picture],
    inputs = [];
  for (const layer of net.recognition) {
    inputs.push(totalInput(layer, layers.at(-1)));
    layers.push(inputs.at(-1).map(sigmoid));
  }
  const total = topInput(net, layers.at(-1));
  return { layers, inputs, total, scores: net.labels ? labelScores(net, total) : null };
}

// States drawn from the pixels of each case to its penultimate layer.
function drawUp(net, pictures, uniform) {
  return net.recognition.reduce((states, layer) => activitiesOf(layer, states, uniform), pictures);
}

// States of each case from the pixels, always probabilities, to the penultimate layer, given
// (DBN.down).
function drawDown(net, features, uniform) {
  const layers = [features];
  for (let at = net.generative.length - 1; at >= 0; at--)
    layers.unshift(activitiesOf(net.generative[at], layers[0], at ? uniform : null));
  return features.map((_, number) => layers.map((states) => states[number]));
}

// Total input of the top units from features alone, no label on (DBN.top_input).
export const topInput = (net, features) => totalInput(net.memory.up, features);

export const rowOf = ({ weight, stride, outputs }, row) =>
  weight.subarray(row * stride, row * stride + outputs);
export const labelRow = (net, label) => rowOf(net.memory.up, net.features + label);

// -F(label) = labelbias + sum_j softplus(x_j + W_label,j), nats up to a constant
// (classify.memory_label_scores).
export function labelScores(net, total) {
  return Float64Array.from({ length: net.labels }, (_, label) => {
    const row = labelRow(net, label);
    let score = net.memory.down.bias[net.features + label];
    for (let unit = 0; unit < net.top; unit++) score += softplus(total[unit] + row[unit]);
    return score;
  });
}

export function logSoftmax(scores) {
  const most = Math.max(...scores);
  const whole = most + Math.log(scores.reduce((sum, score) => sum + Math.exp(score - most), 0));
  return scores.map((score) => score - whole);
}

export const softmax = (scores) => logSoftmax(scores).map(Math.exp);

// log p(label | picture), nats (classify.log_probs; of a net without labels, that of the net
// fine-tuned from it, backprop.log_probs); null where nothing names labels.
export function logProbs(net, picture) {
  if (net.labels) return logSoftmax(up(net, picture).scores);
  if (!net.classifier) return null;
  let states = picture;
  for (const layer of net.classifier.slice(0, -1)) states = activities(layer, states);
  return logSoftmax(totalInput(net.classifier.at(-1), states));
}

// What each top unit says for a label against another, nats: softplus(x_j + W_label,j) -
// softplus(x_j + W_other,j) (interpretation.evidence).
export function evidence(net, total, label, other) {
  const [own, its] = [labelRow(net, label), labelRow(net, other)];
  return total.map((input, unit) => softplus(input + own[unit]) - softplus(input + its[unit]));
}

// The picture as each layer knows it, up to it and down again; the last went through the memory
// (dreams.reconstruct_per_layer); without `every`, that one alone (dreams.reconstruct). Takes what
// `up` returns.
export function reconstructions(net, { layers, total }, every = true) {
  const back = (height, states) => {
    for (let at = height - 1; at >= 0; at--) states = activities(net.generative[at], states);
    return states;
  };
  const seen = every ? layers.slice(1).map((layer, below) => back(below + 1, layer)) : [];
  const shared = total.slice();
  for (let label = 0; label < net.labels; label++)
    labelRow(net, label).forEach((weight, unit) => (shared[unit] += weight / net.labels));
  const again = activities(net.memory.down, shared.map(sigmoid)).subarray(0, net.features);
  return [...seen, back(net.generative.length, again)];
}

// A picture whose pixels are known in part, the rest filled in: by each layer alone (up to it and
// down again, `sweeps` times over), and at last by the whole network, which dreams.
export function completions(net, picture, known, sweeps, seed) {
  const keep = (seen) => picture.map((pixel, at) => (known[at] ? pixel : seen[at]));
  const filled = net.recognition.map((_, height) => {
    let canvas = keep(new Float32Array(picture.length));
    for (let sweep = 0; sweep < sweeps; sweep++)
      canvas = keep(reconstructions(net, up(net, canvas))[height]);
    return canvas;
  });
  const dream = begin(net, { picture, known, seed });
  advance(net, dream, sweeps);
  return [...filled, dream.chains[0].canvas];
}

// All that the page tells of a picture (pixels in [0, 1]), as bytes where they are shown; what each
// layer sees only where `every` is asked for. `way` is what `up` returns.
export function recognize(net, picture, every = false, way = up(net, picture)) {
  const { layers, scores } = way,
    log = scores ? logSoftmax(scores) : logProbs(net, picture);
  const answer = {
    picture: bytes(picture),
    logProbs: log,
    seen: reconstructions(net, way, every).map(bytes),
  };
  const total = way.total.slice();
  if (log) {
    const order = [...log.keys()].sort((one, other) => log[other] - log[one]);
    const [label, other] = order;
    Object.assign(answer, { label, runner_up: other, probs: Array.from(log, Math.exp) });
    if (net.labels) {
      answer.evidence = Float32Array.from(evidence(net, total, label, other));
      labelRow(net, label).forEach((weight, unit) => (total[unit] += weight));
    }
  }
  answer.activities = [...layers.slice(1), total.map(sigmoid)].map(bytes);
  return answer;
}

export function bytes(values) {
  const out = new Uint8Array(values.length);
  for (let at = 0; at < out.length; at++) out[at] = Math.round(255 * values[at]);
  return out;
}

// ---- dreams ----

// Label shares (labels,) that hold what is asked for: null, a label, or shares of several
// (dreams.label_mixture).
export function shares(net, held) {
  if (held === null || held === undefined) return null;
  const given = typeof held === "number" ? { [held]: 1 } : held,
    row = new Float32Array(net.labels);
  for (const [label, share] of Object.entries(given)) {
    if (!(label >= 0 && label < net.labels))
      throw new Error(
        `There is no label ${label}: this network's memory holds ${net.labels}, counted from 0.`,
      );
    row[label] = share;
  }
  const sum = row.reduce((one, other) => one + other, 0);
  if (row.some((share) => share < 0) || Math.abs(sum - 1) > 1e-4)
    throw new Error(`The shares of the labels sum to ${sum}; expected 1, none below 0.`);
  return row;
}

// The shares of labels of which nothing is known.
export const even = (net) => new Float32Array(net.labels).fill(1 / Math.max(net.labels, 1));

// Begin a dream: from random top states; from a picture (pixels in [0, 1]); or filling in the
// pixels where `known` is 0. `held` is null, a label, shares of several, or "all": a chain for each.
export function begin(
  net,
  { held = null, seed = 0, temperature = 1, picture = null, known = null, count = 1 },
) {
  const uniform = random(seed),
    all = held === "all";
  const chains = Array.from({ length: all ? net.labels : count }, (_, label) => {
    const clamp = shares(net, all ? label : held);
    const chain = { held: clamp, labels: clamp ?? even(net), canvas: null };
    if (!picture)
      chain.hidden = Float32Array.from({ length: net.top }, () => (uniform() < 0.5 ? 1 : 0));
    else if (known) chain.canvas = picture.map((pixel, at) => (known[at] ? pixel : uniform()));
    else if (!clamp && net.labels)
      chain.labels = Float32Array.from(logProbs(net, picture), Math.exp);
    return chain;
  });
  if (picture) drawTop(net, chains, uniform, picture);
  return { uniform, chains, temperature, picture, known, step: 0 };
}

// Hold another label from here on.
export function hold(net, dream, held) {
  const clamp = shares(net, held);
  for (const chain of dream.chains) chain.held = clamp;
}

// Each chain's top states, drawn where an up-pass of its canvas, or of a picture, and its label
// shares lead (dreams.top_states).
function drawTop(net, chains, uniform, picture = null) {
  const features = drawUp(
    net,
    chains.map(({ canvas }) => canvas ?? picture),
    uniform,
  );
  const visible = chains.map(({ labels }, at) => Float32Array.of(...features[at], ...labels));
  const hidden = activitiesOf(net.memory.up, visible, uniform);
  chains.forEach((chain, at) => (chain.hidden = hidden[at]));
}

// One Gibbs step of the memory, a chain's label clamped where it is held; total inputs are divided
// by the temperature (gibbs.gibbs_step).
function settle(net, chains, temperature, uniform) {
  const { features, labels, memory } = net;
  totalInputs(
    memory.down,
    chains.map(({ hidden }) => hidden),
  ).forEach((inputs, at) => {
    const chain = chains[at],
      visible = (chain.visible = new Float32Array(features + labels));
    bernoulli(inputs, uniform, temperature, visible.subarray(0, features));
    if (chain.held) visible.set(chain.held, features);
    else if (labels)
      visible[
        features +
          choice(softmax(inputs.subarray(features).map((one) => one / temperature)), uniform)
      ] = 1;
  });
  totalInputs(
    memory.up,
    chains.map(({ visible }) => visible),
  ).forEach((inputs, at) => bernoulli(inputs, uniform, temperature, chains[at].hidden));
}

export function choice(probs, uniform) {
  let rest = uniform();
  for (let level = 0; level < probs.length - 1; level++)
    if ((rest -= probs[level]) < 0) return level;
  return probs.length - 1;
}

// Move every chain `steps` Gibbs steps on (or, filling in, as many sweeps: up, a step, down).
export function advance(net, dream, steps) {
  const { uniform, temperature, known, picture, chains } = dream;
  for (let step = 0; step < steps; step++) {
    if (known) drawTop(net, chains, uniform);
    settle(net, chains, temperature, uniform);
    for (const chain of chains) chain.layers = null;
    if (!known) continue;
    wayDown(net, chains, uniform);
    for (const chain of chains) {
      chain.labels = chain.visible.subarray(net.features);
      chain.canvas = chain.layers[0] = picture.map((pixel, at) =>
        known[at] ? pixel : chain.layers[0][at],
      );
    }
  }
  dream.step += steps;
}

// One way down from the memory for the chains that have made none since their last step; its pixels
// are probabilities (dreams.decode).
function wayDown(net, chains, uniform) {
  const due = chains.filter(({ layers }) => !layers);
  const layers = net.generative.length
    ? drawDown(
        net,
        due.map(({ visible }) => visible.subarray(0, net.features)),
        uniform,
      )
    : activitiesOf(
        net.memory.down,
        due.map(({ hidden }) => hidden),
      ).map((pixels) => [pixels.subarray(0, net.features)]);
  due.forEach((chain, at) => (chain.layers = layers[at]));
}

// What a dream shows: every chain's pixels; of the chain in focus the states of each layer, as
// bytes; every chain's labels. Layers are {chains, units, values}, from the pixels up.
export function look(net, dream, focus = 0) {
  const { chains, uniform, temperature } = dream,
    count = chains.length,
    here = Math.min(focus, count - 1);
  wayDown(net, chains, uniform);
  const pixels = new Uint8Array(count * net.sizes[0]),
    labels = new Uint8Array(count * net.labels);
  chains.forEach((chain, at) => {
    pixels.set(bytes(chain.layers[0]), at * net.sizes[0]);
    if (!net.labels) return;
    const heard = () =>
      totalInput(net.memory.down, chain.hidden)
        .subarray(net.features)
        .map((one) => one / temperature);
    labels.set(bytes(chain.held ?? softmax(heard())), at * net.labels);
  });
  const layers = [{ chains: count, units: net.sizes[0], values: pixels }];
  for (const states of [...chains[here].layers.slice(1), chains[here].hidden])
    layers.push({ chains: 1, units: states.length, values: bytes(states) });
  if (net.labels) layers.push({ chains: count, units: net.labels, values: labels });
  return { step: dream.step, focus: here, layers };
}
