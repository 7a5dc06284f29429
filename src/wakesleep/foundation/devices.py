"""Devices and threads, chosen in one place."""

from __future__ import annotations

import ctypes
import platform
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from importlib.metadata import PackageNotFoundError, version

import torch

from wakesleep.foundation import precision
from wakesleep.foundation.errors import ConfigError

KEPT = 256 * 2**20
"""Bytes of freed memory that a process which learns may keep for its next minibatch."""


def pick_device(name: str = "auto") -> torch.device:
    """Return the device called `name`; "auto" takes a CUDA device where there is one, else the CPU.

    Raises:
        ConfigError: the name is unknown to torch, or the device is not there.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise ConfigError(f"device {name!r} cannot be used ({reason}); expected 'auto', 'cpu', 'cuda' or 'cuda:0'") from error
    return device


@contextmanager
def at_work(device: torch.device) -> Iterator[None]:
    """Make `device` ready for the minibatches of a pass: a GPU's tensor cores, a processor's memory."""
    if device.type == "cpu":
        keep_freed_memory()
    with precision.tensor_cores(device):
        yield


@cache
def keep_freed_memory() -> bool:
    """Let this process keep the memory of freed arrays, up to `KEPT` bytes, where its allocator is glibc's; return whether it is.

    By default glibc returns large arrays to the system at once, and every minibatch waits for the same pages to be zeroed and handed out again:
    up to a third of backpropagation in bfloat16 (docs/notes/speed.md).
    """
    if sys.platform != "linux":
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:  # another C library
        return False
    trim_threshold, mmap_threshold = -1, -3  # M_TRIM_THRESHOLD and M_MMAP_THRESHOLD of malloc.h; 32 MiB is the most that the second takes
    return bool(mallopt(trim_threshold, KEPT)) and bool(mallopt(mmap_threshold, 32 * 2**20))


def describe(device: torch.device) -> str:
    """Return the device in words, for provenance: its kind, model and (on a CPU) the number of threads in use."""
    if device.type == "cuda":
        return f"cuda: {torch.cuda.get_device_name(device)}"
    return f"{device.type}: {torch.get_num_threads()} threads"


def peak_memory_gb() -> float | None:
    """Return the largest resident memory of this process so far, GB; None where the system does not say."""
    try:
        import resource
    except ImportError:
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return round(peak / (1e9 if sys.platform == "darwin" else 1e6 / 1.024), 3)


def versions() -> dict[str, str]:
    """Return the versions that may change a result, for provenance."""
    found = {"python": platform.python_version()}
    for name in ("wakesleep", "torch", "numpy", "scipy", "scikit-learn", "safetensors"):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "not installed"
    return found
