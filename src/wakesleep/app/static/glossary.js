// What the words mean: a term shows its meaning under the pointer, with the keyboard, and at a tap.

const WORDS = {
  memory:
    "The top of the network: 2,000 units tied both ways to the units below and to the labels. Left alone it settles on something it has learned, as one name brings back a whole face.",
  label:
    "The name of what a picture shows, here one of ten digits. The memory holds a unit for each; held on, it pulls the rest towards pictures of that name.",
  temperature:
    "How freely units switch on and off. Low: the likeliest picture over and over. High: wild mixtures. 1 is what the network learned with.",
  seed: "The number that all dice start from. The same seed makes the same dream again.",
  step: "One turn of the memory: all units below choose anew given those above, then all above given those below.",
  unit: "A tiny switch that looks at everything below it and is on or off. Nobody tells it what to look for; it finds that out by learning.",
  layer:
    "A row of units that all look at the row below. Each layer describes what the layer below has found.",
  relu: "Units of a newer kind, which are off below zero and grow without limit above. Nets of them learn well from labels alone.",
};

export function setup() {
  const tip = document.getElementById("meaning");
  let shown = null;

  function show(term) {
    shown = term;
    tip.textContent = WORDS[term.dataset.term];
    tip.hidden = false;
    const { left, bottom, top } = term.getBoundingClientRect(),
      { width, height } = tip.getBoundingClientRect();
    tip.style.left = `${Math.max(8, Math.min(left, innerWidth - width - 8))}px`;
    tip.style.top = `${bottom + height + 12 < innerHeight ? bottom + 6 : top - height - 6}px`;
  }
  function hide() {
    tip.hidden = true;
    shown = null;
  }

  for (const term of document.querySelectorAll("[data-term]")) {
    Object.assign(term, { tabIndex: 0, role: "button" });
    term.setAttribute("aria-describedby", "meaning");
    term.addEventListener("pointerenter", () => show(term));
    term.addEventListener("pointerleave", (event) => event.pointerType === "mouse" && hide());
    term.addEventListener("focus", () => show(term));
    term.addEventListener("blur", hide);
    term.addEventListener("click", (event) => {
      event.preventDefault(); // a term within a label is not the label
      show(term);
    });
  }
  addEventListener("keydown", ({ key }) => key === "Escape" && hide());
  addEventListener("pointerdown", ({ target }) => shown && target !== shown && hide());
  addEventListener("scroll", hide, { passive: true });
}
