"""Photographs of digits on paper as a phone takes them, made from MNIST's cases: uneven light,
edges of a table, ruled paper.

Parameters and seeds were committed before anything was measured with them, and are not to be
changed to suit a figure. Settings of the preparation are chosen on photographs of training cases.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from wakesleep.data.pictures import Grey

ROWS, COLUMNS = 480, 360
SEED = 8001
KINDS = ("uneven light", "edges", "ruled paper")


def photographs(
    images: NDArray[np.float32], count: int, seed: int = SEED
) -> Iterator[tuple[int, str, bytes]]:
    """Yield `count` JPEG files of digits (N, 28, 28) drawn by the seed: which case, the kind of
    photograph, and the file; the kinds take turns.
    """
    rng = np.random.default_rng(seed)
    chosen = rng.choice(len(images), count, replace=False)
    for number, case in enumerate(chosen):
        kind = KINDS[number % len(KINDS)]
        yield int(case), kind, photograph(images[case], kind, rng)


def photograph(digit: NDArray[np.float32], kind: str, rng: np.random.Generator) -> bytes:
    """Return one digit (28, 28) on paper as a JPEG file."""
    ink = _laid(digit, rng)
    darkness = rng.uniform(0.5, 0.8)  # ballpoint to felt pen
    paper = rng.uniform(0.75, 0.95) * (1 + 0.015 * _grain(rng, 1.2))
    if kind == "ruled paper":
        paper = paper * (1 - _rules(rng))
    scene = paper * (1 - darkness * ink)
    if kind == "edges":
        scene = _on_table(scene, rng)
    scene = scene * _light(rng, strong=kind == "uneven light")
    scene = scene + rng.normal(0, 0.012, scene.shape)
    tint = np.array([1.0, rng.uniform(0.93, 0.99), rng.uniform(0.8, 0.97)])
    colours = (255 * np.clip(scene[..., None] * tint, 0, 1)).round().astype(np.uint8)
    picture = Image.fromarray(colours).filter(ImageFilter.GaussianBlur(rng.uniform(0.3, 1.2)))
    file = io.BytesIO()
    picture.save(file, "JPEG", quality=int(rng.integers(55, 91)))
    return file.getvalue()


def _laid(digit: NDArray[np.float32], rng: np.random.Generator) -> Grey:
    """Return a digit's ink, 0 to 1, somewhere on the sheet, turned a little."""
    side = int(rng.uniform(0.4, 0.8) * COLUMNS)
    large = Image.fromarray(digit).resize((side, side), Image.Resampling.BICUBIC)
    large = large.rotate(rng.uniform(-8, 8), Image.Resampling.BICUBIC)
    sharp = np.clip((np.asarray(large) - 0.35) / 0.3, 0, 1)  # a pen's edge
    sheet = np.zeros((ROWS, COLUMNS), np.float32)
    spare = (ROWS - side, COLUMNS - side)
    top, left = (int(room * rng.uniform(0.25, 0.75)) for room in spare)
    sheet[top : top + side, left : left + side] = sharp
    return sheet


def _grain(rng: np.random.Generator, radius: float) -> Grey:
    noise = rng.normal(0, 1, (ROWS, COLUMNS))
    smoothed = Image.fromarray((128 + 40 * noise).clip(0, 255).astype(np.uint8)).filter(
        ImageFilter.GaussianBlur(radius)
    )
    levels = np.asarray(smoothed, np.float32)
    even: Grey = (levels - levels.mean()) / max(float(levels.std()), 1e-6)
    return even


def _places() -> tuple[Grey, Grey]:
    """Return across and down of every pixel, 0 to 1."""
    down, across = np.mgrid[0:ROWS, 0:COLUMNS]
    return (across / (COLUMNS - 1)).astype(np.float32), (down / (ROWS - 1)).astype(np.float32)


def _light(rng: np.random.Generator, *, strong: bool) -> Grey:
    """Return how much light falls where: a slope, a lamp, and where it is `strong` the shadow of
    a hand or phone with a soft edge.
    """
    across, down = _places()
    angle, fall = rng.uniform(0, 2 * np.pi), rng.uniform(0.4, 0.65) if strong else 0.15
    slope = (across - 0.5) * np.cos(angle) + (down - 0.5) * np.sin(angle)
    light = 1 - fall * (slope + 0.5)
    lamp = rng.random(2)
    light = light * (
        0.85 + 0.15 * np.exp(-((across - lamp[0]) ** 2 + (down - lamp[1]) ** 2) / 0.15)
    )
    if strong:
        angle, at, soft = rng.uniform(0, 2 * np.pi), rng.uniform(-0.2, 0.3), rng.uniform(0.02, 0.08)
        side = (across - 0.5) * np.cos(angle) + (down - 0.5) * np.sin(angle) - at
        light = light * (1 - rng.uniform(0.2, 0.45) / (1 + np.exp(-side / soft)))
    return np.asarray(light, np.float32)


def _rules(rng: np.random.Generator) -> Grey:
    """Return how dark the lines of ruled or squared paper are, a little turned."""
    down, across = np.mgrid[0:ROWS, 0:COLUMNS]
    tilt, spacing = rng.uniform(-0.05, 0.05), rng.uniform(28, 60)
    width, darkness = rng.uniform(0.8, 1.8), rng.uniform(0.1, 0.3)
    axes: list[Callable[[], NDArray[np.float64]]] = [lambda: down + tilt * across]
    if rng.random() < 0.5:
        axes.append(lambda: across - tilt * down)
    lines = np.zeros((ROWS, COLUMNS))
    for axis in axes:
        away = np.abs((axis() + rng.uniform(0, spacing)) % spacing - spacing / 2)
        lines = np.maximum(lines, np.clip(width - away, 0, 1))
    return np.asarray(darkness * lines, np.float32)


def _on_table(sheet: NDArray[np.float64], rng: np.random.Generator) -> NDArray[np.float64]:
    """Return the sheet on a darker or lighter table that shows at one or two sides, with the
    shadow of the sheet's edge.
    """
    across, down = _places()
    wood = rng.uniform(0.15, 0.55) * (1 + 0.06 * _grain(rng, 3))
    scene = sheet
    for side in rng.choice(4, int(rng.integers(1, 3)), replace=False):
        angle = side * np.pi / 2 + rng.uniform(-0.12, 0.12)
        along = (across - 0.5) * np.cos(angle) + (down - 0.5) * np.sin(angle)
        edge = rng.uniform(0.38, 0.46)
        scene = np.where(along > edge, wood, scene)
        shadow = 1 - 0.25 * np.exp(-((along - edge) ** 2) / 0.0001) * (along > edge)
        scene = scene * shadow
    return scene
