"""Sets of the user's own: .npz, .npy, a folder of IDX files, a folder of pictures with a subfolder
for each class.
"""

import math
import zipfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import numpy as np

from wakesleep.data.checks import Array
from wakesleep.data.idx import NAME, PARTS, dims_of, find_sets, is_web_page, read_idx
from wakesleep.data.picture_folders import (
    class_pictures,
    no_classes,
    part_folders,
    pictures_below,
    subfolders,
)
from wakesleep.data.pictures import FORMATS, SUFFIXES, Grey, grey_picture, is_picture
from wakesleep.data.preparation import Preparation, of_files, votes
from wakesleep.foundation.errors import DataError, WakesleepError
from wakesleep.foundation.options import RAW, PictureOptions
from wakesleep.foundation.values import listed

LARGEST = 1 << 34  # bytes of one array; a header that claims more is corrupt or hostile
KEYS = (
    ("images", "labels", "test_images", "test_labels"),
    ("x_train", "y_train", "x_test", "y_test"),
    ("X", "y", "X_test", "y_test"),
)


@dataclass(frozen=True, eq=False)
class Parts:
    """A set as its files hold it, before any check.

    `arrays` are, as far as they are there, the images, their labels, the test images and their
    labels.
    """

    arrays: tuple[Array, ...]
    classes: tuple[str, ...] | None = None
    preparation: Preparation | None = None
    """How pictures in files were prepared; None where arrays came, which are not yet."""
    findings: tuple[str, ...] = ()
    """What was found of their size and polarity, in words."""


def read_parts(path: Path, how: PictureOptions | Preparation = RAW) -> Parts:
    """Read a set from a path, whose kind is told by suffix (files) or content (folders); pictures
    are prepared as `how` says.

    Raises:
        DataError: of no known kind, or files that cannot be used.
    """
    readers = {".npz": read_npz, ".npy": read_npy}
    try:
        if path.is_dir():
            return _read_folder(path, how)
        if match := NAME.fullmatch(path.name):
            return read_idx_set(path.parent, find_sets(path.parent)[match["set"]], match["set"])
        if path.suffix.lower() in readers:
            _refuse_web_page(path)
            return readers[path.suffix.lower()](path)
    except WakesleepError:
        raise
    except Exception as error:
        # zipfile, zlib and numpy have a dozen kinds of errors between them for one corrupt file.
        raise DataError(
            f"{path} cannot be read ({type(error).__name__}: {error}): it is corrupt, or not what "
            "its name says"
        ) from error
    raise DataError(
        f"{path} is of no known kind; expected a .npz or .npy file, a folder of IDX files, or one "
        "with a subfolder of pictures per class; or a table, .csv, .tsv or .parquet"
    )


def _read_folder(path: Path, how: PictureOptions | Preparation) -> Parts:
    sets, archives = find_sets(path), sorted(path.glob("*-train-imgs.npz"))
    if len(sets) + len(archives) > 1:
        several = [
            *(f"{name or 'train'}-..." for name in sets),
            *(file.name for file in archives),
        ]
        raise DataError(
            f"{path} holds {len(several)} sets ({', '.join(several)}); give one of them a folder "
            "of its own, or name its images file"
        )
    if archives:
        return read_kmnist(archives[0])
    return (
        read_idx_set(path, *next((files, name) for name, files in sets.items()))
        if sets
        else read_picture_folder(path, how)
    )


def _refuse_web_page(path: Path) -> None:
    with path.open("rb") as file:
        if is_web_page(file.read(64)):
            raise DataError(
                f"{path} is a web page that was saved in place of the file: download it anew"
            )


def read_npz(path: Path) -> Parts:
    """Read images and labels, and a test part where there is one, under this library's, keras' or
    scikit-learn's names.

    An array `classes` of strings, where there is one, names the labels 0, 1, 2, ...; labels that
    are strings name their classes themselves.
    """
    with zipfile.ZipFile(path) as archive:
        sizes = {info.filename.removesuffix(".npy"): info for info in archive.infolist()}
        keys = next((keys for keys in KEYS if keys[0] in sizes), None)
        if keys is None:
            raise DataError(
                f"{path} holds {', '.join(sizes) or 'nothing'}; expected images and labels (or "
                "x_train and y_train, or X and y)"
            )
        if keys[1] not in sizes:
            raise DataError(
                f"labels missing: {path} holds {keys[0]} without {keys[1]}: add them, or save the "
                "images alone as .npy"
            )
        if (keys[2] in sizes) != (keys[3] in sizes):
            raise DataError(
                f"{path} holds only one of {keys[2]} and {keys[3]}: save both or neither"
            )
        arrays = [_member(archive, sizes[key], path) for key in keys if key in sizes]
        if "classes" not in sizes:
            return _named_by_labels(arrays)
        names = _member(archive, sizes["classes"], path)
        classes = tuple(str(name) for name in names.ravel())
        if names.ndim != 1 or not len(names) or len(set(classes)) != len(classes):
            raise DataError(
                f"{path}: classes of shape {names.shape}; expected the names of the labels 0, 1, "
                "2, ..., each once"
            )
        return Parts(tuple(arrays), classes)


