"""Photographs of ink on paper: uneven light, a table's edge, ruled paper.

What stands out from its surroundings is ink: the picture is divided by its closing, which is what
the paper would look like without anything narrower than a window (Serra, 1982, "Image Analysis and
Mathematical Morphology": the black top-hat). Of what is dark enough then, the largest piece that
does not touch the picture's edge is the digit, with the pieces near it.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from wakesleep.data.grey import Grey, border, resize

SMALLEST = 64
"""Rows and columns below which a picture is none of a camera's."""
EVEN, STRAYING = 0.06, 0.02
"""A picture is a photograph where more than STRAYING of its border differs from the border's median
by more than EVEN of the way from its darkest to its brightest pixel.
"""
SIDE = 192
"""The longer side at which the digit is looked for, pixels; averaging takes away grain."""
WINDOW = 0.25
"""Of the longer side: a stroke is narrower than this, a table that shows is wider than half of
it.
"""
BOARD = 0.25
"""Of the way from the darkest to the brightest: where the median lies lower, it is chalk on a
board.
"""
MIDDLE = 0.15
"""Of either side: how far from the edge the darkest ink is looked for."""
DARKEST = 99.8
"""Percentile of the ink in the middle that counts as full ink."""
LEAST = 0.1
"""Of the paper's light: ink that takes away less is none."""
THRESHOLD = 0.45
"""Of full ink: what belongs to a stroke; ruled lines lie below."""
SPECK, NEAR = 0.03, 0.2
"""Of the largest piece's ink, and of its longer side: how much ink another piece has, and how near
it lies, to be part of the digit.
"""


def is_photograph(grey: Grey) -> bool:
    """Return whether a picture (rows, columns) is so large, and its border so uneven, that it was
    taken by a camera.
    """
    if min(grey.shape) < SMALLEST:
        return False
    edge, span = border(grey), float(grey.max() - grey.min())
    return float((np.abs(edge - np.median(edge)) > EVEN * span).mean()) > STRAYING


def ink_on_paper(grey: Grey) -> Grey | None:
    """Return the ink of the digit in a photograph (rows, columns), 0 to 1, with all else blank, at
    a longer side of at most SIDE; None where nothing stands out.
    """
    scale = min(1.0, SIDE / max(grey.shape))
    rows, columns = (max(1, round(scale * side)) for side in grey.shape)
    grey = resize(grey, (rows, columns))
    low, middle, high = np.percentile(grey, (0.5, 50, 99.5))
    if middle - low < BOARD * (high - low):
        grey = 1 - grey
    paper = closing(grey, int(WINDOW * max(rows, columns)) // 2)
    ink = (1 - grey / np.maximum(paper, np.float32(1e-3))).astype(np.float32)
    ink -= np.float32(np.median(ink))  # noise lifts the brightest pixel of a window above the paper
    down, across = int(MIDDLE * rows), int(MIDDLE * columns)
    full = float(np.percentile(ink[down : rows - down, across : columns - across], DARKEST))
    if full < LEAST:
        return None
    chosen = _digit(ink, ink > THRESHOLD * full)
    if chosen is None:
        return None
    # a stroke's soft edge belongs to it
    around = _extreme(_extreme(chosen.astype(np.float32), 1, 0, np.maximum), 1, 1, np.maximum)
    strokes: Grey = (ink / full).clip(0, 1).astype(np.float32) * around
    return strokes


def closing(grey: Grey, reach: int) -> Grey:
    """Return the smallest of the largest levels within `reach` pixels: dark parts that are
    narrower than 2 reach + 1 pixels disappear.
    """
    for combine in (np.maximum, np.minimum):
        for axis in (0, 1):
            grey = _extreme(grey, reach, axis, combine)
    return grey


def _extreme(levels: Grey, reach: int, axis: int, combine: Any) -> Grey:
    """Return the largest or smallest level within `reach` along an axis; nothing lies beyond the
    edge.
    """
    from scipy.ndimage import maximum_filter1d, minimum_filter1d

    size = 2 * reach + 1
    extreme: Grey = (
        maximum_filter1d(levels, size, axis, mode="constant", cval=-np.inf)
        if combine is np.maximum
        else minimum_filter1d(levels, size, axis, mode="constant", cval=np.inf)
    )
    return extreme


def _digit(ink: Grey, dark: NDArray[np.bool_]) -> NDArray[np.bool_] | None:
    """Return which pixels are the digit's: of the pieces that do not touch the edge (or of all,
    where all do) the one with most ink, and what lies near it.
    """
    from scipy.ndimage import find_objects, label

    pieces, count = label(dark, np.ones((3, 3)))
    if not count:
        return None
    mass = np.bincount(pieces.ravel(), ink.ravel(), count + 1)[1:]
    inside = np.ones(count + 1, bool)
    inside[border(pieces)] = False
    allowed = inside[1:] if inside[1:].any() else np.ones(count, bool)
    boxes = [(box[0].start, box[0].stop, box[1].start, box[1].stop) for box in find_objects(pieces)]
    main = int(np.argmax(np.where(allowed, mass, 0)))
    top, bottom, left, right = boxes[main]
    room = NEAR * max(bottom - top, right - left)
    wanted = np.zeros(count + 1, bool)
    for at, (first, last, west, east) in enumerate(boxes):
        gap = max(top - last, first - bottom, left - east, west - right, 0)
        wanted[at + 1] = allowed[at] and gap <= room and mass[at] >= SPECK * mass[main]
    chosen: NDArray[np.bool_] = wanted[pieces]
    return chosen
