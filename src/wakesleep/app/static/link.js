// The way to the thread that thinks (worker.js): questions, and dreams that are watched.

const worker = new Worker(new URL("worker.js", import.meta.url), { type: "module" });
const waiting = new Map();
let questions = 0;

worker.addEventListener("message", ({ data: { id, result, error } }) => {
  const { resolve, reject } = waiting.get(id);
  waiting.delete(id);
  error === undefined ? resolve(result) : reject(new Error(error));
});
worker.addEventListener("error", () => {
  for (const { reject } of waiting.values())
    reject(new Error("This browser cannot run the network; a newer one can."));
  waiting.clear();
});

// Ask a method of worker.js; resolves to its answer.
export function ask(method, given = {}) {
  return new Promise((resolve, reject) => {
    waiting.set(++questions, { resolve, reject });
    worker.postMessage({ id: questions, method, given });
  });
}

// Fetch a file of the page's folder, or an answer of the server's API, as JSON.
export async function fetchJson(path) {
  const reply = await fetch(path, { cache: "no-cache" });
  if (!reply.ok) throw new Error(`${path} does not come (${reply.status}).`);
  return reply.json();
}

const MOST_STEPS = 100; // in one frame
const BUDGET = 14; // milliseconds a frame, as fast as it goes
let dreams = 0;

// A dream that is watched: at each frame of the screen it moves on by as many Gibbs steps as its
// speed asks for, unless the last frame is still being made. It stands still while nobody looks
// (`rest`), and goes on from there (`resume`).
export class Dreaming {
  #number = ++dreams;
  #draw = null;
  #begun = null;
  #due = 0;
  #last = 0;
  #busy = false;
  #frames = 0;
  #looping = false;
  #awake = false;
  playing = false;
  speed = 60;
  focus = 0;

  get begun() {
    return this.#begun !== null;
  }

  // Begin anew; `draw` gets each frame.
  // `settled` are the steps before the first frame; those of one that pauses.
  async watch({ playing, speed, settled = 1, ...start }, draw) {
    Object.assign(this, { playing, speed, focus: 0 });
    this.#draw = draw;
    this.#awake = true;
    const begun = (this.#begun = ask("begin", { dream: this.#number, ...start }));
    await begun;
    if (this.#begun !== begun) return;
    if (!playing || settled > 1) await this.step(settled);
    this.#loop();
  }

  // Go on otherwise: held, temperature, speed, playing, focus; what is not named stays.
  async change({ held, temperature, ...rest }) {
    Object.assign(this, rest);
    if (!this.begun) return;
    if (held !== undefined || temperature !== undefined)
      await ask("change", { dream: this.#number, held, temperature });
    this.#loop();
  }

  // One Gibbs step, while it pauses; 0: only look again.
  async step(steps = 1) {
    if (this.begun) await this.#advance(steps);
  }

  rest() {
    this.#awake = false;
  }

  resume() {
    this.#awake = true;
    this.#loop();
  }

  async #advance(steps, budget) {
    const begun = this.#begun;
    await begun;
    const frame = await ask("advance", { dream: this.#number, steps, budget, focus: this.focus });
    if (begun !== this.#begun) return;
    frame.number = ++this.#frames;
    this.#draw(frame);
  }

  #loop() {
    if (this.#looping || !this.playing || !this.#awake) return;
    this.#looping = true;
    this.#last = performance.now();
    this.#due = 1;
    requestAnimationFrame((now) => this.#tick(now));
  }

  async #tick(now) {
    if (!this.playing || !this.#awake) return void (this.#looping = false);
    requestAnimationFrame((next) => this.#tick(next));
    const fastest = this.speed === null;
    this.#due = Math.min(
      this.#due + ((this.speed ?? 0) * Math.max(0, now - this.#last)) / 1000,
      MOST_STEPS,
    );
    this.#last = now;
    if (this.#busy || (!fastest && this.#due < 1)) return;
    const steps = fastest ? MOST_STEPS : Math.floor(this.#due);
    this.#due -= fastest ? 0 : steps;
    this.#busy = true;
    try {
      await this.#advance(steps, BUDGET);
    } finally {
      this.#busy = false;
    }
  }
}
