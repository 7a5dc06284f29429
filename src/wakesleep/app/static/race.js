// The race: equal nets learn to name small digits from few labels. One has dreamed first: its layers were trained one by
// one on pictures without labels. The others begin with random weights, one of the same logistic units, one of rectified
// ones. After the dreaming all make the same updates, by the same rule, from the same labelled pictures.

import {
  errorPercent,
  features,
  forward,
  gather,
  learnLabels,
  learnToDream,
  machine,
  randomNet,
  shuffled,
  uniform,
} from "./learn.js";

export const PIXELS = 64,
  CLASSES = 10,
  HIDDEN = [100, 100, 100],
  TEST = 500;
export const SIDES = { dreamed: "logistic", random: "logistic", relu: "relu" };
export const GRID = [0.01, 0.02, 0.05, 0.1, 0.2, 0.4];
// The best of GRID for each side with 100 labels, by the mean error on the test pictures of ten seeds that are raced by
// nobody (python -m benchmarks.race --choose).
export const RATES = { dreamed: 0.1, random: 0.05, relu: 0.05 };
export const UPDATES = 1000,
  BATCH = 20,
  MOMENTUM = 0.9;
export const PASSES = 20,
  DREAM_BATCH = 50,
  DREAM = { rate: 0.1, decay: 0.0002 };
const DREAM_MOMENTUM = (pass) => (pass < 5 ? 0.5 : 0.9);
const LOOKS = [...Array(10).keys()]
  .map((at) => 10 * (at + 1))
  .concat([...Array(18).keys()].map((at) => 150 + 50 * at));

// The file of digits: a byte for the label and 64 for the pixels, 0 to 16, of each (benchmarks/small_digits.py).
export function unpack(buffer) {
  const bytes = new Uint8Array(buffer),
    count = bytes.length / (PIXELS + 1);
  const pictures = new Float32Array(count * PIXELS),
    labels = new Uint8Array(count);
  for (let row = 0; row < count; row++) {
    const start = row * (PIXELS + 1);
    labels[row] = bytes[start];
    for (let at = 0; at < PIXELS; at++) pictures[row * PIXELS + at] = bytes[start + 1 + at] / 16;
  }
  return { pictures, labels };
}

const part = ({ pictures, labels }, chosen) => ({
  pictures: gather(pictures, PIXELS, chosen),
  labels: Uint8Array.from(chosen, (at) => labels[at]),
});

// Test pictures, pictures to dream of (their labels are not used), and the few with labels, as many of each digit, or
// one's own instead of them: { pictures, labels }.
export function split(digits, labelled, seed, own = null) {
  const order = shuffled(digits.labels.length, uniform(seed)),
    rest = order.slice(TEST),
    taken = new Array(CLASSES).fill(0);
  const few = rest.filter((at) => taken[digits.labels[at]]++ < labelled / CLASSES);
  return {
    test: part(digits, order.slice(0, TEST)),
    dreamt: part(digits, rest),
    few: own ?? part(digits, few),
  };
}

// Train a machine on the pictures, the next on its features, and so on; yields after each pass, returns the machines.
export function* dream({ dreamt }, seed) {
  const random = uniform(seed + 1e6),
    count = dreamt.labels.length,
    machines = [];
  let rows = dreamt.pictures,
    width = PIXELS;
  for (const size of HIDDEN) {
    const one = machine(width, size, random);
    machines.push(one);
    for (let pass = 0; pass < PASSES; pass++) {
      const order = shuffled(count, random);
      for (let start = 0; start + DREAM_BATCH <= count; start += DREAM_BATCH)
        learnToDream(
          one,
          gather(rows, width, order.slice(start, start + DREAM_BATCH)),
          DREAM_BATCH,
          random,
          { ...DREAM, momentum: DREAM_MOMENTUM(pass) },
        );
      yield { machines, layer: machines.length, pass: pass + 1 };
    }
    rows = features(one, rows, count);
    width = size;
  }
  return machines;
}

