// Reading a model file: safetensors (a header in JSON, then numbers), half or single precision,
// with wakesleep's own header. What the page cannot show is refused in words.

import * as senses from "./senses.js";

export const MOST_WEIGHTS = 20_000_000;
export const SEVERAL = "MultimodalDBN";
const KNOWN = {
  DBN: ["class", "sizes", "labels", "tied"],
  DBM: ["class", "sizes", "labels", "visible"],
};

// Return {header, tensors}: tensors by name, {shape, values: Float32Array}.
export function safetensors(buffer) {
  const view = new DataView(buffer);
  const length = buffer.byteLength < 8 ? Infinity : Number(view.getBigUint64(0, true));
  if (length > buffer.byteLength - 8)
    throw new Error("The model file is damaged or incomplete; load the page again.");
  const entries = JSON.parse(new TextDecoder().decode(new Uint8Array(buffer, 8, length)));
  const note = entries.__metadata__?.wakesleep;
  if (!note) throw new Error("The model file was not written by wakesleep.");
  const tensors = {};
  delete entries.__metadata__;
  for (const [name, { dtype, shape, data_offsets: ends }] of Object.entries(entries)) {
    const [from, to] = ends.map((end) => 8 + length + end);
    tensors[name] = { shape, values: numbers(buffer.slice(from, to), dtype) };
  }
  return { header: JSON.parse(note), tensors };
}

function numbers(bytes, dtype) {
  if (dtype === "F32") return new Float32Array(bytes);
  if (dtype === "F64") return Float32Array.from(new Float64Array(bytes));
  if (dtype !== "F16")
    throw new Error(`The model holds numbers of type ${dtype}; expected F16 or F32.`);
  const halves = new Uint16Array(bytes),
    values = new Float32Array(halves.length),
    table = halfTable();
  for (let at = 0; at < values.length; at++) values[at] = table[halves[at]];
  return values;
}

let halves = null;

// The value of each of the 65,536 half-precision numbers (IEEE 754 binary16).
function halfTable() {
  if (halves) return halves;
  halves = new Float32Array(65536);
  for (let bits = 0; bits < 65536; bits++) {
    const exponent = (bits >> 10) & 31,
      fraction = bits & 1023,
      sign = bits & 0x8000 ? -1 : 1;
    if (exponent === 0) halves[bits] = sign * fraction * 2 ** -24;
    else if (exponent === 31) halves[bits] = fraction ? NaN : sign * Infinity;
    else halves[bits] = sign * (1 + fraction / 1024) * 2 ** (exponent - 15);
  }
  return halves;
}

// Return what a file holds that the page can show: {header, spec, tensors, netTensors}.
export function readModel(buffer) {
  const { header, tensors } = safetensors(buffer);
  const name = ["dbm", "dbn", "model"].find((one) => header.models?.[one]) ?? "dbn",
    spec = header.models?.[name] ?? header.dbn;
  if (!spec) {
    const found = Object.values(header.models ?? {})
      .map((one) => one.class)
      .join(", ");
    throw new Error(
      `The file holds no deep belief net and no deep Boltzmann machine but ${found || "nothing known"}.`,
    );
  }
  const refusal = cannotShow(spec, header.senses);
  if (refusal) throw new Error(refusal);
  const own = (prefix) =>
    Object.fromEntries(
      Object.entries(tensors)
        .filter(([name]) => name.startsWith(prefix))
        .map(([name, one]) => [name.slice(prefix.length), one]),
    );
  return { header, spec, tensors: own(`${name}/`), netTensors: own("net/") };
}

// Return why a spec cannot be shown, in words; "" where it can. `how` says how cases of several senses are prepared.
export function cannotShow(spec, how = {}) {
  if (spec.class === SEVERAL)
    return senses.cannotShow(spec, how) || tooLarge(senses.countWeights(spec));
  const known = KNOWN[spec.class ?? "DBN"] ?? [],
    other = (spec.visible?.family ?? "Bernoulli") !== "Bernoulli";
  const further = Object.keys(spec).filter(
    (name) => !known.includes(name) || (name === "visible" && other),
  );
  if (!known.length || further.length)
    return (
      `The page shows deep belief nets and deep Boltzmann machines of binary units with one label group; this model is a ${spec.class}` +
      `${further.length ? ` with ${further.map((name) => `${name} = ${JSON.stringify(spec[name])}`).join(", ")}` : ""}. ` +
      "Use it from Python or with wakesleep dream and wakesleep recognize."
    );
  const { sizes } = spec;
  return tooLarge(sizes.slice(1).reduce((sum, size, at) => sum + size * sizes[at], 0));
}

function tooLarge(weights) {
  if (weights > MOST_WEIGHTS)
    return (
      `This network has ${weights.toLocaleString("en")} weights, and the page takes at most ` +
      `${MOST_WEIGHTS.toLocaleString("en")}: train a smaller one (wakesleep train --hidden 500 500 2000), or use this one ` +
      "with wakesleep dream and wakesleep recognize."
    );
  return "";
}
