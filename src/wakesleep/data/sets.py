"""What a data set is: cases and labels in parts, a picture's shape, the classes; and what is taken
from one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import compress
from typing import TYPE_CHECKING, Any

import numpy as np

from wakesleep.data import on_disk
from wakesleep.data.fetch import SOURCES
from wakesleep.data.pictures import ink_field
from wakesleep.data.preparation import Preparation, of_arrays
from wakesleep.foundation import renamed
from wakesleep.foundation.errors import ConfigError, DataError
from wakesleep.foundation.options import RAW
from wakesleep.foundation.values import listed

if TYPE_CHECKING:
    import torch

    from wakesleep.data.sound import LogMel
    from wakesleep.sources.shards import Files

KNOWN: tuple[str, ...] = ("digits", *SOURCES)
LOCAL = ("spoken-digits", "20news")
"""Sets that are known by name and never downloaded: their files are looked for on this machine."""
UNLABELLED_NAMES = ("unlabelled", "unlabeled")
"""What the folder of cases without a label may be called."""


@dataclass(frozen=True, eq=False)
class Split:
    """Cases with their labels: images (N, D), uint8 pixels 0..255 or float32 in [0, 1], of sounds
    float32 of mean 0 and variance 1; labels (N,) int64, or None.
    """

    images: torch.Tensor
    labels: torch.Tensor | None = None

    def __len__(self) -> int:
        return len(self.images)


@renamed.fields(found="findings")
@dataclass(frozen=True, eq=False)
class Dataset:
    """A data set: training cases, test cases where there are any, (rows, columns) of a picture, the
    names of the classes.

    `checksum` is the sha256 over the bytes of all cases and labels, so that a run can say what it
    learned from.

    Of a set that stays on the disk, `files` says where its cases are, `train` is a sample of them,
    `test` are the last ones, which are held out, and the checksum is over both, the lengths of the
    files and how often each label comes.
    """

    name: str
    train: Split
    test: Split | None
    shape: tuple[int, int]
    classes: tuple[str, ...]
    checksum: str
    files: Files | None = None
    preparation: Preparation | LogMel | None = None
    """How its pictures or recordings became cases, and how others become cases like them; None
    where it was made by hand.
    """
    findings: tuple[str, ...] = ()
    """What was found of the pictures' size and polarity, in words."""
    origin: str = ""
    """By what it was loaded: a name of KNOWN or LOCAL, or an absolute path; empty where it was made
    by hand.
    """
    columns: tuple[str, ...] = ()
    """What each column of a case is called, of documents the words; empty for pictures."""

    @property
    def published(self) -> bool:
        """Whether it is a set of KNOWN, whose order is its publisher's; a file of the same name is
        not.
        """
        return self.origin in KNOWN


def hold_out(split: Split, n: int) -> tuple[Split, Split]:
    """Hold out the last n cases for validation, as the paper's last 10,000 training images pick the
    epoch.

    Returns:
        The first N - n cases and the last n, as views.

    Raises:
        ConfigError: n below 1, or so large that nothing is left to learn from.
    """
    if not 1 <= n < len(split):
        raise ConfigError(
            f"cannot hold out {n} of {len(split)} cases; expected from 1 to {len(split) - 1}"
        )
    cut = len(split) - n
    labels = split.labels
    if labels is None:
        return Split(split.images[:cut]), Split(split.images[cut:])
    return Split(split.images[:cut], labels[:cut]), Split(split.images[cut:], labels[cut:])


def match_classes(dataset: Dataset, classes: Sequence[str], whose: str = "the run") -> Dataset:
    """Return the set with its labels numbered as `classes` are, each class found by its name.

    Classes without cases need no match. A set without labels, or with the same classes, comes back
    as it is.

    Args:
        dataset: the set whose labels are numbered in an order of its own.
        classes: the names by which the labels are to be numbered.
        whose: what has those classes, for the error.

    Raises:
        DataError: cases of a class that is not among `classes`.

    >>> from wakesleep.data import load
    >>> match_classes(load("digits"), tuple("9876543210")).train.labels[:4].tolist()
    [9, 8, 7, 6]
    """
    names = tuple(str(name) for name in classes)
    if dataset.train.labels is None or dataset.classes == names:
        return dataset
    counts = [_train_counts(dataset), class_counts(dataset.test, dataset.classes)]
    used = [
        name
        for number, name in enumerate(dataset.classes)
        if any(count[number] for count in counts if count is not None)
    ]
    unknown = [name for name in used if name not in names]
    if unknown:
        raise DataError(
            f"{dataset.name} has cases of the classes {listed(unknown)}; {whose} knows "
            f"{listed(names) or 'none'}, and classes are matched by name: name them alike (folders "
            "of pictures, or an array `classes` of names in the .npz), or leave those cases out"
        )
    import torch

    places = torch.tensor([names.index(name) if name in names else 0 for name in dataset.classes])
    if dataset.files is not None and [names.index(name) for name in used] != [
        dataset.classes.index(name) for name in used
    ]:
        raise DataError(
            f"{dataset.name} stays on the disk with its classes numbered otherwise than {whose} "
            "numbers them: save its labels anew"
        )
    train, test = (
        None
        if split is None
        else Split(
            split.images,
            None
            if split.labels is None
            else torch.where(split.labels < 0, split.labels, places[split.labels]),
        )
        for split in (dataset.train, dataset.test)
    )
    assert train is not None
    return replace(dataset, train=train, test=test, classes=names)


