// The page: which network is on show, which screen, its address, day or night, and what went wrong, in words. A screen a file.

import { ask, fetchJson } from "./link.js";
import { redrawAll } from "./pictures.js";
import * as glossary from "./glossary.js";
import * as draw from "./draw.js";
import * as dream from "./dream.js";
import * as inside from "./inside.js";
import * as mix from "./mix.js";
import * as race from "./race-screen.js";
import * as tour from "./tour.js";
import * as training from "./training.js";

const $ = (id) => document.getElementById(id);
// The screens of a net by its class; those that are not its own are hidden.
const OF_PICTURES = { draw, dream, mix, inside, race, training };
const SCREENS = {
  DBN: OF_PICTURES,
  DBM: OF_PICTURES,
  MultimodalDBN: {
    listen: { setup: (app) => import("./listen.js").then((screen) => screen.setup(app)) },
    race,
  },
};
const ALL = Object.keys(Object.assign({}, ...Object.values(SCREENS)));
const still = matchMedia("(prefers-reduced-motion: reduce)");

// What the screens share.
const app = {
  model: null,
  server: {}, // what page.json says: whether a server with an API is there, and the run it follows
  answer: null, // what the network said of the picture on the pad
  get still() {
    return still.matches;
  },
  trouble,
  go,
  address,
  pause: () => app.screens[current].hide?.(),
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

// An address is #screen?name=value&...: it makes the screen again as it stands.
function parse(hash) {
  const [name, query = ""] = hash.replace(/^#/, "").split("?");
  return [name, new URLSearchParams(query)];
}

// Write what a screen shows into the address, in place of what stood there.
function address(what) {
  history.replaceState(null, "", `#${current}?${new URLSearchParams(what)}`);
}

function go(name, { focus = false, asked = new URLSearchParams(), moved = true } = {}) {
  if (!app.screens[name] || (name === "training" && !app.server.run))
    [name] = Object.keys(app.screens);
  const same = current === name;
  for (const screen of ALL) {
    const tab = $(`tab-${screen}`),
      here = screen === name;
    tab.setAttribute("aria-selected", here);
    tab.tabIndex = here ? 0 : -1;
    $(screen).hidden = !here;
    if (here && focus) tab.focus();
    if (here) reveal(tab);
  }
  if (same && ![...asked].length) return;
  if (current && !same) app.screens[current].hide?.();
  if (moved && current && !same) history.pushState(null, "", `#${name}`); // so that Back works
  current = name;
  trouble(null);
  app.screens[name].show?.(asked);
}

// Scroll the row of tabs, and nothing around it: a page that shows this one in a frame stays where it is.
function reveal(tab) {
  const list = tab.parentElement,
    start = tab.offsetLeft - list.offsetLeft;
  list.scrollLeft = Math.max(
    start + tab.offsetWidth - list.clientWidth,
    Math.min(list.scrollLeft, start),
  );
}

function tabs() {
  const shown = () => [...document.querySelectorAll("[role=tab]:not([hidden])")];
  for (const tab of document.querySelectorAll("[role=tab]")) {
    tab.addEventListener("click", () => go(tab.id.slice(4)));
    tab.addEventListener("keydown", (event) => {
      const all = shown(),
        place = all.indexOf(tab);
      const next = {
        ArrowRight: place + 1,
        ArrowLeft: place - 1 + all.length,
        Home: 0,
        End: all.length - 1,
      }[event.key];
      if (next === undefined) return;
      event.preventDefault();
      go(all[next % all.length].id.slice(4), { focus: true });
    });
  }
  addEventListener("popstate", () => {
    const [name, asked] = parse(location.hash);
    go(name, { asked, moved: false });
  });
}

function theme() {
  const set = (night) => {
    document.documentElement.dataset.theme = night ? "night" : "day";
    $("theme").setAttribute("aria-pressed", night);
    $("theme").firstElementChild.textContent = night ? "☀" : "☾";
    $("theme").lastElementChild.textContent = night ? "Light" : "Dark";
    $("theme").setAttribute(
      "aria-label",
      night ? "Dark colours; change to light" : "Light colours; change to dark",
    );
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

// Take over each new network of a run that is followed.
async function follow() {
  try {
    const about = await fetchJson("page.json");
    if (about.version !== app.server.version) {
      const before = app.model;
      Object.assign(app, { server: about, model: await ask("load") });
      if (
        ["sizes", "labels", "classes", "shape"].some(
          (name) => String(before[name]) !== String(app.model[name]),
        )
      )
        location.reload();
      app.screens[current].model?.();
    }
    trouble(null);
  } catch {
    trouble(
      "The server does not answer, so the run is not followed any more; start wakesleep serve again.",
    );
  }
  setTimeout(follow, 1500);
}

// Keep the page's files, so that it opens without a network from now on.
async function keepOffline() {
  if (app.server.api || !isSecureContext || !navigator.serviceWorker) return;
  const more = [
    ...(app.screens.draw ? ["examples.json"] : ["sound.js"]),
    ...(app.model.deep ? ["deep.js"] : []),
  ]; // of this model
  const own = [
    "./",
    "worker.js",
    "model.js",
    "fields.js",
    "novelty.js",
    "prepare.js",
    "products.js",
    "products.wasm",
    "senses.js",
    "race-worker.js",
    "learn.js",
    "digits.bin",
    "model.safetensors",
    "page.json",
    ...more,
  ];
  const seen = performance
    .getEntriesByType("resource")
    .map(({ name }) => name)
    .filter((name) => name.startsWith(location.origin));
  await navigator.serviceWorker.register("offline.js");
  navigator.serviceWorker.addEventListener(
    "message",
    () => (document.documentElement.dataset.kept = "true"),
  );
  (await navigator.serviceWorker.ready).active.postMessage([
    ...new Set([...own.map((name) => new URL(name, location).href.split("#")[0]), ...seen]),
  ]);
}

async function begin() {
  theme();
  glossary.setup();
  try {
    [app.model, app.server] = await Promise.all([ask("load"), fetchJson("page.json")]);
  } catch (error) {
    $("loading").hidden = true;
    return trouble(error);
  }
  $("loading").hidden = true;
  if (app.model.classes.join("") !== "0123456789")
    for (const one of document.querySelectorAll("[data-other]"))
      one.textContent = one.dataset.other;
  if (app.model.deep)
    for (const one of document.querySelectorAll("[data-deep]")) one.textContent = one.dataset.deep;
  const own = SCREENS[app.model.class];
  for (const screen of ALL)
    $(`tab-${screen}`).hidden = !own[screen] || (screen === "training" && !app.server.run);
  $("open-tour").hidden = !own.draw;
  $("api-link").hidden = !app.server.api;
  app.screens = Object.fromEntries(
    await Promise.all(
      Object.entries(own).map(async ([name, module]) => [name, await module.setup(app)]),
    ),
  );
  tabs();
  if (app.server.run) follow();
  const [name, asked] = parse(location.hash);
  go(name, { asked, moved: false });
  if (own.draw) tour.setup(app, () => app.screens[current].show?.(new URLSearchParams()));
  document.documentElement.dataset.ready = "true";
  performance.mark("usable");
  if (!own.draw) return keepOffline().catch(() => {});
  if (!name && !recall("toured")) tour.open();
  for (let layer = 1; layer < app.model.sizes.length; layer++) ask("order", { layer }); // before it is needed
  keepOffline().catch(() => {}); // private windows refuse to keep anything; nothing else needs it
}

addEventListener("unhandledrejection", ({ reason }) => trouble(reason));
begin();
