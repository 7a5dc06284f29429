"""Small IDX files for the tests; the library itself only reads them."""

import gzip
import hashlib
import struct

import numpy as np

FILES = {
    "train-images": "train-images-idx3-ubyte.gz",
    "train-labels": "train-labels-idx1-ubyte.gz",
    "t10k-images": "t10k-images-idx3-ubyte.gz",
    "t10k-labels": "t10k-labels-idx1-ubyte.gz",
}


def idx_bytes(array):
    array = np.asarray(array, np.uint8)
    return (
        bytes((0, 0, 8, array.ndim))
        + struct.pack(f">{array.ndim}I", *array.shape)
        + array.tobytes()
    )


def small_set(seed=0, n=12):
    rng = np.random.default_rng(seed)
    return {
        "train-images": rng.integers(0, 256, (n, 4, 3), np.uint8),
        "train-labels": np.arange(n) % 10,
        "t10k-images": rng.integers(0, 256, (5, 4, 3), np.uint8),
        "t10k-labels": np.arange(5),
    }


def packed(arrays):
    return {FILES[part]: gzip.compress(idx_bytes(array), mtime=0) for part, array in arrays.items()}


def sums(arrays):
    return {part: hashlib.sha256(idx_bytes(array)).hexdigest() for part, array in arrays.items()}
