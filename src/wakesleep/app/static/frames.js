// A frame of a dream, as frames.py packs it: head, then layers from the pixels up, labels last.

export function unpack(buffer) {
  const view = new DataView(buffer);
  if (view.getUint8(0) !== 1) throw new Error(`a frame of version ${view.getUint8(0)}; this page reads version 1: reload it`);
  const frame = { focus: view.getUint16(2, true), step: view.getUint32(4, true), number: view.getUint32(8, true), layers: [] };
  let at = 12;
  for (let layer = 0; layer < view.getUint8(1); layer++) {
    const chains = view.getUint16(at, true), units = view.getUint32(at + 2, true), bits = view.getUint8(at + 6) === 1;
    const width = bits ? Math.ceil(units / 8) : units;
    const coded = new Uint8Array(buffer, at + 7, chains * width);
    frame.layers.push({ chains, units, values: bits ? spread(coded, chains, units, width) : coded });
    at += 7 + chains * width;
  }
  return frame;
}

// Bits, lowest first, become bytes 0 or 255.
function spread(coded, chains, units, width) {
  const values = new Uint8Array(chains * units);
  for (let chain = 0; chain < chains; chain++)
    for (let unit = 0; unit < units; unit++)
      if (coded[chain * width + (unit >> 3)] & (1 << (unit & 7))) values[chain * units + unit] = 255;
  return values;
}
