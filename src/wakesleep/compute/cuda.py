"""The operations on a GPU: TF32 products while a net learns, our Triton kernels for its small
minibatches, captured steps.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import cache
from importlib.util import find_spec

import torch
from torch import Tensor
from torch.nn.functional import softplus

from wakesleep.compute import cuda_graphs
from wakesleep.compute.fused import Fused
from wakesleep.compute.ops import Product, RowSum, Step, Term, accumulation_dtype

MAX_ROWS = 1024
"""Rows up to which a minibatch leaves a GPU so idle that our kernels are the faster ones; large
products are left to its library.
"""


class CUDA(Fused):
    """`fused.Fused` on a GPU; `kernels` says whether Triton kernels may be compiled and used."""

    synchronous = False
    capturable = True

    def __init__(self, *, kernels: bool) -> None:
        super().__init__("cuda")
        self.synchronous, self.kernels = False, kernels
        self.tf32 = False
        """Whether float32 products may be made of TF32 numbers now; `learning` says when."""

    def bernoulli_layer(
        self,
        states: Tensor,
        weight: Tensor,
        bias: Tensor,
        n_bernoulli: int,
        *,
        mean: Tensor | None = None,
        sample: Tensor | None = None,
        rng: torch.Generator | None = None,
    ) -> None:
        """Form product, sigmoid and states in one kernel."""
        if self._kernels_support(states, weight, bias):
            from wakesleep.compute import triton_kernels

            triton_kernels.layer(states, weight, bias, n_bernoulli, mean, sample, rng)
        else:
            super().bernoulli_layer(
                states, weight, bias, n_bernoulli, mean=mean, sample=sample, rng=rng
            )

    def sample_bernoulli(
        self, mean: Tensor, rng: torch.Generator, out: Tensor | None = None
    ) -> Tensor:
        """Draw a float for each: a GPU's many threads do so at no price, and each step of another
        way would be one more kernel.
        """
        out = torch.empty_like(mean) if out is None else out
        return torch.lt(
            torch.rand(
                mean.shape, generator=rng, device=mean.device, dtype=accumulation_dtype(mean.dtype)
            ),
            mean,
            out=out,
        )

    def log_partition_delta(self, total_input: Tensor, rows: Tensor) -> Tensor:
        """Return sum_j softplus(x_j + w_j) - softplus(x_j): logarithms cost less here than many
        steps.
        """
        if total_input.dtype == torch.float32 and self._kernels_support(total_input):
            from wakesleep.compute import triton_kernels

            return triton_kernels.log_partition_delta(total_input, rows)
        now = total_input.unsqueeze(-2)
        return (softplus(now + rows.to(total_input.dtype)) - softplus(now)).sum(-1)

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
        """Move parameter and velocity by one kernel where there is one for a single term."""
        term = terms[0] if len(terms) == 1 else None
        if (
            term is None
            or velocity is None
            or parameter.dtype != torch.float32
            or parameter.stride() != velocity.stride()
        ):
            term = None
        if isinstance(term, Product) and self._kernels_support(term.left, term.right):
            from wakesleep.compute import triton_kernels

            assert velocity is not None
            triton_kernels.weight_update(
                parameter,
                velocity,
                term.left,
                term.right,
                momentum=momentum,
                factor=rate * term.scale,
                decayed=rate * decay,
            )
        elif isinstance(term, RowSum) and not decay and self._kernels_support(term.rows):
            from wakesleep.compute import triton_kernels

            assert velocity is not None
            triton_kernels.bias_update(
                parameter, velocity, term.rows, momentum=momentum, factor=rate * term.scale
            )
        else:
            super().momentum_step(
                parameter, velocity, terms, rate=rate, momentum=momentum, decay=decay, copy=copy
            )
            return
        if copy is not None:
            copy.copy_(parameter)

    def gather(self, cases: Tensor, index: Tensor, out: Tensor) -> Tensor:
        """Return the rows of `index`, pixels as probabilities, in one kernel."""
        if cases.dtype == torch.uint8:
            if self._kernels_support(out) and cases.stride(1) == out.stride(1) == 1:
                from wakesleep.compute import triton_kernels

                triton_kernels.gather(cases, index, out)
                return out
            return torch.div(cases.index_select(0, index), 255.0, out=out)
        if cases.dtype == out.dtype:
            return torch.index_select(cases, 0, index, out=out)
        return out.copy_(cases.index_select(0, index))

    @contextmanager
    def learning(self) -> Iterator[None]:
        """Let float32 products go through the tensor cores (TF32) meanwhile: for learning, not for
        likelihoods.

        The setting holds for the whole process. A program that chose by PyTorch's newer
        `fp32_precision` keeps what it chose.
        """
        matmul, before = torch.backends.cuda.matmul, None
        # some releases call this way of saying it old, and the new one does not reach all their
        # products
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with suppress(RuntimeError):
                before, matmul.allow_tf32 = matmul.allow_tf32, True
        allowed, self.tf32 = self.tf32, before is not None
        try:
            yield
        finally:
            self.tf32 = allowed
            if before is not None:
                matmul.allow_tf32 = before

    def replay(self, step: Step, rng: torch.Generator, minibatches: int) -> Step:
        """Return the step captured as a CUDA graph, where there are enough minibatches."""
        return cuda_graphs.replayed(step, rng, minibatches)

    def synchronize(self) -> None:
        """Wait for the GPU."""
        torch.cuda.synchronize()

    def _kernels_support(self, first: Tensor, *more: Tensor) -> bool:
        """Return whether a kernel serves a minibatch of these: matrices of one type, few rows,
        products that need not be exact.
        """
        return (
            self.kernels
            and (first.dtype == torch.bfloat16 or (first.dtype == torch.float32 and self.tf32))
            and all(tensor.dtype == first.dtype for tensor in more)
            and first.ndim == 2
            and len(first) <= MAX_ROWS
            and kernels_work()
        )


@cache
def kernels_work() -> bool:
    """Return whether our kernels can be built here: Triton is there, and what it needs, a C
    compiler and a GPU that is not too old.
    """
    if find_spec("triton") is None:
        return False
    try:
        from wakesleep.compute import triton_kernels

        bias, velocity = torch.zeros(2, 1, device="cuda")
        triton_kernels.bias_update(
            bias, velocity, torch.zeros(1, 1, device="cuda"), momentum=0.0, factor=0.0
        )
    except Exception as error:  # whatever it is, PyTorch does the same
        reason = (str(error).splitlines() or [""])[0]
        warnings.warn(
            f"custom kernels cannot be built here ({type(error).__name__}: {reason}); "
            "PyTorch's do the work",
            stacklevel=2,
        )
        return False
    return True
