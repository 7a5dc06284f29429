// Look inside: what units look for, and for one of them what it prefers, what it adds, how it is tied to the labels.

import { ask } from "./link.js";
import { bars, element, paint, sheet, signed } from "./pictures.js";

const $ = (id) => document.getElementById(id);

export function setup(app) {
  const { model } = app,
    size = model.sizes[0],
    top = model.sizes.length - 1;
  let picks = 0;
  let layer = 1,
    unit = 0,
    from = 0,
    order = [],
    at = () => -1,
    version = 0; // `from` counts in the order of structure
  const perRow = () => ($("fields").parentElement.clientWidth < 480 ? 6 : 12);
  const perPage = () => (perRow() === 6 ? 30 : 96);

  async function page() {
    const mine = ++version,
      count = Math.min(perPage(), model.sizes[layer] - from);
    const values = await ask("fields", { layer, units: [...order.slice(from, from + count)] });
    if (mine !== version) return;
    at = sheet(
      $("fields"),
      values,
      count,
      model.shape,
      perRow(),
      signed,
      () => order.indexOf(unit) - from,
    );
    $("inside-range").textContent =
      `${from + 1} to ${from + count} of ${model.sizes[layer].toLocaleString("en")}`;
    $("inside-back").disabled = from === 0;
    $("inside-on").disabled = from + count >= model.sizes[layer];
    $("fields").setAttribute(
      "aria-label",
      `What ${count} units of ${name(layer)} look for, from the ${from + 1}th on; arrow keys pick one`,
    );
  }

  const name = (which) => (which === top && !model.deep ? "the memory" : `layer ${which}`);

  // Pick a unit; without one, that with most structure.
  async function pick(whichLayer, whichUnit) {
    const mine = ++picks,
      wanted = Math.min(Math.max(whichLayer, 1), top),
      found = await ask("order", { layer: wanted });
    if (mine !== picks) return;
    [layer, order] = [wanted, found];
    unit =
      whichUnit === undefined
        ? order[0]
        : Math.min(Math.max(Math.round(whichUnit) || 0, 0), model.sizes[layer] - 1);
    await show();
  }

  async function show() {
    $("inside-layer").value = layer;
    $("inside-unit").value = unit;
    $("inside-unit").max = model.sizes[layer] - 1;
    from = Math.floor(order.indexOf(unit) / perPage()) * perPage();
    const [found] = await Promise.all([ask("unit", { layer, unit }), page()]);
    if (found.layer !== layer || found.unit !== unit) return;
    $("unit-title").textContent = `Unit ${unit} of ${name(layer)}`;
    paint($("unit-prefers"), found.prefers, model.shape, signed);
    paint($("unit-adds"), found.contributes, model.shape, signed);
    $("unit-ties").hidden = !found.labels;
    if (found.labels) {
      bars($("unit-labels"), model.classes, found.labels, {
        signed: true,
        words: (nats) => nats.toFixed(2),
      });
      const best = found.labels.indexOf(Math.max(...found.labels));
      $("unit-labels").setAttribute(
        "aria-label",
        `Goes most with ${model.classes[best]}, ${found.labels[best].toFixed(1)} nats`,
      );
    }
    const change = Math.round(found.largest_contribution * 100);
    $("unit-note").textContent =
      `Switched on, it changes no pixel of a dream by more than ${change < 1 ? "one percent" : `${change} percent`}.`;
  }

  function card() {
    const { card, sizes, labels, parameters } = model;
    const lines = [
      `${sizes.join(" – ")} units${labels ? ` and ${labels} labels` : ""}, ${parameters.toLocaleString("en")} weights and biases.`,
    ];
    if (card.data)
      lines.push(
        `It learned from ${card.data.replace("mnist", "MNIST")}, seed ${card.seed}, and gets ${card.test_error_percent}% of ${card.test_cases.toLocaleString("en")} test cases wrong (${card.method}).`,
      );
    $("card").replaceChildren(
      element("h3", {}, "About this network"),
      ...lines.map((line) => element("p", {}, line)),
    );
    if (card.command)
      $("card").append(element("p", {}, "Made by ", element("code", {}, card.command)));
  }

  $("inside-layer").replaceChildren(
    ...model.sizes
      .slice(1)
      .map((units, number) =>
        element("option", { value: number + 1 }, `${name(number + 1)} (${units})`),
      ),
  );
  $("inside-layer").addEventListener("change", ({ target }) => pick(Number(target.value)));
  $("inside-unit").addEventListener("change", ({ target }) => pick(layer, Number(target.value)));
  $("inside-back").addEventListener("click", () =>
    pick(layer, order[Math.max(0, from - perPage())]),
  );
  $("inside-on").addEventListener("click", () => pick(layer, order[from + perPage()]));
  $("fields").addEventListener(
    "click",
    (event) => at(event) >= 0 && pick(layer, order[from + at(event)]),
  );
  $("fields").addEventListener("keydown", (event) => {
    const move = { ArrowLeft: -1, ArrowRight: 1, ArrowUp: -perRow(), ArrowDown: perRow() }[
      event.key
    ];
    if (move === undefined) return;
    event.preventDefault();
    pick(layer, order[Math.min(Math.max(order.indexOf(unit) + move, 0), order.length - 1)]);
  });
  for (const id of ["unit-prefers", "unit-adds"])
    paint($(id), new Uint8Array(size).fill(128), model.shape, signed);
  card();
  let shown = false;
  return {
    show() {
      if (!shown) pick(layer);
      shown = true;
    },
    model: () => pick(layer, unit),
    pick: (...which) => {
      shown = true;
      return pick(...which);
    },
  };
}
