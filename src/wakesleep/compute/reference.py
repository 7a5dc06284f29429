"""What each operation means, in plain PyTorch: every other backend is held to this one by the same
tests.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor
from torch.nn.functional import softplus

from wakesleep.compute.ops import Product, RowSum, Step, Term, accumulation_dtype


def gradient(term: Term) -> Tensor:
    """Return a term of a gradient, formed; its scale is not rounded to the type of what it
    scales.
    """
    if isinstance(term, RowSum):
        return term.scale * term.rows.sum(0, dtype=accumulation_dtype(term.rows.dtype))
    value = term.left.t() @ term.right if isinstance(term, Product) else term.value
    return term.scale * value.to(accumulation_dtype(value.dtype))


class Reference:
    """`ops.Operations` on any device, a formula each."""

    synchronous = True
    capturable = False

    def __init__(self, device_type: str) -> None:
        self.device_type = device_type
        self.synchronous = device_type == "cpu"

    def affine(
        self, states: Tensor, weight: Tensor, bias: Tensor, out: Tensor | None = None
    ) -> Tensor:
        """Return states W + b."""
        return torch.addmm(bias, states, weight, out=out)

    def gram(self, left: Tensor, right: Tensor) -> Tensor:
        """Return left'right."""
        return left.t() @ right

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
        """Write sigm(states W + b) and states drawn with these probabilities."""
        mean = self._bernoulli_mean(states, weight, bias, n_bernoulli, mean)
        if sample is not None:
            assert rng is not None
            if n_bernoulli == mean.shape[1]:  # a view takes microseconds
                self.sample_bernoulli(mean, rng, out=sample)
            else:
                self.sample_bernoulli(mean[:, :n_bernoulli], rng, out=sample[:, :n_bernoulli])
                sample[:, n_bernoulli:] = mean[:, n_bernoulli:]

    def _bernoulli_mean(
        self, states: Tensor, weight: Tensor, bias: Tensor, n_bernoulli: int, out: Tensor | None
    ) -> Tensor:
        mean = self.affine(states, weight, bias, out)
        torch.sigmoid(mean[:, :n_bernoulli], out=mean[:, :n_bernoulli])
        return mean

    def sample_bernoulli(
        self, mean: Tensor, rng: torch.Generator, out: Tensor | None = None
    ) -> Tensor:
        """Return 1 where a uniform number falls below the mean, else 0."""
        uniform = torch.rand(
            mean.shape, generator=rng, device=mean.device, dtype=accumulation_dtype(mean.dtype)
        )
        states = (uniform < mean).to(mean.dtype)
        return states if out is None else out.copy_(states)

    def log_partition_delta(self, total_input: Tensor, rows: Tensor) -> Tensor:
        """Return sum_j softplus(x_j + w_j) - softplus(x_j)."""
        x, w = total_input.unsqueeze(1), rows.to(total_input.dtype).unsqueeze(0)
        return (softplus(x + w) - softplus(x)).sum(-1)

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
        """Move all: v <- momentum * v + rate * (gradient - decay * p);  p <- p + v;  copy <- p."""
        step = rate * (self.sum_terms(terms, torch.empty_like(parameter)) - decay * parameter)
        if velocity is not None:
            step = velocity.copy_(momentum * velocity + step)
        parameter += step
        if copy is not None:
            copy.copy_(parameter)

    def sum_terms(self, terms: Sequence[Term], out: Tensor) -> Tensor:
        """Return the sum of the terms."""
        out.zero_()
        for term in terms:
            out += gradient(term)
        return out

    def gather(self, cases: Tensor, index: Tensor, out: Tensor) -> Tensor:
        """Return the rows of `index`, pixels as probabilities."""
        rows = cases.index_select(0, index)
        return out.copy_(rows.to(torch.float32) / 255 if rows.dtype == torch.uint8 else rows)

    def copy_all(self, targets: Sequence[Tensor], sources: Sequence[Tensor]) -> None:
        """Copy each source to its target."""
        for target, source in zip(targets, sources, strict=True):
            target.copy_(source)

    def learning(self) -> AbstractContextManager[None]:
        """Nothing has to be made ready."""
        return nullcontext()

    def mixed_precision(self, dtype: torch.dtype | None) -> AbstractContextManager[object]:
        """Return PyTorch's autocast."""
        return torch.autocast(
            self.device_type, dtype=dtype, enabled=dtype not in (None, torch.float32)
        )

    def replay(self, step: Step, rng: torch.Generator, minibatches: int) -> Step:
        """Return the step itself."""
        return step

    def synchronize(self) -> None:
        """Nothing has to be waited for."""
