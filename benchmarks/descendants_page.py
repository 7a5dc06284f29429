"""The figures of docs/does-generating-first-still-help.md, from results/descendants.json and
nothing else: what is measured, the tables, the verdict, and the curves. How many cells are measured
becomes a row itself.

    python -m benchmarks.descendants_page
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tyro

from wakesleep.paper import results
from wakesleep.paper.descendants.fourteen_methods import CELLS, FEATURES, METHODS
from wakesleep.runs import plots

MARK = re.compile(r"(<!-- descendants: ([a-z]+) -->\n).*?(<!-- end descendants -->)", re.DOTALL)
WORDS = {
    "supervised": "labels alone",
    "dbn-backprop": "belief net, then backpropagation",
    "dbn-hybrid": "belief net, hybrid",
    "dbn-memory": "belief net, label memory",
    "dbn-local": "belief net, every rule local",
    "denoising-autoencoder": "denoising autoencoder",
    "masked-autoencoder": "masked autoencoder",
    "vae-m1": "variational autoencoder (M1)",
    "vae-m1-m2": "variational autoencoders (M1 + M2)",
    "diffusion": "diffusion model",
    "contrastive": "contrastive learning",
    "ladder": "ladder net",
    "adversarial": "virtual adversarial training",
    "forward-forward": "forward-forward",
    "dbn": "belief net",
    "vae": "variational autoencoder",
    "dbn-greedy": "belief net, greedy layers",
    "dbn-updown": "belief net, contrastive wake-sleep",
    "real": "real test pictures",
}
LABELS_ALONE = ("supervised", "forward-forward")
LATER = ("contrastive", "ladder", "adversarial")
"""Learned from all pictures, but not by generating them first; the ladder mends noisy layers beside
learning labels.
"""
GENERATE_FIRST = tuple(name for name in METHODS if name not in (*LABELS_ALONE, *LATER))
SETS = {"mnist": "MNIST", "fashion-mnist": "Fashion-MNIST"}
CURVES = "descendants.png"
COUNTED = f"cells_measured_of_{len(CELLS) * len(METHODS)}"
Figures = dict[tuple[str, str], dict[str, Any]]
"""Row and metric -> row."""


def read(path: Path) -> Figures:
    """Return what is measured."""
    rows = json.loads(path.read_text(encoding="utf-8")) if path.exists() else []
    return {(row["row"], row["metric"]): row for row in rows}


def accuracy(figures: Figures, data: str, name: str) -> dict[str, Any] | None:
    """Return the row of a cell's test accuracy, or None where it is not measured."""
    return figures.get((f"{data}-{name}", "test_accuracy_percent"))


def cells_measured(figures: Figures) -> int:
    """Return how many cells of the table are measured."""
    return sum(
        accuracy(figures, data, f"{method}-{count}") is not None
        for data, count in CELLS
        for method in METHODS
    )


def cell_name(data: str, count: int) -> str:
    """Return a cell in words."""
    return f"{SETS[data]}, {count:,} labels"


def standing(figures: Figures) -> str:
    """Return which cells are measured and which are missing."""
    missing = {
        cell_name(data, count): [
            WORDS[method]
            for method in METHODS
            if accuracy(figures, data, f"{method}-{count}") is None
        ]
        for data, count in CELLS
    }
    every = len(CELLS) * len(METHODS)
    text = [f"{cells_measured(figures)} of {every} cells are measured."]
    for name, methods in missing.items():
        if methods:
            which = "all" if len(methods) == len(METHODS) else ", ".join(methods)
            text.append(f"Not yet measured: {name}: {which}.")
    return "\n".join(text) + "\n"


