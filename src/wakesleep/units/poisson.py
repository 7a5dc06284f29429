"""Counts without a limit: U(s) = log s!, Gamma(x) = sum_j exp x_j, mean and variance exp x."""

from __future__ import annotations

import torch
from torch import Tensor

from wakesleep.units.counts import require_counts
from wakesleep.units.elementwise import Elementwise
from wakesleep.units.registry import register


@register
class Poisson(Elementwise):
    """Independent counts: s_j ~ Poisson(exp x_j). The layer beyond must have bounded states.

    Source: Welling, Rosen-Zvi & Hinton (2004).
    """

    def tail_precision(self) -> Tensor:
        """Return 0, (size,): log s! grows more slowly than a square."""
        return torch.zeros(self.size)

    def _potential(self, states: Tensor) -> Tensor:
        """Return log s!."""
        return torch.lgamma(states + 1)

    def _log_partition(self, x: Tensor) -> Tensor:
        """Return exp x."""
        return torch.exp(x)

    def _mean(self, x: Tensor) -> Tensor:
        """Return exp x."""
        return torch.exp(x)

    def _variance(self, x: Tensor) -> Tensor:
        """Return exp x."""
        return torch.exp(x)

    def _sample(self, x: Tensor, rng: torch.Generator) -> Tensor:
        """Return counts."""
        return torch.poisson(torch.exp(x), generator=rng)

    def match(
        self, mean: Tensor, variance: Tensor | None = None, *, cases: int | None = None
    ) -> Tensor:
        """Return the log of the mean, (size,), one count in one case more where `cases` says."""
        mean = mean.clamp(min=0)
        return torch.log(mean if cases is None else (mean * cases + 1) / (cases + 1))

    def validate(self, cases: Tensor, *, states: bool = False) -> None:
        """Raise DataError unless every value is a whole number of 0 or more."""
        super().validate(cases)
        require_counts(cases, repr(self))
