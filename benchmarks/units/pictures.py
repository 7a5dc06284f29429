"""The pictures of docs/units.md, from the machines that the experiments with units have trained.

    python -m benchmarks.units.pictures

Receptive fields of photographs, sequence logos of what hidden units of the WW domain look for, and
pair correlations of its sequences beside those of the machine.
"""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import tyro
from matplotlib.figure import Figure
from matplotlib.patches import PathPatch
from matplotlib.textpath import TextPath
from matplotlib.transforms import Affine2D
from torch import Tensor

from benchmarks.units import patches, proteins
from benchmarks.units.patches import PatchesOptions
from benchmarks.units.proteins import LETTERS, ProteinsOptions
from wakesleep.models.rbm import RBM
from wakesleep.runs import grids

COLOURS = {
    **dict.fromkeys("AVILMFWC", "#1f5fa8"),
    **dict.fromkeys("YHGP", "#7a5195"),
    **dict.fromkeys("STNQ", "#2f8f4e"),
    **dict.fromkeys("KR", "#c43b3b"),
    **dict.fromkeys("DE", "#c77d0a"),
    "-": "#888888",
}
"""Of amino acids: hydrophobic, special, polar, positive, negative; gaps are grey."""
SMALLEST = 0.15
"""Letters lower than this share of the highest column are left out of a logo."""


@dataclass(frozen=True)
class PicturesOptions:
    """Draw the pictures."""

    data: Path = Path(os.environ.get("WAKESLEEP_DATA", "data"))
    """Folder with proteins/WW_domain_MSA.fasta."""
    folder: Path = Path("runs/units")
    """Where trained machines lie; those that are not there are trained."""
    out: Path = Path("docs/units")
    """Where the pictures go."""
    logos: int = 4
    """How many hidden units have a logo."""


def receptive_fields(options: PicturesOptions) -> None:
    """Write what hidden units add to a patch, each scaled to its own largest pixel."""
    settings = PatchesOptions(folder=options.folder)
    whitened = patches.read(settings.patches)
    fields = patches.fields(patches.machine(whitened.train, settings), whitened)
    grey = 0.5 + 0.5 * fields / np.abs(fields).max(1, keepdims=True)
    sheet = grids.tile(grey, (patches.SIDE, patches.SIDE), 16)
    grids.save_picture(options.out / "fields.png", sheet, scale=3)


def letter(axes: Any, text: str, left: float, bottom: float, height: float) -> None:
    """Draw a letter a column wide, from `bottom` to `bottom + height`."""
    path = TextPath((0, 0), text, size=1)
    box = path.get_extents()
    width = max(box.width, 0.4)
    move = Affine2D().translate(-box.x0 - box.width / 2, -box.y0)
    fit = move.scale(0.9 / width, height / max(box.height, 0.1)).translate(left + 0.5, bottom)
    axes.add_patch(PathPatch(fit.transform_path(path), color=COLOURS[text], linewidth=0))


def logo(axes: Any, weights: Tensor) -> None:
    """Draw the weights (sites, letters) of a hidden unit: letters that drive it up stand above the
    line, the largest outermost, those that drive it down hang below.
    """
    highest = float(torch.maximum(weights.clamp(min=0).sum(1), -weights.clamp(max=0).sum(1)).max())
    for site, row in enumerate(weights.tolist()):
        ends = [0.0, 0.0]
        for weight, text in sorted(zip(row, LETTERS, strict=True), key=lambda pair: abs(pair[0])):
            if abs(weight) < SMALLEST * highest:
                continue
            side = 0 if weight > 0 else 1
            ends[side] += weight
            letter(axes, text, site, min(ends[side], ends[side] - weight), abs(weight))
    axes.axhline(0, color="black", linewidth=0.6)
    axes.set(xlim=(0, len(weights)), ylim=(-1.05 * highest, 1.05 * highest))
    axes.set_xticks(np.arange(0.5, len(weights), 5), range(1, len(weights) + 1, 5))


def logos(rbm: RBM, options: PicturesOptions) -> None:
    """Write the logos of the hidden units with the largest weights, in the zero-sum gauge: at each
    site the weights of the letters add up to 0.
    """
    weights = rbm.weight.view(-1, len(LETTERS), rbm.hidden.size)
    weights = weights - weights.mean(1, keepdim=True)
    largest = weights.square().sum((0, 1)).argsort(descending=True)[: options.logos]
    figure = Figure(figsize=(7.5, 1.5 * options.logos), dpi=110, layout="constrained")
    for axes, unit in zip(figure.subplots(options.logos, 1), largest, strict=True):
        logo(axes, weights[:, :, unit])
        axes.set_ylabel("weight")
    axes.set_xlabel("site")
    figure.savefig(options.out / "logos.png")


def correlations(
    rbm: RBM, train: proteins.Alignment, held_out: proteins.Alignment, out: Path
) -> None:
    """Write connected two-site correlations of held-out sequences against those of the training
    sequences and of the machine's samples.
    """
    truth = proteins.connected(held_out.sequences, held_out.weights)
    others = {
        "training sequences": proteins.connected(train.sequences, train.weights),
        "samples of the machine": proteins.connected(proteins.samples(rbm)),
    }
    figure = Figure(figsize=(7.5, 3.8), dpi=110, layout="constrained")
    for axes, (name, values) in zip(
        figure.subplots(1, 2, sharex=True, sharey=True), others.items(), strict=True
    ):
        axes.hexbin(
            truth, values, gridsize=90, bins="log", mincnt=1, cmap="viridis", linewidths=0.1
        )
        ends = [float(truth.min()), float(truth.max())]
        axes.plot(ends, ends, color="black", linewidth=0.6)
        axes.set_title(f"{name}: r = {proteins.correlation(truth, values):.3f}", fontsize=10)
        axes.set(xlabel="held-out sequences", aspect="equal")
    figure.savefig(out / "correlations.png")


def main(argv: list[str]) -> None:
    """Draw all pictures."""
    options = tyro.cli(PicturesOptions, description=__doc__, args=argv)
    options.out.mkdir(parents=True, exist_ok=True)
    receptive_fields(options)
    settings = ProteinsOptions(data=options.data, folder=options.folder)
    alignment = proteins.read(options.data / "proteins/WW_domain_MSA.fasta")
    train, held_out = proteins.split(alignment, 0)
    rbm = proteins.machine(train, "split-0", settings)
    logos(rbm, options)
    correlations(rbm, train, held_out, options.out)


if __name__ == "__main__":
    main(sys.argv[1:])