def table(figures: Figures) -> str:
    """Return test accuracy of each method and cell, with its range, and published figures."""
    head = ["method", *(cell_name(data, count) for data, count in CELLS), "minutes"]
    lines = [f"| {' | '.join(head)} |", "|" + "---|" * len(head)]
    best = {cell: max((value_of(figures, cell, name) or 0.0) for name in METHODS) for cell in CELLS}
    for method in METHODS:
        cells, minutes = [], []
        for data, count in CELLS:
            row = accuracy(figures, data, f"{method}-{count}")
            if row is None:
                cells.append("")
                continue
            minutes.append(row["minutes"])
            shown = f"{row['value']:.2f}"
            shown = f"**{shown}**" if row["value"] == best[data, count] else shown
            if row["high"] > row["low"]:
                shown += f" ({row['low']:.2f} to {row['high']:.2f})"
            if row["reported"]:
                shown += f" [{row['reported']}]"
            cells.append(shown)
        spent = " to ".join(dict.fromkeys(f"{at(minutes):.1f}" for at in (min, max) if minutes))
        lines.append(f"| {WORDS[method]} | {' | '.join(cells)} | {spent} |")
    return "\n".join(lines) + "\n"


def value_of(figures: Figures, cell: tuple[str, int], method: str) -> float | None:
    """Return the median accuracy of a cell, or None."""
    row = accuracy(figures, cell[0], f"{method}-{cell[1]}")
    return None if row is None else float(row["value"])


