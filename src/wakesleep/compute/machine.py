"""The machine in words and numbers, for provenance and for estimates of time; nothing is chosen by
what is measured here.
"""

from __future__ import annotations

import platform
import re
import sys
import time
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import torch

from wakesleep.compute import ops


def describe(device: torch.device) -> str:
    """Return the device in words, for provenance: its kind, model and (on a CPU) the number of
    threads in use.
    """
    if device.type == "cuda":
        return f"cuda: {torch.cuda.get_device_name(device)}"
    return f"{device.type}: {torch.get_num_threads()} threads"


def processor_name() -> str:
    """Return the processor's name where the system tells it, and its vector instructions: one name
    covers processors far apart in speed.
    """
    try:
        match = re.search(
            r"model name\s*:\s*(.*)", Path("/proc/cpuinfo").read_text(encoding="utf-8")
        )
    except OSError:
        match = None
    return f"cpu: {match[1] if match else 'unknown'}, {torch.backends.cpu.get_cpu_capability()}"


def peak_memory_gb() -> float | None:
    """Return the largest resident memory of this process so far, GB; None where the system does not
    say.
    """
    try:
        import resource
    except ImportError:
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return round(peak / (1e9 if sys.platform == "darwin" else 1e6 / 1.024), 3)


def versions() -> dict[str, str]:
    """Return the versions that may change a result, for provenance."""
    installed = {"python": platform.python_version()}
    for name in ("wakesleep", "torch", "numpy", "scipy", "scikit-learn", "safetensors"):
        try:
            installed[name] = version(name)
        except PackageNotFoundError:
            installed[name] = "not installed"
    return installed


@cache
def product_rate(device: str, dtype: torch.dtype) -> float:
    """Return how many multiplications a second a product of one minibatch (100 x 784 x 500) makes,
    the best of several.
    """
    cases, weight = (
        torch.ones(100, 784, dtype=dtype, device=device),
        torch.ones(784, 500, dtype=dtype, device=device),
    )

    def seconds() -> float:
        began = time.perf_counter()
        ops.affine(cases, weight, weight[0])
        ops.of(cases).synchronize()
        return time.perf_counter() - began

    return 100 * 784 * 500 / min(seconds() for _ in range(20))
