"""Figures from arrays: tiles of pictures, receptive fields, curves. Nothing here knows of runs or learning."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, Any

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
    grey = _bytes(sheet, scale)
    image_format = Image.registered_extensions()[path.suffix.lower()]
    write_atomically(path, lambda temporary: Image.fromarray(grey).save(temporary, format=image_format))
    return path


def scale_for(shape: tuple[int, int]) -> int:
    """Return how many times to enlarge pictures of `shape` so that each is about 56 pixels high."""
    return max(1, round(56 / shape[0]))


def save_tile(path: Path, pictures: Array, shape: tuple[int, int], columns: int) -> Path:
    """Write pictures (N, pixels) in [0, 1] as one tiled picture file; return the path."""
    return save_picture(path, tile(pictures, shape, columns), scale_for(shape))


def brain(layers: Sequence[Array], shape: tuple[int, int]) -> Array:
    """Return the activities of N cases as one grey picture, a row a case: the picture, then a block for each further layer.

    `layers` holds (N, pixels) pictures of `shape` and then (N, units) activities, all in [0, 1]; a unit is a square, columns are filled
    from the top. Few units (labels) are drawn larger.
    """
    height = 2 * shape[0]
    rows = []
    for case in range(len(layers[0])):
        blocks = [np.kron(np.asarray(layers[0][case], np.float32).reshape(shape), np.ones((2, 2)))]
        for layer in layers[1:]:
            units = np.asarray(layer[case], np.float32)
            side = max(1, height // len(units))
            per_column = height // side
            grid = np.full(-(-len(units) // per_column) * per_column, 0.2, np.float32)
            grid[: len(units)] = units
            block = np.kron(grid.reshape(-1, per_column).T, np.ones((side, side)))
            blocks.append(np.pad(block, ((0, height - block.shape[0]), (0, 0)), constant_values=0.35))
        spaced = [np.pad(block, ((GAP, GAP), (GAP, 2 * GAP)), constant_values=0.35) for block in blocks]
        rows.append(np.concatenate(spaced, 1))
    sheet: Array = np.concatenate(rows).astype(np.float32)
    return sheet


def save_movie(path: Path, sheets: Sequence[Array], scale: int = 2, frames_per_second: float = 12) -> Path:
    """Write grey pictures (height, width) in [0, 1] as an animated GIF that runs for ever; return the path.

    Raises:
        ConfigError: no pictures, or a name that does not end in .gif.
        CheckpointError: the file cannot be written.
    """
    if path.suffix.lower() != ".gif" or not sheets:
        raise ConfigError(f"{path} with {len(sheets)} frames: expected a name that ends in .gif and at least one frame")
    write_atomically(path, lambda temporary: write_movie(temporary, sheets, scale, frames_per_second))
    return path


def write_movie(file: Path | IO[bytes], sheets: Sequence[Array], scale: int, frames_per_second: float) -> None:
    """Write at least one grey picture (height, width) in [0, 1] as an animated GIF that runs for ever."""
    from PIL import Image

    images = [Image.fromarray(_bytes(sheet, scale)) for sheet in sheets]
    wait = round(1000 / frames_per_second)
    images[0].save(file, format="GIF", save_all=True, append_images=images[1:], duration=wait, loop=0)


def _bytes(sheet: Array, scale: int) -> Array:
    """Return grey levels in [0, 1] as 0..255, each pixel `scale` pixels wide."""
    levels: Array = np.clip(np.rint(np.kron(sheet, np.ones((scale, scale))) * 255), 0, 255).astype(np.uint8)
    return levels


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
