"""Drawings by the hundred, made of strokes: digits under eleven conditions, letters, scribbles and
icons.

A drawing is a list of strokes, a stroke an array of points (N, 2), across and down, in parts of the
pad's side. Templates, parameters and seeds were committed before anything was measured with them,
and are not to be changed to suit a figure.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Stroke = NDArray[np.float64]
Points = list[tuple[float, float]]

# Points a pen passes through, joined by smooth curves, in a box of 1 x 1; a point that is given
# twice is a corner.
DIGITS: dict[str, list[list[Points]]] = {
    "0": [
        [[(0.5, 0), (0.15, 0.2), (0.08, 0.55), (0.3, 0.97), (0.68, 0.95), (0.88, 0.6),
          (0.85, 0.2), (0.5, 0.01)]],
        [[(0.6, 0.02), (0.25, 0.1), (0.1, 0.5), (0.22, 0.9), (0.5, 1), (0.8, 0.85), (0.9, 0.45),
          (0.75, 0.08), (0.5, 0.02)]],
    ],
    "1": [
        [[(0.5, 0), (0.5, 1)]],
        [[(0.28, 0.22), (0.52, 0), (0.52, 0), (0.52, 1)]],
    ],
    "2": [
        [[(0.12, 0.25), (0.3, 0.03), (0.65, 0.02), (0.83, 0.25), (0.65, 0.55), (0.1, 1),
          (0.1, 1), (0.9, 0.97)]],
        [[(0.15, 0.2), (0.45, 0), (0.8, 0.15), (0.72, 0.5), (0.35, 0.85), (0.12, 0.88),
          (0.3, 0.78), (0.6, 0.92), (0.92, 0.95)]],
    ],
    "3": [
        [[(0.15, 0.1), (0.5, 0), (0.8, 0.2), (0.65, 0.42), (0.4, 0.48), (0.4, 0.48),
          (0.75, 0.55), (0.85, 0.78), (0.55, 1), (0.12, 0.9)]],
        [[(0.2, 0.05), (0.82, 0.05), (0.82, 0.05), (0.48, 0.42), (0.48, 0.42), (0.8, 0.52),
          (0.85, 0.8), (0.5, 1), (0.12, 0.88)]],
    ],
    "4": [
        [[(0.3, 0), (0.1, 0.58), (0.1, 0.58), (0.9, 0.56)], [(0.68, 0.25), (0.66, 1)]],
        [[(0.15, 0.02), (0.12, 0.48), (0.12, 0.48), (0.78, 0.46)], [(0.8, 0), (0.76, 1)]],
    ],
    "5": [
        [[(0.82, 0.02), (0.25, 0.02), (0.25, 0.02), (0.2, 0.45), (0.2, 0.45), (0.6, 0.4),
          (0.85, 0.65), (0.65, 0.97), (0.12, 0.92)]],
        [[(0.28, 0.03), (0.22, 0.42), (0.22, 0.42), (0.6, 0.4), (0.82, 0.68), (0.6, 0.98),
          (0.12, 0.9)], [(0.28, 0.03), (0.85, 0.0)]],
    ],
    "6": [
        [[(0.68, 0), (0.3, 0.35), (0.14, 0.72), (0.4, 1), (0.75, 0.88), (0.75, 0.6), (0.45, 0.52),
          (0.17, 0.75)]],
        [[(0.55, 0), (0.22, 0.45), (0.25, 0.9), (0.6, 1), (0.82, 0.75), (0.6, 0.55),
          (0.24, 0.72)]],
    ],
    "7": [
        [[(0.1, 0.04), (0.88, 0.02), (0.88, 0.02), (0.55, 0.5), (0.4, 1)]],
        [[(0.12, 0.06), (0.85, 0.04), (0.85, 0.04), (0.6, 0.5), (0.5, 1)],
         [(0.35, 0.52), (0.82, 0.5)]],
    ],
    "8": [
        [[(0.78, 0.15), (0.45, 0), (0.2, 0.2), (0.45, 0.45), (0.8, 0.72), (0.5, 1), (0.18, 0.78),
          (0.5, 0.46), (0.78, 0.2), (0.76, 0.13)]],
        [[(0.5, 0.46), (0.22, 0.22), (0.5, 0), (0.78, 0.22), (0.5, 0.46), (0.18, 0.75), (0.5, 1),
          (0.82, 0.75), (0.5, 0.46)]],
    ],
    "9": [
        [[(0.8, 0.2), (0.5, 0.02), (0.2, 0.25), (0.4, 0.48), (0.78, 0.28), (0.8, 0.2),
          (0.8, 0.2), (0.72, 1)]],
        [[(0.78, 0.15), (0.42, 0.02), (0.18, 0.3), (0.48, 0.5), (0.78, 0.2), (0.78, 0.6),
          (0.6, 0.95), (0.3, 1)]],
    ],
}  # fmt: skip

# Capital letters without those that are digits as well as letters: O, I (and l), S, Z, B.
LETTERS: dict[str, list[Points]] = {
    "A": [[(0.05, 1), (0.5, 0), (0.5, 0), (0.95, 1)], [(0.22, 0.64), (0.78, 0.64)]],
    "C": [[(0.9, 0.15), (0.55, 0), (0.12, 0.35), (0.15, 0.75), (0.55, 1), (0.92, 0.85)]],
    "D": [[(0.15, 0), (0.15, 1)], [(0.15, 0), (0.7, 0.1), (0.9, 0.5), (0.7, 0.9), (0.15, 1)]],
    "E": [[(0.88, 0), (0.15, 0), (0.15, 0), (0.15, 1), (0.15, 1), (0.9, 1)],
          [(0.15, 0.5), (0.75, 0.5)]],
    "F": [[(0.9, 0), (0.15, 0), (0.15, 0), (0.15, 1)], [(0.15, 0.48), (0.75, 0.48)]],
    "G": [[(0.88, 0.15), (0.5, 0), (0.1, 0.4), (0.2, 0.85), (0.55, 1), (0.9, 0.8), (0.9, 0.55),
           (0.9, 0.55), (0.55, 0.55)]],
    "H": [[(0.12, 0), (0.12, 1)], [(0.88, 0), (0.88, 1)], [(0.12, 0.5), (0.88, 0.5)]],
    "J": [[(0.35, 0), (0.95, 0)], [(0.7, 0), (0.7, 0.75), (0.45, 1), (0.1, 0.8)]],
    "K": [[(0.15, 0), (0.15, 1)], [(0.88, 0), (0.15, 0.55), (0.15, 0.55), (0.9, 1)]],
    "L": [[(0.2, 0), (0.2, 1), (0.2, 1), (0.88, 1)]],
    "M": [[(0.05, 1), (0.12, 0), (0.12, 0), (0.5, 0.7), (0.5, 0.7), (0.88, 0), (0.88, 0),
           (0.95, 1)]],
    "N": [[(0.12, 1), (0.12, 0), (0.12, 0), (0.88, 1), (0.88, 1), (0.88, 0)]],
    "P": [[(0.15, 1), (0.15, 0), (0.15, 0), (0.8, 0.05), (0.85, 0.4), (0.15, 0.52)]],
    "Q": [[(0.5, 0), (0.1, 0.3), (0.15, 0.8), (0.55, 0.95), (0.9, 0.6), (0.8, 0.12), (0.5, 0)],
          [(0.55, 0.65), (0.98, 1)]],
    "R": [[(0.15, 1), (0.15, 0), (0.15, 0), (0.8, 0.05), (0.8, 0.4), (0.15, 0.5), (0.15, 0.5),
           (0.88, 1)]],
    "T": [[(0.05, 0), (0.95, 0)], [(0.5, 0), (0.5, 1)]],
    "U": [[(0.12, 0), (0.12, 0.7), (0.5, 1), (0.88, 0.7), (0.88, 0)]],
    "V": [[(0.05, 0), (0.5, 1), (0.5, 1), (0.95, 0)]],
    "W": [[(0.02, 0), (0.25, 1), (0.25, 1), (0.5, 0.3), (0.5, 0.3), (0.75, 1), (0.75, 1),
           (0.98, 0)]],
    "X": [[(0.1, 0), (0.9, 1)], [(0.9, 0), (0.1, 1)]],
    "Y": [[(0.08, 0), (0.5, 0.5)], [(0.92, 0), (0.5, 0.5), (0.5, 0.5), (0.5, 1)]],
}  # fmt: skip

_RING: Points = [(0.5, 0), (0.15, 0.15), (0, 0.5), (0.15, 0.85), (0.5, 1), (0.85, 0.85), (1, 0.5),
                 (0.85, 0.15), (0.5, 0)]  # fmt: skip
ICONS: dict[str, list[Points]] = {
    "house": [[(0.1, 0.45), (0.1, 0.45), (0.1, 1), (0.1, 1), (0.9, 1), (0.9, 1), (0.9, 0.45),
               (0.9, 0.45), (0.5, 0), (0.5, 0), (0.1, 0.45), (0.1, 0.45), (0.9, 0.45)],
              [(0.42, 1), (0.42, 0.68), (0.42, 0.68), (0.6, 0.68), (0.6, 0.68), (0.6, 1)]],
    "face": [_RING, [(0.33, 0.35), (0.33, 0.4)], [(0.67, 0.35), (0.67, 0.4)],
             [(0.28, 0.65), (0.5, 0.8), (0.72, 0.65)]],
    "heart": [[(0.5, 1), (0.05, 0.4), (0.2, 0.03), (0.5, 0.25), (0.5, 0.25), (0.8, 0.03),
               (0.95, 0.4), (0.5, 1)]],
    "star": [[(0.2, 1), (0.2, 1), (0.5, 0), (0.5, 0), (0.8, 1), (0.8, 1), (0.02, 0.38),
              (0.02, 0.38), (0.98, 0.38), (0.98, 0.38), (0.2, 1)]],
    "arrow": [[(0, 0.5), (1, 0.5)], [(0.65, 0.15), (1, 0.5), (1, 0.5), (0.65, 0.85)]],
    "sun": [[(0.3 + 0.4 * x, 0.3 + 0.4 * y) for x, y in _RING], [(0.5, 0), (0.5, 0.2)],
            [(0.5, 0.8), (0.5, 1)], [(0, 0.5), (0.2, 0.5)], [(0.8, 0.5), (1, 0.5)],
            [(0.15, 0.15), (0.28, 0.28)], [(0.85, 0.15), (0.72, 0.28)],
            [(0.15, 0.85), (0.28, 0.72)], [(0.85, 0.85), (0.72, 0.72)]],
    "fish": [[(0.95, 0.3), (0.55, 0.8), (0.05, 0.5), (0.55, 0.2), (0.95, 0.7), (0.95, 0.7),
              (0.95, 0.3)]],
    "cup": [[(0.1, 0.1), (0.15, 1), (0.15, 1), (0.65, 1), (0.65, 1), (0.7, 0.1), (0.7, 0.1),
             (0.1, 0.1)], [(0.7, 0.3), (0.98, 0.4), (0.95, 0.65), (0.68, 0.7)]],
    "tree": [[(0.5, 1), (0.5, 0.55)],
             [(0.5, 0), (0.05, 0.6), (0.05, 0.6), (0.95, 0.6), (0.95, 0.6), (0.5, 0)]],
    "box": [[(0, 0), (0, 0), (1, 0), (1, 0), (1, 1), (1, 1), (0, 1), (0, 1), (0, 0)],
            [(0, 0), (1, 1)], [(1, 0), (0, 1)]],
}  # fmt: skip


@dataclass(frozen=True)
class Condition:
    """How a hand draws: all in parts of the pad's side, angles in radians."""

    height: float = 0.62
    """The digit's height on the pad."""
    width: float = 0.72
    """Its box's width, in parts of the height."""
    slant: float = 0.0
    """How far the top leans to the right, in parts of the height."""
    tilt: float = 0.0
    """Its turn, clockwise."""
    wobble: float = 0.012
    """How far points stray, in parts of the height (deviation)."""
    corner: bool = False
    """Whether it stands in a corner of the pad, else somewhere near the middle."""


