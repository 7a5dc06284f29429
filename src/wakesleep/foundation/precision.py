"""Reduced precision: products of states in bfloat16 where the processor is fast at them, master weights in float32.

On a GPU, float32 products may be made of numbers with ten bits behind the point (TF32) while a net learns.

States are bits and probabilities carry sampling noise far above bfloat16's eight bits, so products may be coarse as long as the small
changes of the weights add up somewhere fine. A loop keeps a coarse twin of the net for its products and refreshes it after each update.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from copy import deepcopy
from functools import cache
from typing import TypeVar

import torch
from torch import Tensor, nn

from wakesleep.foundation import products, select
from wakesleep.foundation.errors import ConfigError
from wakesleep.foundation.products import affine

Net = TypeVar("Net", bound=nn.Module)
NAMES = ("auto", "float32", "bfloat16")


def pick_precision(name: str, device: torch.device) -> torch.dtype:
    """Return the type for products on `device`; "auto" takes bfloat16 on processors where it is clearly faster (`foundation.select`).

    A GPU makes float32 products of TF32 numbers while a net learns, and what stands around them takes longer in bfloat16 (docs/notes/gpu.md).

    Raises:
        ConfigError: an unknown name.
    """
    if name not in NAMES:
        raise ConfigError(f"precision {name!r}: expected one of {', '.join(NAMES)}")
    if name == "auto" and device.type == "cuda":
        return torch.float32
    if name == "auto":
        return torch.bfloat16 if device.type == "cpu" and select.bfloat16_pays() else torch.float32
    return torch.float32 if name == "float32" else torch.bfloat16


@cache
def product_rate(device: str, dtype: torch.dtype) -> float:
    """Return how many multiplications a second a product of one minibatch (100 x 784 x 500) makes, the best of several."""
    cases, weight = torch.ones(100, 784, dtype=dtype, device=device), torch.ones(784, 500, dtype=dtype, device=device)
    return 100 * 784 * 500 / min(_seconds(cases, weight) for _ in range(20))


def _seconds(cases: Tensor, weight: Tensor) -> float:
    began = time.perf_counter()
    product = affine(cases, weight, weight[0])
    if product.is_cuda:
        torch.cuda.synchronize(product.device)
    return time.perf_counter() - began


@contextmanager
def tensor_cores(device: torch.device) -> Iterator[None]:
    """Let float32 products on a GPU go through its tensor cores (TF32) meanwhile: for learning, not for likelihoods; a CPU is left alone.

    The setting holds for the whole process. A program that chose by PyTorch's newer `fp32_precision` keeps what it chose.
    """
    matmul, before = torch.backends.cuda.matmul, None
    if device.type == "cuda":
        with warnings.catch_warnings():  # some releases call this way of saying it old, and the new one does not reach all their products
            warnings.simplefilter("ignore")
            with suppress(RuntimeError):
                before, matmul.allow_tf32 = matmul.allow_tf32, True
    allowed, products.tensor_cores = products.tensor_cores, before is not None
    try:
        yield
    finally:
        products.tensor_cores = allowed
        if before is not None:
            matmul.allow_tf32 = before


def twin(net: Net, dtype: torch.dtype | None) -> Net:
    """Return a copy of `net` in `dtype` for products, or `net` itself where it is of that type already or none is asked for."""
    same = dtype is None or all(parameter.dtype == dtype for parameter in net.parameters())
    return net if same else deepcopy(net).to(dtype)


def refresh(coarse: nn.Module, net: nn.Module) -> None:
    """Copy the weights of `net` into its twin."""
    if coarse is not net:
        torch._foreach_copy_(list(coarse.parameters()), list(net.parameters()))


def fine(dtype: torch.dtype) -> torch.dtype:
    """Return the type to sum numbers of `dtype` in: float32 or better."""
    return torch.promote_types(dtype, torch.float32)
