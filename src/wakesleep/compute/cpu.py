"""The operations on a processor: oneDNN where it multiplies faster, 16 random bits a unit, and our
C kernels where they pay.

Without a compiler, or with the backend "torch", PyTorch does what the kernels do, to the last bit
except for `momentum_step`.
"""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache

import torch
from torch import Tensor
from torch.nn.functional import softplus

from wakesleep.compute import cpu_kernels, random_bits, select
from wakesleep.compute.fused import Fused
from wakesleep.compute.ops import Product, RowSum, Term, differentiates

MIN_PRODUCT = 2**20
"""Multiplications from which on it pays to ask which library forms a product."""
MIN_ROWS = 64
"""Rows below which forming a product costs less than what it moves, so that it is better added at
once.
"""
MIN_UNITS = 4096
"""Units from which on 16 random bits each are cheaper than a random float: four of them at the
price of one.
"""
MIN_KERNEL = 2**14
"""Numbers from which on a C kernel is asked for: small nets need none, and should not wait for a
compiler.
"""
KEPT = 256 * 2**20
"""Bytes of freed memory that a process which learns may keep for its next minibatch."""
STATES = (torch.float32, torch.bfloat16)


class CPU(Fused):
    """`fused.Fused` on a processor; `kernels` says whether C kernels may be compiled and used."""

    def __init__(self, *, kernels: bool) -> None:
        super().__init__("cpu")
        self.kernels = kernels

    # Products

    def affine(
        self, states: Tensor, weight: Tensor, bias: Tensor, out: Tensor | None = None
    ) -> Tensor:
        """Return states W + b by oneDNN, AMX tiles or PyTorch's default library."""
        if onednn_supports(states, weight, bias):
            product = onednn_product(states, weight, bias)
            return product if out is None else out.copy_(product)
        if self._amx_supports(states, weight, bias, out):
            product = states.new_empty(len(states), weight.shape[1]) if out is None else out
            cpu_kernels.amx_layer(states, weight, bias, 0, product)
            return product
        return super().affine(states, weight, bias, out)

    def gram(self, left: Tensor, right: Tensor) -> Tensor:
        """Return left'right likewise."""
        if onednn_supports(left, right):
            return onednn_product(left.t(), right)
        if self._amx_supports(left.t(), right):
            product = left.new_empty(left.shape[1], right.shape[1])
            cpu_kernels.amx_layer(left.t(), right, None, 0, product)
            return product
        return super().gram(left, right)

    def _bernoulli_mean(
        self, states: Tensor, weight: Tensor, bias: Tensor, n_bernoulli: int, out: Tensor | None
    ) -> Tensor:
        """Form product and sigmoid in one kernel where AMX forms the product."""
        if not self._amx_supports(states, weight, bias, out):
            return super()._bernoulli_mean(states, weight, bias, n_bernoulli, out)
        mean = states.new_empty(len(states), weight.shape[1]) if out is None else out
        cpu_kernels.amx_layer(states, weight, bias, n_bernoulli, mean)
        return mean

    # Units

    def sample_bernoulli(
        self, mean: Tensor, rng: torch.Generator, out: Tensor | None = None
    ) -> Tensor:
        """Draw a float for each of few units, 16 bits for each of many."""
        out = torch.empty_like(mean) if out is None else out
        if mean.dtype not in STATES or (mean.dtype == torch.float32 and mean.numel() < MIN_UNITS):
            return out.uniform_(generator=rng).lt_(mean)
        if self._kernels_support(mean, out):
            begin, offset = random_bits.random_word(rng), random_bits.random_offset(rng)
            cpu_kernels.bernoulli(mean, out, begin, offset)
            return out
        return random_bits.bernoulli_16bit(mean, rng, out)

    def log_partition_delta(self, total_input: Tensor, rows: Tensor) -> Tensor:
        """Return sum_j log(sigm(-x_j) + sigm(x_j) e^w_j), formed as the logarithm of a product.

        Logarithms are dear here: up to 16 units share one, as many as can without leaving float32,
        e^80 for a margin. A row at a time stays in the processor's cache.
        """
        largest = float(rows.abs().max())
        if largest > 80:  # e^w would leave float32
            base = softplus(total_input)
            return torch.stack(
                [
                    (softplus(total_input + row) - base).sum(-1)
                    for row in rows.to(total_input.dtype)
                ],
                -1,
            )
        shared = min(16.0, 80 / max(largest, 1.0))
        off, on = torch.sigmoid(-total_input), torch.sigmoid(total_input)
        product = factors = torch.empty_like(off)
        halves: list[tuple[Tensor, Tensor]] = []
        units = 2
        while units <= shared and product.shape[-1] % 2 == 0:
            product, other = product.chunk(2, -1)
            halves, units = [*halves, (product, other)], 2 * units
        all_rows = total_input.new_empty(len(rows), *product.shape)
        for row, kept in zip(rows.to(off.dtype).exp(), all_rows, strict=True):
            torch.addcmul(off, on, row, out=factors)
            for half, other in halves:
                half.mul_(other)
            kept.copy_(product)
        return all_rows.log_().sum(-1).t()

    # Learning

    def momentum_step(
        self,
        parameter: Tensor,
        velocity: Tensor | None,
        terms: Sequence[Term],
        *,
        rate: float,
        momentum: float,
        decay: float = 0.0,
        copy: Tensor | None = None,
    ) -> None:
        """Move parameter, velocity and copy by one kernel where there is one for a single term."""
        if not (
            len(terms) == 1
            and parameter.dtype == torch.float32
            and self._kernel_step(
                parameter,
                velocity,
                terms[0],
                momentum=momentum,
                factor=rate * terms[0].scale,
                decayed=rate * decay,
                copy=copy,
            )
        ):
            super().momentum_step(
                parameter, velocity, terms, rate=rate, momentum=momentum, decay=decay, copy=copy
            )

    def _kernel_step(
        self,
        parameter: Tensor,
        velocity: Tensor | None,
        term: Term,
        *,
        momentum: float,
        factor: float,
        decayed: float,
        copy: Tensor | None,
    ) -> bool:
        """Let one kernel move all that is to be moved; return whether it did."""
        if isinstance(term, Product) and copy is not None:
            how = {"momentum": momentum, "factor": factor, "decayed": decayed}
            return self._amx_step(parameter, velocity, term, copy, **how) or (
                velocity is not None and self._weight_step(parameter, velocity, term, copy, **how)
            )
        if isinstance(term, RowSum) and velocity is not None and not decayed:
            return self._bias_step(
                parameter, velocity, term, copy, momentum=momentum, factor=factor
            )
        return False

    def _weight_step(
        self,
        weight: Tensor,
        velocity: Tensor,
        term: Product,
        copy: Tensor,
        *,
        momentum: float,
        factor: float,
        decayed: float,
    ) -> bool:
        """Let one kernel move weight, velocity and copy, once the product is formed; return whether
        it did.
        """
        if not momentum or not factor or not term.left.dtype == copy.dtype == torch.bfloat16:
            return False
        alike = weight.stride() == velocity.stride() == copy.stride()
        flat = [each if each.is_contiguous() else each.t() for each in (weight, velocity, copy)]
        if not alike or not self._kernels_support(*flat):
            return False
        change = self._unscaled(term, velocity)
        weights, velocities, low = flat
        cpu_kernels.weight_update(
            weights,
            velocities,
            change if change.is_contiguous() else change.t(),
            low,
            momentum=momentum,
            factor=factor,
            decayed=decayed,
        )
        return True

    def _bias_step(
        self,
        bias: Tensor,
        velocity: Tensor,
        term: RowSum,
        copy: Tensor | None,
        *,
        momentum: float,
        factor: float,
    ) -> bool:
        """Let one kernel sum the rows and move bias, velocity and copy; return whether it did."""
        copies = [] if copy is None else [copy]
        if not (
            term.rows.dtype in STATES
            and all(each.dtype == torch.bfloat16 for each in copies)
            and self._kernels_support(term.rows, bias, velocity, *copies)
        ):
            return False
        cpu_kernels.bias_update(bias, velocity, copy, term.rows, momentum=momentum, factor=factor)
        return True

    def _amx_step(
        self,
        weight: Tensor,
        velocity: Tensor | None,
        term: Product,
        copy: Tensor,
        *,
        momentum: float,
        factor: float,
        decayed: float,
    ) -> bool:
        """Let one kernel multiply and move weight, velocity and copy, where the processor
        multiplies tiles; return whether it did.
        """
        left, right, _ = term
        if not weight.is_contiguous():  # it lies the other way
            left, right, weight, copy = right, left, weight.t(), copy.t()
            velocity = None if velocity is None else velocity.t()
        alike = (
            weight.is_contiguous()
            and copy.is_contiguous()
            and (velocity is None or velocity.is_contiguous())
        )
        if not (alike and self._amx_supports(left, right, left, right, copy)):
            return False
        cpu_kernels.amx_update(
            weight, velocity, copy, left, right, momentum=momentum, factor=factor, decayed=decayed
        )
        return True

    def _is_formed_apart(self, term: Product, moved: Tensor) -> bool:
        """Also where the faster library cannot add."""
        return super()._is_formed_apart(term, moved) or (
            len(term.left) >= MIN_ROWS and onednn_supports(term.left, term.right)
        )

    def gather(self, cases: Tensor, index: Tensor, out: Tensor) -> Tensor:
        """Return the rows of `index`, pixels as probabilities, in one pass."""
        if cases.dtype == torch.uint8:
            if (
                out.dtype in STATES
                and index.dtype == torch.int64
                and self._kernels_support(out, cases, index)
            ):
                cpu_kernels.gather(cases, index, out)
                return out
            # a processor is slow at steps of mixed types, and fast at turning one type into another
            pixels = cases.index_select(0, index)
            return (
                out.copy_(pixels).div_(255.0)
                if out.dtype == torch.float32
                else out.copy_(pixels.float().div_(255.0))
            )
        if cases.dtype == out.dtype:
            return torch.index_select(cases, 0, index, out=out)
        return out.copy_(cases.index_select(0, index))

    @contextmanager
    def learning(self) -> Iterator[None]:
        """Let the process keep freed memory: every minibatch needs as much again."""
        keep_freed_memory()
        yield

    # What is supported

    def _kernels_support(self, first: Tensor, *more: Tensor) -> bool:
        """Return whether a kernel serves these: each one block of memory, and many numbers."""
        return (
            self.kernels
            and first.numel() >= MIN_KERNEL
            and cpu_kernels.are_built()
            and all(each.is_contiguous() for each in (first, *more))
        )

    def _amx_supports(self, left: Tensor, right: Tensor, *more: Tensor | None) -> bool:
        """Return whether AMX forms left right or left'right: bfloat16 matrices, and many numbers.

        `more` is what else takes part in bfloat16: a bias, or where the product goes.
        """
        return (
            self.kernels
            and left.dtype == right.dtype == torch.bfloat16
            and left.ndim == right.ndim == 2
            and left.numel() * right.shape[1] >= MIN_PRODUCT
            and cpu_kernels.are_built()
            and cpu_kernels.amx_is_there()
            and 1 in left.stride()
            and 1 in right.stride()
            and all(
                each is None or (each.dtype == left.dtype and each.stride(-1) == 1) for each in more
            )
            and not differentiates(left, right, *(each for each in more if each is not None))
        )