CONDITIONS: dict[str, Condition] = {
    "plain": Condition(),
    "large": Condition(height=0.85),
    "half size": Condition(height=0.4),
    "quarter size": Condition(height=0.25),
    "tiny": Condition(height=0.12),
    "in a corner": Condition(height=0.3, corner=True),
    "leaning right": Condition(slant=0.3),
    "leaning left": Condition(slant=-0.22),
    "turned": Condition(tilt=0.2),
    "wobbly": Condition(wobble=0.03),
    "wide": Condition(height=0.5, width=1.05),
}
SEEDS = {"digits": 7001, "accepted": 7002, "letters": 7003, "scribbles": 7004, "icons": 7005}


def smooth(points: Points, per_piece: int = 8) -> Stroke:
    """Return points (N, 2) of a Catmull-Rom curve through `points`; one that comes twice is a
    corner.
    """
    pieces: list[Stroke] = []
    start = 0
    for end in range(1, len(points) + 1):
        if end == len(points) or points[end] == points[end - 1]:
            pieces.append(_curve(np.array(points[start:end], np.float64), per_piece))
            start = end
    return np.concatenate(pieces)


def _curve(through: Stroke, per_piece: int) -> Stroke:
    if len(through) < 3:
        return through
    padded = np.concatenate(
        [2 * through[:1] - through[1:2], through, 2 * through[-1:] - through[-2:-1]]
    )
    t = np.linspace(0, 1, per_piece, endpoint=False)[:, None]
    parts = [
        0.5
        * (
            2 * b
            + (c - a) * t
            + (2 * a - 5 * b + 4 * c - d) * t**2
            + (3 * b - a - 3 * c + d) * t**3
        )
        for a, b, c, d in zip(padded, padded[1:], padded[2:], padded[3:], strict=False)
    ]
    return np.concatenate([*parts, through[-1:]])


