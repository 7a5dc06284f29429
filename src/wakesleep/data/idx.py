"""The IDX format that MNIST and its kin come in: a strict reader, plain or gzipped, and the file names it goes by."""

import gzip
import hashlib
import io
import math
import os
import struct
import zlib
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from wakesleep.foundation.errors import DataError

PARTS = ("train-images", "train-labels", "t10k-images", "t10k-labels")
LARGEST = 1 << 34  # bytes; infinite MNIST, the largest set of the kind, has 6.3 GB
CHUNK = 1 << 20


def dims_of(part: str) -> int:
    """Return the number of dimensions of a part: 3 for images, 1 for labels."""
    return 3 if part.endswith("images") else 1


def find_idx(folder: Path) -> dict[str, Path]:
    """Return those of the four parts that lie in a folder, under any of the usual names."""
    found = {}
    for part in PARTS:
        names = [f"{part}{dot}idx{dims_of(part)}-ubyte{packed}" for dot in "-." for packed in ("", ".gz")]
        # os.path, since Path.is_file raises where a folder may not be entered.
        files = [folder / name for name in names if os.path.isfile(folder / name)]
        if files:
            found[part] = files[0]
    return found


def read_idx(source: Path | bytes, dims: int, *, name: str = "", largest: int = LARGEST) -> tuple[NDArray[np.uint8], str]:
    """Read one IDX file of bytes, strictly: every byte the header promises, and not one more.

    Source of the format: Y. LeCun, http://yann.lecun.com/exdb/mnist/ (magic 00 00 08 dims, sizes as big-endian 32-bit).

    Args:
        source: a file, or its content; gzipped or plain, told apart by content rather than by name.
        dims: 3 for images (N, rows, columns), 1 for labels (N,).
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
        raise DataError(f"{name} cannot be read ({error}); expected a whole IDX file: fetch or copy it anew") from error


def _parse(stream: io.BufferedIOBase, dims: int, name: str, largest: int) -> tuple[NDArray[np.uint8], str]:
    header = _read(stream, 4 + 4 * dims)
    magic = bytes((0, 0, 8, dims))
    if header[:4] != magic:
        raise DataError(f"{name} begins with {header[:4].hex(' ')}; expected {magic.hex(' ')}, an IDX file of bytes in {dims} dimension(s)")
    if len(header) < 4 + 4 * dims:
        raise DataError(f"{name} ends inside its header: fetch or copy it anew")
    shape = struct.unpack(f">{dims}I", header[4:])
    size = math.prod(shape)
    if size > largest:
        raise DataError(f"{name} claims {size} bytes {shape}; at most {largest} are read: is its header corrupt?")
    # One byte beyond the end: it exposes a file that is too long, and makes gzip compare its checksum.
    body = _read(stream, size + 1)
    if len(body) != size:
        came = f"only {len(body)}" if len(body) < size else "more"
        raise DataError(f"{name} promises {size} bytes {shape} and holds {came}: fetch or copy it anew")
    digest = hashlib.sha256(header)
    digest.update(body)
    return np.frombuffer(body, np.uint8).reshape(shape), digest.hexdigest()


def _read(stream: io.BufferedIOBase, size: int) -> bytearray:
    # Piece by piece, since read(size) would allocate whatever a corrupt header claims.
    data = bytearray()
    while len(data) < size and (piece := stream.read(min(CHUNK, size - len(data)))):
        data += piece
    return data
