"""Sets of the user's own: .npz, .npy, a folder of IDX files, a folder of pictures with a subfolder for each class."""

import math
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import numpy as np

from wakesleep.data.checks import Array
from wakesleep.data.idx import PARTS, dims_of, find_idx, read_idx
from wakesleep.data.pictures import SUFFIXES, grey_picture, resize
from wakesleep.foundation.errors import DataError

LARGEST = 1 << 34  # bytes of one array; a header that claims more is corrupt or hostile
KEYS = (
    ("images", "labels", "test_images", "test_labels"),
    ("x_train", "y_train", "x_test", "y_test"),
    ("X", "y", "X_test", "y_test"),
)


@dataclass(frozen=True, eq=False)
class Parts:
    """A set as its files hold it, before any check.

    `arrays` are, as far as they are there, the images, their labels, the test images and their labels.
    """

    arrays: tuple[Array, ...]
    classes: tuple[str, ...] | None = None


def read_parts(path: Path) -> Parts:
    """Read a set from a path, whose kind is told by suffix (files) or content (folders).

    Raises:
        DataError: of no known kind, or files that cannot be used.
    """
    readers = {".npz": read_npz, ".npy": read_npy}
    try:
        if path.is_dir():
            files = find_idx(path)
            return read_idx_folder(path, files) if files else read_picture_folder(path)
        if path.suffix.lower() in readers:
            return readers[path.suffix.lower()](path)
    except DataError:
        raise
    except Exception as error:
        # zipfile, zlib and numpy have a dozen kinds of errors between them for one corrupt file.
        raise DataError(f"{path} cannot be read ({type(error).__name__}: {error}): it is corrupt, or not what its name says") from error
    raise DataError(f"{path} is of no known kind; expected a .npz or .npy file, a folder of IDX files, or one with a subfolder per class")


def read_npz(path: Path) -> Parts:
    """Read images and labels, and a test part where there is one, under this library's, keras' or scikit-learn's names.

    An array `classes` of strings, where there is one, names the labels 0, 1, 2, ...
    """
    with zipfile.ZipFile(path) as archive:
        sizes = {info.filename.removesuffix(".npy"): info for info in archive.infolist()}
        keys = next((keys for keys in KEYS if keys[0] in sizes), None)
        if keys is None:
            raise DataError(f"{path} holds {', '.join(sizes) or 'nothing'}; expected images and labels (or x_train and y_train, or X and y)")
        if keys[1] not in sizes:
            raise DataError(f"labels missing: {path} holds {keys[0]} without {keys[1]}: add them, or save the images alone as .npy")
        if (keys[2] in sizes) != (keys[3] in sizes):
            raise DataError(f"{path} holds only one of {keys[2]} and {keys[3]}: save both or neither")
        arrays = [_member(archive, sizes[key], path) for key in keys if key in sizes]
        if "classes" not in sizes:
            return Parts(tuple(arrays))
        names = _member(archive, sizes["classes"], path)
        classes = tuple(str(name) for name in names.ravel())
        if names.ndim != 1 or not len(names) or len(set(classes)) != len(classes):
            raise DataError(f"{path}: classes of shape {names.shape}; expected the names of the labels 0, 1, 2, ..., each once")
        return Parts(tuple(arrays), classes)


def _member(archive: zipfile.ZipFile, info: zipfile.ZipInfo, path: Path) -> Array:
    with archive.open(info) as file:
        return _array(file, info.file_size, f"{path}: {info.filename.removesuffix('.npy')}")


def read_npy(path: Path) -> Parts:
    """Read images alone, for learning without labels."""
    with path.open("rb") as file:
        return Parts((_array(file, path.stat().st_size, str(path)),))


def read_idx_folder(folder: Path, files: dict[str, Path]) -> Parts:
    """Read a set of IDX files named as MNIST's are; the test part (t10k) may be absent."""
    missing = [part for part in PARTS[: 4 if any(part.startswith("t10k") for part in files) else 2] if part not in files]
    if missing:
        raise DataError(f"{folder} lacks {', '.join(f'{part}-idx{dims_of(part)}-ubyte' for part in missing)}, plain or .gz")
    return Parts(tuple(read_idx(path, dims_of(part))[0] for part, path in files.items()))


def read_picture_folder(folder: Path) -> Parts:
    """Read a folder with a subfolder of pictures for each class, or with train/ and test/ that each hold such subfolders.

    Classes are in the order of their names. All pictures become grey and take the size of the first; none is centred or inverted.
    """
    inside = {path.name for path in _folders(folder)}
    if "train" in inside and inside <= {"train", "test"}:
        train, test = folder / "train", folder / "test" if "test" in inside else None
    else:
        train, test = folder, None
    classes = tuple(path.name for path in _folders(train))
    if not classes:
        raise DataError(f"{train} holds neither IDX files nor a subfolder of pictures for each class")
    images, labels = _pictures(train, classes, None)
    if test is None:
        return Parts((images, labels), classes)
    unknown = sorted({path.name for path in _folders(test)} - set(classes))
    if unknown:
        raise DataError(f"{test} has classes that {train} lacks: {', '.join(unknown)}; expected among {', '.join(classes)}")
    return Parts((images, labels, *_pictures(test, classes, images.shape[1:])), classes)


def _folders(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))


def _pictures(folder: Path, classes: tuple[str, ...], shape: tuple[int, ...] | None) -> tuple[Array, Array]:
    images, labels = [], []
    for label, name in enumerate(classes):
        home = folder / name
        files = sorted(path for path in home.iterdir() if path.suffix.lower() in SUFFIXES and path.is_file()) if home.is_dir() else []
        if not files and shape is None:
            raise DataError(f"{home} holds no picture; expected at least one ({', '.join(sorted(SUFFIXES))})")
        for file in files:
            grey = grey_picture(file)
            shape = shape or grey.shape
            images.append((resize(grey, (shape[0], shape[1])) * 255).round().astype(np.uint8))
            labels.append(label)
    if not images:
        raise DataError(f"{folder} holds no pictures; expected subfolders named {', '.join(classes)}")
    return np.stack(images), np.array(labels)


def _array(file: IO[bytes], size: int, name: str) -> Array:
    """Read one .npy array after its header has been checked, since numpy allocates whatever a header claims."""
    version = np.lib.format.read_magic(file)
    read_header = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, _, dtype = read_header(file)
    if dtype.hasobject:
        raise DataError(f"{name} holds Python objects, which could run code when loaded; save plain numbers: np.stack(list) or .astype")
    claimed = math.prod(shape) * dtype.itemsize
    if claimed > LARGEST or claimed != size - file.tell():
        raise DataError(f"{name} claims {claimed} bytes {shape} and holds {size - file.tell()} (at most {LARGEST} are read): save it anew")
    file.seek(0)
    array: Array = np.lib.format.read_array(file, allow_pickle=False)
    return array
