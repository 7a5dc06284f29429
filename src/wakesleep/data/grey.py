"""Pictures as grey levels: sizes, and where the paper is."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Grey = NDArray[np.float32]
"""Levels (rows, columns), 0 is black and 1 is white."""


def resize(grey: Grey, shape: tuple[int, int]) -> Grey:
    """Return grey levels at another size (rows, columns), averaging where it shrinks."""
    if grey.shape == shape:
        return grey
    scaled = Image.fromarray(grey).resize((shape[1], shape[0]), Image.Resampling.BILINEAR)
    return np.asarray(scaled, np.float32).clip(0, 1)


def border(pictures: NDArray[Any]) -> NDArray[Any]:
    """Return the outermost pixels of pictures (..., rows, columns), (..., 2 rows + 2 columns);
    corners come twice.
    """
    edges = pictures[..., 0, :], pictures[..., -1, :], pictures[..., 0], pictures[..., -1]
    return np.concatenate(edges, -1)


def paper_level(grey: Grey) -> float:
    """Return the level of a picture's paper, the median of its border."""
    return float(np.median(border(grey)))
