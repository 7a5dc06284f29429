"""Spins of -1 or 1: U(s) = 0, Gamma(x) = sum_j log 2 cosh x_j, mean tanh x, variance
1 / cosh^2 x.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
from torch import Tensor

from wakesleep.compute import ops
from wakesleep.foundation.errors import DataError
from wakesleep.sources.context import Context
from wakesleep.units.base import Atom
from wakesleep.units.elementwise import Elementwise
from wakesleep.units.registry import register

TOGETHER = 4
"""Units whose factor in `factors` is one product of 2^TOGETHER terms."""


@register
class Spin(Elementwise):
    """Independent spins: p(s_j = 1) = sigm(2 x_j), else s_j = -1. Absent ones are 0."""

    settled_by_mean = True
    signed = True

    def _log_partition(self, x: Tensor) -> Tensor:
        """Return log 2 cosh x."""
        return x.abs() + torch.log1p(torch.exp(-2 * x.abs()))

    def _mean(self, x: Tensor) -> Tensor:
        """Return tanh x."""
        return torch.tanh(x)

    def _variance(self, x: Tensor) -> Tensor:
        """Return 1 - tanh^2 x = 4 sigm(2x) sigm(-2x), which does not cancel."""
        return 4 * torch.sigmoid(2 * x) * torch.sigmoid(-2 * x)

    def _sample(self, x: Tensor, rng: torch.Generator) -> Tensor:
        """Return 1 with probability sigm(2x), else -1."""
        return ops.of(x).sample_bernoulli(torch.sigmoid(2 * x), rng, None).mul_(2).sub_(1)

    def sample_from_mean(
        self, mean: Tensor, rng: torch.Generator, out: Tensor | None = None
    ) -> Tensor:
        """Return spins drawn from their mean, (N, size), which is not changed."""
        return ops.of(mean).sample_bernoulli((mean + 1) / 2, rng, out).mul_(2).sub_(1)

    def match(
        self, mean: Tensor, variance: Tensor | None = None, *, cases: int | None = None
    ) -> Tensor:
        """Return artanh of the mean, (size,); means beyond [-1, 1] count as -1 or 1."""
        up = (mean.clamp(-1, 1) + 1) / 2
        up = up if cases is None else (up * cases + 1) / (cases + 2)
        return (torch.log(up) - torch.log1p(-up)) / 2

    def validate(self, cases: Tensor, *, states: bool = False) -> None:
        """Raise DataError unless every value is -1 or 1, or, as data to learn from, between."""
        super().validate(cases)
        wrong = cases.abs() != 1 if states else cases.abs() > 1
        if bool(wrong.any()):
            column = int(wrong.any(0).int().argmax())
            value = float(cases[:, column][wrong[:, column]][0])
            expected = "-1 or 1" if states else "numbers from -1 to 1"
            raise DataError(
                f"spins: a value of {value:.7g} in column {column}; expected {expected}; turn bits "
                "into spins by 2 * bits - 1"
            )

    def any_state(self) -> Tensor:
        """Return all spins up, (size,)."""
        return torch.ones(self.size)

    def fill(self, cases: Tensor, known: Tensor, rng: torch.Generator) -> None:
        """Draw what is not `known` (N, size) from each column's mean, 0 where nothing is known, in
        place.
        """
        up = (torch.nan_to_num(torch.nanmean(cases, 0), nan=0.0) + 1) / 2
        sampled = torch.empty_like(cases).uniform_(generator=rng).lt_(up).mul_(2).sub_(1)
        cases.copy_(torch.where(known, cases, sampled))

    def atoms(self, context: Context | None = None) -> list[Atom]:
        """Return -1 and 1 of each unit; 0 where it is absent."""
        both = Atom(torch.tensor([[-1.0], [1.0]]).double(), torch.zeros(2).double())
        none = Atom(torch.zeros(1, 1).double(), torch.zeros(1).double())
        if context is None or context.mask is None:
            return [both] * self.size
        return [both if there else none for there in context.mask[0].tolist()]

    def factors(
        self, first: Tensor, second: Tensor
    ) -> Iterator[tuple[Tensor, Tensor, float, float]]:
        """Yield prod_i (exp(x_i + y_i) + exp(-x_i - y_i)) of a few units as the sum over their
        states.
        """
        bounds = first.abs().amax(0) + second.abs().amax(0)
        for start in range(0, self.size, TOGETHER):
            columns = slice(start, start + TOGETHER)
            pair = []
            for half in (first[:, columns], second[:, columns]):
                terms = half.new_ones(len(half), 1)
                for column in half.unbind(1):
                    both = torch.exp(torch.stack([-column, column], 1))
                    terms = (terms[:, :, None] * both[:, None, :]).flatten(1)
                pair.append(terms)
            # 2 cosh is at least 2
            yield pair[0], pair[1], 0.0, float(bounds[columns].sum()) + TOGETHER * math.log(2)