def by_hand(template: list[Points], condition: Condition, rng: np.random.Generator) -> list[Stroke]:
    """Return a template as a hand draws it: control points stray, size, slant and place vary."""
    height = condition.height * rng.uniform(0.92, 1.08)
    width = height * condition.width * rng.uniform(0.88, 1.12)
    slant = condition.slant + rng.normal(0, 0.06)
    tilt = condition.tilt * rng.choice([-1, 1]) + rng.normal(0, 0.04)
    turn = np.array([[np.cos(tilt), np.sin(tilt)], [-np.sin(tilt), np.cos(tilt)]])
    strokes = []
    for points in template:
        strayed: dict[tuple[float, float], tuple[float, float]] = {}
        for point in points:  # a corner is one point, and stays one
            dx, dy = rng.normal(0, condition.wobble, 2)
            strayed.setdefault(point, (point[0] + dx, point[1] + dy))
        curve = smooth([strayed[point] for point in points]) - 0.5
        curve = curve * [width, height] + curve[:, 1:] * [-slant * height, 0.0]
        strokes.append(curve @ turn)
    every = np.concatenate(strokes)
    low, high = every.min(0), every.max(0)
    edge = 0.05
    if condition.corner:
        at = np.where(rng.random(2) < 0.5, edge - low, 1 - edge - high)
    else:
        at = 0.5 - (low + high) / 2 + rng.normal(0, 0.03, 2)
        at = np.clip(at, edge - low, np.maximum(1 - edge - high, edge - low))
    return [stroke + at for stroke in strokes]


