"""Figures from arrays: tiles of pictures, receptive fields, curves. Nothing here knows of runs or learning."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wakesleep.checkpoint import write_atomically
from wakesleep.foundation.errors import ConfigError

Array = NDArray[Any]
GAP = 2
"""Pixels between two pictures of a tile, before scaling."""
SERIES = ("#0b5fa5", "#d1495b", "#2e7d5b", "#8a5aab", "#c98a00")
"""Colours of curves, apart for colour-blind readers and in grey."""


def tile(pictures: Array, shape: tuple[int, int], columns: int, background: float = 0.35) -> Array:
    """Return pictures (N, pixels) in [0, 1] laid out row by row in `columns`, as one grey picture (height, width) in [0, 1].

    Raises:
        ConfigError: no pictures, or pictures that are not of `shape`.
    """
    pictures = np.asarray(pictures, dtype=np.float32)
    if pictures.ndim != 2 or not len(pictures) or pictures.shape[1] != shape[0] * shape[1] or columns < 1:
        raise ConfigError(f"pictures of shape {pictures.shape} in {columns} columns: expected (N, {shape[0] * shape[1]}), N and columns >= 1")
    rows = -(-len(pictures) // columns)
    height, width = shape
    sheet = np.full((rows * (height + GAP) + GAP, columns * (width + GAP) + GAP), background, dtype=np.float32)
    for number, picture in enumerate(pictures):
        top, left = GAP + number // columns * (height + GAP), GAP + number % columns * (width + GAP)
        sheet[top : top + height, left : left + width] = picture.reshape(shape)
    return sheet


def save_picture(path: Path, sheet: Array, scale: int = 2) -> Path:
    """Write a grey picture (height, width) in [0, 1] as PNG (or what the ending says), each pixel `scale` pixels wide; return the path.

    Raises:
        ConfigError: the ending names no picture format.
        CheckpointError: the file cannot be written.
    """
    from PIL import Image

    if path.suffix.lower() not in Image.registered_extensions():
        raise ConfigError(f"{path} ends in {path.suffix!r}, which names no picture format; use .png")
    grey = np.clip(np.rint(np.kron(sheet, np.ones((scale, scale))) * 255), 0, 255).astype(np.uint8)
    image_format = Image.registered_extensions()[path.suffix.lower()]
    write_atomically(path, lambda temporary: Image.fromarray(grey).save(temporary, format=image_format))
    return path


def scale_for(shape: tuple[int, int]) -> int:
    """Return how many times to enlarge pictures of `shape` so that each is about 56 pixels high."""
    return max(1, round(56 / shape[0]))


def save_tile(path: Path, pictures: Array, shape: tuple[int, int], columns: int) -> Path:
    """Write pictures (N, pixels) in [0, 1] as one tiled picture file; return the path."""
    return save_picture(path, tile(pictures, shape, columns), scale_for(shape))


def receptive_fields(weight: Array, count: int = 100) -> Array:
    """Return the weights (visible, hidden) into the `count` strongest hidden units as pictures (count, visible): grey is zero, white +."""
    strongest = np.argsort(-np.linalg.norm(weight, axis=0))[:count]
    fields = weight[:, strongest].T
    largest = np.maximum(np.abs(fields).max(axis=1, keepdims=True), 1e-12)
    return np.asarray(0.5 + 0.5 * fields / largest)


def save_curves(
    path: Path, curves: Mapping[str, tuple[Sequence[float], Sequence[float]]], *, x: str, y: str, title: str, log: bool = False
) -> Path:
    """Write curves (name -> x values, y values) as a figure; return the path."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7.2, 4.2), dpi=120, layout="constrained")
    axes = figure.subplots()
    for (name, (xs, ys)), colour in zip(curves.items(), SERIES * 10, strict=False):
        axes.plot(xs, ys, label=name, color=colour, linewidth=1.8, marker="o" if len(xs) < 3 else None)
    axes.set(xlabel=x, ylabel=y, title=title, yscale="log" if log else "linear")
    axes.grid(True, alpha=0.25)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    if curves:
        axes.legend(frameon=False)
    write_atomically(path, lambda temporary: figure.savefig(temporary, format=path.suffix[1:]))
    return path
