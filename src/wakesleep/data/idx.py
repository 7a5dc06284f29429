"""The IDX format that MNIST and its kin come in: a strict reader, plain or gzipped, and the file
names it goes by.
"""

import gzip
import hashlib
import io
import math
import os
import re
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wakesleep.foundation.errors import DataError

PARTS = ("train-images", "train-labels", "t10k-images", "t10k-labels")
LARGEST = 1 << 34  # bytes; infinite MNIST, the largest set of the kind, has 6.3 GB
CHUNK = 1 << 20
TYPES = {8: ">u1", 11: ">i2", 12: ">i4", 13: ">f4", 14: ">f8"}
NAME = re.compile(
    r"(?P<set>.*?)[-_.]?(?P<part>train|t10k|test)[-_.](?P<kind>images|labels)[-_.]idx\d[-_.]\w+(?P<packed>\.gz)?",
    re.IGNORECASE,
)
"""MNIST's names, and those of EMNIST (emnist-letters-train-images-idx3-ubyte.gz) and QMNIST
(qmnist-test-labels-idx2-int.gz).
"""

Numbers = NDArray[Any]


def dims_of(part: str) -> int:
    """Return the number of dimensions of a part: 3 for images, 1 for labels."""
    return 3 if part.endswith("images") else 1


def find_idx(folder: Path) -> dict[str, Path]:
    """Return those of the four parts that lie in a folder, under any of the usual names."""
    parts = {}
    for part in PARTS:
        names = [
            f"{part}{dot}idx{dims_of(part)}-ubyte{packed}" for dot in "-." for packed in ("", ".gz")
        ]
        # os.path, since Path.is_file raises where a folder may not be entered.
        files = [folder / name for name in names if os.path.isfile(folder / name)]
        if files:
            parts[part] = files[0]
    return parts


def find_sets(folder: Path) -> dict[str, dict[str, Path]]:
    """Return every set of IDX files in a folder, under the names of MNIST, EMNIST or QMNIST, by
    what its files' names begin with.

    A test part may be called t10k or test; where a file lies there plain and packed, the plain one
    is taken.
    """
    sets: dict[str, dict[str, Path]] = {}
    try:
        names = sorted(os.listdir(folder), key=lambda name: (name.endswith(".gz"), name))
    except OSError:
        return {}
    for name in names:
        match = NAME.fullmatch(name)
        if match is not None and not name.startswith(".") and os.path.isfile(folder / name):
            part = (
                f"{'train' if match['part'].lower() == 'train' else 't10k'}-{match['kind'].lower()}"
            )
            sets.setdefault(match["set"], {}).setdefault(part, folder / name)
    return {
        name: {part: files[part] for part in PARTS if part in files} for name, files in sets.items()
    }


def is_web_page(head: bytes | bytearray) -> bool:
    """Return whether a file that begins so is HTML: a log-in or error page that was saved in place
    of the file.
    """
    return head.lstrip().startswith(b"<")


def read_idx(
    source: Path | bytes, dims: int, *, name: str = "", largest: int = LARGEST
) -> tuple[Numbers, str]:
    """Read one IDX file, strictly: every byte the header promises, and not one more.

    Source of the format: Y. LeCun, http://yann.lecun.com/exdb/mnist/ (magic 00 00 type dims, sizes
    as big-endian 32-bit; type 08 is uint8, 0b int16, 0c int32, 0d float32, 0e float64).

    Args:
        source: a file, or its content; gzipped or plain, told apart by content rather than by name.
        dims: 3 for images (N, rows, columns), 1 for labels (N,); labels (N, columns), as QMNIST's,
            are those of the first column.
        name: what to call the source in an error.
        largest: the most bytes the array may have.

    Returns:
        The writable array, and the sha256 of the decompressed file.

    Raises:
        DataError: no IDX file of that kind, truncated, too long, corrupt, unreadable or too large.
    """
    name = name or (str(source) if isinstance(source, Path) else "the IDX file")
    try:
        with source.open("rb") if isinstance(source, Path) else io.BytesIO(source) as file:
            packed = file.read(2) == b"\x1f\x8b"
            file.seek(0)
            if not packed:
                return _parse(file, dims, name, largest)
            with gzip.GzipFile(fileobj=file) as stream:
                return _parse(stream, dims, name, largest)
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(
            f"{name} cannot be read ({error}); expected a whole IDX file: fetch or copy it anew"
        ) from error


def _parse(stream: io.BufferedIOBase, dims: int, name: str, largest: int) -> tuple[Numbers, str]:
    header = _read(stream, 4)
    if is_web_page(header):
        raise DataError(
            f"{name} begins with {header.hex(' ')}: it is a web page that was saved in place of "
            "the file; download it anew"
        )
    dtype = np.dtype(TYPES[header[2]]) if len(header) == 4 and header[2] in TYPES else None
    given = header[3] if len(header) == 4 else 0
    if dtype is None or header[:2] != b"\0\0" or given not in ((1, 2) if dims == 1 else (dims,)):
        magic = bytes((0, 0, 8, dims)).hex(" ")
        raise DataError(
            f"{name} begins with {header.hex(' ')}; expected {magic}, an IDX file of numbers in "
            f"{dims} dimension(s)"
        )
    header += _read(stream, 4 * given)
    if len(header) < 4 + 4 * given:
        raise DataError(f"{name} ends inside its header: fetch or copy it anew")
    shape = struct.unpack(f">{given}I", header[4:])
    if given > dims and not shape[1]:
        raise DataError(f"{name} holds labels of shape {shape}; expected at least one column")
    size = math.prod(shape) * dtype.itemsize
    if size > largest:
        raise DataError(
            f"{name} claims {size} bytes {shape}; at most {largest} are read: is its "
            "header corrupt?"
        )
    # One byte beyond the end: it exposes a file that is too long, and makes gzip compare its
    # checksum.
    body = _read(stream, size + 1)
    if len(body) != size:
        came = f"only {len(body)}" if len(body) < size else "more"
        raise DataError(
            f"{name} promises {size} bytes {shape} and holds {came}: fetch or copy it anew"
        )
    digest = hashlib.sha256(header)
    digest.update(body)
    array = np.frombuffer(body, dtype).reshape(shape)
    array = array.astype(dtype.newbyteorder("="), copy=dtype.itemsize > 1)
    return array[:, 0] if given > dims else array, digest.hexdigest()


def _read(stream: io.BufferedIOBase, size: int) -> bytearray:
    # Piece by piece, since read(size) would allocate whatever a corrupt header claims.
    data = bytearray()
    while len(data) < size and (piece := stream.read(min(CHUNK, size - len(data)))):
        data += piece
    return data
