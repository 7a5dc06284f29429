// A deep belief net on typed arrays: recognition by label free energies, settling of the memory,
// the way down, and what units are for. Pure functions, for the page, its worker and node alike;
// each does what the Python function named beside it does.

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
    const word = Math.imul(state[1], 5), result = Math.imul((word << 7) | (word >>> 25), 9) >>> 0;
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
// A layer is {inputs, outputs, weight (inputs x outputs, row by row), bias}, in the direction in
// which it is read, so that a sum over the units that are on reads whole rows.
export function network({ sizes, labels, tied }, tensors, netTensors = {}) {
  const layer = (inputs, outputs, weight, bias) => {
    if (weight?.values.length !== inputs * outputs || bias?.values.length !== outputs)
      throw new Error("The model's numbers do not fit the sizes of its layers; the file is damaged.");
    return { inputs, outputs, weight: weight.values, bias: bias.values };
  };
  const turned = ({ values }, rows, columns) => ({ values: transposed(values, rows, columns) });
  const recognition = [], generative = [];
  for (let at = 0; at + 2 < sizes.length; at++) {
    const [below, above] = [sizes[at], sizes[at + 1]];
    const weight = tensors[`recognition.${at}.weight`];
    recognition.push(layer(below, above, weight, tensors[`recognition.${at}.bias`]));
    const own = tied ? weight : tensors[`generative.${at}.weight`];
    generative.push(layer(above, below, turned(own, below, above), tensors[`generative.${at}.bias`]));
  }
  const features = sizes.at(-2), visible = features + labels, top = sizes.at(-1);
  const weight = tensors["memory.weight"];
  const memory = {
    up: layer(visible, top, weight, tensors["memory.hidden_bias"]),
    down: layer(top, visible, turned(weight, visible, top), tensors["memory.visible_bias"]),
  };
  return {
    sizes, labels, features, top, recognition, generative, memory,
    classifier: feedForward(netTensors),
  };
}

// Return the layers of a fine-tuned net (PyTorch's Linear keeps outputs x inputs), or null.
function feedForward(tensors) {
  const weights = Object.keys(tensors).filter((name) => name.endsWith(".weight"))
    .sort((one, other) => parseInt(one) - parseInt(other));
  return weights.length
    ? weights.map((name) => {
        const { shape: [outputs, inputs], values } = tensors[name];
        const bias = tensors[name.replace("weight", "bias")].values;
        return { inputs, outputs, weight: transposed(values, outputs, inputs), bias };
      })
    : null;
}

function transposed(values, rows, columns) {
  const out = new Float32Array(values.length);
  for (let row = 0; row < rows; row++)
    for (let column = 0; column < columns; column++) out[column * rows + row] = values[row * columns + column];
  return out;
}

// states W + b, (outputs,). States that are 0 cost nothing; fewer than the layer's inputs are taken
// for the first of them.
export function totalInput({ outputs, weight, bias }, states, out = new Float64Array(outputs)) {
  out.set(bias);
  const on = [];
  for (let unit = 0; unit < states.length; unit++) if (states[unit] !== 0) on.push(unit);
  let at = 0;
  for (; at + 7 < on.length; at += 8) { // eight rows at a time: the sums are read and written less often
    const [a, b, c, d, e, f, g, h] = on.slice(at, at + 8).map((unit) => states[unit]);
    let [ra, rb, rc, rd, re, rf, rg, rh] = on.slice(at, at + 8).map((unit) => unit * outputs);
    for (let unit = 0; unit < outputs; unit++)
      out[unit] += a * weight[ra++] + b * weight[rb++] + c * weight[rc++] + d * weight[rd++] +
        e * weight[re++] + f * weight[rf++] + g * weight[rg++] + h * weight[rh++];
  }
  for (; at < on.length; at++) {
    const state = states[on[at]], row = on[at] * outputs;
    for (let unit = 0; unit < outputs; unit++) out[unit] += state * weight[row + unit];
  }
  return out;
}

const sigmoid = (input) => 1 / (1 + Math.exp(-input));
const softplus = (input) => (input > 0 ? input + Math.log1p(Math.exp(-input)) : Math.log1p(Math.exp(input)));

function bernoulli(inputs, uniform, temperature = 1, out = new Float32Array(inputs.length)) {
  for (let unit = 0; unit < out.length; unit++) out[unit] = uniform() < sigmoid(inputs[unit] / temperature) ? 1 : 0;
  return out;
}

// E[to | from], or states drawn from it where a generator is given.
export function activities(layer, states, uniform = null) {
  const inputs = totalInput(layer, states);
  return uniform ? bernoulli(inputs, uniform) : inputs.map(sigmoid);
}

// Activities from the pixels (given) to the penultimate layer (DBN.up).
export function up(net, picture, uniform = null) {
  const layers = [picture];
  for (const layer of net.recognition) layers.push(activities(layer, layers.at(-1), uniform));
  return layers;
}

