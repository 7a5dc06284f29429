"""Layers whose columns are units of one scalar family each: a family writes its formulas for a
number, and masks, sums over columns and output tensors are served here.
"""

from __future__ import annotations

from abc import abstractmethod

import torch
from torch import Tensor

from wakesleep.sources.context import Context
from wakesleep.units.base import Units, present


class Elementwise(Units):
    """Independent scalar units: p(s_j | x_j) = exp(x_j s_j - u(s_j) - gamma(x_j)).

    A family defines the underscored functions, each elementwise: (N, size) to (N, size).
    """

    def _potential(self, states: Tensor) -> Tensor:
        """Return u(s)."""
        return torch.zeros_like(states)

    @abstractmethod
    def _log_partition(self, x: Tensor) -> Tensor:
        """Return gamma(x)."""

    @abstractmethod
    def _mean(self, x: Tensor) -> Tensor:
        """Return gamma'(x)."""

    @abstractmethod
    def _variance(self, x: Tensor) -> Tensor:
        """Return gamma''(x)."""

    @abstractmethod
    def _sample(self, x: Tensor, rng: torch.Generator) -> Tensor:
        """Return states drawn from p(s | x)."""

    def _statistics(self, states: Tensor) -> list[Tensor]:
        """Return the blocks of T(s), (N, size) each, the states first."""
        return [states]

    def _moments(self, x: Tensor) -> list[Tensor]:
        """Return the blocks of E[T | x]."""
        return [self._mean(x)]

    def potential(self, states: Tensor, context: Context | None = None) -> Tensor:
        """Return sum_j u(s_j), (N,)."""
        return present(self._potential(states), context).sum(-1)

    def log_partition(self, total_input: Tensor, context: Context | None = None) -> Tensor:
        """Return sum_j gamma(x_j), (N,)."""
        return present(self._log_partition(total_input), context).sum(-1)

    def mean(
        self, total_input: Tensor, *, context: Context | None = None, out: Tensor | None = None
    ) -> Tensor:
        """Return gamma'(x), (N, size)."""
        mean = present(self._mean(total_input), context)
        return mean if out is None else out.copy_(mean)

    def variance(self, total_input: Tensor, context: Context | None = None) -> Tensor:
        """Return gamma''(x), (N, size)."""
        return present(self._variance(total_input), context)

    def sample(
        self,
        total_input: Tensor,
        rng: torch.Generator,
        *,
        context: Context | None = None,
        out: Tensor | None = None,
    ) -> Tensor:
        """Return states drawn from p(s | x), (N, size)."""
        states = present(self._sample(total_input, rng), context)
        return states if out is None else out.copy_(states)

    def statistics(self, states: Tensor) -> Tensor:
        """Return T(s), (N, n_slots): a block of `size` columns for each statistic."""
        return torch.cat(self._statistics(states), -1)

    def moments(self, total_input: Tensor, context: Context | None = None) -> Tensor:
        """Return E[T | x], (N, n_slots); of absent columns T(0), as `statistics` gives."""
        moments = self._moments(total_input)
        if context is not None and context.mask is not None:
            absent = self._statistics(torch.zeros_like(total_input))
            moments = [
                torch.where(context.mask != 0, moment, zero)
                for moment, zero in zip(moments, absent, strict=True)
            ]
        return torch.cat(moments, -1)
