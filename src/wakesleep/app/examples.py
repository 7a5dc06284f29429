"""Pictures to try: test cases of what the network learned where they are on this machine, else
scikit-learn's digits, enlarged.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from wakesleep.data import Dataset, load, match_classes, some
from wakesleep.data.pictures import Grey
from wakesleep.foundation.errors import WakesleepError
from wakesleep.foundation.rng import generator
from wakesleep.sources.arrays import as_probs

if TYPE_CHECKING:
    from wakesleep.app.loaded_model import LoadedModel

EDGE, SOFT = 0.5, 0.5
"""Of full ink: where the edge of an enlarged stroke lies, and over how much it fades."""


@dataclass(frozen=True)
class Examples:
    """Cases (N, pixels) in [0, 1], their labels (N,), and where they come from, in words."""

    source: str
    images: Tensor
    labels: Tensor | None

    def pick(self, count: int, seed: int) -> list[dict[str, Any]]:
        """Return some of them as whole numbers 0..255, drawn by the seed."""
        chosen = torch.randperm(len(self.images), generator=generator(seed))[:count]
        rows = (self.images[chosen] * 255).round().to(torch.uint8).tolist()
        names = [None] * len(chosen) if self.labels is None else self.labels[chosen].tolist()
        return [{"pixels": row, "label": label} for row, label in zip(rows, names, strict=True)]


def find(model: LoadedModel) -> Examples:
    """Return examples that suit the network; none where its pictures are of a kind that is not on
    this machine.
    """
    try:
        own = _own(model) if model.data else None
    except WakesleepError:
        own = None
    if own is not None and own.train.images.shape[1] == model.machine.sizes[0]:
        new = "test cases; it never learned from these"
        part, words = (own.test, new) if own.test else (own.train, "which it learned from")
        shown = some(own, part, 2000)
        return Examples(f"{own.name}, {words}", as_probs(shown.images), shown.labels)
    if model.classes == tuple("0123456789"):
        part = load("digits").train
        rows = [
            torch.from_numpy(_enlarged(image.reshape(8, 8).numpy(), model))
            for image in as_probs(part.images[:600])
        ]
        return Examples(
            "scikit-learn's digits, enlarged from 8 x 8; it never learned from these",
            torch.stack(rows),
            None if part.labels is None else part.labels[:600],
        )
    return Examples(
        "no pictures of this kind on this machine", torch.zeros(0, model.machine.sizes[0]), None
    )


def _own(model: LoadedModel) -> Dataset:
    """Return what the network learned from, prepared as it was then."""
    return match_classes(
        load(model.data, download=False, how=model.own, own=True), model.classes, "the network"
    )


def _enlarged(grey: Grey, model: LoadedModel) -> Grey:
    """Return 8 x 8 grey levels as strokes of the network's size: enlarged smoothly, then cut where
    a pen's edge would be.
    """
    smooth = np.asarray(Image.fromarray(grey).resize((80, 80), Image.Resampling.BICUBIC))
    strokes = ((smooth - EDGE + SOFT / 2) / SOFT).clip(0, 1)
    case: Grey = model.preparation.picture(
        strokes.astype(np.float32), own="dark", centre=True
    ).reshape(-1)
    return case