// Activities from the pixels, always probabilities, to the penultimate layer, given (DBN.down).
export function down(net, features, uniform = null) {
  const layers = [features];
  for (let at = net.generative.length - 1; at >= 0; at--)
    layers.unshift(activities(net.generative[at], layers[0], at ? uniform : null));
  return layers;
}

// Total input of the top units from features alone, no label on (DBN.top_input).
export const topInput = (net, features) => totalInput(net.memory.up, features);

const labelRow = (net, label) =>
  net.memory.up.weight.subarray((net.features + label) * net.top, (net.features + label + 1) * net.top);

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
  if (net.labels) return logSoftmax(labelScores(net, topInput(net, up(net, picture).at(-1))));
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
// (dreams.reconstruct_per_layer); without `every`, that one alone (dreams.reconstruct).
export function reconstructions(net, layers, every = true) {
  const back = (height, states) => {
    for (let at = height - 1; at >= 0; at--) states = activities(net.generative[at], states);
    return states;
  };
  const seen = every ? layers.slice(1).map((layer, below) => back(below + 1, layer)) : [];
  const total = topInput(net, layers.at(-1));
  for (let label = 0; label < net.labels; label++)
    labelRow(net, label).forEach((weight, unit) => (total[unit] += weight / net.labels));
  const again = activities(net.memory.down, total.map(sigmoid)).subarray(0, net.features);
  return [...seen, back(net.generative.length, again)];
}

