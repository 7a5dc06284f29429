"""The pictures of a run: what the first layer looks for, what the net sees, what it dreams, how its errors fell."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from torch import Tensor

from wakesleep import plots
from wakesleep.data import Dataset
from wakesleep.foundation.cases import as_probs
from wakesleep.foundation.rng import generator
from wakesleep.model.dbn import DBN
from wakesleep.sampling import dreams

DREAMS_A_LABEL = 10
DREAM_STEPS = 1000
"""Gibbs steps before a dream is shown: Hinton, Osindero & Teh (2006), section 7."""


def draw_run(folder: Path, dbn: DBN, dataset: Dataset, *, seed: int = 0, steps: int = DREAM_STEPS) -> list[Path]:
    """Draw all figures of the run in `folder`/figures and return their paths."""
    target = folder / "figures"
    target.mkdir(exist_ok=True)
    rng = generator(seed, dbn.memory.weight.device)
    cases = as_probs((dataset.test or dataset.train).images[:20].to(rng.device))
    drawn = [
        draw_receptive_fields(target / "receptive_fields.png", dbn, dataset.shape),
        draw_reconstructions(target / "reconstructions.png", dbn, cases, dataset.shape),
        draw_dreams(target / "dreams.png", dbn, dataset.shape, rng=rng, steps=steps),
    ]
    return drawn + draw_curves(folder / "metrics.jsonl", target)


def draw_receptive_fields(path: Path, dbn: DBN, shape: tuple[int, int]) -> Path:
    """Draw the weights of the 100 strongest units of the first layer."""
    first = dbn.rbm(0) if dbn.tied else dbn.recognition[0]
    weight = first.weight[: dbn.sizes[0]].cpu().numpy()
    return plots.save_tile(path, plots.receptive_fields(weight), shape, 20)


def draw_reconstructions(path: Path, dbn: DBN, cases: Tensor, shape: tuple[int, int]) -> Path:
    """Draw cases (N, pixels in [0, 1]) above what the net sees in them."""
    both = torch.cat([cases, dreams.reconstruct(dbn, cases)])
    return plots.save_tile(path, both.cpu().numpy(), shape, len(cases))


def draw_dreams(path: Path, dbn: DBN, shape: tuple[int, int], *, rng: torch.Generator, steps: int) -> Path:
    """Draw ten dreams of each label, a row a label; without labels a hundred free dreams."""
    labels = torch.arange(dbn.labels, device=rng.device).repeat_interleave(DREAMS_A_LABEL) if dbn.labels else None
    dreamt = dreams.dream(dbn, rng=rng, labels=labels, count=100 if labels is None else None, steps=steps)
    return plots.save_tile(path, dreamt.pixels.cpu().numpy(), shape, DREAMS_A_LABEL)


def draw_curves(metrics: Path, folder: Path) -> list[Path]:
    """Draw the errors and the reconstruction errors of each stage over its passes, from the lines of metrics.jsonl."""
    lines = [json.loads(line) for line in metrics.read_text(encoding="utf-8").splitlines()] if metrics.exists() else []
    errors: dict[str, tuple[list[float], list[float]]] = {}
    squared: dict[str, tuple[list[float], list[float]]] = {}
    for line in lines:
        for name, key, curves in (
            (f"{line['stage']}, validation errors", "validation_errors", errors),
            (f"{line['stage']}, training error", "train_error_percent", errors),
            (line["stage"], "reconstruction_error", squared),
        ):
            if key in line:
                curve = curves.setdefault(name, ([], []))
                curve[0].append(line["epoch"])
                curve[1].append(line[key])
    counted = {name: curve for name, curve in errors.items() if "validation" in name} or errors
    title = "Errors on validation cases" if any("validation" in name for name in counted) else "Errors on training cases, %"
    drawn = [plots.save_curves(folder / "errors.png", counted, x="pass", y="errors", title=title)] if counted else []
    if squared:
        y = "mean squared error a pixel"
        drawn.append(plots.save_curves(folder / "reconstruction_error.png", squared, x="pass", y=y, title="Reconstruction", log=True))
    return drawn
