// Whether a picture is unlike those that the network learned from: the same as wakesleep/evaluation/novelty.py, where the
// reasons are. Nats.

import { totalInput } from "./engine.js";

const softplus = (input) => Math.max(input, 0) + Math.log1p(Math.exp(-Math.abs(input)));
const dot = (one, other) => one.reduce((sum, value, at) => sum + value * other[at], 0);
const sum = (values, of) => values.reduce((total, value) => total + of(value), 0);

// The lower bound on log p(picture) with means, log Z left out (meanfield.score), of what
// engine.js's `up` returns.
function score(net, { layers, inputs, total, scores }) {
  let found = dot(layers.at(-1), net.memory.down.bias);
  if (scores) {
    const most = Math.max(...scores);
    found += most + Math.log(sum(scores, (one) => Math.exp(one - most)));
  } else found += sum(total, softplus);
  inputs.forEach((upward, at) => {
    const below = layers[at],
      above = layers[at + 1],
      downward = totalInput(net.generative[at], above);
    found +=
      dot(below, downward) - sum(downward, softplus) + sum(upward, softplus) - dot(above, upward);
  });
  return found;
}

// The length of all contours of a picture, pixels across or down.
export function contour(picture, [rows, columns]) {
  let length = 0;
  for (let row = 0; row < rows; row++)
    for (let column = 0; column < columns; column++) {
      const at = row * columns + column;
      if (column + 1 < columns) length += Math.abs(picture[at + 1] - picture[at]);
      if (row + 1 < rows) length += Math.abs(picture[at + columns] - picture[at]);
    }
  return length;
}

// How many nats the score and the label's log odds lie below what is usual for the label and the contour; unfamiliar above
// the calibration's threshold. Takes what engine.js's `up` returns of the picture.
export function surprise(net, way, { slope, intercepts, shape, odds_weight: weight = 0 }, label) {
  const [best, next] = way.scores ? [...way.scores].sort((one, other) => other - one) : [0, 0];
  return (
    slope * contour(way.layers[0], shape) +
    intercepts[label ?? 0] -
    score(net, way) -
    weight * (best - next)
  );
}
