// Nets that learn in the page: logistic layers that dream first (contrastive divergence, layer by layer, no labels), and
// layers of logistic or rectified units that only ever learn from labels (backpropagation). Plain functions on typed arrays.

// Uniform numbers in [0, 1) from a seed (mulberry32).
export function uniform(seed) {
  let state = (seed * 2654435761) >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
  };
}

const normal = (random) =>
  Math.sqrt(-2 * Math.log(1 - random())) * Math.cos(2 * Math.PI * random());

export function shuffled(count, random) {
  const order = Int32Array.from({ length: count }, (_, at) => at);
  for (let at = count - 1; at > 0; at--) {
    const other = Math.floor(random() * (at + 1));
    [order[at], order[other]] = [order[other], order[at]];
  }
  return order;
}

// Weights (inputs, outputs) row by row, normal with the given deviation; biases 0. `speed` holds the momentum of both.
function layer(inputs, outputs, deviation, random) {
  const weight = new Float32Array(inputs * outputs);
  for (let at = 0; at < weight.length; at++) weight[at] = deviation * normal(random);
  return {
    inputs,
    outputs,
    weight,
    bias: new Float32Array(outputs),
    speed: new Float32Array(weight.length),
    biasSpeed: new Float32Array(outputs),
  };
}

// A net from random weights: deviation sqrt(2 / (inputs + outputs)) for logistic units (Glorot and Bengio, 2010),
// sqrt(2 / inputs) for rectified ones (He et al., 2015). The last layer is a softmax.
export function randomNet(sizes, unit, random) {
  const layers = sizes.slice(1).map((outputs, at) => {
    const inputs = sizes[at],
      rectified = unit === "relu" && at < sizes.length - 2;
    return layer(inputs, outputs, Math.sqrt(2 / (rectified ? inputs : inputs + outputs)), random);
  });
  return { unit, layers };
}

// out (rows, columns) += left (rows, inner) right (inner, columns); two rows by four at a time, so that a number that was
// fetched is used more than once: three times as fast as one by one.
function multiply(left, right, out, rows, inner, columns) {
  for (let row = 0; row < rows; row += 2) {
    const pair = row + 1 < rows,
      to = row * columns,
      from = row * inner,
      below = pair ? from + inner : from;
    let at = 0;
    for (; at + 3 < inner; at += 4) {
      const a0 = left[from + at],
        a1 = left[from + at + 1],
        a2 = left[from + at + 2],
        a3 = left[from + at + 3];
      const b0 = left[below + at],
        b1 = left[below + at + 1],
        b2 = left[below + at + 2],
        b3 = left[below + at + 3];
      const start = at * columns;
      for (let column = 0; column < columns; column++) {
        const r0 = right[start + column],
          r1 = right[start + columns + column];
        const r2 = right[start + 2 * columns + column],
          r3 = right[start + 3 * columns + column];
        out[to + column] += a0 * r0 + a1 * r1 + a2 * r2 + a3 * r3;
        if (pair) out[to + columns + column] += b0 * r0 + b1 * r1 + b2 * r2 + b3 * r3;
      }
    }
    for (; at < inner; at++)
      for (let column = 0; column < columns; column++) {
        out[to + column] += left[from + at] * right[at * columns + column];
        if (pair) out[to + columns + column] += left[below + at] * right[at * columns + column];
      }
  }
  return out;
}

function transposed(values, rows, columns) {
  const out = new Float32Array(values.length);
  for (let row = 0; row < rows; row++)
    for (let column = 0; column < columns; column++)
      out[column * rows + row] = values[row * columns + column];
  return out;
}

function repeated(bias, count) {
  const out = new Float32Array(count * bias.length);
  for (let row = 0; row < count; row++) out.set(bias, row * bias.length);
  return out;
}

// rows (count, inputs) weight + bias, and rows (count, outputs) weight' + bias
const up = (rows, count, { inputs, outputs, weight, bias }) =>
  multiply(rows, weight, repeated(bias, count), count, inputs, outputs);
const down = (rows, count, { inputs, outputs, weight }, bias) =>
  multiply(
    rows,
    transposed(weight, inputs, outputs),
    repeated(bias, count),
    count,
    outputs,
    inputs,
  );

// below (count, inputs)' above (count, outputs), added to `gradient`
const gram = (below, above, count, { inputs, outputs }, gradient) =>
  multiply(transposed(below, count, inputs), above, gradient, inputs, count, outputs);

function activate(values, unit) {
  if (unit === "relu")
    for (let at = 0; at < values.length; at++) values[at] = Math.max(values[at], 0);
  else for (let at = 0; at < values.length; at++) values[at] = 1 / (1 + Math.exp(-values[at]));
  return values;
}

