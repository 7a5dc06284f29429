"""Data sets by name or by path: found, checked, prepared, and summed up for provenance."""

from __future__ import annotations

import difflib
import gzip
import hashlib
import os
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from wakesleep.data import on_disk
from wakesleep.data.checks import Array, image_rows, label_numbers, shape_of
from wakesleep.data.fetch import SOURCES, local_file, real_set
from wakesleep.data.files import Parts, read_parts
from wakesleep.data.idx import PARTS
from wakesleep.data.preparation import Preparation, of_arrays
from wakesleep.data.sets import KNOWN, LOCAL, Dataset, Split, class_counts, ink_share, prepared
from wakesleep.data.sound import LogMel
from wakesleep.data.sound_files import holds_sounds
from wakesleep.data.sound_sets import SPOKEN_DIGITS, load_sounds
from wakesleep.data.words import FILE, load_words
from wakesleep.foundation.errors import ConfigError, DataError
from wakesleep.foundation.options import RAW, PictureOptions
from wakesleep.foundation.values import check_settings, listed

if TYPE_CHECKING:
    from wakesleep.sources.shards import Files

Preparing = PictureOptions | Preparation | LogMel
"""What may be decided of how cases are prepared."""
EXPECTED = 20
"""So many cases of a class are expected among those held out where one that is absent says that a
set is sorted.
"""


