// The ink of the digit in a photograph: uneven light, a table's edge, ruled paper. The same as wakesleep/data/photographs.py,
// where the reasons are, number for number. Grey levels are { rows, columns, values }.

import { resize } from "./prepare.js";

const SMALLEST = 64,
  EVEN = 0.06,
  STRAYING = 0.02,
  SIDE = 192,
  WINDOW = 0.25,
  BOARD = 0.25,
  MIDDLE = 0.15,
  DARKEST = 99.8;
const LEAST = 0.1,
  THRESHOLD = 0.45,
  SPECK = 0.03,
  NEAR = 0.2;

// Half to even, as Python rounds.
function round(value) {
  const down = Math.floor(value),
    over = value - down;
  return over < 0.5 || (over === 0.5 && down % 2 === 0) ? down : down + 1;
}

const like = ({ rows, columns }, values) => ({ rows, columns, values });
const map = (grey, change) => like(grey, grey.values.map(change));
const sorted = (values) => Float32Array.from(values).sort();

function percentile(order, percent) {
  const at = (percent / 100) * (order.length - 1),
    low = Math.floor(at),
    high = Math.min(low + 1, order.length - 1);
  return order[low] + (at - low) * (order[high] - order[low]);
}

const median = (values) => percentile(sorted(values), 50);
const extent = ({ values }) => [
  values.reduce((a, b) => Math.min(a, b), Infinity),
  values.reduce((a, b) => Math.max(a, b), -Infinity),
];

// The outermost pixels; corners come twice.
function border({ rows, columns, values }) {
  const out = [];
  for (let column = 0; column < columns; column++)
    out.push(values[column], values[(rows - 1) * columns + column]);
  for (let row = 0; row < rows; row++)
    out.push(values[row * columns], values[row * columns + columns - 1]);
  return out;
}

export function isPhotograph(levels) {
  if (Math.min(levels.rows, levels.columns) < SMALLEST) return false;
  const edge = border(levels),
    middle = median(edge),
    [low, high] = extent(levels);
  return (
    edge.filter((level) => Math.abs(level - middle) > EVEN * (high - low)).length / edge.length >
    STRAYING
  );
}

// The largest or smallest level within `reach` along an axis; nothing lies beyond the edge.
function extreme({ rows, columns, values }, reach, axis, larger) {
  const out = new Float32Array(values.length),
    [lines, length, step, next] = axis ? [rows, columns, 1, columns] : [columns, rows, columns, 1];
  for (let line = 0; line < lines; line++)
    for (let place = 0; place < length; place++) {
      let best = values[line * next + place * step];
      for (let at = Math.max(0, place - reach); at <= Math.min(length - 1, place + reach); at++) {
        const value = values[line * next + at * step];
        if (larger ? value > best : value < best) best = value;
      }
      out[line * next + place * step] = best;
    }
  return { rows, columns, values: out };
}

function closing(levels, reach) {
  for (const larger of [true, false])
    for (const axis of [0, 1]) levels = extreme(levels, reach, axis, larger);
  return levels;
}

// The ink of the digit in a photograph; null where nothing stands out.
export function inkOnPaper(levels) {
  const scale = Math.min(1, SIDE / Math.max(levels.rows, levels.columns)),
    [rows, columns] = [levels.rows, levels.columns].map((side) => Math.max(1, round(scale * side)));
  let small = resize(levels, rows, columns);
  const order = sorted(small.values),
    [low, middle, high] = [0.5, 50, 99.5].map((percent) => percentile(order, percent));
  if (middle - low < BOARD * (high - low)) small = map(small, (level) => 1 - level);
  const paper = closing(small, Math.floor(Math.trunc(WINDOW * Math.max(rows, columns)) / 2));
  let ink = map(small, (level, at) => 1 - level / Math.max(paper.values[at], 1e-3));
  const usual = median(ink.values);
  ink = map(ink, (value) => value - usual);
  const down = Math.trunc(MIDDLE * rows),
    across = Math.trunc(MIDDLE * columns),
    inner = [];
  for (let row = down; row < rows - down; row++)
    inner.push(...ink.values.subarray(row * columns + across, (row + 1) * columns - across));
  const full = percentile(sorted(inner), DARKEST);
  if (full < LEAST) return null;
  const chosen = digitOf(ink, (value) => value > THRESHOLD * full);
  if (!chosen) return null;
  const around = extreme(extreme(chosen, 1, 0, true), 1, 1, true); // a stroke's soft edge belongs to it
  return map(ink, (value, at) => Math.min(1, Math.max(0, value / full)) * around.values[at]);
}

// Connected dark pieces: their number at each pixel (0 is none), their boxes and their ink.
function piecesOf({ rows, columns, values }, dark) {
  const number = new Int32Array(values.length),
    found = [];
  for (let start = 0; start < values.length; start++) {
    if (number[start] || !dark(values[start])) continue;
    const piece = { top: rows, bottom: 0, left: columns, right: 0, mass: 0, edge: false },
      waiting = [start];
    found.push(piece);
    number[start] = found.length;
    while (waiting.length) {
      const at = waiting.pop(),
        row = Math.floor(at / columns),
        column = at % columns;
      piece.mass += values[at];
      piece.edge ||= row === 0 || column === 0 || row === rows - 1 || column === columns - 1;
      [piece.top, piece.bottom] = [Math.min(piece.top, row), Math.max(piece.bottom, row + 1)];
      [piece.left, piece.right] = [Math.min(piece.left, column), Math.max(piece.right, column + 1)];
      for (let y = Math.max(0, row - 1); y <= Math.min(rows - 1, row + 1); y++)
        for (let x = Math.max(0, column - 1); x <= Math.min(columns - 1, column + 1); x++) {
          const next = y * columns + x;
          if (number[next] || !dark(values[next])) continue;
          number[next] = found.length;
          waiting.push(next);
        }
    }
  }
  return { number, found };
}

function digitOf(ink, dark) {
  const { number, found } = piecesOf(ink, dark);
  if (!found.length) return null;
  const inside = found.some((piece) => !piece.edge),
    allowed = found.filter((piece) => !inside || !piece.edge);
  const main = allowed.reduce((best, piece) => (piece.mass > best.mass ? piece : best));
  const room = NEAR * Math.max(main.bottom - main.top, main.right - main.left);
  const wanted = new Set(
    allowed.filter((piece) => {
      const gap = Math.max(
        main.top - piece.bottom,
        piece.top - main.bottom,
        main.left - piece.right,
        piece.left - main.right,
        0,
      );
      return gap <= room && piece.mass >= SPECK * main.mass;
    }),
  );
  return like(
    ink,
    Float32Array.from(number, (one) => (one && wanted.has(found[one - 1]) ? 1 : 0)),
  );
}