function softmax(values, count, classes) {
  for (let row = 0; row < count; row++) {
    const start = row * classes;
    let most = -Infinity,
      sum = 0;
    for (let at = start; at < start + classes; at++) most = Math.max(most, values[at]);
    for (let at = start; at < start + classes; at++)
      sum += values[at] = Math.exp(values[at] - most);
    for (let at = start; at < start + classes; at++) values[at] /= sum;
  }
  return values;
}

// Activities of all layers for rows (count, pixels); the last are the probabilities of the classes.
export function forward(net, rows, count) {
  const activities = [rows];
  net.layers.forEach((one, at) => {
    const out = up(activities[at], count, one);
    activities.push(
      at < net.layers.length - 1 ? activate(out, net.unit) : softmax(out, count, one.outputs),
    );
  });
  return activities;
}

// The momentum rule, of a sum over `count` cases: speed = momentum speed + rate gradient / count; value += speed.
function move(values, speed, gradient, count, { rate, momentum }) {
  for (let at = 0; at < values.length; at++)
    values[at] += speed[at] = momentum * speed[at] + (rate * gradient[at]) / count;
}

function columnSums(rows, count, width, sign, sums) {
  for (let row = 0; row < count; row++)
    for (let at = 0; at < width; at++) sums[at] += sign * rows[row * width + at];
  return sums;
}

// One update of a whole net by backpropagation of log p(label).
export function learnLabels(net, rows, labels, count, how) {
  const activities = forward(net, rows, count),
    last = net.layers.length - 1,
    classes = net.layers[last].outputs;
  let error = activities[last + 1].map((probability) => -probability);
  for (let row = 0; row < count; row++) error[row * classes + labels[row]] += 1;
  for (let at = last; at >= 0; at--) {
    const one = net.layers[at],
      below = activities[at];
    const gradient = gram(below, error, count, one, new Float32Array(one.weight.length));
    const biasGradient = columnSums(error, count, one.outputs, 1, new Float32Array(one.outputs));
    if (at) {
      const slope =
        net.unit === "relu" ? (value) => (value > 0 ? 1 : 0) : (value) => value * (1 - value);
      error = down(error, count, one, new Float32Array(one.inputs));
      for (let place = 0; place < error.length; place++) error[place] *= slope(below[place]);
    }
    move(one.weight, one.speed, gradient, count, how);
    move(one.bias, one.biasSpeed, biasGradient, count, how);
  }
}

// A machine that dreams: a layer with biases of what it sees.
export function machine(inputs, outputs, random) {
  return {
    ...layer(inputs, outputs, 0.01, random),
    visibleBias: new Float32Array(inputs),
    visibleSpeed: new Float32Array(inputs),
  };
}

// One update by contrastive divergence: what was there becomes likelier, the machine's own version less likely.
// Hinton (2002), one Gibbs step; hidden states are sampled, what they paint is taken as probabilities.
export function learnToDream(one, rows, count, random, how) {
  const { inputs, outputs, weight } = one;
  const hidden = activate(up(rows, count, one), "logistic");
  const states = hidden.map((probability) => (random() < probability ? 1 : 0));
  const painted = activate(down(states, count, one, one.visibleBias), "logistic");
  const again = activate(up(painted, count, one), "logistic");
  const minus = again.map((probability) => -probability);
  const gradient = gram(
    painted,
    minus,
    count,
    one,
    gram(rows, hidden, count, one, new Float32Array(weight.length)),
  );
  for (let at = 0; at < gradient.length; at++) gradient[at] -= how.decay * count * weight[at];
  move(weight, one.speed, gradient, count, how);
  move(
    one.bias,
    one.biasSpeed,
    columnSums(
      again,
      count,
      outputs,
      -1,
      columnSums(hidden, count, outputs, 1, new Float32Array(outputs)),
    ),
    count,
    how,
  );
  move(
    one.visibleBias,
    one.visibleSpeed,
    columnSums(
      painted,
      count,
      inputs,
      -1,
      columnSums(rows, count, inputs, 1, new Float32Array(inputs)),
    ),
    count,
    how,
  );
}

// Hidden probabilities of rows (count, inputs): what the next machine learns from.
export const features = (one, rows, count) => activate(up(rows, count, one), "logistic");

// Rows (chosen.length, width) of a table.
export function gather(table, width, chosen) {
  const out = new Float32Array(chosen.length * width);
  chosen.forEach((from, to) =>
    out.set(table.subarray(from * width, (from + 1) * width), to * width),
  );
  return out;
}

// The share of cases (count, pixels) that a net names wrongly, in percent.
export function errorPercent(net, rows, labels) {
  const count = labels.length,
    probabilities = forward(net, rows, count).at(-1),
    classes = probabilities.length / count;
  let wrong = 0;
  for (let row = 0; row < count; row++) {
    let best = row * classes;
    for (let at = best + 1; at < (row + 1) * classes; at++)
      if (probabilities[at] > probabilities[best]) best = at;
    wrong += best - row * classes !== labels[row];
  }
  return (100 * wrong) / count;
}
