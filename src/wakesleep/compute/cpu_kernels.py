"""Our C kernels for a processor: steps that PyTorch makes one after the other, each a pass through
memory, made in one.

`csrc/` is compiled once, in a second, by the machine's own compiler, the first time that a kernel
is needed, and kept in the user's cache. WAKESLEEP_BACKEND=torch (or reference) says no to that.
Only `cpu.py` calls these functions.
"""

from __future__ import annotations

import ctypes
import hashlib
import os
import platform
import shlex
import shutil
import stat
import subprocess
import sys
import tempfile
import warnings
from functools import cache
from pathlib import Path

import torch
from torch import Tensor

SOURCES = tuple(Path(__file__).parent / "csrc" / name for name in ("kernels.c", "amx.c"))
FLAGS = ("-O3", "-march=native", "-fopenmp", "-fPIC", "-shared")


def weight_update(
    weight: Tensor,
    velocity: Tensor,
    change: Tensor,
    copy: Tensor,
    *,
    momentum: float,
    factor: float,
    decayed: float,
) -> None:
    """Move all three, in place: v <- momentum v + factor change - decayed W, W <- W + v, copy <- W.

    W and v are float32, the change and the copy bfloat16, all of one shape and contiguous.
    """
    at = (weight.data_ptr(), velocity.data_ptr(), change.data_ptr(), copy.data_ptr())
    library().weight_update(*at, weight.numel(), momentum, factor, decayed, torch.get_num_threads())


def bias_update(
    bias: Tensor,
    velocity: Tensor,
    copy: Tensor | None,
    rows: Tensor,
    *,
    momentum: float,
    factor: float,
) -> None:
    """Move all three, in place: v <- momentum v + factor times the sum of `rows` (n, units), b <- b
    + v, copy <- b.

    b and v (units,) are float32, the copy, where there is one, bfloat16, the rows of either type.
    """
    kernel = (
        library().bias_update_float32
        if rows.dtype == torch.float32
        else library().bias_update_bfloat16
    )
    at = (
        bias.data_ptr(),
        velocity.data_ptr(),
        None if copy is None else copy.data_ptr(),
        rows.data_ptr(),
    )
    kernel(*at, *rows.shape, momentum, factor, torch.get_num_threads())


def bernoulli(mean: Tensor, states: Tensor, begin: Tensor, offset: Tensor) -> None:
    """Write 1 to `states` where a number of 16 random bits lies below offset + 65536 mean, else 0.

    Both are float32 or both bfloat16, of one shape. The numbers are those of the words hashed from
    `begin`, an int64 scalar (`random_bits.hashed`); the offset is a float32 scalar.
    """
    kernel = (
        library().bernoulli_float32 if mean.dtype == torch.float32 else library().bernoulli_bfloat16
    )
    kernel(
        mean.data_ptr(),
        states.data_ptr(),
        mean.numel(),
        int(begin) % 2**64,
        float(offset),
        torch.get_num_threads(),
    )


def gather(cases: Tensor, index: Tensor, out: Tensor) -> None:
    """Write rows `index` (n,) int64 of the pixels `cases` (N, D) uint8, over 255, to `out` (n, D),
    float32 or bfloat16.

    Raises:
        IndexError: a row that is not there.
    """
    kernel = library().gather_float32 if out.dtype == torch.float32 else library().gather_bfloat16
    count = cases.shape[0]
    if kernel(
        cases.data_ptr(),
        count,
        index.data_ptr(),
        out.data_ptr(),
        *out.shape,
        torch.get_num_threads(),
    ):
        raise IndexError(
            f"rows {int(index.min())} to {int(index.max())} of {count} cases: expected 0 "
            f"to {count - 1}"
        )


def amx_layer(
    states: Tensor, weight: Tensor, bias: Tensor | None, n_sigmoid: int, out: Tensor
) -> None:
    """Write states W + b to `out` (n, to), the first `n_sigmoid` columns as sigm(states W + b), by
    AMX.

    All are bfloat16: states (n, from), W (from, to), b (to,) or none. Results are rounded from
    float32 sums, as PyTorch's are, which adds them up in another order.
    """
    short = library().amx_layer(
        *_layout(states), *_layout(weight), None if bias is None else bias.data_ptr(),
        out.data_ptr(), out.stride(0), *states.shape, weight.shape[1],
        n_sigmoid, torch.get_num_threads(),
    )  # fmt: skip
    if short:
        raise MemoryError(
            f"a product of {tuple(states.shape)} and {tuple(weight.shape)} found no memory to "
            "lay them out in"
        )


