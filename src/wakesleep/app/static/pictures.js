// Bytes become pictures: ink, units that glow, signed fields. Colours come from style.css, so that day and night need no code.

const tables = new Map();

function table(low, high, middle) {
  const key = `${document.documentElement.dataset.theme}:${low}:${high}`;
  if (!tables.has(key)) {
    const style = getComputedStyle(document.documentElement);
    const [from, to] = [low, high].map((name) =>
      style
        .getPropertyValue(name)
        .trim()
        .match(/\w\w/g)
        .map((part) => parseInt(part, 16)),
    );
    const mid =
      middle &&
      style
        .getPropertyValue(middle)
        .trim()
        .match(/\w\w/g)
        .map((part) => parseInt(part, 16));
    const colours = new Uint32Array(256);
    for (let value = 0; value < 256; value++) {
      const mix = (channel) => {
        if (!mid) return from[channel] + ((to[channel] - from[channel]) * value) / 255;
        const away = Math.abs(value - 128) / 127;
        return (
          mid[channel] + ((value < 128 ? from : to)[channel] - mid[channel]) * Math.min(away, 1)
        );
      };
      colours[value] = (255 << 24) | (mix(2) << 16) | (mix(1) << 8) | mix(0);
    }
    tables.set(key, colours);
  }
  return tables.get(key);
}

export const ink = () => table("--picture-low", "--picture-high");
export const glow = () => table("--unit-low", "--unit-high");
export const signed = () => table("--signed-against", "--signed-for", "--picture-low");

const redraws = new Map();

// Draw now, and again when day turns to night.
export function keep(canvas, draw) {
  redraws.set(canvas, draw);
  draw();
}

export function redrawAll(resized = false) {
  for (const [canvas, draw] of redraws) {
    if (resized) sides.delete(canvas);
    canvas.isConnected ? draw() : redraws.delete(canvas);
  }
}

// One picture: bytes row by row, smoothed as it grows, because a pixel is a sample and not a square.
export function paint(canvas, values, [rows, columns], colours = ink) {
  keep(canvas, () => {
    const small = raster(values, rows, columns, colours());
    const side = Math.max(rows, columns) > 40 ? 1 : 6;
    if (canvas.width !== columns * side)
      [canvas.width, canvas.height] = [columns * side, rows * side];
    const context = canvas.getContext("2d");
    context.imageSmoothingQuality = "high";
    context.drawImage(small, 0, 0, canvas.width, canvas.height);
  });
}

let scratch = null;

function raster(values, rows, columns, colours) {
  if (!scratch || scratch.width !== columns || scratch.height !== rows)
    scratch = new OffscreenCanvas(columns, rows);
  const context = scratch.getContext("2d");
  const image = context.createImageData(columns, rows),
    out = new Uint32Array(image.data.buffer);
  for (let at = 0; at < out.length; at++) out[at] = colours[values[at]];
  context.putImageData(image, 0, 0);
  return scratch;
}

const sides = new WeakMap();
addEventListener("resize", () => redrawAll(true));

// How many device pixels a square takes, so that squares stay sharp.
function sideOf(canvas, columns) {
  if (!sides.get(canvas) && canvas.clientWidth)
    sides.set(canvas, Math.max(1, Math.round((canvas.clientWidth * devicePixelRatio) / columns)));
  return sides.get(canvas) ?? 6;
}

// Units as small squares, line by line.
export function cells(canvas, values, columns, colours = glow) {
  keep(canvas, () => {
    const side = sideOf(canvas, columns),
      gap = side > 9 ? 2 : side > 2 ? 1 : 0,
      rows = Math.ceil(values.length / columns),
      width = columns * side;
    if (canvas.width !== width || canvas.height !== rows * side)
      [canvas.width, canvas.height] = [width, rows * side];
    const context = canvas.getContext("2d");
    const image = context.createImageData(width, rows * side),
      out = new Uint32Array(image.data.buffer),
      lut = colours();
    for (let unit = 0; unit < values.length; unit++) {
      const colour = lut[values[unit] | 0],
        corner = ((unit / columns) | 0) * side * width + (unit % columns) * side;
      for (let y = 0; y < side - gap; y++)
        out.fill(colour, corner + y * width, corner + y * width + side - gap);
    }
    context.putImageData(image, 0, 0);
  });
}

// Many pictures in one canvas, `columns` in a row; returns which one lies under a point of the canvas.
export function sheet(
  canvas,
  values,
  count,
  [rows, wide],
  columns,
  colours = signed,
  chosen = () => -1,
) {
  const gap = 3,
    scale = 2,
    across = wide * scale + gap,
    down = rows * scale + gap;
  keep(canvas, () => {
    [canvas.width, canvas.height] = [
      columns * across + gap,
      Math.ceil(count / columns) * down + gap,
    ];
    const context = canvas.getContext("2d"),
      lut = colours();
    context.imageSmoothingQuality = "high";
    for (let number = 0; number < count; number++) {
      const small = raster(
        values.subarray(number * rows * wide, (number + 1) * rows * wide),
        rows,
        wide,
        lut,
      );
      const [x, y] = [gap + (number % columns) * across, gap + Math.floor(number / columns) * down];
      context.drawImage(small, x, y, wide * scale, rows * scale);
      if (number === chosen()) {
        context.strokeStyle = getComputedStyle(document.documentElement).getPropertyValue(
          "--accent",
        );
        context.lineWidth = gap * 1.5;
        context.strokeRect(x - 1, y - 1, wide * scale + 2, rows * scale + 2);
      }
    }
  });
  return ({ offsetX, offsetY }) => {
    const ratio = canvas.width / canvas.clientWidth;
    const [column, row] = [
      Math.floor((offsetX * ratio - gap / 2) / across),
      Math.floor((offsetY * ratio - gap / 2) / down),
    ];
    const number = row * columns + column;
    return column >= 0 && column < columns && number >= 0 && number < count ? number : -1;
  };
}

// Probabilities (or signed numbers) as bars with names.
export function bars(
  box,
  names,
  values,
  { signed: both = false, words = (value) => `${Math.round(value * 100)}%` } = {},
) {
  if (box.children.length !== names.length)
    box.replaceChildren(
      ...names.map((name) =>
        element(
          "div",
          { className: "bar" },
          element("span", {}, name),
          element("i", {}, element("b")),
          element("span"),
        ),
      ),
    );
  const most = both ? Math.max(...values.map(Math.abs), 1e-9) : 1,
    largest = Math.max(...values),
    best = largest > 0 ? values.indexOf(largest) : -1;
  values.forEach((value, number) => {
    const bar = box.children[number];
    bar.classList.toggle("best", number === best);
    bar.classList.toggle("minus", value < 0);
    bar.querySelector("b").style.width = `${(100 * Math.abs(value)) / most}%`;
    bar.lastChild.textContent = words(value);
  });
}

export function element(tag, properties = {}, ...children) {
  const made = Object.assign(document.createElement(tag), properties);
  made.append(...children);
  return made;
}
