"""The pictures of a run that trained a deep Boltzmann machine."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from torch import Tensor

from wakesleep.data import Dataset, some
from wakesleep.foundation.rng import generator
from wakesleep.models.dbm import DBM
from wakesleep.runs import figures, grids
from wakesleep.samplers import deep
from wakesleep.sources.arrays import as_probs

NAMES = ("receptive_fields", "reconstructions", "half_hidden", "dreams")
FILL_STEPS, BURN_IN = 200, 100
"""Gibbs steps that fill in what is hidden, and the first ones of them that are left out."""


def draw_run(
    folder: Path,
    dbm: DBM,
    dataset: Dataset,
    *,
    seed: int = 0,
    steps: int = figures.DREAM_STEPS,
    say: Callable[[str], None] = lambda line: None,
) -> list[Path]:
    """Draw all figures of the run in `folder`/figures and return their paths; `say` is told what is
    being drawn.
    """
    target = folder / "figures"
    target.mkdir(exist_ok=True)
    say(f"drawing figures; dreams after {steps:,} Gibbs steps")
    paths = draw(target, dbm, dataset, seed=seed, steps=steps)
    return paths + figures.draw_curves(folder / "metrics.jsonl", target)


def draw(
    target: Path, dbm: DBM, dataset: Dataset, *, seed: int, steps: int = figures.DREAM_STEPS
) -> list[Path]:
    """Draw what the machine knows into `target`, the pictures of `NAMES`; return their paths."""
    rng = generator(seed, dbm.rbm.weight.device)
    cases = as_probs(some(dataset, dataset.test or dataset.train, 20).images.to(rng.device))
    return [
        draw_receptive_fields(target / "receptive_fields.png", dbm, dataset.shape),
        draw_reconstructions(target / "reconstructions.png", dbm, cases, dataset.shape),
        draw_half_hidden(target / "half_hidden.png", dbm, cases[:10], dataset.shape, rng=rng),
        draw_dreams(
            target / "dreams.png", dbm, dataset.shape, dataset.classes, rng=rng, steps=steps
        ),
    ]


def draw_receptive_fields(path: Path, dbm: DBM, shape: tuple[int, int]) -> Path:
    """Draw the weights of the 100 strongest units of the first hidden layer."""
    fields = grids.receptive_fields(dbm.block("visible", "layer1").cpu().numpy())
    title = f"Weights of the {len(fields)} strongest units of the first layer: white +, black -"
    return grids.save_tile(path, fields, shape, 10, title=title)


def draw_reconstructions(path: Path, dbm: DBM, cases: Tensor, shape: tuple[int, int]) -> Path:
    """Draw cases (N, pixels in [0, 1]), ten in a row, each row above what the mean field of layer 1
    makes of the pixels.
    """
    seen = dbm.visible_means(dbm.mean_field(dbm.as_numbers(cases)).odd)
    pairs = zip(torch.split(cases, 10), torch.split(seen, 10), strict=True)
    rows = [part for pair in pairs for part in pair]
    return grids.save_tile(
        path,
        torch.cat(rows).cpu().numpy(),
        shape,
        min(10, len(cases)),
        left=["case", "seen"] * (len(rows) // 2),
        title="Cases, and what the machine sees in them",
    )


def draw_half_hidden(
    path: Path, dbm: DBM, cases: Tensor, shape: tuple[int, int], *, rng: torch.Generator
) -> Path:
    """Draw cases (N, pixels in [0, 1]) whose lower half is hidden, a column each: filled in by one
    upward pass and back, by all layers settling together, and where the two differ.
    """
    rows, columns = shape
    known = (torch.arange(rows) < rows / 2).repeat_interleave(columns).to(cases.device)
    given = dbm.as_numbers(cases)
    base = dbm.even["visible"].mean(dbm.bias("visible")[None])
    up = dbm.mean_field(torch.where(known, given, base), steps=0)  # the pass that it begins with
    alone = torch.where(known, given, dbm.visible_means(up.odd))
    settled = deep.fill_in(dbm, given, known, steps=FILL_STEPS, burn_in=BURN_IN, rng=rng)
    differ = (settled - alone).abs()
    shown = [given, torch.where(known, given, 0.35), alone, settled, differ / differ.max()]
    names = ["case", "given", "up-pass", "settled", "differ"]
    title = "The lower half hidden, and filled in"
    pictures = torch.cat(shown).cpu().numpy()
    return grids.save_tile(path, pictures, shape, len(cases), left=names, title=title)


def draw_dreams(
    path: Path,
    dbm: DBM,
    shape: tuple[int, int],
    classes: Sequence[str],
    *,
    rng: torch.Generator,
    steps: int,
) -> Path:
    """Draw ten dreams of each of `classes`, a row a class, of DREAM_CLASSES of them at most;
    without labels a hundred free dreams.
    """
    chosen = figures.spread(dbm.labels, figures.DREAM_CLASSES).to(rng.device)
    if dbm.labels:
        labels = chosen.repeat_interleave(figures.DREAMS_A_LABEL)
        pixels = deep.dream(dbm, labels, steps=steps, rng=rng)
    else:
        pixels = deep.dream(dbm, count=figures.FREE_DREAMS, steps=steps, rng=rng)
    names = [str(classes[label]) for label in chosen.tolist()] if dbm.labels else []
    title = f"Dreams after {steps:,} Gibbs steps"
    pictures = pixels.cpu().numpy()
    return grids.save_tile(path, pictures, shape, figures.DREAMS_A_LABEL, left=names, title=title)