def _named_by_labels(arrays: list[Array]) -> Parts:
    """Return the set whose labels, where they are strings, name the classes."""
    labels = arrays[1::2]
    if any(each.dtype.kind not in "US" for each in labels):
        return Parts(tuple(arrays))
    names = np.unique(np.concatenate([each.astype(str).ravel() for each in labels]))
    numbered = [
        np.searchsorted(names, array.astype(str)) if number % 2 else array
        for number, array in enumerate(arrays)
    ]
    return Parts(tuple(numbered), tuple(names.tolist()))


def _member(archive: zipfile.ZipFile, info: zipfile.ZipInfo, path: Path) -> Array:
    with archive.open(info) as file:
        return _array(file, info.file_size, f"{path}: {info.filename.removesuffix('.npy')}")


def read_npy(path: Path) -> Parts:
    """Read images alone, for learning without labels."""
    with path.open("rb") as file:
        return Parts((_array(file, path.stat().st_size, str(path)),))


def read_idx_set(folder: Path, files: dict[str, Path], name: str = "") -> Parts:
    """Read a set of IDX files named as MNIST's, EMNIST's or QMNIST's are; the test part (t10k,
    test) may be absent.

    EMNIST's NAME-mapping.txt, where it lies beside them, names the classes: a line a label, the
    label and the codes of its characters.
    """
    missing = [
        part
        for part in PARTS[: 4 if any(part.startswith("t10k") for part in files) else 2]
        if part not in files
    ]
    if missing:
        lacking = ", ".join(
            f"{name}{'-' if name else ''}{part}-idx{dims_of(part)}-ubyte" for part in missing
        )
        raise DataError(f"{folder} lacks {lacking}, plain or .gz")
    arrays = tuple(_whole(read_idx(path, dims_of(part))[0]) for part, path in files.items())
    mapping = folder / f"{name}-mapping.txt"
    return _named(arrays, mapping) if name and mapping.is_file() else Parts(arrays)


def _whole(array: Array) -> Array:
    """Return pixels that are whole numbers 0..255 of a wider type as uint8, and labels in floats as
    integers.
    """
    if array.ndim == 1:
        return (
            array.astype(np.int64)
            if array.dtype.kind == "f" and (array == np.floor(array)).all()
            else array
        )
    wide = array.dtype.kind == "i" and array.size and array.min() >= 0 and 1 < array.max() <= 255
    return array.astype(np.uint8) if wide else array


def _named(arrays: tuple[Array, ...], mapping: Path) -> Parts:
    """Return the set with the names of EMNIST's mapping, and its labels, which may begin at 1,
    numbered in that order from 0.
    """
    lines = [
        line.split() for line in mapping.read_text(encoding="ascii").splitlines() if line.strip()
    ]
    names = {int(label): chr(int(code)) for label, code, *_ in lines}
    known = np.array(sorted(names))
    for labels in arrays[1::2]:
        if not np.isin(labels, known).all():
            raise DataError(
                f"{mapping} names the labels {known[0]} to {known[-1]}, and others came; delete "
                "it, or take the one that belongs"
            )
    return Parts(
        tuple(
            np.searchsorted(known, array) if number % 2 else array
            for number, array in enumerate(arrays)
        ),
        tuple(names[label] for label in known.tolist()),
    )


def read_kmnist(images: Path) -> Parts:
    """Read KMNIST's (or K49's) NAME-train-imgs.npz, NAME-train-labels.npz, and the same of test,
    each with one array arr_0.
    """
    arrays = []
    for part in ("train", "test"):
        for kind in ("imgs", "labels"):
            path = images.with_name(
                f"{images.name.removesuffix('-train-imgs.npz')}-{part}-{kind}.npz"
            )
            if part == "test" and not path.exists():
                continue
            if not path.exists():
                raise DataError(f"{path} is missing; {images.name} came without it")
            _refuse_web_page(path)
            with zipfile.ZipFile(path) as archive:
                arrays.append(_member(archive, archive.infolist()[0], path))
    if len(arrays) == 3:
        raise DataError(
            f"{images.parent} holds only one of the test images and their labels; expected "
            "both or neither"
        )
    return Parts(tuple(arrays))