// All that the page tells of a picture (pixels in [0, 1]), as bytes where they are shown; what each
// layer sees only where `every` is asked for.
export function recognize(net, picture, every = false) {
  const layers = up(net, picture), total = topInput(net, layers.at(-1));
  const log = net.labels ? logSoftmax(labelScores(net, total)) : logProbs(net, picture);
  const answer = {
    picture: bytes(picture), logProbs: log,
    seen: reconstructions(net, layers, every).map(bytes),
  };
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

// ---- what units look for ----

// W v, (inputs,).
function against({ inputs, outputs, weight }, vector) {
  return Float64Array.from({ length: inputs }, (_, row) => {
    let sum = 0;
    for (let unit = 0, at = row * outputs; unit < outputs; unit++, at++) sum += weight[at] * vector[unit];
    return sum;
  });
}

// What a unit looks for, its weights chained down to the pixels (interpretation.receptive_fields).
export function receptiveField(net, layer, unit) {
  const { weight, outputs } = layer <= net.recognition.length ? net.recognition[layer - 1] : net.memory.up;
  let field = Float64Array.from({ length: net.sizes[layer - 1] }, (_, row) => weight[row * outputs + unit]);
  for (let at = layer - 2; at >= 0; at--) field = against(net.recognition[at], field);
  return field;
}

// What a unit adds to the picture: with it on, less with it off, the others of its layer at the
// rate of their biases (interpretation.projective_field).
export function projectiveField(net, layer, unit) {
  const { sizes, memory, generative } = net, depth = sizes.length - 1;
  const bias = layer === depth ? memory.up.bias
    : layer === depth - 1 ? memory.down.bias.subarray(0, net.features) : generative[layer].bias;
  const rates = Float64Array.from(bias, sigmoid);
  if (layer === depth) net.atRates ??= totalInput(memory.down, rates); // the dearest product, once
  const [on, off] = [1, 0].map((state) => {
    let states = rates.slice();
    states[unit] = state;
    if (layer === depth) {
      const row = unit * memory.down.outputs, change = state - rates[unit];
      states = net.atRates.subarray(0, net.features)
        .map((input, at) => sigmoid(input + change * memory.down.weight[row + at]));
    }
    for (let at = Math.min(layer, generative.length) - 1; at >= 0; at--) states = activities(generative[at], states);
    return states;
  });
  return on.map((value, pixel) => value - off[pixel]);
}

// How strongly a top unit is tied to each label, nats (interpretation.label_weights).
export const labelWeights = (net, unit) => Array.from({ length: net.labels }, (_, label) => labelRow(net, label)[unit]);

// Signed values as bytes around 128, to their own largest.
export function signedBytes(values) {
  const most = values.reduce((largest, value) => Math.max(largest, Math.abs(value)), 1e-12);
  return Uint8Array.from(values, (value) => Math.round(128 + (127 * value) / most));
}

// ---- dreams ----

// Label shares (labels,) that hold what is asked for: null, a label, or shares of several
// (dreams.label_mixture).
function shares(net, held) {
  if (held === null || held === undefined) return null;
  const given = typeof held === "number" ? { [held]: 1 } : held, row = new Float32Array(net.labels);
  for (const [label, share] of Object.entries(given)) {
    if (!(label >= 0 && label < net.labels))
      throw new Error(`There is no label ${label}: this network's memory holds ${net.labels}, counted from 0.`);
    row[label] = share;
  }
  const sum = row.reduce((one, other) => one + other, 0);
  if (row.some((share) => share < 0) || Math.abs(sum - 1) > 1e-4)
    throw new Error(`The shares of the labels sum to ${sum}; expected 1, none below 0.`);
  return row;
}

const even = (net) => new Float32Array(net.labels).fill(1 / Math.max(net.labels, 1));

// Begin a dream: from random top states; from a picture (pixels in [0, 1]); or filling in the
// pixels where `known` is 0. `held` is null, a label, shares of several, or "all": a chain for each.
export function begin(net, { held = null, seed = 0, temperature = 1, picture = null, known = null, count = 1 }) {
  const uniform = random(seed), all = held === "all";
  const chains = Array.from({ length: all ? net.labels : count }, (_, label) => {
    const clamp = shares(net, all ? label : held);
    const chain = { held: clamp, labels: clamp ?? even(net), canvas: null };
    if (!picture) {
      chain.hidden = Float32Array.from({ length: net.top }, () => (uniform() < 0.5 ? 1 : 0));
      return chain;
    }
    if (known) chain.canvas = picture.map((pixel, at) => (known[at] ? pixel : uniform()));
    else if (!clamp && net.labels) chain.labels = Float32Array.from(logProbs(net, picture), Math.exp);
    chain.hidden = topStates(net, chain.canvas ?? picture, chain.labels, uniform);
    return chain;
  });
  return { uniform, chains, temperature, picture, known, step: 0 };
}

// Hold another label from here on.
export function hold(net, dream, held) {
  const clamp = shares(net, held);
  for (const chain of dream.chains) chain.held = clamp;
}

// Top states drawn where an up-pass of a picture and label shares lead (dreams.top_states).
function topStates(net, picture, labels, uniform) {
  const visible = new Float32Array(net.features + net.labels);
  visible.set(up(net, picture, uniform).at(-1));
  visible.set(labels, net.features);
  return bernoulli(totalInput(net.memory.up, visible), uniform);
}

// One Gibbs step of the memory, the label clamped where it is held; total inputs are divided by the
// temperature (gibbs.gibbs_step). Leaves the label's total input in chain.heard.
function settle(net, chain, temperature, uniform) {
  const { features, labels, memory } = net, inputs = totalInput(memory.down, chain.hidden);
  const visible = new Float32Array(features + labels);
  bernoulli(inputs, uniform, temperature, visible.subarray(0, features));
  if (chain.held) visible.set(chain.held, features);
  else if (labels) visible[features + choice(softmax(inputs.subarray(features).map((one) => one / temperature)), uniform)] = 1;
  bernoulli(totalInput(memory.up, visible), uniform, temperature, chain.hidden);
  chain.visible = visible;
}

function choice(probs, uniform) {
  let rest = uniform();
  for (let level = 0; level < probs.length - 1; level++) if ((rest -= probs[level]) < 0) return level;
  return probs.length - 1;
}

// Move every chain `steps` Gibbs steps on (or, filling in, as many sweeps: up, a step, down).
export function advance(net, dream, steps) {
  const { uniform, temperature, known, picture } = dream;
  for (const chain of dream.chains)
    for (let step = 0; step < steps; step++) {
      if (known) chain.hidden = topStates(net, chain.canvas, chain.labels, uniform);
      settle(net, chain, temperature, uniform);
      chain.layers = null;
      if (!known) continue;
      chain.labels = chain.visible.subarray(net.features);
      chain.layers = wayDown(net, chain, uniform);
      chain.canvas = chain.layers[0] = picture.map((pixel, at) => (known[at] ? pixel : chain.layers[0][at]));
    }
  dream.step += steps;
}

// One way down from the memory; its pixels are probabilities (dreams.decode).
function wayDown(net, chain, uniform) {
  if (!net.generative.length) return [activities(net.memory.down, chain.hidden).subarray(0, net.features)];
  return down(net, chain.visible.subarray(0, net.features), uniform);
}

// What a dream shows: every chain's pixels; of the chain in focus the states of each layer, as
// bytes; every chain's labels. Layers are {chains, units, values}, from the pixels up.
export function look(net, dream, focus = 0) {
  const { chains, uniform, temperature } = dream, count = chains.length, here = Math.min(focus, count - 1);
  for (const chain of chains) chain.layers ??= wayDown(net, chain, uniform);
  const pixels = new Uint8Array(count * net.sizes[0]), labels = new Uint8Array(count * net.labels);
  chains.forEach((chain, at) => {
    pixels.set(bytes(chain.layers[0]), at * net.sizes[0]);
    if (!net.labels) return;
    const heard = () => totalInput(net.memory.down, chain.hidden).subarray(net.features).map((one) => one / temperature);
    labels.set(bytes(chain.held ?? softmax(heard())), at * net.labels);
  });
  const layers = [{ chains: count, units: net.sizes[0], values: pixels }];
  for (const states of [...chains[here].layers.slice(1), chains[here].hidden])
    layers.push({ chains: 1, units: states.length, values: bytes(states) });
  if (net.labels) layers.push({ chains: count, units: net.labels, values: labels });
  return { step: dream.step, focus: here, layers };
}
