"""Kernels by hand for a processor, in C: steps that PyTorch makes one after the other, each a pass through memory, made in one.

`native.c` is built once, in a second, by the machine's own compiler, and kept in the user's cache. Where there is no compiler, or none that
knows OpenMP, or WAKESLEEP_BACKEND=reference, the plain way beside each call does the same, to the last bit but for `follow`.
"""

from __future__ import annotations

import ctypes
import hashlib
import os
import platform
import shlex
import shutil
import subprocess
import sys
import tempfile
from functools import cache
from pathlib import Path

import torch
from torch import Tensor

from wakesleep.foundation import select

SOURCES = tuple(Path(__file__).with_name(name) for name in ("native.c", "tiles.c"))
FLAGS = ("-O3", "-march=native", "-fopenmp", "-fPIC", "-shared")
MANY = 2**14
"""Numbers from which on a kernel is worth asking for: small nets need none, and should not wait for a compiler."""
TYPES = (torch.float32, torch.bfloat16)
"""Of states and cases."""

by_hand = select.backend() != "reference"
"""Whether kernels of ours are used at all, here and on a GPU; False is for measuring, and for finding faults."""


def suits(first: Tensor, *more: Tensor) -> bool:
    """Return whether a kernel here serves these: on a processor, each one block of memory, and many numbers."""
    return first.is_cpu and first.numel() >= MANY and serves() and all(each.is_contiguous() for each in (first, *more))


def follow(weight: Tensor, increment: Tensor, change: Tensor, twin: Tensor, *, momentum: float, factor: float, decayed: float) -> None:
    """Move all three, in place: i <- momentum i + factor change - decayed W, W <- W + i, twin <- W.

    W and i are float32, the change and the twin bfloat16, all of one shape and layout.
    """
    at = (weight.data_ptr(), increment.data_ptr(), change.data_ptr(), twin.data_ptr())
    library().follow(*at, weight.numel(), momentum, factor, decayed, torch.get_num_threads())


def lean(bias: Tensor, increment: Tensor, twin: Tensor | None, rows: Tensor, *, momentum: float, factor: float) -> None:
    """Move all three, in place: i <- momentum i + factor times the sum of `rows` (n, units), b <- b + i, twin <- b.

    b and i (units,) are float32, the twin, where there is one, bfloat16, the rows of either type.
    """
    kernel = library().lean_fine if rows.dtype == torch.float32 else library().lean_coarse
    at = (bias.data_ptr(), increment.data_ptr(), None if twin is None else twin.data_ptr(), rows.data_ptr())
    kernel(*at, *rows.shape, momentum, factor, torch.get_num_threads())


def draw(mean: Tensor, states: Tensor, begin: Tensor, offset: Tensor) -> None:
    """Write 1 to `states` where a number of 16 random bits lies below offset + 65536 mean, else 0.

    Both are float32 or both bfloat16, of one shape. The numbers are those of the words hashed from `begin`, an int64 scalar (`rng.hashed`);
    the offset is a float32 scalar.
    """
    kernel = library().draw_fine if mean.dtype == torch.float32 else library().draw_coarse
    kernel(mean.data_ptr(), states.data_ptr(), mean.numel(), int(begin) % 2**64, float(offset), torch.get_num_threads())


def gather(cases: Tensor, index: Tensor, out: Tensor) -> None:
    """Write rows `index` (n,) int64 of the pixels `cases` (N, D) uint8, over 255, to `out` (n, D), float32 or bfloat16.

    Raises:
        IndexError: a row that is not there.
    """
    kernel = library().gather_fine if out.dtype == torch.float32 else library().gather_coarse
    count = cases.shape[0]
    if kernel(cases.data_ptr(), count, index.data_ptr(), out.data_ptr(), *out.shape, torch.get_num_threads()):
        raise IndexError(f"rows {int(index.min())} to {int(index.max())} of {count} cases: expected 0 to {count - 1}")


def serves() -> bool:
    """Return whether kernels by hand are wanted and there."""
    return by_hand and sys.byteorder == "little" and _build() is not None


@cache
def library() -> ctypes.CDLL:
    """Return what was built, with the types of its functions; `serves()` says whether there is anything."""
    found = _build()
    assert found is not None
    library = ctypes.CDLL(str(found))
    at, size, number, threads = ctypes.c_void_p, ctypes.c_int64, ctypes.c_float, ctypes.c_int
    library.follow.argtypes = (at, at, at, at, size, number, number, number, threads)
    for lean in (library.lean_fine, library.lean_coarse):
        lean.argtypes = (at, at, at, at, size, size, number, number, threads)
    if library.tiles_ready():  # elsewhere the two are not there
        library.layer.argtypes = (at, size, threads, at, size, threads, at, at, size, size, size, size, size, threads)
        library.learn.argtypes = (at, at, at, at, size, at, size, size, size, size, number, number, number, threads)
    for draw in (library.draw_fine, library.draw_coarse):
        draw.argtypes = (at, at, size, ctypes.c_uint64, number, threads)
    for gather in (library.gather_fine, library.gather_coarse):
        gather.argtypes, gather.restype = (at, size, at, at, size, size, threads), size
    return library


@cache
def _build() -> Path | None:
    """Return the built library, built first where it is not there yet; None where it cannot be built or loaded."""
    try:
        import pooch

        compiler = shlex.split(os.environ.get("CC", "")) or [shutil.which("cc") or ""]
        told = "\n".join([*(source.read_text(encoding="utf-8") for source in SOURCES), *compiler, *FLAGS, _machine()])
        path = Path(pooch.os_cache("wakesleep")) / f"native-{hashlib.sha256(told.encode()).hexdigest()[:16]}.so"
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(dir=path.parent) as folder:  # other processes see all of it or nothing
                made = Path(folder) / path.name
                subprocess.run([*compiler, *FLAGS, "-o", str(made), *map(str, SOURCES)], check=True, capture_output=True, timeout=60)
                made.replace(path)
        ctypes.CDLL(str(path))
    except (OSError, ImportError, ValueError, subprocess.SubprocessError):  # no compiler, none with OpenMP, no right to write or run it
        return None
    return path


def _machine() -> str:
    """Return what the compiler builds for: a folder may be shared by machines with other processors."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = [f"model: {platform.processor()}"]
    return " ".join(
        [platform.system(), platform.machine(), *sorted({line for line in lines if line.startswith(("flags", "Features", "model"))})]
    )
