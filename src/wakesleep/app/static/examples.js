// Pictures to try: they lie beside the page, and are fetched when first asked for.

import { random } from "./engine.js";
import { fetchJson } from "./link.js";

let found = null;

// Return {source, items: [{pixels, label}]}, `count` of them chosen by the seed.
export async function examples(model, seed, count) {
  found ??= fetchJson("examples.json");
  const { source, labels, pixels } = await found,
    size = model.sizes[0];
  const bytes = Uint8Array.from(atob(pixels), (letter) => letter.charCodeAt(0)),
    uniform = random(seed);
  const order = labels.map((_, at) => [uniform(), at]).sort(([one], [other]) => one - other);
  const items = order
    .slice(0, count)
    .map(([, at]) => ({ pixels: bytes.subarray(at * size, (at + 1) * size), label: labels[at] }));
  return { source, items };
}
