// Frames as an animated GIF (GIF89a, LZW).

const LEVELS = 64;

// `frames` are bytes 0..255 a pixel, all of one size; `colours` is a table of 256 as pictures.js
// makes them (0xAABBGGRR). Return a Blob.
export function gif(frames, width, height, colours, framesPerSecond) {
  const out = [];
  const word = (value) => out.push(value & 255, value >> 8);
  const text = (letters) => out.push(...[...letters].map((letter) => letter.charCodeAt(0)));
  text("GIF89a");
  word(width);
  word(height);
  out.push(0xf0 | (Math.log2(LEVELS) - 1), 0, 0);
  for (let level = 0; level < LEVELS; level++) {
    const colour = colours[Math.round((255 * level) / (LEVELS - 1))];
    out.push(colour & 255, (colour >> 8) & 255, (colour >> 16) & 255);
  }
  out.push(0x21, 0xff, 11);
  text("NETSCAPE2.0");
  out.push(3, 1, 0, 0, 0);
  const parts = [Uint8Array.from(out)];
  for (const frame of frames) {
    out.length = 0;
    out.push(0x21, 0xf9, 4, 0);
    word(Math.round(100 / framesPerSecond));
    out.push(0, 0, 0x2c, 0, 0, 0, 0);
    word(width);
    word(height);
    out.push(0);
    parts.push(
      Uint8Array.from(out),
      compressed(frame.map((value) => Math.round((value * (LEVELS - 1)) / 255))),
    );
  }
  parts.push(Uint8Array.of(0x3b));
  return new Blob(parts, { type: "image/gif" });
}

// LZW with codes of 7 to 12 bits, in blocks of at most 255 bytes.
function compressed(levels) {
  const bits = Math.log2(LEVELS),
    clear = LEVELS,
    end = LEVELS + 1,
    packed = [];
  let table = new Map(),
    next = LEVELS + 2,
    width = bits + 1,
    buffer = 0,
    held = 0;
  const put = (code) => {
    buffer |= code << held;
    held += width;
    for (; held >= 8; held -= 8, buffer >>= 8) packed.push(buffer & 255);
  };
  put(clear);
  let prefix = levels[0];
  for (let at = 1; at < levels.length; at++) {
    const key = prefix * LEVELS + levels[at],
      known = table.get(key);
    if (known !== undefined) {
      prefix = known;
      continue;
    }
    put(prefix);
    if (next === 4096) {
      put(clear);
      [table, next, width] = [new Map(), LEVELS + 2, bits + 1];
    } else {
      if (next === 1 << width) width++;
      table.set(key, next++);
    }
    prefix = levels[at];
  }
  put(prefix);
  put(end);
  if (held) packed.push(buffer & 255);
  const out = [bits];
  for (let at = 0; at < packed.length; at += 255) {
    const block = packed.slice(at, at + 255);
    out.push(block.length, ...block);
  }
  out.push(0);
  return Uint8Array.from(out);
}
