"""Sets of which a few cases have a label: labels of a file, and the class of a folder called
`unlabelled`.
"""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from wakesleep.data.sets import UNLABELLED_NAMES, Dataset, Split
from wakesleep.foundation.errors import DataError
from wakesleep.sources.arrays import UNLABELLED

UNKNOWN = ("", "-1", "nan")


def set_aside(dataset: Dataset) -> Dataset:
    """Return the set with the cases of a class called `unlabelled` UNLABELLED; other sets come back
    as they are.
    """
    absent = [
        number for number, name in enumerate(dataset.classes) if name.lower() in UNLABELLED_NAMES
    ]
    if not absent or dataset.train.labels is None:
        return dataset
    kept = [number for number in range(len(dataset.classes)) if number not in absent]
    places = torch.full((len(dataset.classes),), UNLABELLED).index_copy_(
        0, torch.tensor(kept, dtype=torch.int64), torch.arange(len(kept))
    )
    train = Split(dataset.train.images, places[dataset.train.labels])
    test = dataset.test
    if test is not None and test.labels is not None:
        test = labelled(Split(test.images, places[test.labels]))
    return replace(
        dataset, train=train, test=test, classes=tuple(dataset.classes[number] for number in kept)
    )


def without_unlabelled(dataset: Dataset) -> Dataset:
    """Return the set without the training cases of a class called `unlabelled`."""
    remaining = set_aside(dataset)
    return replace(remaining, train=labelled(remaining.train))


def labelled(split: Split) -> Split:
    """Return the cases of a part that have a label."""
    if split.labels is None or not has_unlabelled(split):
        return split
    known = split.labels != UNLABELLED
    return Split(split.images[known], split.labels[known])


def has_unlabelled(split: Split) -> bool:
    """Return whether a part has labels, and cases without one."""
    return split.labels is not None and bool((split.labels == UNLABELLED).any())


def labels_from(dataset: Dataset, path: Path) -> Dataset:
    """Return the set with the labels of its training cases read from a file, one a case in their
    order; -1, NaN or nothing: unknown.

    The file is a .npy of numbers or words (N,), or text with a label a line, and perhaps a line
    above them. Labels are the names of the classes; a set without labels gets those that come. Test
    cases keep their labels.

    Raises:
        DataError: no such file, another number of labels than cases, a label that is no class, or
            fewer than two classes.
    """
    if dataset.files is not None:
        raise DataError(
            f"{dataset.name} stays on the disk, and its labels with it: labels-*.npy "
            "beside images-*.npy"
        )
    names = _read(path, len(dataset.train))
    known = [name for name in names if name.lower() not in UNKNOWN]
    classes = dataset.classes or tuple(sorted(set(known), key=_in_order))
    strange = sorted(set(known) - set(classes), key=_in_order)
    if strange:
        raise DataError(
            f"{path} has the labels {', '.join(strange[:5])}; the classes of {dataset.name} are "
            f"{', '.join(classes[:20])}"
        )
    if len(set(known)) < 2:
        raise DataError(
            f"{path} has labels of {len(set(known))} class(es); expected some of at least two"
        )
    number = {name: index for index, name in enumerate(classes)}
    labels = torch.tensor([number.get(name, UNLABELLED) for name in names])
    train = Split(dataset.train.images, labels)
    return replace(
        dataset, train=train, classes=classes, checksum=_checksum(dataset.checksum, labels)
    )


def _read(path: Path, cases: int) -> list[str]:
    """Return the labels of a file as words."""
    try:
        if path.suffix == ".npy":
            words = [_word(value) for value in np.load(path, allow_pickle=False).ravel().tolist()]
        else:
            words = [
                line.strip().strip('"')
                for line in path.read_text(encoding="utf-8-sig").splitlines()
            ]
            words = words[1:] if len(words) == cases + 1 else words
    except (OSError, ValueError) as error:
        raise DataError(
            f"{path} cannot be read ({error}); expected a .npy, or a text file in UTF-8 with "
            "a label a line"
        ) from error
    if len(words) != cases:
        raise DataError(
            f"{path} has {len(words)} labels for {cases} training cases; expected one a case, "
            "-1 or an empty line where it is unknown"
        )
    return words


def _word(value: Any) -> str:
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)


def _in_order(name: str) -> tuple[bool, int, str]:
    """Return by what names are sorted: numbers by their value, before words."""
    return (False, int(name), name) if name.isdecimal() else (True, 0, name)


def _checksum(of_cases: str, labels: Tensor) -> str:
    return hashlib.sha256(of_cases.encode() + labels.numpy().tobytes()).hexdigest()
