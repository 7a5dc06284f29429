"""The pictures of a run: what its units look for, what the net sees, dreams and confuses, how
learning and annealing went.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from wakesleep.data import Dataset, some
from wakesleep.evaluation import interpretation
from wakesleep.foundation import files
from wakesleep.foundation.rng import generator
from wakesleep.learning import greedy
from wakesleep.learning.cd import CDConfig, Contrast
from wakesleep.models.dbn import DBN
from wakesleep.models.rbm import RBM
from wakesleep.runs import grids, plots, tensor_files
from wakesleep.samplers import dreams
from wakesleep.sources.arrays import as_probs

DREAMS_A_LABEL = 10
FREE_DREAMS = 100
DREAM_CLASSES = 20
"""Most classes whose dreams are drawn, evenly spread over all: every class costs as long as the
first.
"""
DREAM_STEPS = 1000
"""Gibbs steps before a dream is shown: Hinton, Osindero & Teh (2006), section 7."""


def draw_run(
    folder: Path,
    dbn: DBN,
    dataset: Dataset,
    *,
    seed: int = 0,
    steps: int = DREAM_STEPS,
    say: Callable[[str], None] = lambda line: None,
) -> list[Path]:
    """Draw all figures of the run in `folder`/figures and return their paths; `say` is told what is
    being drawn.
    """
    target = folder / "figures"
    target.mkdir(exist_ok=True)
    rng = generator(seed, dbn.memory.weight.device)
    cases = as_probs(some(dataset, dataset.test or dataset.train, 20).images.to(rng.device))
    which = (
        (f" of {DREAM_CLASSES} of the {dbn.labels:,} classes") if dbn.labels > DREAM_CLASSES else ""
    )
    say(f"drawing figures; dreams{which} after {steps:,} Gibbs steps")
    paths = [
        draw_receptive_fields(target / "receptive_fields.png", dbn, dataset.shape),
        draw_reconstructions(target / "reconstructions.png", dbn, cases, dataset.shape),
        draw_dreams(
            target / "dreams.png", dbn, dataset.shape, dataset.classes, rng=rng, steps=steps
        ),
    ]
    return paths + draw_curves(folder / "metrics.jsonl", target)


def draw_receptive_fields(path: Path, dbn: DBN, shape: tuple[int, int]) -> Path:
    """Draw the weights of the 100 strongest units of the first layer."""
    first = dbn.rbm(0) if dbn.tied else dbn.recognition[0]
    weight = first.weight[: dbn.sizes[0]].cpu().numpy()
    fields = grids.receptive_fields(weight)
    title = f"Weights of the {len(fields)} strongest units of the first layer: white +, black -"
    return grids.save_tile(path, fields, shape, 10, title=title)


def draw_reconstructions(path: Path, dbn: DBN, cases: Tensor, shape: tuple[int, int]) -> Path:
    """Draw cases (N, pixels in [0, 1]), ten in a row, each row above what the net sees in them."""
    seen = dreams.reconstruct(dbn, cases)
    rows = [
        part
        for pair in zip(torch.split(cases, 10), torch.split(seen, 10), strict=True)
        for part in pair
    ]
    title = "Cases, and what the net sees in them"
    columns = min(10, len(cases))
    return grids.save_tile(
        path,
        torch.cat(rows).cpu().numpy(),
        shape,
        columns,
        left=["case", "seen"] * (len(rows) // 2),
        title=title,
    )


def draw_dreams(
    path: Path,
    dbn: DBN,
    shape: tuple[int, int],
    classes: Sequence[str],
    *,
    rng: torch.Generator,
    steps: int,
) -> Path:
    """Draw ten dreams of each of `classes`, a row a class, of DREAM_CLASSES of them at most;
    without labels a hundred free dreams.
    """
    chosen = spread(dbn.labels, DREAM_CLASSES).to(rng.device)
    labels = chosen.repeat_interleave(DREAMS_A_LABEL) if dbn.labels else None
    fantasies = dreams.dream(
        dbn, rng=rng, labels=labels, count=FREE_DREAMS if labels is None else None, steps=steps
    )
    some = f" ({len(chosen)} of {dbn.labels:,} classes)" if 0 < len(chosen) < dbn.labels else ""
    title = f"Dreams after {steps:,} Gibbs steps{some}"
    names = [str(classes[label]) for label in chosen.tolist()]
    return grids.save_tile(
        path, fantasies.pixels.cpu().numpy(), shape, DREAMS_A_LABEL, left=names, title=title
    )


def spread(classes: int, most: int) -> Tensor:
    """Return the labels of at most `most` of so many classes, from the first to the last, evenly
    spread, int64.
    """
    return torch.linspace(0, max(classes - 1, 0), min(classes, most)).round().long()


def draw_curves(metrics: Path, folder: Path) -> list[Path]:
    """Draw the errors and the reconstruction errors of each stage over its epochs, from the lines
    of metrics.jsonl.
    """
    lines = files.read_metrics(metrics.parent)
    trained = _curves(lines, "train_error_percent"), "Errors on training cases, %"
    held_out = _curves(lines, "validation_errors"), "Errors on validation cases"
    errors, title = held_out if held_out[0] else trained
    squared = _curves(lines, "reconstruction_error")
    paths = []
    if errors:
        paths.append(
            plots.save_curves(folder / "errors.png", errors, x="epoch", y="errors", title=title)
        )
    if squared:
        y = "mean squared error a pixel"
        paths.append(
            plots.save_curves(
                folder / "reconstruction_error.png",
                squared,
                x="epoch",
                y=y,
                title="Reconstruction",
                log=True,
            )
        )
    return paths


def _curves(lines: list[dict[str, Any]], key: str) -> dict[str, tuple[list[float], list[float]]]:
    """Return what was measured as `key` over the epochs of each stage that has it: stage -> epochs,
    values.
    """
    curves: dict[str, tuple[list[float], list[float]]] = {}
    for line in lines:
        if line.get(key) is not None:
            curve = curves.setdefault(line["stage"], ([], []))
            curve[0].append(line["epoch"])
            curve[1].append(line[key])
    return curves


def draw_kinds(path: Path, dbn: DBN, shape: tuple[int, int], *, each: int = 96) -> Path:
    """Draw the first layer's receptive fields sorted by what they are: on-centre, stroke,
    high-frequency.
    """
    first = dbn.rbm(0) if dbn.tied else dbn.recognition[0]
    fields = first.weight[: dbn.sizes[0]].cpu().numpy().T
    shown = grids.receptive_fields(fields.T, len(fields))
    order = np.argsort(-np.linalg.norm(fields, axis=1))
    kinds = {
        f"{name} ({len(index)})": shown[np.argsort(order)[index[:each]]]
        for name, index in interpretation.sort_fields(fields, shape).items()
        if len(index)
    }
    return plots.save_kinds(path, kinds, shape)


def draw_activity(path: Path, dbn: DBN, images: Tensor) -> Path:
    """Draw what the first hidden layer does with cases (N, pixels), a row a case."""
    probs = (
        dbn.up(images)[1]
        if dbn.recognition
        else dbn.memory.hidden.mean(interpretation.codes(dbn, images))
    )
    return plots.save_activity(path, probs.cpu().numpy(), title="First hidden layer")


def draw_histograms(
    path: Path, dbn: DBN, images: Tensor, labels: Tensor | None, *, rng: torch.Generator
) -> Path:
    """Draw the weights of each layer, and how one minibatch of CD-1 at rate 0.1 would change them
    where a layer is still an RBM.

    The minibatch is `images` (N, pixels) with `labels` (N,), which a memory with labels needs.
    """
    groups: dict[str, list[tuple[str, grids.Array]]] = {}
    config, below = CDConfig(weight_decay=0.0), as_probs(images)
    for layer, (up, down) in enumerate(zip(dbn.recognition, dbn.generative, strict=True)):
        groups[f"layer {layer + 1}"] = parts = [("weights", up.weight.cpu().numpy())]
        if up.weight is down.weight:
            parts.append(("updates", 0.1 * _gradient(dbn.rbm(layer), below, config, rng)))
        else:
            parts.append(("generative weights", down.weight.cpu().numpy()))
        below = up.probs(below)
    memory = [("weights", dbn.memory.weight.cpu().numpy())]
    if labels is not None or not dbn.labels:
        memory.append(
            (
                "updates",
                0.1
                * _gradient(
                    dbn.memory, greedy.memory_cases(dbn, images, labels, checked=True), config, rng
                ),
            )
        )
    groups["memory"] = memory
    return plots.save_histograms(path, groups)


def _gradient(rbm: RBM, cases: Tensor, config: CDConfig, rng: torch.Generator) -> grids.Array:
    contrast = Contrast(rbm, len(cases), config)
    contrast.visible[: len(cases)] = cases
    contrast.run_phases(rbm, config, rng, None)
    gradient: grids.Array = (contrast.visible.t() @ contrast.hidden / len(cases)).cpu().numpy()
    return gradient


def draw_traces(folder: Path, target: Path) -> list[Path]:
    """Draw the AIS traces that `wakesleep likelihood` left in a run folder, a picture a depth; none
    where there are none.
    """
    paths = []
    for path in sorted(
        (folder / "likelihood").glob("*.safetensors"), key=lambda path: path.stat().st_mtime
    ):
        tensors, _ = tensor_files.load_tensors(path, "annealing")
        traces = {}
        for name in ("forward", "reverse"):
            if f"{name}/steps" in tensors:
                betas = tensors[f"{name}/betas"][tensors[f"{name}/steps"] - 1]
                traces[f"{name} AIS, {path.stem[:7].replace('-', ' ')}"] = (
                    betas.numpy(),
                    tensors[f"{name}/log_weights"].numpy(),
                )
        paths.append(plots.save_traces(target / f"ais_{path.stem[:7]}.png", traces))
    return list(dict.fromkeys(paths))


def draw_map(
    path: Path,
    dbn: DBN,
    images: Tensor,
    labels: Tensor | None,
    classes: Sequence[str],
    *,
    seed: int = 0,
) -> Path:
    """Draw a 2-D map of the top-level codes of cases (N, pixels), coloured by class."""
    points = interpretation.flat_map(interpretation.codes(dbn, images).cpu().numpy(), seed=seed)
    names = [str(name) for name in classes]
    return plots.save_map(
        path,
        points,
        None if labels is None else labels.cpu().numpy(),
        names,
        title="Top-level codes",
    )


def draw_confused(
    path: Path,
    images: Tensor,
    labels: Tensor,
    log_probs: Tensor,
    shape: tuple[int, int],
    classes: Sequence[str],
    *,
    count: int = 40,
) -> Path:
    """Draw the cases whose true label the net finds least probable; `log_probs` (N, labels) is what
    it says of images (N, pixels).
    """
    worst = interpretation.most_confused(log_probs, labels, count)
    captions = []
    for probs, label in zip(log_probs[worst].exp(), labels[worst].tolist(), strict=True):
        predicted = int(probs.argmax())
        against = "" if predicted == label else f" against {_percent(float(probs[predicted]))}"
        below = "said so" if predicted == label else f"said {classes[predicted]}"
        captions.append(f"{classes[label]}\n{below}\n{_percent(float(probs[label]))}{against}")
    wrong = int((log_probs.argmax(1) != labels).sum())
    title = (
        f"Most confused of {len(labels):,} cases ({wrong:,} errors): true class, what was said, "
        "and the probabilities"
    )
    columns = grids.columns_for(captions, len(worst))
    return grids.save_tile(
        path, images[worst].cpu().numpy(), shape, columns, below=captions, title=title, height=112
    )


def _percent(share: float) -> str:
    return f"{share:.1%}" if 0.0005 <= share < 0.0995 else f"{share:.0%}"


WATCHED = {
    "free_energy_gap": "free-energy gap, nats",
    "pseudo_log_likelihood": "pseudo-likelihood, nats a pixel",
    "update_ratio": "mean |update| / mean |weight|",
    "hidden_activity": "mean hidden activity",
    "dead_units": "part of units dead",
    "reconstruction_error": "reconstruction error: not to be trusted",
}


def draw_monitors(metrics: Path, path: Path) -> list[Path]:
    """Draw what was watched while the RBMs learned, a panel each, from the lines of metrics.jsonl;
    none where nothing was.
    """
    lines = [line for line in files.read_metrics(metrics.parent) if "hidden_activity" in line]
    panels = {title: curves for key, title in WATCHED.items() if (curves := _curves(lines, key))}
    return [plots.save_panels(path, panels, x="epoch")] if panels else []
