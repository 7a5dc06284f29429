// Runs a race away from the page, and answers drawings by the nets as they are then.

import { SIDES, answer, race, unpack } from "./race.js";

let nets = null,
  digits = null,
  current = 0;
const breathe = () => new Promise((resolve) => setTimeout(resolve));

async function run(options) {
  const mine = ++current;
  digits ??= unpack(await (await fetch(new URL("digits.bin", import.meta.url))).arrayBuffer());
  nets = null;
  let paused = performance.now();
  for (const step of race(digits, options)) {
    if (step?.dreaming) {
      const { machines, layer, pass } = step.dreaming;
      postMessage({
        kind: "dreaming",
        layer,
        pass,
        weight: machines[0].weight.slice(),
        units: machines[0].outputs,
      });
    }
    if (step?.errors) {
      nets = step.nets;
      postMessage({ kind: "point", update: step.update, errors: step.errors });
    }
    if (step || performance.now() - paused > 30) {
      await breathe(); // messages are read here
      if (mine !== current) return;
      paused = performance.now();
    }
  }
  postMessage({ kind: "done" });
}

onmessage = ({ data }) => {
  if (data.kind === "start") run(data);
  if (data.kind === "stop") current++;
  if (data.kind === "answer" && nets)
    postMessage({
      kind: "answers",
      number: data.number,
      answers: Object.fromEntries(
        Object.keys(SIDES).map((side) => [side, answer(nets[side], data.picture)]),
      ),
    });
};