def onednn_product(left: Tensor, right: Tensor, bias: Tensor | None = None) -> Tensor:
    """Return the product of (n, m) and (m, k) and a bias (k,), (n, k), formed by oneDNN: a new
    matrix, and nothing to differentiate.
    """
    product: Tensor = torch.ops.mkldnn._linear_pointwise(left, right.t(), bias, "none", [], "")
    return product


def onednn_supports(one: Tensor, other: Tensor, *more: Tensor) -> bool:
    """Return whether oneDNN is to form the product of (n, m) and (m, k), or of (m, n)' and (m, k);
    `more` is what is added to it.
    """
    return (
        one.dtype == torch.float32
        and one.device.type == "cpu"
        and one.ndim == 2
        and one.numel() * other.numel() >= MIN_PRODUCT * other.shape[0]
        and not differentiates(one, other, *more)
        and onednn_pays()
    )


@cache
def onednn_pays() -> bool:
    """Return whether oneDNN forms large float32 products here: this build of PyTorch offers it, and
    the processor gains by it.
    """
    there = torch.backends.mkldnn.is_available() and hasattr(torch.ops.mkldnn, "_linear_pointwise")  # type: ignore[no-untyped-call,unused-ignore]
    return there and select.onednn_pays()


@cache
def keep_freed_memory() -> bool:
    """Let this process keep the memory of freed arrays, up to `KEPT` bytes, where its allocator is
    glibc's; return whether it is.

    By default glibc returns large arrays to the system at once, and every minibatch waits for the
    same pages to be zeroed and handed out again: up to a third of backpropagation in bfloat16
    (docs/notes/speed.md).
    """
    if sys.platform != "linux":
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:  # another C library
        return False
    # M_TRIM_THRESHOLD and M_MMAP_THRESHOLD of malloc.h; 32 MiB is the most that the second takes
    trim_threshold, mmap_threshold = -1, -3
    return bool(mallopt(trim_threshold, KEPT)) and bool(mallopt(mmap_threshold, 32 * 2**20))
