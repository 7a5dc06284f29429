// How a picture becomes a case of the network: the same as data/preparation.py and
// data/pictures.py do in Python. Grey levels are {rows, columns, values: Float32Array in [0, 1]}.

import { inkOnPaper, isPhotograph } from "./photographs.js";

const FAINTEST = 0.05,
  INK = 0.2;

export const BLANK = "The picture is blank: nothing on it differs from its ground.";

// Round half to even, as Python and NumPy do.
function round(value) {
  const whole = Math.floor(value),
    rest = value - whole;
  return rest < 0.5 ? whole : rest > 0.5 ? whole + 1 : whole + (whole % 2);
}

export function extremes(values) {
  let low = Infinity,
    high = -Infinity;
  for (let at = 0; at < values.length; at++) {
    if (values[at] < low) low = values[at];
    if (values[at] > high) high = values[at];
  }
  return [low, high];
}

// Grey levels of what a canvas holds (RGBA bytes), by Pillow's weights; transparent parts take
// black or white, whichever the opaque parts stand out from (pictures._grey).
export function greyOf({ data, width, height }) {
  const values = new Float32Array(width * height);
  let inked = 0,
    opaque = 0;
  for (let at = 0; at < values.length; at++) {
    const grey =
      (data[4 * at] * 19595 + data[4 * at + 1] * 38470 + data[4 * at + 2] * 7471 + 32768) >> 16;
    values[at] = grey / 255;
    inked += (values[at] * data[4 * at + 3]) / 255;
    opaque += data[4 * at + 3] / 255;
  }
  const ground = inked > opaque / 2 ? 0 : 1;
  for (let at = 0; at < values.length; at++) {
    const alpha = data[4 * at + 3] / 255;
    if (alpha < 1) values[at] = values[at] * alpha + ground * (1 - alpha);
  }
  return { rows: height, columns: width, values };
}

// One direction of Pillow's BILINEAR: triangles as wide as the scale, averaging where it shrinks.
function weights(from, to) {
  const scale = from / to,
    reach = Math.max(scale, 1);
  return Array.from({ length: to }, (_, place) => {
    const middle = (place + 0.5) * scale;
    const first = Math.max(0, Math.trunc(middle - reach + 0.5));
    const last = Math.min(from, Math.trunc(middle + reach + 0.5));
    const own = [];
    let sum = 0;
    for (let at = first; at < last; at++) {
      const weight = Math.max(0, 1 - Math.abs((at - middle + 0.5) / reach));
      own.push(weight);
      sum += weight;
    }
    return { first, own: Float64Array.from(own, (weight) => weight / sum) };
  });
}

// Grey levels at another size (pictures.resize).
export function resize({ rows, columns, values }, toRows, toColumns) {
  if (rows === toRows && columns === toColumns) return { rows, columns, values };
  const across = weights(columns, toColumns),
    down = weights(rows, toRows);
  const narrow = new Float32Array(rows * toColumns),
    out = new Float32Array(toRows * toColumns);
  for (let row = 0; row < rows; row++)
    for (let column = 0; column < toColumns; column++) {
      const { first, own } = across[column];
      let sum = 0;
      for (let at = 0; at < own.length; at++) sum += own[at] * values[row * columns + first + at];
      narrow[row * toColumns + column] = sum;
    }
  for (let row = 0; row < toRows; row++) {
    const { first, own } = down[row];
    for (let column = 0; column < toColumns; column++) {
      let sum = 0;
      for (let at = 0; at < own.length; at++)
        sum += own[at] * narrow[(first + at) * toColumns + column];
      out[row * toColumns + column] = Math.min(1, Math.max(0, sum));
    }
  }
  return { rows: toRows, columns: toColumns, values: out };
}

// The level of a picture's paper, the median of its border, corners twice (pictures.paper_level).
export function paperLevel({ rows, columns, values }) {
  const border = [];
  for (let column = 0; column < columns; column++)
    border.push(values[column], values[(rows - 1) * columns + column]);
  for (let row = 0; row < rows; row++)
    border.push(values[row * columns], values[(row + 1) * columns - 1]);
  border.sort((one, other) => one - other);
  const middle = border.length / 2;
  return (border[middle - 1] + border[middle]) / 2;
}

