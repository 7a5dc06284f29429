// What units look for, as pictures: what switches them on, what they add, how they are tied to
// labels and to the units below.

import { activitiesOf, labelRow, rowOf, sigmoid, totalInput } from "./engine.js";
import { totalInputs } from "./products.js";

// W v, (inputs,).
function against({ inputs, outputs, stride, weight }, vector) {
  return Float64Array.from({ length: inputs }, (_, row) => {
    let sum = 0;
    for (let unit = 0, at = row * stride; unit < outputs; unit++, at++)
      sum += weight[at] * vector[unit];
    return sum;
  });
}

// What a unit looks for, its weights chained down to the pixels (interpretation.receptive_fields).
export function receptiveField(net, layer, unit) {
  const { weight, stride } =
    layer <= net.recognition.length ? net.recognition[layer - 1] : net.memory.up;
  let field = Float64Array.from(
    { length: net.sizes[layer - 1] },
    (_, row) => weight[row * stride + unit],
  );
  for (let at = layer - 2; at >= 0; at--) field = against(net.recognition[at], field);
  return field;
}

// The same of all units of a layer, (units, pixels): products of matrices, which take a moment in large nets, so it
// yields after every few pixels, and returns the fields.
export function* receptiveFields(net, layer) {
  const ways = [...net.recognition, net.memory.up].slice(0, layer),
    [first, ...further] = ways;
  const units = net.sizes[layer],
    size = net.sizes[0],
    out = new Float32Array(units * size);
  for (let from = 0; from < size; from += 16) {
    let rows = Array.from({ length: Math.min(16, size - from) }, (_, at) =>
      rowOf(first, from + at),
    );
    for (const way of further)
      rows = totalInputs(way, rows).map((sums) => sums.map((sum, unit) => sum - way.bias[unit]));
    rows.forEach((row, at) => {
      for (let unit = 0; unit < units; unit++) out[unit * size + from + at] = row[unit];
    });
    yield;
  }
  return out;
}

// How alike neighbouring pixels of each field are: about 1 for strokes and blobs, 0 for noise.
// sum of products of neighbours / (2 sum of squares).
export function structure(fields, [rows, columns]) {
  const size = rows * columns;
  return Float32Array.from({ length: fields.length / size }, (_, unit) => {
    const field = fields.subarray(unit * size, (unit + 1) * size);
    let together = 0,
      squares = 1e-12;
    for (let at = 0; at < size; at++) {
      squares += field[at] * field[at];
      if ((at + 1) % columns) together += field[at] * field[at + 1];
      if (at + columns < size) together += field[at] * field[at + columns];
    }
    return together / (2 * squares);
  });
}

// Weights between units of a layer and units of the one below, row by row of those below.
export function ties(net, layer, units, below) {
  const { weight, stride } =
    layer <= net.recognition.length ? net.recognition[layer - 1] : net.memory.up;
  return below.map((row) => units.map((unit) => weight[row * stride + unit]));
}

// What a unit adds to the picture: with it on, less with it off, the others of its layer at the
// rate of their biases (interpretation.projective_field).
export function projectiveField(net, layer, unit) {
  const { sizes, memory, generative } = net,
    depth = sizes.length - 1;
  const bias =
    layer === depth
      ? memory.up.bias
      : layer === depth - 1
        ? memory.down.bias.subarray(0, net.features)
        : generative[layer].bias;
  const rates = Float64Array.from(bias, sigmoid);
  if (layer === depth) net.atRates ??= totalInput(memory.down, rates); // the dearest product, once
  let both = [1, 0].map((state) => {
    const states = rates.slice();
    states[unit] = state;
    if (layer < depth) return states;
    const row = rowOf(memory.down, unit),
      change = state - rates[unit];
    return net.atRates
      .subarray(0, net.features)
      .map((input, at) => sigmoid(input + change * row[at]));
  });
  for (let at = Math.min(layer, generative.length) - 1; at >= 0; at--)
    both = activitiesOf(generative[at], both);
  const [on, off] = both;
  return on.map((value, pixel) => value - off[pixel]);
}

// How strongly a top unit is tied to each label, nats (interpretation.label_weights).
export const labelWeights = (net, unit) =>
  Array.from({ length: net.labels }, (_, label) => labelRow(net, label)[unit]);

// Signed values as bytes around 128, to their own largest.
export function signedBytes(values) {
  const most = values.reduce((largest, value) => Math.max(largest, Math.abs(value)), 1e-12);
  return Uint8Array.from(values, (value) => Math.round(128 + (127 * value) / most));
}
