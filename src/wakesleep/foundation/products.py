"""Large products on a processor, by whoever is the fastest at them there.

PyTorch multiplies float32 matrices by the library it was built with, MKL mostly, which leaves half of the vector units of some processors
idle; oneDNN, which it carries for bfloat16, does not. `foundation.select` says which to take. bfloat16 matrices go through `tiles` where the
processor has such. Everything else (GPUs, small products, whatever is to be differentiated) goes PyTorch's own way; but for the minibatches
of a GPU, which `kernels` serves.
"""

from __future__ import annotations

import warnings
from functools import cache
from importlib.util import find_spec

import torch
from torch import Tensor

from wakesleep.foundation import native, select, tiles
from wakesleep.foundation.errors import DataError

MANY = 2**20
"""Multiplications from which on a product is worth asking."""


def affine(states: Tensor, weight: Tensor, bias: Tensor, out: Tensor | None = None) -> Tensor:
    """Return states W + b, (n, to), for states (n, from), weight (from, to) and bias (to,); written to `out` where given.

    Raises:
        DataError: states of another shape, type or device than the weights ask for.
    """
    try:
        if suits_onednn(states, weight, bias):
            product = by_onednn(states, weight, bias)
            return product if out is None else out.copy_(product)
        if tiles.suit(states, weight, bias, out):
            return tiles.product(states, weight, bias, out)
        return torch.addmm(bias, states, weight, out=out)
    except UNFIT:
        require_fit(states, weight)
        raise


UNFIT = (RuntimeError, TypeError, AttributeError, IndexError)
"""What PyTorch raises when it is given tensors that do not fit each other; looked at then alone, so that good ones cost nothing."""


def require_fit(states: object, weight: Tensor) -> None:
    """Raise DataError unless states are (n, from), of the type and on the device of weight (from, to)."""
    if not isinstance(states, Tensor):
        raise DataError(
            f"states of type {type(states).__name__} came; expected a tensor (N, {weight.shape[0]}): torch.as_tensor(states, "
            f"dtype={weight.dtype})"
        )
    if states.ndim != 2 or states.shape[1] != weight.shape[0]:
        raise DataError(f"states of shape {tuple(states.shape)} came to {weight.shape[0]} units; expected (N, {weight.shape[0]}), a row a case")
    if states.device != weight.device:
        raise DataError(f"states on {states.device} came to a model on {weight.device}; move them: states.to({str(weight.device)!r})")
    if states.dtype != weight.dtype:
        raise DataError(f"states of {states.dtype} came to a model of {weight.dtype}; expected one type: states.to({weight.dtype})")


def correlation(left: Tensor, right: Tensor) -> Tensor:
    """Return left'right, (l, r), for as many rows of left (n, l) as of right (n, r)."""
    if suits_onednn(left, right):
        return by_onednn(left.t(), right)
    if tiles.suit(left.t(), right):
        return tiles.product(left.t(), right)
    return left.t() @ right


def by_onednn(left: Tensor, right: Tensor, bias: Tensor | None = None) -> Tensor:
    """Return the product of (n, m) and (m, k) and a bias (k,), (n, k), formed by oneDNN: a new matrix, and nothing to differentiate."""
    product: Tensor = torch.ops.mkldnn._linear_pointwise(left, right.t(), bias, "none", [], "")
    return product


def suits_onednn(one: Tensor, other: Tensor, *more: Tensor) -> bool:
    """Return whether oneDNN is to form the product of (n, m) and (m, k), or of (m, n)' and (m, k); `more` is what is added to it."""
    return (
        one.dtype == torch.float32
        and one.device.type == "cpu"
        and one.ndim == 2
        and one.numel() * other.numel() >= MANY * other.shape[0]
        and not (torch.is_grad_enabled() and any(tensor.requires_grad for tensor in (one, other, *more)))
        and onednn_serves()
    )


@cache
def onednn_serves() -> bool:
    """Return whether oneDNN forms large float32 products here: this build of PyTorch offers it, and the processor gains by it."""
    there = torch.backends.mkldnn.is_available() and hasattr(torch.ops.mkldnn, "_linear_pointwise")  # type: ignore[no-untyped-call,unused-ignore]
    return there and select.backend() != "reference" and select.onednn_pays()


tensor_cores = False
"""Whether float32 products may be made of TF32 numbers now; `precision.tensor_cores` says when."""
MINIBATCH = 1024
"""Rows up to which a minibatch leaves a GPU so idle that kernels of ours are the faster ones; large products are better left to its library."""


def suit_kernels(first: Tensor, *more: Tensor) -> bool:
    """Return whether `kernels` serves a minibatch of these: matrices of one type on a GPU, few rows, products that may be coarse."""
    return (
        native.by_hand
        and first.is_cuda
        and (first.dtype == torch.bfloat16 or (first.dtype == torch.float32 and tensor_cores))
        and all(tensor.dtype == first.dtype for tensor in more)
        and first.ndim == 2
        and len(first) <= MINIBATCH
        and _kernels_work()
    )


@cache
def _kernels_work() -> bool:
    """Return whether kernels of ours can be built here: Triton is there, and what it needs, a C compiler and a GPU that is not too old."""
    if find_spec("triton") is None:
        return False
    try:
        from wakesleep.foundation import kernels

        bias, increment = torch.zeros(2, 1, device="cuda")
        kernels.lean(bias, increment, torch.zeros(1, 1, device="cuda"), momentum=0.0, factor=0.0)
    except Exception as error:  # whatever it is, the plain way does the same
        reason = (str(error).splitlines() or [""])[0]
        warnings.warn(f"kernels by hand cannot be built here ({type(error).__name__}: {reason}); PyTorch's do the work", stacklevel=2)
        return False
    return True