def probes(figures: Figures) -> str:
    """Return the accuracy of linear layers on features that were learned without labels."""
    lines = ["| features of | MNIST | Fashion-MNIST |", "|---|---|---|"]
    for name in FEATURES:
        rows = [accuracy(figures, data, f"{name}-probe") for data in SETS]
        cells = ["" if row is None else f"{row['value']:.2f}" for row in rows]
        lines.append(f"| {WORDS[name]} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def pictures(figures: Figures) -> str:
    """Return what the judge says of generated pictures, and bounds on the likelihood."""
    metrics = ("judge_score", "agreement_percent", "test_bound")
    head = ["model", "judge's score (1 to 10)", "label seen, %", "bound on log p, nats"]
    lines = [f"| {' | '.join(head)} |", "|" + "---|" * len(head)]
    names = ("real", "dbn-greedy", "dbn-updown", *METHODS)
    for name in names:
        rows = [figures.get((f"mnist-{name}-pictures", metric)) for metric in metrics]
        if any(rows):
            cells = ["" if row is None else f"{row['value']:g}" for row in rows]
            lines.append(f"| {WORDS[name]} | {' | '.join(cells)} |")
    return ("\n".join(lines) if len(lines) > 2 else "Not yet measured.") + "\n"


def best_of(
    figures: Figures, cell: tuple[str, int], names: tuple[str, ...]
) -> tuple[str, float] | None:
    """Return the best measured method among `names`, and its accuracy."""
    known = [
        (name, value) for name in names if (value := value_of(figures, cell, name)) is not None
    ]
    return max(known, key=lambda pair: pair[1]) if known else None


def verdict(figures: Figures) -> str:
    """Return what follows from the figures: for each cell the best that generates first, beside
    labels alone and the best of what came later.
    """
    text, helps, judged = [], 0, 0
    beaten: list[bool] = []
    for cell in CELLS:
        first = best_of(figures, cell, GENERATE_FIRST)
        alone = best_of(figures, cell, ("supervised",))
        later = best_of(figures, cell, LATER)
        if first is None or alone is None:
            continue
        judged += 1
        gain = first[1] - alone[1]
        helps += gain > 0
        line = (
            f"- {cell_name(*cell)}: labels alone {alone[1]:.2f} %; the best that generates first "
            f"({WORDS[first[0]]}) {first[1]:.2f} %, {gain:+.2f} points"
        )
        if later is not None:
            beaten.append(later[1] > first[1])
            line += f"; the best of the others ({WORDS[later[0]]}) {later[1]:.2f} %"
        text.append(line + ".")
    if not judged:
        return "Too little is measured for a verdict.\n"
    whole = all(value_of(figures, cell, name) is not None for cell in CELLS for name in METHODS)
    text += ["", conclusion(helps, judged, beaten, whole=whole)]
    return "\n".join(text) + "\n"


def conclusion(helps: int, judged: int, beaten: list[bool], *, whole: bool) -> str:
    """Return the verdict in a few sentences: generating first `helps` in so many of the `judged`
    settings, and was `beaten` where that can be said.
    """
    sentence = f"Generating first beats labels alone in {helps} of {judged} settings measured"
    if not beaten:
        sentence += "; what came later is not measured yet."
    else:
        sentence += (
            f", and something that does not generate first beats it in {sum(beaten)} of "
            f"{len(beaten)}."
        )
    if helps < judged:
        answer = "it depends on how many labels there are" if helps else "no, not in this time"
    elif not beaten:
        answer = "yes, it still helps"
    elif any(beaten):
        answer = "yes, it still helps; it is not always what helps most"
    else:
        answer = "yes, it still helps, and nothing measured here helps more in the same time"
    far = "So" if whole else "So far, with cells missing"
    return f"{sentence} {far}: {answer}."


def points(figures: Figures, name: str) -> list[tuple[float, float]]:
    """Return accuracy on MNIST at each number of labels that is measured."""
    measured = [
        (float(count), value)
        for data, count in CELLS
        if data == "mnist" and (value := value_of(figures, (data, count), name)) is not None
    ]
    return sorted(measured)


def curves(figures: Figures) -> str:
    """Return the picture of the curves, where a method has two counts at least."""
    if not any(len(points(figures, name)) > 1 for name in METHODS):
        return "No curves yet: no method is measured with two numbers of labels.\n"
    return f"![Accuracy on MNIST against the number of labels](tables/{CURVES})\n"


def draw(figures: Figures, folder: Path) -> Path | None:
    """Draw the curves; return the path, or None where there are none yet."""
    groups = {
        "labels alone, and what came later": (*LABELS_ALONE, *LATER),
        "belief nets": tuple(name for name in GENERATE_FIRST if name.startswith("dbn")),
        "other nets that generate first": tuple(
            name for name in GENERATE_FIRST if not name.startswith("dbn")
        ),
    }
    panels = {}
    for title, names in groups.items():
        lines = {
            WORDS[name]: ([x for x, _ in measured], [y for _, y in measured])
            for name in names
            if len(measured := points(figures, name)) > 1
        }
        if lines:
            panels[title] = lines
    if not panels:
        return None
    folder.mkdir(parents=True, exist_ok=True)
    return plots.save_panels(
        folder / CURVES,
        panels,
        x="labels",
        y="test accuracy, %",
        columns=len(panels),
        logarithmic="x",
    )


PARTS = {
    "standing": standing,
    "table": table,
    "probes": probes,
    "pictures": pictures,
    "verdict": verdict,
    "curves": curves,
}


def update(path: Path, figures: Figures) -> bool:
    """Write each marked part of the page anew; return whether the text changed."""
    text = path.read_text(encoding="utf-8")
    new = MARK.sub(lambda match: f"{match[1]}{PARTS[match[2]](figures)}{match[3]}", text)
    if new != text:
        path.write_text(new, encoding="utf-8")
    return new != text


@dataclass(frozen=True)
class DescendantsPageOptions:
    """Write tables and verdict of the page, and draw its curves."""

    results: Path = Path("results/descendants.json")
    """The rows."""
    page: Path = Path("docs/does-generating-first-still-help.md")
    """The page, written in place."""
    curves: Path = Path("docs/tables")
    """The folder of the curves."""


def main() -> None:
    """Do it, and say what changed."""
    options = tyro.cli(DescendantsPageOptions, description=__doc__)
    figures = read(options.results)
    known = figures.get(("all", COUNTED))
    if known is None or known["value"] != cells_measured(figures):
        command = "python -m benchmarks.descendants_page"
        count = [float(cells_measured(figures))]
        row = results.row("descendants", "all", COUNTED, count, seeds=[1], command=command)
        results.save(options.results, [row])
    print(options.page, "changed" if update(options.page, figures) else "up to date")
    print(draw(figures, options.curves))


if __name__ == "__main__":
    main()