def amx_update(
    weight: Tensor,
    velocity: Tensor | None,
    copy: Tensor,
    left: Tensor,
    right: Tensor,
    *,
    momentum: float,
    factor: float,
    decayed: float,
) -> None:
    """Move all three, in place: v <- momentum v + factor left'right - decayed W, W <- W + v, copy
    <- W, by AMX.

    W and v (from, to) are float32, the copy, left (n, from) and right (n, to) bfloat16. Without a
    velocity, W <- W + factor left'right - decayed W.
    """
    short = library().amx_update(
        weight.data_ptr(), None if velocity is None else velocity.data_ptr(), copy.data_ptr(),
        left.data_ptr(), left.stride(0), right.data_ptr(), right.stride(0), len(left),
        *weight.shape, momentum, factor, decayed, torch.get_num_threads(),
    )  # fmt: skip
    if short:
        raise MemoryError(
            f"a product of {tuple(left.t().shape)} and {tuple(right.shape)} found no memory to "
            "lay them out in"
        )


def _layout(matrix: Tensor) -> tuple[int, int, bool]:
    """Return where a matrix lies, the distance of its rows, and whether it is its columns that lie
    in order.
    """
    turned = matrix.stride(1) != 1
    return matrix.data_ptr(), matrix.stride(1 if turned else 0), turned


def are_built() -> bool:
    """Return whether the kernels are there, compiled now where they were not yet."""
    return sys.byteorder == "little" and _build() is not None


@cache
def amx_is_there() -> bool:
    """Return whether this processor has AMX, and the system lets it be used. `are_built()` has said
    yes.
    """
    return bool(library().amx_ready())


@cache
def library() -> ctypes.CDLL:
    """Return what was built, with the types of its functions; `are_built()` says whether there is
    anything.
    """
    built = _build()
    assert built is not None
    library = ctypes.CDLL(str(built))
    at, size, number, threads = ctypes.c_void_p, ctypes.c_int64, ctypes.c_float, ctypes.c_int
    library.weight_update.argtypes = (at, at, at, at, size, number, number, number, threads)
    for bias_update in (library.bias_update_float32, library.bias_update_bfloat16):
        bias_update.argtypes = (at, at, at, at, size, size, number, number, threads)
    if library.amx_ready():  # elsewhere the two are not there
        library.amx_layer.argtypes = (
            at,
            size,
            threads,
            at,
            size,
            threads,
            at,
            at,
            size,
            size,
            size,
            size,
            size,
            threads,
        )
        library.amx_update.argtypes = (
            at,
            at,
            at,
            at,
            size,
            at,
            size,
            size,
            size,
            size,
            number,
            number,
            number,
            threads,
        )
    for bernoulli in (library.bernoulli_float32, library.bernoulli_bfloat16):
        bernoulli.argtypes = (at, at, size, ctypes.c_uint64, number, threads)
    for gather in (library.gather_float32, library.gather_bfloat16):
        gather.argtypes, gather.restype = (at, size, at, at, size, size, threads), size
    return library


@cache
def _build() -> Path | None:
    """Return the built library, built first where it is not there yet; None where it cannot be
    built or loaded.

    It is kept in a folder of the user's cache that only the user can enter, and nothing is loaded
    that others could have written.
    """
    try:
        import pooch

        compiler = shlex.split(os.environ.get("CC", "")) or [shutil.which("cc") or ""]
        contents = "\n".join(
            [
                *(source.read_text(encoding="utf-8") for source in SOURCES),
                *compiler,
                *FLAGS,
                _machine(),
            ]
        )
        folder = Path(pooch.os_cache("wakesleep")) / "kernels"
        path = folder / f"{hashlib.sha256(contents.encode()).hexdigest()[:32]}.so"
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not path.exists() and _is_private(folder):
            # other processes see all of it or nothing
            with tempfile.TemporaryDirectory(dir=folder) as inner:
                made = Path(inner) / path.name
                subprocess.run(
                    [*compiler, *FLAGS, "-o", str(made), *map(str, SOURCES)],
                    check=True,
                    capture_output=True,
                    timeout=60,
                )
                made.chmod(0o700)
                made.replace(path)
        if not (_is_private(folder) and _is_private(path)):
            warnings.warn(
                f"{path} could have been written by others, so that it is not loaded and PyTorch's "
                "kernels do the work; expected a folder and a file that this user owns and nobody "
                f"else can write to: remove {folder}, and it is built anew",
                stacklevel=2,
            )
            return None
        ctypes.CDLL(str(path))
    except (OSError, ImportError, ValueError, subprocess.SubprocessError):
        # no compiler, none with OpenMP, no right to write or run it
        return None
    return path


def _is_private(path: Path) -> bool:
    """Return whether a file or folder is no link, belongs to this user, and nobody else can write
    to it.
    """
    if not hasattr(os, "getuid"):  # Windows keeps a user's cache to the user
        return True
    status = path.lstat()
    return (
        status.st_uid == os.getuid()
        and not status.st_mode & 0o022
        and not stat.S_ISLNK(status.st_mode)
    )


def _machine() -> str:
    """Return what the compiler builds for: a folder may be shared by machines with other
    processors.
    """
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = [f"model: {platform.processor()}"]
    return " ".join(
        [
            platform.system(),
            platform.machine(),
            *sorted({line for line in lines if line.startswith(("flags", "Features", "model"))}),
        ]
    )