def read_picture_folder(folder: Path, how: PictureOptions | Preparation) -> Parts:
    """Read a folder with a subfolder of pictures for each class, or with train/ and test/ that each
    hold such subfolders.

    training/ and testing/ are the same; val/ (valid/, validation/) is the test part where there is
    no other, else it joins the training part, of which a run holds cases out. Classes are in the
    order of their names, and each has a training picture.
    """
    train, test = part_folders(folder)
    classes = tuple(sorted({path.name for home in train for path in subfolders(home)}))
    if not classes:
        raise DataError(no_classes(train[0]))
    files = [class_pictures(train, name) for name in classes]
    if empty := [name for name, pictures in zip(classes, files, strict=True) if not pictures]:
        raise DataError(
            f"{train[0]} holds no picture of {listed(empty)}; expected at least one in each "
            f"class's folder ({', '.join(sorted(SUFFIXES))}): add some, or delete what is empty"
            + pictures_below(train[0], empty)
        )
    if not test:
        return _prepared(classes, [files], how)
    unknown = sorted({path.name for home in test for path in subfolders(home)} - set(classes))
    if unknown:
        raise DataError(
            f"{test[0]} has classes that {train[0]} lacks: {', '.join(unknown)}; expected among "
            f"{', '.join(classes)}"
        )
    tested = [class_pictures(test, name) for name in classes]
    if not any(tested):
        raise DataError(
            f"{test[0]} holds no pictures; expected subfolders named {', '.join(classes)}"
        )
    return _prepared(classes, [files, tested], how)


def _prepared(
    classes: tuple[str, ...], parts: list[list[list[Path]]], how: PictureOptions | Preparation
) -> Parts:
    """Return the set made of pictures in files, for each part those of each class."""
    files = [file for part in parts for of_class in part for file in of_class]
    _refuse_unreadable(files)
    preparation, findings = (how, []) if isinstance(how, Preparation) else _look(files, how)
    read = _shown(files, "reading pictures")
    images = np.stack([_as_case(grey_picture(file), preparation) for file in read])
    labels = [
        np.repeat(np.arange(len(part)), [len(of_class) for of_class in part]) for part in parts
    ]
    cut = len(labels[0])
    arrays = (
        (images[:cut], labels[0])
        if len(parts) == 1
        else (images[:cut], labels[0], images[cut:], labels[1])
    )
    return Parts(arrays, classes, preparation, tuple(findings))


def _refuse_unreadable(files: list[Path]) -> None:
    """Raise DataError where files are no pictures by their beginning, all of them at once.

    A file whose beginning is right and whose rest is torn is refused when it is read.
    """
    wrong = [file for file in files if not is_picture(file)]
    if wrong:
        raise DataError(
            f"{len(wrong)} of {len(files):,} files cannot be read as pictures: "
            f"{listed([str(file) for file in wrong], 5)}; expected {', '.join(FORMATS)}: delete "
            "them, or save them anew"
        )


def _shown(files: list[Path], what: str) -> Iterable[Path]:
    """Return the files, a bar on a terminal showing how far they are read after three seconds: a
    thousand photographs take minutes.
    """
    from tqdm import tqdm

    bar: Iterable[Path] = tqdm(files, desc=what, unit="picture", delay=3, leave=False, disable=None)
    return bar


def _as_case(grey: Grey, preparation: Preparation) -> Array:
    case: Array = (preparation.picture(grey) * 255).round().astype(np.uint8)
    return case


def _look(files: list[Path], options: PictureOptions) -> tuple[Preparation, list[str]]:
    """Look at all pictures and decide how they are to be prepared."""
    ballots, shapes = [], []
    for file in _shown(files, "looking at pictures"):
        grey = grey_picture(file)
        ballots.append(votes(grey[None]))
        shapes.append((grey.shape[0], grey.shape[1]))
    return of_files(np.concatenate(ballots), shapes, options)


def _array(file: IO[bytes], size: int, name: str) -> Array:
    """Read one .npy array after its header has been checked, since numpy allocates whatever a
    header claims.
    """
    version = np.lib.format.read_magic(file)
    read_header = (
        np.lib.format.read_array_header_1_0
        if version == (1, 0)
        else np.lib.format.read_array_header_2_0
    )
    shape, _, dtype = read_header(file)
    if dtype.hasobject:
        raise DataError(
            f"{name} holds Python objects, which could run code when loaded; save plain numbers: "
            "np.stack(list) or .astype"
        )
    claimed = math.prod(shape) * dtype.itemsize
    if claimed > LARGEST or claimed != size - file.tell():
        raise DataError(
            f"{name} claims {claimed} bytes {shape} and holds {size - file.tell()} (at most "
            f"{LARGEST} are read): save it anew"
        )
    file.seek(0)
    array: Array = np.lib.format.read_array(file, allow_pickle=False)
    return array
