"""Data sets by name or by path: checked cases and labels, a picture's shape, and a checksum for
provenance.
"""

from __future__ import annotations

import difflib
import gzip
import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from wakesleep.data import on_disk
from wakesleep.data.checks import Array, image_rows, label_numbers, shape_of
from wakesleep.data.fetch import SOURCES, real_set
from wakesleep.data.files import Parts, read_parts
from wakesleep.data.idx import PARTS
from wakesleep.data.pictures import ink_field
from wakesleep.data.preparation import Preparation, of_arrays
from wakesleep.foundation.errors import ConfigError, DataError
from wakesleep.foundation.options import RAW, PictureOptions

if TYPE_CHECKING:
    import torch

    from wakesleep.sources.shards import Files

EXPECTED = 20
"""So many cases of a class are expected among those held out where one that is absent says that a
set is sorted.
"""
KNOWN: tuple[str, ...] = ("digits", *SOURCES)


@dataclass(frozen=True, eq=False)
class Split:
    """Cases with their labels: images (N, D), uint8 pixels 0..255 or float32 in [0, 1]; labels (N,)
    int64, or None.
    """

    images: torch.Tensor
    labels: torch.Tensor | None = None

    def __len__(self) -> int:
        return len(self.images)


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
    preparation: Preparation | None = None
    """How its pictures became cases, and how others become cases like them; None where it was made
    by hand.
    """
    found: tuple[str, ...] = ()
    """What was found of the pictures' size and polarity, in words."""
    origin: str = ""
    """By what it was loaded: a name of KNOWN, or an absolute path; empty where it was made by
    hand.
    """

    @property
    def published(self) -> bool:
        """Whether it is a set of KNOWN, whose order is its publisher's; a file of the same name is
        not.
        """
        return self.origin in KNOWN


def load(
    name: str | Path,
    *,
    folder: Path | None = None,
    download: bool = True,
    how: PictureOptions | Preparation | None = None,
    own: bool = False,
) -> Dataset:
    """Load a known set by name, or one of your own by path.

    Known are `digits` (embedded: 1,797 pictures of 8 x 8, every fifth of each class is a test
    case), `mnist` and `fashion-mnist`. A path leads to a .npz (`images`, `labels`, and optionally
    `test_images`, `test_labels`), a .npy (images alone), a folder of IDX files (or the file of
    training images, where a folder holds several sets), or a folder with a subfolder of pictures
    per class. A folder that is called like a known set is meant by `./mnist`. A folder of
    images-*.npy, with labels-*.npy beside them or without, stays on the disk, and so does a .npy of
    more than 16 GiB. An array `classes` in a .npz names the labels.

    Args:
        name: one of KNOWN, or a path.
        folder: where to look first for mnist and fashion-mnist.
        download: whether those two may be fetched from the network.
        how: what is decided of the pictures' size, polarity and centring, or the preparation of
            another set (its `preparation`, or what a model's header records), to be done again.
        own: that preparation was made for this very set.

    Raises:
        DataError: nothing there, or images and labels that cannot be used.
        FetchError: a known set that is neither on this machine nor to be had.

    >>> digits = load("digits")
    >>> len(digits.train), len(digits.test), digits.shape
    (1442, 355, (8, 8))
    """
    return _with_tensors(load_arrays(name, folder=folder, download=download, how=how, own=own))


def load_arrays(
    name: str | Path,
    *,
    folder: Path | None = None,
    download: bool = True,
    how: PictureOptions | Preparation | None = None,
    own: bool = False,
) -> Dataset:
    """Load a set as `load` does, with numpy arrays in place of tensors: to look at it, without
    PyTorch unless it stays on the disk.
    """
    how = PictureOptions() if how is None else how
    if isinstance(name, str) and name in KNOWN:
        return _dataset(name, _published(name, folder, download), how, own, name)
    path = Path(os.path.expanduser(name))
    # os.path answers False where Path would raise, as for a name that is too long.
    if not str(name) or not os.path.exists(path):
        raise DataError(_unknown(str(name), path))
    files = on_disk.find(path)
    name, origin = path.resolve().stem, str(path.resolve())
    if files is None:
        return _dataset(name, read_parts(path, how), how, own, origin)
    if isinstance(how, PictureOptions) and how not in (PictureOptions(), RAW):
        raise ConfigError(
            f"{name} stays on the disk and is taken as it is: size, polarity, centring and "
            "transposing are for sets in memory"
        )
    return replace(_on_disk(name, files), origin=origin)


def _with_tensors(dataset: Dataset) -> Dataset:
    """Return a set of arrays with tensors in their place, which share their memory."""
    import torch

    def turned(split: Split) -> Split:
        images, labels = (
            None if part is None else torch.from_numpy(np.asarray(part))
            for part in (split.images, split.labels)
        )
        assert images is not None
        return Split(images, labels)

    return replace(
        dataset,
        train=turned(dataset.train),
        test=None if dataset.test is None else turned(dataset.test),
    )


