"""Geometry: what a net may be told about pictures, by showing it pictures that were moved, turned
and bent, new ones in every epoch.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from wakesleep.data.distort import Distortion, distort, translations
from wakesleep.learning.robust import RobustConfig
from wakesleep.paper.pretraining import robust_net
from wakesleep.paper.results import Row
from wakesleep.paper.runs import TableSetup, collect

TABLE = "geometry"
CONFIG = RobustConfig(epochs=80)
HOW = {"translated": translations(), "distorted": Distortion()}


def rows(
    setup: TableSetup,
    names: tuple[str, ...] = ("translated", "distorted"),
    starts: tuple[bool, ...] = (True, False),
) -> Iterator[Row]:
    """Yield a row for each kind of distortion, from pretrained and from random weights, learned on
    all cases.
    """
    size = min(setup.dataset.shape) / 28
    for name in names:
        for generated_first in starts:
            how = scaled(HOW[name], size)

            def change(images: Tensor, rng: torch.Generator, how: Distortion = how) -> Tensor:
                return distort(images, setup.dataset.shape, rng, how)

            called = name if generated_first else f"{name}-random"
            done = [
                robust_net(
                    setup,
                    called,
                    seed,
                    CONFIG,
                    all_cases=True,
                    generated_first=generated_first,
                    change=change,
                    how=how,
                )
                for seed in setup.seeds
            ]
            yield from collect(setup, called, done, "0.65" if called == "distorted" else "")


def scaled(how: Distortion, size: float) -> Distortion:
    """Return distortions meant for 28 x 28 pixels for pictures `size` times as large."""
    return Distortion(
        how.shift * size,
        how.rotation,
        how.scale,
        how.shear,
        how.alpha * size * size,
        how.sigma * size,
    )