// A side's net before it has seen a label.
export function starter(side, machines, seed) {
  const net = randomNet([PIXELS, ...HIDDEN, CLASSES], SIDES[side], uniform(seed + 2e6));
  if (side === "dreamed")
    machines.forEach(({ weight, bias }, at) =>
      Object.assign(net.layers[at], { weight: weight.slice(), bias: bias.slice() }),
    );
  return net;
}

// Yields { update, error } where the curve has a point; the error is in percent of the test pictures.
export function* learn(net, { few, test }, rate, seed, updates = UPDATES) {
  const random = uniform(seed + 3e6),
    count = few.labels.length,
    batch = Math.min(BATCH, count);
  let order = [],
    place = count;
  yield { update: 0, error: errorPercent(net, test.pictures, test.labels) };
  for (let update = 1; update <= updates; update++) {
    if (place + batch > count) [order, place] = [shuffled(count, random), 0];
    const chosen = order.slice(place, (place += batch));
    learnLabels(
      net,
      gather(few.pictures, PIXELS, chosen),
      Uint8Array.from(chosen, (at) => few.labels[at]),
      batch,
      { rate, momentum: MOMENTUM },
    );
    if (LOOKS.includes(update) || update === updates)
      yield { update, error: errorPercent(net, test.pictures, test.labels) };
    else yield null;
  }
}

// The whole race: yields { dreaming } after each pass, then { update, errors } by side, null in between; returns the nets.
export function* race(digits, { seed, labelled, own = null }) {
  const parts = split(digits, labelled, seed, own),
    sleeping = dream(parts, seed);
  let step = sleeping.next();
  for (; !step.done; step = sleeping.next()) yield { dreaming: step.value };
  const sides = Object.keys(SIDES),
    nets = Object.fromEntries(sides.map((side) => [side, starter(side, step.value, seed)]));
  const runs = sides.map((side) => learn(nets[side], parts, RATES[side], seed));
  for (let update = 0; update <= UPDATES; update++) {
    const points = runs.map((run) => run.next().value);
    yield (
      points[0] && {
        update,
        nets,
        errors: Object.fromEntries(sides.map((side, at) => [side, points[at].error])),
      }
    );
  }
  return nets;
}

// A drawing (rows, columns), ink 1 on 0, as one of the small digits: cropped to its ink, the longer side filling 8 pixels,
// each the mean of what it covers.
export function small(ink, rows, columns) {
  let [top, bottom, left, right] = [rows, -1, columns, -1];
  for (let row = 0; row < rows; row++)
    for (let column = 0; column < columns; column++)
      if (ink[row * columns + column] > 0.2)
        [top, bottom, left, right] = [
          Math.min(top, row),
          Math.max(bottom, row),
          Math.min(left, column),
          Math.max(right, column),
        ];
  const out = new Float32Array(PIXELS);
  if (bottom < 0) return out;
  const side = Math.max(bottom - top, right - left) + 1,
    x0 = (left + right + 1 - side) / 2,
    y0 = (top + bottom + 1 - side) / 2,
    fine = 4;
  for (let row = 0; row < 8; row++)
    for (let column = 0; column < 8; column++) {
      let sum = 0;
      for (let sub = 0; sub < fine * fine; sub++) {
        const y = Math.floor(y0 + ((row + (((sub / fine) | 0) + 0.5) / fine) * side) / 8),
          x = Math.floor(x0 + ((column + ((sub % fine) + 0.5) / fine) * side) / 8);
        if (y >= 0 && y < rows && x >= 0 && x < columns) sum += ink[y * columns + x];
      }
      out[row * 8 + column] = sum / (fine * fine);
    }
  return out;
}

// What a net says of one small digit: the probability of each label.
export const answer = (net, picture) => Array.from(forward(net, picture, 1).at(-1));
