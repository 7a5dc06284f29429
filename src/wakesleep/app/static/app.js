// The page: which network is on show, which screen, day or night, and what went wrong, in words. A screen a file.

import { ask, stream } from "./link.js";
import { redrawAll } from "./pictures.js";
import * as draw from "./draw.js";
import * as dream from "./dream.js";
import * as inside from "./inside.js";
import * as mix from "./mix.js";
import * as race from "./race-screen.js";
import * as tour from "./tour.js";
import * as training from "./training.js";

const $ = (id) => document.getElementById(id);
const SCREENS = { draw, dream, mix, inside, race, training };
const still = matchMedia("(prefers-reduced-motion: reduce)");

// What the screens share.
const app = {
  model: null,
  answer: null, // what the network said of the picture on the pad
  get still() {
    return still.matches;
  },
  trouble,
  go,
  inspect(layer, unit) {
    go("inside");
    app.screens.inside.pick(layer, unit);
  },
};

function trouble(error) {
  $("trouble").textContent = error ? String(error.message ?? error) : "";
  $("trouble").hidden = !error;
}

let current = null;

function go(name, focus = false) {
  if (!SCREENS[name] || (name === "training" && !app.model.run)) name = "draw";
  const same = current === name;
  for (const screen of Object.keys(SCREENS)) {
    const tab = $(`tab-${screen}`), here = screen === name;
    tab.setAttribute("aria-selected", here);
    tab.tabIndex = here ? 0 : -1;
    $(screen).hidden = !here;
    if (here && focus) tab.focus();
    if (here) tab.scrollIntoView({ block: "nearest", inline: "nearest" });
  }
  if (same) return;
  if (current) app.screens[current].hide?.();
  current = name;
  history.replaceState(null, "", `#${name}`);
  trouble(null);
  app.screens[name].show?.();
}

function tabs() {
  const shown = () => [...document.querySelectorAll("[role=tab]:not([hidden])")];
  for (const tab of document.querySelectorAll("[role=tab]")) {
    tab.addEventListener("click", () => go(tab.id.slice(4)));
    tab.addEventListener("keydown", (event) => {
      const all = shown(), place = all.indexOf(tab);
      const next = { ArrowRight: place + 1, ArrowLeft: place - 1 + all.length, Home: 0, End: all.length - 1 }[event.key];
      if (next === undefined) return;
      event.preventDefault();
      go(all[next % all.length].id.slice(4), true);
    });
  }
  addEventListener("hashchange", () => go(location.hash.slice(1)));
}

function theme() {
  const set = (night) => {
    document.documentElement.dataset.theme = night ? "night" : "day";
    $("theme").setAttribute("aria-pressed", night);
    $("theme").firstElementChild.textContent = night ? "☀" : "☾";
    $("theme").lastElementChild.textContent = night ? "Wake" : "Sleep";
    $("theme").setAttribute("aria-label", night ? "Dark colours; change to light" : "Light colours; change to dark");
    redrawAll();
  };
  const dark = matchMedia("(prefers-color-scheme: dark)");
  set(recall("theme") ? recall("theme") === "night" : dark.matches);
  dark.addEventListener("change", () => recall("theme") || set(dark.matches));
  $("theme").addEventListener("click", () => {
    const night = document.documentElement.dataset.theme !== "night";
    remember("theme", night ? "night" : "day");
    set(night);
  });
}

// Storage may be refused; the page works without.
export function recall(key) {
  try {
    return localStorage.getItem(`wakesleep-${key}`);
  } catch {
    return null;
  }
}

export function remember(key, value) {
  try {
    localStorage.setItem(`wakesleep-${key}`, value);
  } catch {
    // nothing is lost but the memory of it
  }
}

function connect() {
  let lost = false;
  stream.onerror = trouble;
  stream.onstate = (up, reason) => {
    if (!up && !lost) trouble(`The connection is lost${reason ? ` (${reason})` : ""}; trying again. If it stays so, start wakesleep serve anew.`);
    if (up && lost) {
      trouble(null);
      app.screens[current].back?.();
    }
    lost = !up;
  };
  stream.onmodel = async () => {
    const before = app.model;
    app.model = await ask("model");
    if (["sizes", "labels", "classes", "shape"].some((name) => String(before[name]) !== String(app.model[name]))) location.reload();
    app.screens[current].model?.();
  };
  stream.open();
}

async function begin() {
  theme();
  try {
    app.model = await ask("model");
  } catch (error) {
    trouble(`${error.message} Trying again.`);
    setTimeout(begin, 1500);
    return;
  }
  trouble(null);
  $("tab-training").hidden = !app.model.run;
  app.screens = Object.fromEntries(Object.entries(SCREENS).map(([name, module]) => [name, module.setup(app)]));
  tabs();
  connect();
  const asked = location.hash.slice(1);
  go(asked || "draw");
  tour.setup(app, () => app.screens[current].show?.());
  document.documentElement.dataset.ready = "true";
  performance.mark("usable");
  if (!asked && !recall("toured")) tour.open();
}

addEventListener("unhandledrejection", ({ reason }) => trouble(reason));
begin();
