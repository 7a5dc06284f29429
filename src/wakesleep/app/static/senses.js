// A net of several senses on typed arrays: a pathway of directed layers a sense, and one memory over
// their codes and the label. Clamp some of them, let the memory settle, and decode the others
// (models/multimodal.py, samplers/recalling.py). Pictures are binary units, sounds real numbers.

import {
  activitiesOf,
  bernoulli,
  choice,
  fitting,
  labelRow,
  labelScores,
  memoryOf,
  pathway,
  random,
  sigmoid,
  softmax,
  topInput,
  totalInput,
} from "./engine.js";

const LOWEST = { picture: "Bernoulli", sound: "Gaussian" };
export const kindOf = ({ kind }) => (kind === "log-mel" ? "sound" : "picture");

// Return why the page cannot show a net of a spec, whose senses' cases are prepared as `how` says, in words; "" where it can.
export function cannotShow(spec, how) {
  const kinds = spec.senses.map(({ name }) => kindOf(how[name] ?? {}));
  const fits = ({ layers }, at) =>
    layers.length > 1 &&
    layers.every(({ family }, height) => family === (height ? "Bernoulli" : LOWEST[kinds[at]]));
  return [...kinds].sort().join() === "picture,sound" &&
    spec.labels &&
    spec.top.family === "Bernoulli" &&
    spec.senses.every(fits)
    ? ""
    : "Of nets of several senses the page shows those of pictures and sounds with labels: binary units, the sounds as real " +
        `numbers. This one has ${spec.senses.map(({ name }) => name).join(", ")}. Use it with wakesleep recall.`;
}

// How many weights a net of a spec has.
export function countWeights({ senses, labels, top }) {
  const code = ({ layers }) => layers.at(-1).size;
  const directed = ({ layers }) =>
    layers.slice(1).reduce((sum, { size }, at) => sum + size * layers[at].size, 0);
  return senses.reduce(
    (sum, sense) => sum + directed(sense) + code(sense) * top.size,
    labels * top.size,
  );
}

// Return the net of a spec and its tensors {name: {shape, values}}; `how` prepares each sense's cases.
export function network({ senses, labels, top, tied }, tensors, how) {
  let features = 0;
  const pathways = Object.fromEntries(
    senses.map(({ name, layers }) => {
      const sizes = layers.map(({ size }) => size),
        from = features,
        prefix = `pathways.${name}.`,
        kind = kindOf(how[name]);
      features += sizes.at(-1);
      const scale =
        kind === "sound"
          ? fitting(tensors[`${prefix}generative.0.units.log_precision`], sizes[0]).values
          : null;
      return [
        name,
        { ...pathway(tensors, prefix, sizes, tied), kind, sizes, from, to: features, scale },
      ];
    }),
  );
  const memory = memoryOf(tensors, features + labels, top.size);
  const layers = [
    ...Object.values(pathways).flatMap(({ recognition, generative }) => [
      ...recognition,
      ...generative,
    ]),
    memory.up,
    memory.down,
  ];
  return { pathways, labels, features, top: top.size, memory, layers };
}

// The code of a case: means from layer to layer (Pathway.up).
const code = ({ recognition }, given) =>
  recognition.reduce((states, layer) => activitiesOf(layer, [states])[0], given);

// A case from its code, by means from layer to layer (Pathway.down); real numbers are the total input by their precision.
function decode({ generative, scale }, states) {
  for (let at = generative.length - 1; at > 0; at--)
    [states] = activitiesOf(generative[at], [states]);
  const inputs = totalInput(generative[0], states);
  return Float32Array.from(
    inputs,
    scale ? (input, unit) => input * Math.exp(-scale[unit]) : sigmoid,
  );
}

// Begin to settle with what is given held: cases by sense, and a label where there is one. The label is named first, by the
// codes that are given alone, and one that was not given is drawn and held too; the chain begins at the top units of all that.
export function begin(net, { given, seed = 0 }) {
  const { features, labels, memory } = net,
    uniform = random(seed),
    held = new Float32Array(features + labels).fill(NaN);
  for (const [name, value] of Object.entries(given))
    if (name !== "label") held.set(code(net.pathways[name], value), net.pathways[name].from);
  const total = topInput(
    net,
    held.subarray(0, features).map((state) => (Number.isNaN(state) ? 0 : state)),
  );
  const named = softmax(labelScores(net, total)),
    label = given.label ?? choice(named, uniform);
  held.fill(0, features).fill(1, features + label, features + label + 1);
  labelRow(net, label).forEach((weight, unit) => (total[unit] += weight));
  const probs = Array.from(named, (one, at) => ("label" in given ? +(at === label) : one));
  return { uniform, given, held, probs, hidden: bernoulli(total, uniform), step: 0 };
}

// Move on by Gibbs steps of the memory, what is given and the label clamped.
export function advance(net, settling, steps) {
  const { uniform, held } = settling,
    { memory } = net;
  for (let step = 0; step < steps; step++) {
    const drawn = bernoulli(totalInput(memory.down, settling.hidden), uniform);
    const visible = drawn.map((state, unit) => (Number.isNaN(held[unit]) ? state : held[unit]));
    settling.hidden = bernoulli(totalInput(memory.up, visible), uniform);
    settling.step++;
  }
}

// What the memory holds: each sense's case, as it was given or decoded from the means of its code, given the top units;
// p(label | codes that are given).
export function look(net, { given, hidden, probs, step }) {
  const [means] = activitiesOf(net.memory.down, [hidden]);
  const senses = Object.fromEntries(
    Object.entries(net.pathways).map(([name, way]) => [
      name,
      given[name] ?? decode(way, means.subarray(way.from, way.to)),
    ]),
  );
  return { step, senses, probs };
}