def _unknown(name: str, path: Path) -> str:
    near = difflib.get_close_matches(name.lower(), KNOWN, 1, 0.7) if len(name) < 100 else []
    place = os.path.abspath(path)
    return (
        f"there is no data set {name[:200]!r}: it is neither one of {', '.join(KNOWN)}, nor a "
        f"path, for {place[-300:]} does not exist{f'; did you mean {near[0]}?' if near else ''}"
    )


def stays_on_disk(name: str) -> bool:
    """Return whether `name` leads to a set that is streamed, not held in memory: a folder of
    images-*.npy, or a huge .npy.
    """
    return name not in KNOWN and bool(on_disk.image_files(Path(os.path.expanduser(name))))


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

    >>> match_classes(load("digits"), tuple("9876543210")).train.labels[:4].tolist()
    [9, 8, 7, 6]
    """
    names = tuple(str(name) for name in classes)
    if dataset.train.labels is None or dataset.classes == names:
        return dataset
    counts = [_train_counts(dataset), _counts(dataset.test, dataset.classes)]
    used = [
        name
        for place, name in enumerate(dataset.classes)
        if any(count[place] for count in counts if count is not None)
    ]
    unknown = [name for name in used if name not in names]
    if unknown:
        raise DataError(
            f"{dataset.name} has cases of the classes {_listed(unknown)}; {whose} knows "
            f"{_listed(names) or 'none'}, and classes are matched by name: name them alike "
            "(folders of pictures, or an array `classes` of names in the .npz), or leave those "
            "cases out"
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


def _listed(names: Sequence[str], most: int = 12) -> str:
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")


def describe(dataset: Dataset) -> dict[str, Any]:
    """Describe a set in plain values fit for JSON; `mean_intensity` is that of the training cases
    in memory, in [0, 1].
    """
    images = np.asarray(dataset.train.images)
    mean = float(images.sum(dtype=np.float64)) / images.size
    return {
        "name": dataset.name,
        "n_train": len(dataset.train)
        if dataset.files is None
        else sum(on_disk.lengths(dataset.files)) - dataset.files.spare,
        "n_test": 0 if dataset.test is None else len(dataset.test),
        "shape": list(dataset.shape),
        "found": list(dataset.found),
        "classes": list(dataset.classes),
        "train_counts": _train_counts(dataset),
        "test_counts": _counts(dataset.test, dataset.classes),
        "mean_intensity": mean / 255 if images.dtype == np.uint8 else mean,
        "checksum": dataset.checksum,
    }


def _train_counts(dataset: Dataset) -> list[int] | None:
    if dataset.files is None or dataset.train.labels is None:
        return _counts(dataset.train, dataset.classes)
    everywhere, held_out = (
        on_disk.count_labels(dataset.files),
        _counts(dataset.test, dataset.classes),
    )
    assert everywhere is not None
    counts: list[int] = (everywhere - np.array(held_out)).tolist()
    return counts


def _counts(split: Split | None, classes: tuple[str, ...]) -> list[int] | None:
    if split is None or split.labels is None:
        return None
    labels = np.asarray(split.labels)
    counts: list[int] = np.bincount(labels[labels >= 0], minlength=len(classes)).tolist()
    return counts


def _published(name: str, folder: Path | None, download: bool) -> Parts:
    if name == "digits":
        return _digits()
    arrays = real_set(name, folder, download=download)
    return Parts(tuple(arrays[part] for part in PARTS), SOURCES[name].classes)


def _digits() -> Parts:
    table = _digits_table()
    pixels, labels = table[:, :-1], table[:, -1].astype(np.int64)
    test = np.zeros(len(labels), bool)
    for digit in range(10):
        test[np.flatnonzero(labels == digit)[4::5]] = True
    pixels = pixels / 16
    return Parts((pixels[~test], labels[~test], pixels[test], labels[test]), tuple("0123456789"))


def _digits_table() -> Array:
    """Return scikit-learn's digits (1797, 64 pixels 0..16 and the label): from its file where it
    lies as usual, for it is slow to import.
    """
    package = find_spec("sklearn")
    path = (
        Path(package.origin or "").parent / "datasets" / "data" / "digits.csv.gz"
        if package is not None
        else Path()
    )
    if path.is_file():
        with gzip.open(path, "rt", encoding="ascii") as file:
            return np.loadtxt(file, delimiter=",")
    from sklearn.datasets import load_digits

    pixels, labels = load_digits(return_X_y=True)
    return np.column_stack([pixels, labels])


def _dataset(
    name: str, parts: Parts, how: PictureOptions | Preparation, own: bool, origin: str
) -> Dataset:
    names = parts.classes
    images, labels, test_images, test_labels = (*parts.arrays, None, None, None)[:4]
    shape = shape_of(images)
    train = _split(images, labels, names)
    test = None
    if test_images is not None:
        test = _split(test_images, test_labels, names)
        if shape_of(test_images) != shape or test.images.dtype != train.images.dtype:
            came = f"{shape_of(test_images)} {test.images.dtype}"
            raise DataError(
                f"test images are {came}, training images {shape} {train.images.dtype}: "
                "store both alike"
            )
    if names is None:
        tops = [
            int(split.labels.max())
            for split in (train, test)
            if split is not None and split.labels is not None
        ]
        names = tuple(str(label) for label in range(max(tops, default=-1) + 1))
    preparation, found = parts.preparation, parts.found
    if preparation is None:
        preparation, found, shape, train, test = _prepare(train, test, shape, how, own)
    if preparation.centring != "all" and not isinstance(how, Preparation):
        preparation = replace(preparation, field=_field(preparation, train, shape, origin))
    found = (*found, *_without_cases(train, names))
    return Dataset(
        name, train, test, shape, names, _checksum(train, test), None, preparation, found, origin
    )


def _without_cases(train: Split, names: tuple[str, ...]) -> list[str]:
    """Return a note of the classes that no training case is of; labels that are counted from 1
    leave out the first.
    """
    counts = _counts(train, names) or []
    absent = [name for name, count in zip(names, counts, strict=False) if not count]
    fix = (
        "number the labels 0, 1, 2, ... to be rid of them: np.unique(labels, "
        "return_inverse=True)[1]"
    )
    return (
        [
            f"no training case is of the classes {_listed(absent)}, which the net learns to tell "
            f"all the same; {fix}"
        ]
        if absent
        else []
    )


def _prepare(
    train: Split,
    test: Split | None,
    shape: tuple[int, int],
    how: PictureOptions | Preparation,
    own: bool,
) -> tuple[Preparation, tuple[str, ...], tuple[int, int], Split, Split | None]:
    """Return how a set of arrays is prepared, what was found, the shape of its pictures, and its
    parts once that is done.
    """
    pictures, tested = (
        None if split is None else np.asarray(split.images).reshape(-1, *shape)
        for split in (train, test)
    )
    assert pictures is not None
    found: list[str] = []
    if isinstance(how, PictureOptions):
        how, found = of_arrays(pictures, tested, how)
    elif not own:
        how = how.for_other(pictures)
    changed = how.arrays(pictures)
    parts = [
        _changed(train, pictures, changed),
        None if test is None or tested is None else _changed(test, tested, how.arrays(tested)),
    ]
    assert parts[0] is not None
    return how, tuple(found), (changed.shape[1], changed.shape[2]), parts[0], parts[1]


def _changed(split: Split, before: Array, after: Array) -> Split:
    if before is after:
        return split
    cases: Any = np.require(after.reshape(len(after), -1), after.dtype, ["C", "W"])
    return Split(cases, split.labels)


def _field(
    preparation: Preparation, train: Split, shape: tuple[int, int], origin: str, count: int = 1000
) -> float:
    """Return the part of the field that the ink takes in some training cases."""
    images = np.asarray((train if origin in KNOWN else spread(train, count)).images)[:count]
    images = images.astype(np.float32) / np.float32(255) if images.dtype == np.uint8 else images
    return ink_field(images if preparation.dark else 1 - images, shape)


def prepared(dataset: Dataset) -> Preparation:
    """Return how the set's pictures became cases; of one made by hand, what suits its cases as they
    are.
    """
    if dataset.preparation is not None:
        return dataset.preparation
    found, _ = of_arrays(np.asarray(dataset.train.images).reshape(-1, *dataset.shape), None, RAW)
    return replace(found, field=_field(found, dataset.train, dataset.shape, dataset.origin))


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


def _on_disk(name: str, files: Files) -> Dataset:
    images, labels, test_images, test_labels = on_disk.sample(files)
    counts = on_disk.count_labels(files)
    names = tuple(str(label) for label in range(0 if counts is None else len(counts)))
    train, test = (
        _split(images, labels, names or None),
        _split(test_images, test_labels, names or None),
    )
    if counts is not None and test.labels is not None:
        held = np.bincount(np.asarray(test.labels), minlength=len(counts))
        absent = [
            str(label)
            for label in np.flatnonzero(
                (held == 0) & (counts * len(test) >= EXPECTED * counts.sum())
            )
        ]
        if absent:
            raise DataError(
                f"{name} holds out its last {len(test):,} cases, and none of them is of the "
                f"classes {_listed(absent)}: the set is sorted; shuffle its cases before you save "
                "them, for they are learned from and held out in their order"
            )
    told = f"{on_disk.lengths(files)} {counts if counts is None else counts.tolist()}"
    shape = on_disk.shape(files)
    found = Dataset(name, train, test, shape, names, _checksum(train, test, told.encode()), files)
    return replace(found, preparation=prepared(found))


def _checksum(train: Split, test: Split | None, more: bytes = b"") -> str:
    digest = hashlib.sha256(more)
    for split in (train, test):
        for tensor in () if split is None else (split.images, split.labels):
            if tensor is not None:
                digest.update(np.asarray(tensor).data)
    return digest.hexdigest()


def _split(images: object, labels: object, names: tuple[str, ...] | None) -> Split:
    cases: Any = image_rows(images)
    numbers: Any = (
        None if labels is None else label_numbers(labels, len(cases), len(names) if names else None)
    )
    return Split(cases, numbers)
