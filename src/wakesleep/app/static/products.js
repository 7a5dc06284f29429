// Products of states and weights, for several cases at once: by products.wasm, which works on four
// numbers at a time (products.wat is its source), and by plain loops until it is there, or where a
// browser refuses it.

const BLOCK = 16; // columns that products.wasm takes at a time: rows are a multiple as long
const MOST_CASES = 16; // of one call

// A layer's weights, inputs x outputs: rows of `stride` numbers, zeros beyond the outputs.
export function layer(inputs, outputs, weightAt, bias) {
  const stride = Math.ceil(outputs / BLOCK) * BLOCK,
    weight = new Float32Array(inputs * stride);
  for (let row = 0; row < inputs; row++)
    for (let column = 0; column < outputs; column++)
      weight[row * stride + column] = weightAt(row, column);
  return { inputs, outputs, stride, weight, bias, add: null };
}

// states W + b of each case, (outputs,). States that are 0 cost nothing; fewer than the layer's
// inputs are taken for the first of them.
export function totalInputs(layer, cases) {
  if (!layer.add) return cases.map((states) => plain(layer, states));
  const out = [];
  for (let at = 0; at < cases.length; at += MOST_CASES)
    out.push(...layer.add(cases.slice(at, at + MOST_CASES)));
  return out;
}

function plain({ outputs, stride, weight, bias }, states) {
  const out = Float64Array.from(bias);
  for (let unit = 0; unit < states.length; unit++) {
    const state = states[unit];
    if (state === 0) continue;
    for (let column = 0, at = unit * stride; column < outputs; column++, at++)
      out[column] += state * weight[at];
  }
  return out;
}

// Move the weights of layers into memory that products.wasm (its bytes) reads.
export async function place(layers, wasm) {
  const widest = Math.max(...layers.map(({ stride }) => stride)),
    most = Math.max(...layers.map(({ inputs }) => inputs));
  const sums = MOST_CASES * widest,
    list = MOST_CASES * (1 + 2 * most); // numbers of 4 bytes each
  const weights = layers.reduce((sum, { weight }) => sum + weight.length, 0);
  const memory = new WebAssembly.Memory({
    initial: Math.ceil((4 * (weights + sums + list)) / 65536),
  });
  const { instance } = await WebAssembly.instantiate(wasm, { page: { memory } });
  const floats = new Float32Array(memory.buffer),
    integers = new Int32Array(memory.buffer);
  let from = sums;
  for (const layer of layers) {
    floats.set(layer.weight, from);
    layer.weight = floats.subarray(from, (from += layer.weight.length));
    layer.add = (cases) => add(layer, cases);
  }

  // The sums lie first, then all weights, then the list of the units that are on.
  function add({ outputs, stride, weight, bias }, cases) {
    let at = from;
    cases.forEach((states, number) => {
      floats.set(bias, number * stride);
      const count = at++;
      for (let unit = 0; unit < states.length; unit++) {
        if (states[unit] === 0) continue;
        integers[at++] = 4 * unit * stride;
        floats[at++] = states[unit];
      }
      integers[count] = (at - count - 1) / 2;
    });
    instance.exports.add_rows(4 * from, cases.length, weight.byteOffset, 4 * stride, 0);
    return cases.map((_, number) => floats.slice(number * stride, number * stride + outputs));
  }
}