// Bright ink on black, paper 0 and the strongest ink 1 (pictures.ink_of).
function inkOf(grey, light) {
  const paper = paperLevel(grey),
    [low, high] = extremes(grey.values);
  const range = Math.max(light ? paper - low : high - paper, 1e-6);
  const from = grey.values,
    values = new Float32Array(from.length);
  for (let at = 0; at < values.length; at++) {
    const ink = (light ? paper - from[at] : from[at] - paper) / range;
    values[at] = ink < 0 ? 0 : ink > 1 ? 1 : ink;
  }
  return { ...grey, values };
}

// Bright ink laid in a field as MNIST was made: its longer side a part of the field, its centre of
// mass in the middle (pictures.centred).
export function centred(ink, [toRows, toColumns], part) {
  let top = ink.rows,
    bottom = -1,
    left = ink.columns,
    right = -1;
  for (let row = 0; row < ink.rows; row++)
    for (let column = 0; column < ink.columns; column++) {
      if (ink.values[row * ink.columns + column] <= INK) continue;
      top = Math.min(top, row);
      bottom = Math.max(bottom, row);
      left = Math.min(left, column);
      right = Math.max(right, column);
    }
  const rows = bottom - top + 1,
    columns = right - left + 1,
    cut = new Float32Array(rows * columns);
  for (let row = 0; row < rows; row++) {
    const from = (top + row) * ink.columns + left;
    cut.set(ink.values.subarray(from, from + columns), row * columns);
  }
  const scale = part * Math.min(toRows / rows, toColumns / columns);
  const small = resize(
    { rows, columns, values: cut },
    Math.max(1, round(scale * rows)),
    Math.max(1, round(scale * columns)),
  );
  const [, most] = extremes(small.values);
  const values = small.values.map((value) => value / most);
  const sums = [new Float64Array(small.rows), new Float64Array(small.columns)];
  values.forEach((value, at) => {
    sums[0][Math.floor(at / small.columns)] += value;
    sums[1][at % small.columns] += value;
  });
  const [down, across] = sums.map((weight, axis) => {
    const whole = weight.reduce((sum, one) => sum + one, 0);
    const mass = weight.reduce((sum, one, at) => sum + one * at, 0) / whole,
      side = [toRows, toColumns][axis];
    return Math.min(Math.max(round(side / 2 - mass), 0), side - weight.length);
  });
  const field = new Float32Array(toRows * toColumns);
  for (let row = 0; row < small.rows; row++)
    field.set(
      values.subarray(row * small.columns, (row + 1) * small.columns),
      (down + row) * toColumns + across,
    );
  return { rows: toRows, columns: toColumns, values: field };
}

const asBytes = (grey) => ({
  ...grey,
  values: grey.values.map((value) => Math.fround(round(Math.fround(value * 255)) / 255)),
});
const turnedIf = (grey, turned) =>
  turned ? { ...grey, values: grey.values.map((value) => 1 - value) } : grey;

// A picture as a case, Float32Array in [0, 1] (Preparation.read): `how` is the preparation that the
// model's file records, {shape, paper, inverted, unanimous, centring, field, came}. A `drawing` is
// light ink on black, drawn by hand.
export function prepare(grey, how, { centre = null, drawing = false } = {}) {
  const [low, high] = extremes(grey.values);
  if (high - low < FAINTEST) throw new Error(BLANK);
  const drawn = drawing && how.paper !== null;
  return picture(grey, how, drawn ? "dark" : null, drawn ? true : centre).values;
}

function picture(grey, how, own, centre) {
  const { shape, paper, inverted, unanimous, centring, field, came } = how;
  const has = (size) => size && grey.rows === size[0] && grey.columns === size[1];
  const fits = has(shape) || has(came),
    dark = paper === null || (paper === "dark") !== inverted;
  const photographed = own === null && !fits && paper !== null && isPhotograph(grey);
  const [low, high] = extremes(grey.values);
  if (own === null) {
    const trusted = unanimous || (centring === "others" && !fits);
    own =
      trusted && paper !== null ? (paperLevel(grey) > (low + high) / 2 ? "light" : "dark") : paper;
  }
  centre ??= centring === "all" || (centring === "others" && (!fits || own !== paper));
  const turned = paper === null ? inverted : (own === "dark") !== dark;
  if (!centre) return turnedIf(asBytes(resize(grey, ...shape)), turned);
  const ink =
    (photographed ? inkOnPaper(grey) : null) ??
    inkOf(grey, paper === null ? turned : own === "light");
  const some = extremes(ink.values)[1] > INK;
  const laid = turnedIf(some ? centred(ink, shape, field) : resize(ink, ...shape), !dark);
  return centring === "others" ? laid : asBytes(laid);
}
