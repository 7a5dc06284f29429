"""Binary units: U(s) = 0, Gamma(x) = sum_j softplus(x_j), mean sigm(x), variance sigm(x) (1 -
sigm(x)).
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
from torch import Tensor
from torch.nn.functional import softplus

from wakesleep.compute import ops
from wakesleep.sources.arrays import require_binary
from wakesleep.sources.context import Context
from wakesleep.units.base import Atom, Units, present
from wakesleep.units.registry import register

TOGETHER = 4
"""Units whose factor in `factors` is one product of 2^TOGETHER terms."""


@register
class Bernoulli(Units):
    """Independent binary units: p(s_j = 1) = sigm(x_j)."""

    limits = (0.0, 1.0)
    settled_by_mean = True

    @property
    def n_bernoulli(self) -> int:
        """All of them."""
        return self.size

    def log_partition(self, total_input: Tensor, context: Context | None = None) -> Tensor:
        """Return sum_j log(1 + exp x_j), (N,)."""
        return present(softplus(total_input), context).sum(-1)

    def mean(
        self, total_input: Tensor, *, context: Context | None = None, out: Tensor | None = None
    ) -> Tensor:
        """Return sigm(x), (N, size)."""
        means = (
            torch.sigmoid(total_input, out=out) if out is not None else torch.sigmoid(total_input)
        )
        return present(means, context, out)

    def variance(self, total_input: Tensor, context: Context | None = None) -> Tensor:
        """Return sigm(x) sigm(-x), (N, size)."""
        return present(torch.sigmoid(total_input) * torch.sigmoid(-total_input), context)

    def sample(
        self,
        total_input: Tensor,
        rng: torch.Generator,
        *,
        context: Context | None = None,
        out: Tensor | None = None,
    ) -> Tensor:
        """Return 1 where a uniform number falls below sigm(x), else 0, (N, size)."""
        return present(self.sample_from_mean(torch.sigmoid(total_input), rng, out), context, out)

    def mean_and_sample(
        self,
        total_input: Tensor,
        rng: torch.Generator,
        *,
        context: Context | None = None,
        mean: Tensor | None = None,
        out: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Return sigm(x) and states drawn from it, each (N, size)."""
        means = self.mean(total_input, context=context, out=mean)
        return means, self.sample_from_mean(means, rng, out)

    def sample_from_mean(
        self, mean: Tensor, rng: torch.Generator, out: Tensor | None = None
    ) -> Tensor:
        """Return states drawn from their mean, (N, size), which is not changed."""
        return ops.of(mean).sample_bernoulli(mean, rng, out)

    def log_partition_delta(self, total_input: Tensor, rows: Tensor) -> Tensor:
        """Return sum_j softplus(x_j + w_j) - softplus(x_j) for each row w of `rows` (rows, size):
        (N, rows).
        """
        if total_input.ndim != 2 or not len(rows) or ops.differentiates(total_input, rows):
            return super().log_partition_delta(total_input, rows)
        return ops.of(total_input).log_partition_delta(total_input, rows)

    def match(
        self, mean: Tensor, variance: Tensor | None = None, *, cases: int | None = None
    ) -> Tensor:
        """Return log p / (1 - p), (size,); means beyond [0, 1] count as 0 or 1."""
        p = mean.clamp(0, 1)
        p = p if cases is None else (p * cases + 1) / (cases + 2)
        return torch.log(p) - torch.log1p(-p)

    def validate(self, cases: Tensor, *, states: bool = False) -> None:
        """Raise DataError unless every value is 0 or 1 (255 in uint8), or, as data to learn from,
        in [0, 1].
        """
        super().validate(cases)
        if states:
            require_binary(cases)

    def fill(self, cases: Tensor, known: Tensor, rng: torch.Generator) -> None:
        """Draw what is not `known` (N, size) of `cases` from each column's mean, 1/2 where nothing
        is known, in place.
        """
        means = torch.nan_to_num(torch.nanmean(cases, 0), nan=0.5)
        cases.copy_(
            torch.where(known, cases, torch.empty_like(cases).uniform_(generator=rng).lt_(means))
        )

    def atoms(self, context: Context | None = None) -> list[Atom]:
        """Return two states a unit, one where it is absent."""
        both, off = (
            Atom(torch.arange(n, dtype=torch.float64)[:, None], torch.zeros(n, dtype=torch.float64))
            for n in (2, 1)
        )
        if context is None or context.mask is None:
            return [both] * self.size
        return [both if there else off for there in context.mask[0].tolist()]

    def factors(
        self, first: Tensor, second: Tensor
    ) -> Iterator[tuple[Tensor, Tensor, float, float]]:
        """Yield prod_i (1 + exp x_i exp y_i) of a few units as the sum over their subsets."""
        bounds = torch.maximum(first.amax(0), first.new_zeros(())) + torch.maximum(
            second.amax(0), second.new_zeros(())
        )
        for start in range(0, self.size, TOGETHER):
            columns = slice(start, start + TOGETHER)
            pair = []
            for half in (torch.exp(first[:, columns]), torch.exp(second[:, columns])):
                terms = half.new_ones(len(half), 1)
                for column in half.unbind(1):
                    terms = torch.cat([terms, terms * column[:, None]], 1)
                pair.append(terms)
            # (1 + e^x) is at least 1
            yield pair[0], pair[1], 0.0, float(bounds[columns].sum()) + TOGETHER * math.log(2)
