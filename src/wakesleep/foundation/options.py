"""What a person may decide of how pictures are prepared, and what computes; without PyTorch, so
that the command line explains it quickly.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from wakesleep.foundation.errors import ConfigError

Backend = Literal["auto", "torch", "reference"]
"""What computes: compiled kernels and the faster libraries where the machine has them; what PyTorch
brings; the formulas in plain PyTorch.
"""
LARGEST = 4096
"""Pixels of a side beyond which no net is trained."""


@dataclass(frozen=True)
class PictureOptions:
    """What is decided of the size, polarity and place of a set's pictures; what is left open
    follows from the pictures and is said.
    """

    size: int | None = None
    """Longer side of the pictures in pixels; 0 keeps that of the first. By default pictures in
    files are scaled to 28 beyond 1,024 pixels (4,096 in sets of 10,000 and more).
    """
    polarity: Literal["auto", "keep", "invert"] = "auto"
    """Of the whole set: auto turns dark ink on light paper round, so that ink is bright on black,
    and keeps everything else; keep and invert decide it.
    """
    centre: bool = False
    """Crop each picture to its ink, scale it, and lay its centre of mass in the middle, as MNIST
    was made: for ink anywhere on a page.
    """
    transpose: bool = False
    """Swap rows and columns of the pictures in arrays (.npz, .npy, IDX): EMNIST comes that way."""

    def __post_init__(self) -> None:
        if self.size is not None and not 0 <= self.size <= LARGEST:
            raise ConfigError(
                f"size = {self.size}: expected the longer side in pixels, 1 to {LARGEST}, or 0 "
                "for that of the first picture"
            )
        if self.polarity not in ("auto", "keep", "invert"):
            raise ConfigError(f"polarity = {self.polarity!r}: expected auto, keep or invert")


RAW = PictureOptions(size=0, polarity="keep")
"""Pictures as they are: how sets were loaded for models that record no preparation."""