def describe(dataset: Dataset) -> dict[str, Any]:
    """Describe a set in plain values fit for JSON; `mean_intensity` is that of the training cases
    in memory, in [0, 1]; None of sounds.

    Cases of a class called `unlabelled` are those without a label, and it is no class.
    """
    named = [name.lower() not in UNLABELLED_NAMES for name in dataset.classes]

    def of_classes(counts: list[int] | None) -> list[int] | None:
        return counts and list(compress(counts, named))

    train_counts = of_classes(_train_counts(dataset))
    images = np.asarray(dataset.train.images)
    mean = float(images.sum(dtype=np.float64)) / images.size
    of_light = dataset.preparation is None or isinstance(dataset.preparation, Preparation)
    n_train = (
        len(dataset.train)
        if dataset.files is None
        else sum(on_disk.lengths(dataset.files)) - dataset.files.spare
    )
    return {
        "name": dataset.name,
        "n_train": n_train,
        "n_unlabelled": n_train - sum(train_counts or []),
        "n_test": 0 if dataset.test is None else len(dataset.test),
        "shape": list(dataset.shape),
        "found": list(dataset.findings),
        "classes": list(compress(dataset.classes, named)),
        "train_counts": train_counts,
        "test_counts": of_classes(class_counts(dataset.test, dataset.classes)),
        "mean_intensity": mean / 255 if images.dtype == np.uint8 else mean if of_light else None,
        "checksum": dataset.checksum,
    }


def _train_counts(dataset: Dataset) -> list[int] | None:
    if dataset.files is None or dataset.train.labels is None:
        return class_counts(dataset.train, dataset.classes)
    everywhere, held_out = (
        on_disk.count_labels(dataset.files),
        class_counts(dataset.test, dataset.classes),
    )
    assert everywhere is not None
    counts: list[int] = (everywhere - np.array(held_out)).tolist()
    return counts


def class_counts(split: Split | None, classes: tuple[str, ...]) -> list[int] | None:
    """Return how many cases each class has; None without labels."""
    if split is None or split.labels is None:
        return None
    labels = np.asarray(split.labels)
    counts: list[int] = np.bincount(labels[labels >= 0], minlength=len(classes)).tolist()
    return counts


def prepared(dataset: Dataset) -> Preparation:
    """Return how the set's pictures became cases; of one made by hand, what suits its cases as they
    are.

    Raises:
        DataError: a set of recordings, which are no pictures.
    """
    if isinstance(dataset.preparation, Preparation):
        return dataset.preparation
    if dataset.preparation is not None:
        raise DataError(
            f"{dataset.name} holds recordings, and pictures were expected: a net learns from them "
            "with wakesleep train --sense sound=PATH"
        )
    pictures = np.asarray(dataset.train.images).reshape(-1, *dataset.shape)
    raw, _ = of_arrays(pictures, None, RAW)
    return replace(raw, field=ink_share(raw, dataset.train, dataset.shape, dataset.origin))


def spread(split: Split, count: int) -> Split:
    """Return at most `count` cases spread evenly over all of a part: the first ones of a set sorted
    by class are of one class.
    """
    if count >= len(split):
        return split
    places = np.arange(count) * len(split) // count
    return Split(split.images[places], None if split.labels is None else split.labels[places])


def some(dataset: Dataset, split: Split, count: int) -> Split:
    """Return at most `count` cases of a part of the set that show all its classes: the first ones
    of a published set, whose order is random.
    """
    if not dataset.published:
        return spread(split, count)
    return Split(split.images[:count], None if split.labels is None else split.labels[:count])


def ink_share(
    preparation: Preparation, train: Split, shape: tuple[int, int], origin: str, count: int = 1000
) -> float:
    """Return the part of the field that the ink takes in some training cases."""
    images = np.asarray((train if origin in KNOWN else spread(train, count)).images)[:count]
    images = images.astype(np.float32) / np.float32(255) if images.dtype == np.uint8 else images
    return ink_field(images if preparation.dark else 1 - images, shape)