def digits(seed: int = SEEDS["digits"]) -> Iterator[tuple[str, str, list[Stroke]]]:
    """Yield 11 conditions of 40: the condition, the digit and its strokes, two templates of each
    digit twice.
    """
    rng = np.random.default_rng(seed)
    for name, condition in CONDITIONS.items():
        for digit, templates in DIGITS.items():
            for template in (*templates, *templates):
                yield name, digit, by_hand(template, condition, rng)


def accepted(seed: int = SEEDS["accepted"]) -> Iterator[tuple[str, list[Stroke]]]:
    """Yield 200 digits that are drawn plainly, which are not to be refused: name and strokes."""
    rng = np.random.default_rng(seed)
    for _ in range(10):
        for digit, templates in DIGITS.items():
            for template in templates:
                yield digit, by_hand(template, CONDITIONS["plain"], rng)


def letters(count: int = 100, seed: int = SEEDS["letters"]) -> Iterator[list[Stroke]]:
    """Yield letters, in turn."""
    yield from _in_turn(LETTERS, count, seed)


def icons(count: int = 100, seed: int = SEEDS["icons"]) -> Iterator[list[Stroke]]:
    """Yield houses, faces, hearts, stars and the like, in turn."""
    yield from _in_turn(ICONS, count, seed, width=1.0)


def _in_turn(
    templates: dict[str, list[Points]], count: int, seed: int, width: float = 0.85
) -> Iterator[list[Stroke]]:
    rng, kinds = np.random.default_rng(seed), list(templates.values())
    for number in range(count):
        yield by_hand(kinds[number % len(kinds)], Condition(width=width), rng)


def scribbles(count: int = 100, seed: int = SEEDS["scribbles"]) -> Iterator[list[Stroke]]:
    """Yield what a child does with a pen: zigzags, spirals and wild curves, in turn."""
    rng = np.random.default_rng(seed)
    kinds: list[Callable[[np.random.Generator], Points]] = [_zigzag, _spiral, _wild]
    for number in range(count):
        yield by_hand([kinds[number % 3](rng)], Condition(width=1.0), rng)


def _zigzag(rng: np.random.Generator) -> Points:
    turns = int(rng.integers(6, 12))
    return [
        (at / (turns - 1), float(rng.uniform(0.0, 0.25) if at % 2 else rng.uniform(0.75, 1.0)))
        for at in range(turns)
    ]


def _spiral(rng: np.random.Generator) -> Points:
    rounds, start = rng.uniform(2.5, 4), rng.uniform(0, 2 * np.pi)
    angles = np.linspace(0, 2 * np.pi * rounds, int(10 * rounds))
    radius = 0.5 * angles / angles[-1]
    return [
        (0.5 + r * np.cos(start + a), 0.5 + r * np.sin(start + a))
        for r, a in zip(radius, angles, strict=True)
    ]


def _wild(rng: np.random.Generator) -> Points:
    return [(float(x), float(y)) for x, y in rng.random((int(rng.integers(9, 14)), 2))]
