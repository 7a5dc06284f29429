"""Devices and threads, chosen in one place."""

from __future__ import annotations

import sys

import torch

from wakesleep.foundation.errors import ConfigError


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
