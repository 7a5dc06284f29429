"""Triton kernels for a GPU, where PyTorch's are many and small: a layer given the layer below, and
an update of a weight.

A minibatch of the paper's net occupies a GPU for a few microseconds a product; each further kernel
(a bias, a sigmoid, random numbers, a comparison) costs as much again. Here all of that is done
where the product is, before it leaves the chip. PyTorch's builds for CUDA carry Triton; only
`cuda.py` imports this file, and `reference.py` says what each kernel mean.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor


@triton.jit  # type: ignore[untyped-decorator,unused-ignore]
def _product(  # type: ignore[no-untyped-def]
    left, right, row, column, rows, inner, columns, left_row, left_inner, right_inner, right_column,
    ROWS: tl.constexpr, COLUMNS: tl.constexpr, INNER: tl.constexpr,
):  # fmt: skip
    """Return rows `row` (ROWS, 1), columns `column` (1, COLUMNS) of left right, for (rows, inner)
    and (inner, columns) however they lie.
    """
    total = tl.zeros((ROWS, COLUMNS), tl.float32)
    for start in range(0, inner, INNER):
        across = start + tl.arange(0, INNER)[None, :]
        down = start + tl.arange(0, INNER)[:, None]
        one = tl.load(
            left + row * left_row + across * left_inner,
            mask=(row < rows) & (across < inner),
            other=0.0,
        )
        other = tl.load(
            right + down * right_inner + column * right_column,
            mask=(down < inner) & (column < columns),
            other=0.0,
        )
        total = tl.dot(one, other, total, input_precision="tf32")
    return total


@triton.jit  # type: ignore[untyped-decorator,unused-ignore]
def _layer(  # type: ignore[no-untyped-def]
    states, weight, bias, mean, sample, seed, cases, below, above, n_sigmoid,
    states_row, states_column, weight_row, weight_column, mean_row, mean_column,
    sample_row, sample_column, KEEP: tl.constexpr, DRAW: tl.constexpr,
    ROWS: tl.constexpr, COLUMNS: tl.constexpr, INNER: tl.constexpr,
):  # fmt: skip
    row = tl.program_id(0) * ROWS + tl.arange(0, ROWS)[:, None]
    column = tl.program_id(1) * COLUMNS + tl.arange(0, COLUMNS)[None, :]
    total = _product(
        states,
        weight,
        row,
        column,
        cases,
        below,
        above,
        states_row,
        states_column,
        weight_row,
        weight_column,
        ROWS,
        COLUMNS,
        INNER,
    )
    total += tl.load(bias + column, mask=column < above, other=0.0).to(tl.float32)
    probability, inside = tl.sigmoid(total), (row < cases) & (column < above)
    if KEEP:
        tl.store(
            mean + row * mean_row + column * mean_column,
            tl.where(column < n_sigmoid, probability, total),
            mask=inside,
        )
    if DRAW:
        uniform = tl.rand(tl.load(seed), row * above + column)
        states_now = tl.where(uniform < probability, 1.0, 0.0)
        tl.store(
            sample + row * sample_row + column * sample_column,
            tl.where(column < n_sigmoid, states_now, total),
            mask=inside,
        )


def layer(
    states: Tensor,
    weight: Tensor,
    bias: Tensor,
    n_sigmoid: int,
    mean: Tensor | None = None,
    sample: Tensor | None = None,
    rng: torch.Generator | None = None,
) -> None:
    """Write sigm(states W + b), (n, to), to `mean`, and states drawn with these probabilities to
    `sample`, (n, to); either may be None.

    Columns from `n_sigmoid` on get their input, s W + b, in both. `states` are (n, from), W is
    (from, to), b (to,), all of float32 (the product is of TF32 then) or all of bfloat16. Random
    numbers are Philox', counted from a word that `rng` draws.
    """
    (cases, below), above = states.shape, weight.shape[1]
    one = sample if mean is None else mean
    assert one is not None
    other = one if sample is None else sample
    seed = torch.empty(1, dtype=torch.int64, device=states.device)
    if sample is not None:
        seed.random_(generator=rng)
    rows, columns, inner = 16, 32, 128
    _layer[triton.cdiv(cases, rows), triton.cdiv(above, columns)](
        states, weight, bias, one, other, seed, cases, below, above, n_sigmoid,
        *states.stride(), *weight.stride(), *one.stride(), *other.stride(),
        KEEP=mean is not None, DRAW=sample is not None, ROWS=rows, COLUMNS=columns, INNER=inner,
        num_warps=4, num_stages=3,
    )  # fmt: skip


@triton.jit  # type: ignore[untyped-decorator,unused-ignore]
def _weight_update(  # type: ignore[no-untyped-def]
    weight, velocity, left, right, cases, below, above, momentum, factor, decayed,
    weight_row, weight_column, left_row, left_column, right_row, right_column,
    ROWS: tl.constexpr, COLUMNS: tl.constexpr, INNER: tl.constexpr,
):  # fmt: skip
    row = tl.program_id(0) * ROWS + tl.arange(0, ROWS)[:, None]
    column = tl.program_id(1) * COLUMNS + tl.arange(0, COLUMNS)[None, :]
    product = _product(
        left,
        right,
        row,
        column,
        below,
        cases,
        above,
        left_column,
        left_row,
        right_row,
        right_column,
        ROWS,
        COLUMNS,
        INNER,
    )
    offset, inside = row * weight_row + column * weight_column, (row < below) & (column < above)
    now = tl.load(weight + offset, mask=inside)
    change = momentum * tl.load(velocity + offset, mask=inside) + factor * product - decayed * now
    tl.store(velocity + offset, change, mask=inside)
    tl.store(weight + offset, now + change, mask=inside)


def weight_update(
    weight: Tensor,
    velocity: Tensor,
    left: Tensor,
    right: Tensor,
    *,
    momentum: float,
    factor: float,
    decayed: float,
) -> None:
    """Move both, in place: v <- momentum v + factor left'right - decayed W, W <- W + v, for left
    (n, from) and right (n, to).

    W (from, to) and its velocity are float32 and laid out alike; left and right are both float32
    (multiplied as TF32) or both bfloat16.
    """
    (cases, below), above = left.shape, right.shape[1]
    rows, columns, inner = 32, 128, 32
    _weight_update[triton.cdiv(below, rows), triton.cdiv(above, columns)](
        weight, velocity, left, right, cases, below, above, momentum, factor, decayed,
        *weight.stride(), *left.stride(), *right.stride(),
        ROWS=rows, COLUMNS=columns, INNER=inner,
        num_warps=4, num_stages=3,
    )  # fmt: skip


@triton.jit  # type: ignore[untyped-decorator,unused-ignore]
def _bias_update(  # type: ignore[no-untyped-def]
    bias, velocity, rows, count, units, rows_row, rows_column, momentum, factor,
    COLUMNS: tl.constexpr, INNER: tl.constexpr
):  # fmt: skip
    column = tl.program_id(0) * COLUMNS + tl.arange(0, COLUMNS)
    total = tl.zeros((COLUMNS,), tl.float32)
    for start in range(0, count, INNER):
        down = start + tl.arange(0, INNER)[:, None]
        tile = tl.load(
            rows + down * rows_row + column[None, :] * rows_column,
            mask=(down < count) & (column[None, :] < units),
            other=0.0,
        )
        total += tl.sum(tile.to(tl.float32), 0)
    change = momentum * tl.load(velocity + column, mask=column < units) + factor * total
    tl.store(velocity + column, change, mask=column < units)
    tl.store(
        bias + column, tl.load(bias + column, mask=column < units) + change, mask=column < units
    )


def bias_update(
    bias: Tensor, velocity: Tensor, rows: Tensor, *, momentum: float, factor: float
) -> None:
    """Move both, in place: v <- momentum v + factor times the sum of `rows` (n, units), b <- b + v;
    b and v (units,) are float32.
    """
    count, units = rows.shape
    columns, inner = 16, 128
    _bias_update[(triton.cdiv(units, columns),)](
        bias,
        velocity,
        rows,
        count,
        units,
        *rows.stride(),
        momentum,
        factor,
        COLUMNS=columns,
        INNER=inner,
        num_warps=4,
    )


@triton.jit  # type: ignore[untyped-decorator,unused-ignore]
def _gather(cases, index, out, columns, cases_row, out_row, COLUMNS: tl.constexpr):  # type: ignore[no-untyped-def]
    row = tl.program_id(0)
    column = tl.program_id(1) * COLUMNS + tl.arange(0, COLUMNS)
    case = tl.load(index + row)
    value = (
        tl.load(cases + case * cases_row + column, mask=column < columns, other=0).to(tl.float32)
        / 255.0
    )
    tl.store(out + row * out_row + column, value, mask=column < columns)


def gather(cases: Tensor, index: Tensor, out: Tensor) -> None:
    """Write rows `index` (n,) int64 of the pixels `cases` (N, D) uint8, as probabilities, to `out`
    (n, D); both contiguous along a row.
    """
    columns = cases.shape[1]
    _gather[len(index), triton.cdiv(columns, 1024)](
        cases, index, out, columns, cases.stride(0), out.stride(0), COLUMNS=1024, num_warps=4
    )


@triton.jit  # type: ignore[untyped-decorator,unused-ignore]
def _log_partition_delta(  # type: ignore[no-untyped-def]
    total_input, shifts, out, rows, size, total_input_row, total_input_column, shifts_row,
    shifts_column, out_row, ROWS: tl.constexpr, COLUMNS: tl.constexpr
):  # fmt: skip
    case = tl.program_id(0)
    row = tl.program_id(1) * ROWS + tl.arange(0, ROWS)
    total = tl.zeros((ROWS,), tl.float32)
    for start in range(0, size, COLUMNS):
        column = start + tl.arange(0, COLUMNS)
        inside = column < size
        x = tl.load(
            total_input + case * total_input_row + column * total_input_column,
            mask=inside,
            other=0.0,
        )[None, :]
        offset = shifts + row[:, None] * shifts_row + column[None, :] * shifts_column
        moved = x + tl.load(offset, mask=(row[:, None] < rows) & inside[None, :], other=0.0).to(
            tl.float32
        )
        now = tl.maximum(x, 0.0) + tl.log(1.0 + tl.exp(-tl.abs(x)))
        then = tl.maximum(moved, 0.0) + tl.log(1.0 + tl.exp(-tl.abs(moved)))
        total += tl.sum(tl.where(inside[None, :], then - now, 0.0), 1)
    tl.store(out + case * out_row + row, total, mask=row < rows)


def log_partition_delta(total_input: Tensor, rows: Tensor) -> Tensor:
    """Return sum_j softplus(x_j + w_j) - softplus(x_j), (N, R), for each row x of `total_input` (N,
    size) float32 and w of `rows` (R, size).
    """
    (cases, size), count = total_input.shape, len(rows)
    out = torch.empty(cases, count, dtype=torch.float32, device=total_input.device)
    each = 4
    _log_partition_delta[cases, triton.cdiv(count, each)](
        total_input,
        rows,
        out,
        count,
        size,
        *total_input.stride(),
        *rows.stride(),
        out.stride(0),
        ROWS=each,
        COLUMNS=512,
        num_warps=4,
    )
    return out
