"""Every backend that this machine can run, each with kernels taken for tensors of any size, and
tensors of every layout.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache
from importlib.util import find_spec

import numpy
import pytest
import torch
from torch import Tensor

from wakesleep.compute import cpu, cpu_kernels, cuda
from wakesleep.compute.cpu import CPU
from wakesleep.compute.cuda import CUDA
from wakesleep.compute.fused import Fused
from wakesleep.compute.ops import Operations
from wakesleep.compute.reference import Reference
from wakesleep.foundation.rng import generator

NAMES = (
    "reference",
    "fused",
    "fused, unfused step",
    "cpu",
    "cpu, oneDNN",
    "cpu, kernels",
    "cpu, AMX",
    "cuda, interpreted",
    "cuda",
)
FLOATS = (torch.float32, torch.float64, torch.bfloat16)
CPU_KERNELS = ("weight_update", "bias_update", "bernoulli", "gather", "amx_layer", "amx_update")
TRITON_KERNELS = ("layer", "weight_update", "bias_update", "gather", "log_partition_delta")
STEP = 2.0**-8
"""The most that rounding to bfloat16 changes a number by, relatively."""


@dataclass
class Backend:
    """A backend under test, where its tensors lie, and how often each kernel was asked for."""

    name: str
    ops: Operations
    device: str = "cpu"
    asked: Counter[str] = field(default_factory=Counter)

    def tolerance(self, dtype: torch.dtype, sums: int = 1) -> dict[str, float]:
        """Return how far results may be from those in float64 for sums of that many numbers of size
        1.
        """
        if dtype == torch.float64:
            return {"rtol": 1e-12, "atol": 1e-12 * sums}
        if dtype == torch.bfloat16:
            return {"rtol": 2 * STEP, "atol": 2 * STEP + 1e-6 * sums}
        near = 3e-3 if self.name == "cuda" else 2e-6  # TF32
        return {"rtol": max(near, 1e-5), "atol": near * max(sums, 5)}


def release(version: str) -> tuple[int, ...]:
    """Return (major, minor)."""
    return tuple(map(int, version.split(".")[:2]))


def why_not(name: str) -> str:
    """Return why a backend cannot run here; nothing where it can."""
    if name == "cpu, oneDNN" and not (
        torch.backends.mkldnn.is_available() and hasattr(torch.ops.mkldnn, "_linear_pointwise")
    ):
        return "this PyTorch has no oneDNN"
    if name in ("cpu, kernels", "cpu, AMX") and not cpu_kernels.are_built():
        return "no C compiler that knows OpenMP"
    if name == "cpu, AMX" and not cpu_kernels.amx_is_there():
        return "no AMX"
    if name == "cuda" and not torch.cuda.is_available():
        return "no device"
    if name == "cuda, interpreted":
        if torch.cuda.is_available():
            return "there is a device"
        if find_spec("triton") is None:
            return "Triton is not installed"
        import triton

        if release(triton.__version__) < (3, 7) and release(numpy.__version__) >= (2, 4):
            return "the interpreter of Triton before 3.7 needs NumPy below 2.4"
    return ""


def made(name: str, patch: pytest.MonkeyPatch) -> Backend:
    """Return a backend whose kernels serve tensors of any size, while `patch` lasts."""
    if reason := why_not(name):
        pytest.skip(reason)
    if name == "reference":
        return Backend(name, Reference("cpu"))
    if name.startswith("fused"):
        if name != "fused":
            for private in ("_fused_sgd_", "_foreach_copy_"):
                patch.delattr(torch, private)
        return Backend(name, Fused("cpu"))
    if name.startswith("cpu"):
        return _cpu(name, patch)
    return _cuda(name, patch)


def _cpu(name: str, patch: pytest.MonkeyPatch) -> Backend:
    backend = Backend(name, CPU(kernels=name in ("cpu, kernels", "cpu, AMX")))
    for least in ("MIN_PRODUCT", "MIN_UNITS", "MIN_KERNEL"):
        patch.setattr(cpu, least, 1)
    patch.setattr(cpu, "onednn_pays", lambda: name == "cpu, oneDNN")
    patch.setattr(cpu_kernels, "amx_is_there", lambda: name == "cpu, AMX")
    count(backend, patch, cpu_kernels, CPU_KERNELS)
    return backend


def _cuda(name: str, patch: pytest.MonkeyPatch) -> Backend:
    from wakesleep.compute import triton_kernels

    backend = Backend(name, CUDA(kernels=True), "cuda" if name == "cuda" else "cpu")
    backend.ops.tf32 = True  # type: ignore[attr-defined]
    count(backend, patch, triton_kernels, TRITON_KERNELS)
    if name == "cuda, interpreted":
        patch.setattr(cuda, "kernels_work", lambda: True)
        real = CUDA._kernels_support

        # the interpreter multiplies no bfloat16
        def supports(self: CUDA, first: Tensor, *more: Tensor) -> bool:
            return not (more and first.dtype == torch.bfloat16) and real(self, first, *more)

        patch.setattr(CUDA, "_kernels_support", supports)
    return backend


def count(
    backend: Backend, patch: pytest.MonkeyPatch, module: object, names: tuple[str, ...]
) -> None:
    """Count what a module of kernels is asked for."""
    for name in names:
        real = getattr(module, name)

        def counted(
            *given: object, name: str = name, real: object = real, **more: object
        ) -> object:
            backend.asked[name] += 1
            return real(*given, **more)  # type: ignore[operator]

        patch.setattr(module, name, counted)


LAYOUTS = ("rows", "columns", "slice", "gaps")
"""Rows in order; columns in order; part of a wider matrix; every second number of one."""


def some(
    *shape: int,
    seed: int = 0,
    dtype: torch.dtype = torch.float32,
    layout: str = "rows",
    device: str = "cpu",
    scale: float = 1.0,
) -> Tensor:
    """Return normal numbers of a shape, the same ones in every layout."""
    return laid(normal(shape, seed).mul(scale).to(device, dtype), layout)


@cache
def normal(shape: tuple[int, ...], seed: int) -> Tensor:
    """Return normal numbers that nobody may change."""
    return torch.randn(shape, generator=generator(seed))


def laid(values: Tensor, layout: str) -> Tensor:
    """Return the values in a layout, with nothing but 7 around them."""
    if layout == "columns":
        return values.t().contiguous().t()
    if layout == "rows":
        around = values.new_full((values.numel() + 64,), 7.0)
        inside = around[32 : 32 + values.numel()].view(values.shape)
    else:
        *rows, columns = values.shape
        wide = values.new_full((*rows, 2 * columns + 9), 7.0)
        inside = (
            wide[..., 3 : columns + 3] if layout == "slice" else wide[..., 1 : 2 * columns + 1 : 2]
        )
    return inside.copy_(values)


def around(values: Tensor) -> Tensor:
    """Return the memory that a tensor of `laid` is part of."""
    return values if values._base is None else values._base


def is_untouched_around(values: Tensor) -> bool:
    """Return whether all memory around a tensor of `laid` holds 7 still; the values become 7 by
    asking.
    """
    base = around(values)
    values.fill_(7.0)
    return bool((base == 7.0).all())


def terms_as(terms: list, dtype: torch.dtype) -> list:
    """Return terms of a gradient in another type."""
    return [
        term._replace(
            **{
                name: value.to(dtype)
                for name, value in term._asdict().items()
                if isinstance(value, Tensor)
            }
        )
        for term in terms
    ]


def layouts(backend: Backend) -> Iterator[tuple[str, str]]:
    """Yield pairs of layouts: all of them, or two where each takes long."""
    for one in LAYOUTS:
        for other in LAYOUTS:
            if backend.name != "cuda, interpreted" or (one, other) in (
                ("rows", "columns"),
                ("gaps", "slice"),
            ):
                yield one, other
