// Draw, and see after every stroke what the network says, what it sees, and who spoke for it.

import { examples as choose } from "./examples.js";
import { ask } from "./link.js";
import { Machine } from "./machine.js";
import { Pad, greyLevels } from "./pad.js";
import { bars, element, paint, signed } from "./pictures.js";
import { handOut, square } from "./share.js";

const $ = (id) => document.getElementById(id);
const LETTERS = 2; // of a name that is shown as large as a digit

export function setup(app) {
  const { model } = app,
    SEES = $("sees-words").textContent;
  const machine = new Machine($("draw-machine"), model, app.inspect);
  let asking = false,
    again = false,
    seed = 1,
    spoken = 0;

  // One question at a time; while it is under way, strokes only note that another is due.
  async function recognize() {
    if (asking) return void (again = true);
    const picture = app.pad.picture();
    if (!picture) return blank();
    asking = true;
    const began = performance.now();
    try {
      show(await ask("recognize", picture));
      performance.measure("stroke-to-answer", { start: began, end: performance.now() });
      app.trouble(null);
    } catch (error) {
      app.trouble(error);
    }
    asking = false;
    if (again) {
      again = false;
      recognize();
    }
  }

  function blank() {
    app.answer = null;
    $("answer").classList.remove("strange");
    say("Draw something");
    bars(
      $("bars"),
      model.classes,
      model.classes.map(() => 0),
    );
    for (const id of ["gets", "sees"]) paint($(id), new Uint8Array(model.sizes[0]), model.shape);
    $("spoke").replaceChildren();
    $("spoke-title").textContent = "What speaks for it";
    $("share").disabled = true;
    machine.clear();
  }

  function say(word, note) {
    $("answer").classList.toggle("word", !note);
    $("answer").classList.toggle("name", Boolean(note) && word.length > LETTERS);
    app.pad?.say(note ? word : "");
    $("answer").replaceChildren(word, ...(note ? [element("small", {}, note)] : []));
  }

  function show(answer) {
    app.answer = answer;
    paint($("gets"), answer.picture, model.shape);
    paint($("sees"), answer.seen.at(-1), model.shape);
    machine.answer(answer);
    $("share").disabled = false;
    if (!answer.probs) return say("This network was never taught names");
    const sure = answer.probs[answer.label];
    const name = model.classes[answer.label];
    if (answer.unfamiliar)
      say("I have never seen anything like this.", `If I must, I call it ${name}.`);
    else say(name, `${Math.round(sure * 100)}% sure`);
    if (answer.unfamiliar) app.pad.say("?");
    $("sees-words").textContent = answer.unfamiliar ? "what I would make of it" : SEES;
    $("answer").classList.toggle("strange", answer.unfamiliar === true);
    bars($("bars"), model.classes, answer.probs);
    $("bars").setAttribute(
      "aria-label",
      `${name}: ${Math.round(sure * 100)} percent; next ${model.classes[answer.runner_up]}`,
    );
    if (!answer.evidence) return;
    $("spoke-title").textContent =
      `What speaks for ${name} rather than ${model.classes[answer.runner_up]}`;
    clearTimeout(spoken);
    spoken = setTimeout(() => speakers(answer), 120);
  }

  // The six features that weigh most, each as what it adds to a dream.
  async function speakers(answer) {
    const strongest = Array.from(answer.evidence, (nats, unit) => [nats, unit])
      .sort((a, b) => b[0] - a[0])
      .slice(0, 6);
    const top = model.sizes.length - 1;
    const units = await Promise.all(strongest.map(([, unit]) => ask("unit", { layer: top, unit })));
    if (app.answer !== answer) return;
    $("spoke").replaceChildren(
      ...units.map((found, place) => {
        const canvas = element("canvas");
        paint(canvas, found.contributes, model.shape, signed);
        const button = element(
          "button",
          { type: "button", title: "Look at this unit" },
          canvas,
          element("small", {}, `+${strongest[place][0].toFixed(1)}`),
        );
        button.setAttribute(
          "aria-label",
          `Unit ${found.unit} of the memory, ${strongest[place][0].toFixed(1)} nats for ${model.classes[answer.label]}; look at it`,
        );
        button.addEventListener("click", () => app.inspect(top, found.unit));
        return button;
      }),
    );
  }

  async function share() {
    const { answer } = app;
    $("share").disabled = true;
    try {
      await handOut(
        await square(model, answer, (context, side) => app.pad.drawOn(context, side)),
        "my-digit.gif",
      );
    } catch (error) {
      app.trouble(error);
    }
    $("share").disabled = app.answer === null;
  }

  async function open(file) {
    try {
      const answer = await ask("recognize", { grey: await greyLevels(file) });
      app.pad.show(answer.picture, model.shape);
    } catch (error) {
      app.trouble(error);
    }
  }

  async function examples() {
    const { source, items } = await choose(model, seed++, 12);
    $("examples-source").textContent = items.length
      ? `From ${source.replace("mnist", "MNIST")}.`
      : source;
    $("examples").replaceChildren(
      ...items.map(({ pixels, label }) => {
        const canvas = element("canvas");
        paint(canvas, pixels, model.shape);
        const button = element("button", { type: "button" }, canvas);
        button.setAttribute(
          "aria-label",
          label === null ? "A picture to try" : `A picture of ${model.classes[label]} to try`,
        );
        button.addEventListener("click", () => app.pad.show(pixels, model.shape));
        return button;
      }),
    );
  }

  app.pad = new Pad($("pad"), { changed: recognize, file: open });
  $("pad-clear").addEventListener("click", () => app.pad.clear());
  $("pad-undo").addEventListener("click", () => app.pad.undo());
  $("pad-file").addEventListener("change", ({ target }) => {
    if (target.files[0]) open(target.files[0]);
    target.value = "";
  });
  $("share").addEventListener("click", share);
  $("examples-more").addEventListener("click", examples);
  blank();
  examples();
  return { model: recognize };
}
