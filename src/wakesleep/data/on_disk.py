"""Sets that stay on the disk: a folder of images-*.npy with labels-*.npy beside them, or one .npy
too large to be read whole.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from wakesleep.data.checks import Array, label_numbers, shape_of
from wakesleep.data.files import LARGEST
from wakesleep.foundation.errors import DataError

if TYPE_CHECKING:
    from wakesleep.sources.shards import Files, Source

HELD_OUT = 10_000
"""Most cases that are held out for testing, as many as MNIST's: the last ones, and no more than a
sixth of the set.
"""
SAMPLE = 20_000
"""About how many training cases are held in memory, the first ones of each file: what monitors,
figures and likelihoods look at.
"""


class Sample(NamedTuple):
    """What memory holds of a set on the disk: a sample of the training cases and those held out,
    with their labels where there are any.
    """

    train: Array
    train_labels: Array | None
    test: Array
    test_labels: Array | None


def image_files(path: Path) -> list[Path]:
    """Return the files of images of a set that stays on the disk, in the order of their names; none
    where `path` is no such set.
    """
    # os.path answers False where Path would raise, as for a name that is too long
    if os.path.isdir(path):
        return sorted(path.glob("images-*.npy"))
    return (
        [path]
        if path.suffix.lower() == ".npy" and os.path.isfile(path) and path.stat().st_size > LARGEST
        else []
    )


def find(path: Path) -> Files | None:
    """Return the files of a set that stays on the disk; None where `path` is no such set.

    Raises:
        DataError: some files have labels and others have none, or shapes do not fit each other, or
            there are too few cases.
    """
    images = image_files(path)
    if not images:
        return None
    from wakesleep.sources import shards  # needs PyTorch

    labels = (
        [image.with_name(f"labels-{image.name.removeprefix('images-')}") for image in images]
        if path.is_dir()
        else []
    )
    stray = sorted(set(path.glob("labels-*.npy")) - set(labels)) if path.is_dir() else []
    lacking = [label for label in labels if not label.exists()]
    if stray or (lacking and len(lacking) < len(labels)):
        raise DataError(
            f"labels do not fit images in {path}: missing {_names(lacking)}; without images "
            f"{_names(stray)}; expected labels-NAME.npy for each images-NAME.npy, or no labels at "
            "all"
        )
    named = None if lacking or not labels else labels
    total = sum(shards.lengths(images, named))
    if total < 6:
        raise DataError(
            f"{path} holds {total} cases; expected at least 6, a sixth of which is held out"
        )
    return shards.Files(images, named, min(HELD_OUT, total // 6))


def _names(paths: Sequence[Path]) -> str:
    shown = ", ".join(path.name for path in paths[:3])
    return f"{shown}{' and others' if len(paths) > 3 else ''}" or "none"


def sample(files: Files) -> Sample:
    """Read what memory holds of a set, a row a case."""
    from wakesleep.sources import shards

    counts = shards.lengths(files.images, files.labels)
    ends = shards.read_until(counts, files.spare)
    each = -(-SAMPLE // len(counts))
    first = [(shard, 0, min(each, end)) for shard, end in enumerate(ends) if end]
    last = [
        (shard, end, count)
        for shard, (end, count) in enumerate(zip(ends, counts, strict=True))
        if end < count
    ]
    return Sample(
        _rows(files.images, first),
        _labels(files, first),
        _rows(files.images, last),
        _labels(files, last),
    )


def lengths(files: Files) -> list[int]:
    """Return how many cases each file of the set has."""
    from wakesleep.sources import shards

    return shards.lengths(files.images, files.labels)


def shape(files: Files) -> tuple[int, int]:
    """Return (rows, columns) of a picture of the set."""
    from wakesleep.sources import shards

    return shape_of(shards.opened(files.images[0]))


def _rows(sources: Sequence[Source], places: Sequence[tuple[int, int, int]]) -> Array:
    from wakesleep.sources import shards

    return np.concatenate(
        [shards.read(sources[shard], start, stop) for shard, start, stop in places]
    )


def _labels(files: Files, places: Sequence[tuple[int, int, int]]) -> Array | None:
    return None if files.labels is None else _rows(files.labels, places)[:, 0]


def count_labels(files: Files, size: int = 1 << 20) -> Array | None:
    """Return how often each label comes in the whole set, held out or not, (labels,), read a piece
    at a time; None where there are none.

    Raises:
        DataError: labels that cannot be.
    """
    from wakesleep.sources import shards

    if files.labels is None:
        return None
    counts = np.zeros(0, np.int64)
    for source, cases in zip(files.labels, shards.lengths(files.images, files.labels), strict=True):
        for start in range(0, cases, size):
            labels = shards.read(source, start, min(start + size, cases))[:, 0]
            longer = np.bincount(label_numbers(labels, len(labels)), minlength=len(counts))
            longer[: len(counts)] += counts
            counts = longer
    return counts
