"""Products of bfloat16 matrices on a processor that multiplies tiles (Intel's AMX), with what learning makes of them: `tiles.c` from Python.

`native` builds both. Each function has a plain way beside its call that says what it means; results are rounded from float32 sums, as
PyTorch's are, which adds them up in another order.
"""

from __future__ import annotations

from functools import cache

import torch
from torch import Tensor

from wakesleep.foundation import native

MANY = 2**20
"""Multiplications from which on a product is worth asking."""


def suit(left: Tensor, right: Tensor, *more: Tensor | None) -> bool:
    """Return whether products of these are to be made here, left right or left'right: bfloat16 matrices on a processor, and many numbers.

    `more` is what else takes part in bfloat16: a bias, or where the product goes.
    """
    return (
        left.dtype == right.dtype == torch.bfloat16
        and left.is_cpu
        and left.ndim == right.ndim == 2
        and left.numel() * right.shape[1] >= MANY
        and native.serves()
        and are_there()
        and 1 in left.stride()
        and 1 in right.stride()
        and all(each is None or (each.dtype == left.dtype and each.stride(-1) == 1) for each in more)
        and not (torch.is_grad_enabled() and any(each is not None and each.requires_grad for each in (left, right, *more)))
    )


def layer(states: Tensor, weight: Tensor, bias: Tensor | None, squashed: int, means: Tensor) -> None:
    """Write states W + b to `means` (n, to), the first `squashed` columns as sigm(states W + b).

    All are bfloat16: states (n, from), W (from, to), b (to,) or none.
    """
    short = native.library().layer(
        *_place(states), *_place(weight), None if bias is None else bias.data_ptr(), means.data_ptr(), means.stride(0),
        *states.shape, weight.shape[1], squashed, torch.get_num_threads(),
    )  # fmt: skip
    if short:
        raise MemoryError(f"a product of {tuple(states.shape)} and {tuple(weight.shape)} found no memory to lay them out in")


def product(left: Tensor, right: Tensor, bias: Tensor | None = None, out: Tensor | None = None) -> Tensor:
    """Return left right and, where given, a bias, (n, to); written to `out` where given."""
    total = left.new_empty(len(left), right.shape[1]) if out is None else out
    layer(left, right, bias, 0, total)
    return total


def learn(
    weight: Tensor, increment: Tensor | None, twin: Tensor, left: Tensor, right: Tensor, *, momentum: float, factor: float, decayed: float
) -> None:
    """Move all three, in place: i <- momentum i + factor left'right - decayed W, W <- W + i, twin <- W.

    W and i (from, to) are float32, the twin, left (n, from) and right (n, to) bfloat16. Without an increment, W <- W + factor left'right -
    decayed W.
    """
    short = native.library().learn(
        weight.data_ptr(), None if increment is None else increment.data_ptr(), twin.data_ptr(), left.data_ptr(), left.stride(0),
        right.data_ptr(), right.stride(0), len(left), *weight.shape, momentum, factor, decayed, torch.get_num_threads(),
    )  # fmt: skip
    if short:
        raise MemoryError(f"a product of {tuple(left.t().shape)} and {tuple(right.shape)} found no memory to lay them out in")


def _place(matrix: Tensor) -> tuple[int, int, bool]:
    """Return where a matrix lies, the distance of its rows, and whether it is its columns that lie in order."""
    turned = matrix.stride(1) != 1
    return matrix.data_ptr(), matrix.stride(1 if turned else 0), turned


@cache
def are_there() -> bool:
    """Return whether this processor multiplies tiles, and the system lets it. `native.serves()` has said yes."""
    return bool(native.library().tiles_ready())
