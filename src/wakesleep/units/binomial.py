"""Counts of successes in n trials: U(s) = -log C(n, s), Gamma(x) = sum_j n softplus x_j, mean
n sigm(x), variance n sigm(x) (1 - sigm(x)).
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import softplus

from wakesleep.compute.ops import accumulation_dtype
from wakesleep.foundation.values import whole
from wakesleep.sources.context import Context
from wakesleep.units.base import Atom
from wakesleep.units.counts import require_counts
from wakesleep.units.elementwise import Elementwise
from wakesleep.units.registry import register


@register
class Binomial(Elementwise):
    """Independent counts from 0 to `trials`: s_j ~ Binomial(trials, sigm(x_j)).

    Source: Teh & Hinton (2001), "Rate-coded restricted Boltzmann machines for face recognition".
    """

    def __init__(self, size: int, trials: int) -> None:
        super().__init__(size)
        self.trials = whole("trials", trials, least=1)

    def _potential(self, states: Tensor) -> Tensor:
        """Return -log C(n, s)."""
        n = torch.full_like(states, self.trials + 1).lgamma()
        return torch.lgamma(states + 1) + torch.lgamma(self.trials - states + 1) - n

    def _log_partition(self, x: Tensor) -> Tensor:
        """Return n softplus x."""
        return self.trials * softplus(x)

    def _mean(self, x: Tensor) -> Tensor:
        """Return n sigm(x)."""
        return self.trials * torch.sigmoid(x)

    def _variance(self, x: Tensor) -> Tensor:
        """Return n sigm(x) sigm(-x)."""
        return self.trials * torch.sigmoid(x) * torch.sigmoid(-x)

    def _sample(self, x: Tensor, rng: torch.Generator) -> Tensor:
        """Return the number of successes."""
        p = torch.sigmoid(x).to(accumulation_dtype(x.dtype))
        return torch.binomial(torch.full_like(p, self.trials), p, generator=rng).to(x.dtype)

    def match(
        self, mean: Tensor, variance: Tensor | None = None, *, cases: int | None = None
    ) -> Tensor:
        """Return log p / (1 - p), p = mean / n, (size,); means beyond [0, n] count as 0 or n."""
        p = (mean / self.trials).clamp(0, 1)
        p = p if cases is None else (p * cases + 1) / (cases + 2)
        return torch.log(p) - torch.log1p(-p)

    def validate(self, cases: Tensor, *, states: bool = False) -> None:
        """Raise DataError unless every value lies from 0 to n, and is whole."""
        super().validate(cases)
        require_counts(cases, repr(self), self.trials)

    def atoms(self, context: Context | None = None) -> list[Atom]:
        """Return 0 to n of each unit; 0 where it is absent."""
        states = torch.arange(self.trials + 1, dtype=torch.float64)[:, None]
        every = Atom(states, -self._potential(states[:, 0]))
        none = Atom(states[:1], torch.zeros(1, dtype=torch.float64))
        if context is None or context.mask is None:
            return [every] * self.size
        return [every if there else none for there in context.mask[0].tolist()]

    def settings(self) -> dict[str, Any]:
        """Return size and number of trials."""
        return {"size": self.size, "trials": self.trials}
