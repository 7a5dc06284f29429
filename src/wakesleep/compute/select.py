"""What the machine is, and what follows from it: device, backend, precision, and which library
multiplies.

Nothing here measures time: the same command, seed and machine give the same bits, whatever else the
machine is doing.
"""

from __future__ import annotations

import os
import platform
from functools import cache
from pathlib import Path
from typing import NamedTuple, get_args

import torch

from wakesleep.foundation.errors import ConfigError
from wakesleep.foundation.options import Backend

BACKENDS: tuple[str, ...] = get_args(Backend)
"""auto: compiled kernels and the faster libraries where the machine has them; torch: what PyTorch
brings, nothing is compiled; reference: the formulas in plain PyTorch.
"""
VARIABLE = "WAKESLEEP_BACKEND"
PRECISIONS = ("auto", "float32", "bfloat16")


class Processor(NamedTuple):
    """Vendor and instruction sets of the processor, by the names that Linux gives them; empty where
    the system does not say.
    """

    vendor: str
    flags: frozenset[str]


@cache
def processor() -> Processor:
    """Return what this machine's processor is."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return Processor("", frozenset())
    fields = {
        name.strip(): value.strip() for name, _, value in (line.partition(":") for line in lines)
    }
    return Processor(
        fields.get("vendor_id", ""),
        frozenset(fields.get("flags", fields.get("Features", "")).split()),
    )


def backend() -> str:
    """Return the backend in use: the one that was set, else what the variable WAKESLEEP_BACKEND
    asks for, "auto" by default.

    Raises:
        ConfigError: an unknown name.
    """
    if _chosen:
        return _chosen[0]
    name = os.environ.get(VARIABLE) or "auto"
    if name not in BACKENDS:
        raise ConfigError(f"{VARIABLE}={name}: expected one of {', '.join(BACKENDS)}")
    return name


def set_backend(name: str | None) -> None:
    """Take this backend from now on, with None what the variable asks for; `ops.use_backend` is
    what to call.

    Raises:
        ConfigError: an unknown name.
    """
    if name is not None and name not in BACKENDS:
        raise ConfigError(f"backend {name!r}: expected one of {', '.join(BACKENDS)}")
    _chosen[:] = [] if name is None else [name]


def chosen_backend() -> str | None:
    """Return the backend that was set in this process; None where the variable decides."""
    return _chosen[0] if _chosen else None


def recorded_backend(described: str) -> str | None:
    """Return the backend in what `describe` once said; None where it names none."""
    name = described.partition(";")[0]
    return name if name in BACKENDS else None


_chosen: list[str] = []


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
        raise ConfigError(
            f"device {name!r} cannot be used ({reason}); expected 'auto', 'cpu', 'cuda' or 'cuda:0'"
        ) from error
    return device


def pick_precision(name: str, device: torch.device) -> torch.dtype:
    """Return the type for products on `device`; "auto" takes bfloat16 on processors where it is
    clearly faster.

    A GPU makes float32 products of TF32 numbers while a net learns, and what stands around them
    takes longer in bfloat16 (docs/notes/gpu.md).

    Raises:
        ConfigError: an unknown name.
    """
    if name not in PRECISIONS:
        raise ConfigError(f"precision {name!r}: expected one of {', '.join(PRECISIONS)}")
    if name == "auto":
        return torch.bfloat16 if device.type == "cpu" and bfloat16_pays() else torch.float32
    return torch.float32 if name == "float32" else torch.bfloat16


def bfloat16_pays() -> bool:
    """Return whether products of minibatches are clearly faster in bfloat16 than in float32 on this
    processor.

    Measured: AMD with avx512_bf16, 1.5 (contrastive wake-sleep) to 2.4 times (backpropagation);
    Intel with amx_bf16, 1.5 times by oneDNN alone and 2.4 times by our tiles; Intel with
    avx512_bf16 and no AMX, no gain.
    """
    vendor, flags = processor()
    return "amx_bf16" in flags or (vendor == "AuthenticAMD" and "avx512_bf16" in flags)


def onednn_pays() -> bool:
    """Return whether oneDNN multiplies float32 matrices clearly faster than MKL on this processor.

    MKL leaves half of the vector units of AMD's processors with AVX-512 idle: oneDNN is 2.2 times
    as fast there. On Intel's MKL is faster.
    """
    vendor, flags = processor()
    return vendor == "AuthenticAMD" and "avx512f" in flags


def describe() -> str:
    """Return in words what was chosen, for provenance: the backend and the instruction sets it
    follows from.
    """
    vendor, flags = processor()
    sets = [
        name
        for name in ("amx_bf16", "avx512_bf16", "avx512f", "avx2", "neon", "asimd")
        if name in flags
    ]
    return f"{backend()}; {vendor or platform.machine()} {' '.join(sets)}".strip()