@check_settings
def load(
    name: str | Path,
    *,
    folder: Path | str | None = None,
    download: bool = True,
    how: Preparing | None = None,
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

    Sounds are a folder with a subfolder of recordings per class, or a folder or .zip of recordings
    called CLASS_speaker_number.wav. `spoken-digits`, the Free Spoken Digit Dataset, and `20news`,
    postings as bags of words, are looked for on this machine and never downloaded.

    Args:
        name: one of KNOWN or LOCAL, or a path.
        folder: where to look first for the sets with a name.
        download: whether mnist and fashion-mnist may be fetched from the network.
        how: what is decided of the pictures' size, polarity and centring, or the preparation of
            another set (its `preparation`, or what a model's header records), to be done again; of
            sounds the settings of their pictures.
        own: that preparation was made for this very set.

    Raises:
        DataError: nothing there, or images and labels that cannot be used.
        FetchError: a known set that is neither on this machine nor to be had.

    >>> digits = load("digits")
    >>> len(digits.train), len(digits.test), digits.shape
    (1442, 355, (8, 8))
    """
    return _with_tensors(load_arrays(name, folder=folder, download=download, how=how, own=own))


@check_settings
def load_arrays(
    name: str | Path,
    *,
    folder: Path | str | None = None,
    download: bool = True,
    how: Preparing | None = None,
    own: bool = False,
) -> Dataset:
    """Load a set as `load` does, with numpy arrays in place of tensors: to look at it, without
    PyTorch unless it stays on the disk.
    """
    folder = None if folder is None else Path(folder)
    if isinstance(name, str) and name in LOCAL:
        return replace(_local(name, folder, how), origin=name)
    how = PictureOptions() if how is None else how
    if isinstance(name, str) and name in KNOWN:
        return _dataset(name, _published(name, folder, download), _of_pictures(how), own, name)
    path = Path(os.path.expanduser(name))
    # os.path answers False where Path would raise, as for a name that is too long.
    if not str(name) or not os.path.exists(path):
        raise DataError(_unknown(str(name), path))
    files = on_disk.find(path)
    name, origin = path.resolve().stem, str(path.resolve())
    if files is None and holds_sounds(path):
        return replace(load_sounds(name, path, _of_sounds(how)), origin=origin)
    how = _of_pictures(how)
    if files is None:
        return _dataset(name, read_parts(path, how), how, own, origin)
    if isinstance(how, PictureOptions) and how not in (PictureOptions(), RAW):
        raise ConfigError(
            f"{name} stays on the disk and is taken as it is: size, polarity, centring and "
            "transposing are for sets in memory"
        )
    return replace(_on_disk(name, files), origin=origin)


def _local(name: str, folder: Path | None, how: Preparing | None) -> Dataset:
    if name != SPOKEN_DIGITS:
        origin = "S. Roweis' page, cs.nyu.edu/~roweis/data.html, has it"
        return load_words(local_file(name, FILE, origin, folder))
    origin = (
        "it is the Free Spoken Digit Dataset, github.com/Jakobovski/free-spoken-digit-dataset, CC "
        "BY-SA 4.0, its folder recordings as a .zip"
    )
    path = local_file(name, "recordings.zip", origin, folder)
    return load_sounds(name, path, _of_sounds(how or PictureOptions()))


def _of_pictures(how: Preparing) -> PictureOptions | Preparation:
    """Return how pictures are to be prepared.

    Raises:
        ConfigError: these are settings for sounds.
    """
    if isinstance(how, LogMel):
        raise ConfigError("how = LogMel(...): expected settings for pictures, which this set holds")
    return how


def _of_sounds(how: Preparing) -> LogMel | None:
    """Return how sounds are to be prepared, None for the defaults.

    Raises:
        ConfigError: these are settings for pictures.
    """
    if isinstance(how, LogMel):
        return how
    if how not in (PictureOptions(), RAW):
        raise ConfigError(
            "size, polarity, centring and transposing are for pictures, and this set holds "
            "recordings: leave them out, or give how=wakesleep.sound.LogMel(...)"
        )
    return None


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
    known = (*KNOWN, *LOCAL)
    near = difflib.get_close_matches(name.lower(), known, 1, 0.7) if len(name) < 100 else []
    full_path = os.path.abspath(path)
    return (
        f"there is no data set {name[:200]!r}: it is neither one of {', '.join(known)}, nor a "
        f"path, for {full_path[-300:]} does not exist{f'; did you mean {near[0]}?' if near else ''}"
    )


def stays_on_disk(name: str | Path) -> bool:
    """Return whether `name` leads to a set that is streamed, not held in memory: a folder of
    images-*.npy, or a huge .npy.
    """
    return name not in KNOWN and bool(on_disk.image_files(Path(os.path.expanduser(name))))


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
    preparation, findings = parts.preparation, parts.findings
    if preparation is None:
        preparation, findings, shape, train, test = _prepare(train, test, shape, how, own)
    if preparation.centring != "all" and not isinstance(how, Preparation):
        preparation = replace(preparation, field=ink_share(preparation, train, shape, origin))
    findings = (*findings, *_without_cases(train, names))
    return Dataset(
        name, train, test, shape, names, _checksum(train, test), None, preparation, findings, origin
    )


def _without_cases(train: Split, names: tuple[str, ...]) -> list[str]:
    """Return a note of the classes that no training case is of; labels that are counted from 1
    leave out the first.
    """
    counts = class_counts(train, names) or []
    absent = [name for name, count in zip(names, counts, strict=False) if not count]
    fix = (
        "number the labels 0, 1, 2, ... to be rid of them: np.unique(labels, "
        "return_inverse=True)[1]"
    )
    return (
        [
            f"no training case is of the classes {listed(absent)}, which the net learns to tell "
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
    findings: list[str] = []
    if isinstance(how, PictureOptions):
        how, findings = of_arrays(pictures, tested, how)
    elif not own:
        how = how.for_other(pictures)
    changed = how.arrays(pictures)
    parts = [
        _changed(train, pictures, changed),
        None if test is None or tested is None else _changed(test, tested, how.arrays(tested)),
    ]
    assert parts[0] is not None
    return how, tuple(findings), (changed.shape[1], changed.shape[2]), parts[0], parts[1]


def _changed(split: Split, before: Array, after: Array) -> Split:
    if before is after:
        return split
    cases: Any = np.require(after.reshape(len(after), -1), after.dtype, ["C", "W"])
    return Split(cases, split.labels)


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
                f"classes {listed(absent)}: the set is sorted; shuffle its cases before you save "
                "them, for they are learned from and held out in their order"
            )
    sizes = f"{on_disk.lengths(files)} {counts if counts is None else counts.tolist()}"
    checksum = _checksum(train, test, sizes.encode())
    dataset = Dataset(name, train, test, on_disk.shape(files), names, checksum, files)
    return replace(dataset, preparation=prepared(dataset))


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
