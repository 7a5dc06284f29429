"""Ordered levels 0, 1, ..., K - 1: U(s = k) = -c_k, Gamma(x) = sum over units of
logsumexp_k(x k + c_k), with level biases c of each unit as parameters of their own.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from wakesleep.foundation.errors import DataError
from wakesleep.foundation.values import whole
from wakesleep.sources.context import Context
from wakesleep.units.base import Atom, Units, with_parameters
from wakesleep.units.categorical import sample_categorical
from wakesleep.units.counts import require_counts
from wakesleep.units.elementwise import Elementwise
from wakesleep.units.registry import register

MOST_BIAS = 20.0
"""How large a level bias may be."""


@register
class Ordinal(Elementwise):
    """Independent ordered answers: p(s_j = k) = softmax_k(x_j k + c_jk), k = 0, ..., levels - 1.

    What the bias does already is no part of c: sum_k c_k = sum_k k c_k = 0.
    """

    def __init__(self, size: int, levels: int) -> None:
        super().__init__(size)
        self.levels = whole("levels", levels, least=2)
        start = torch.zeros(self.size, self.levels)
        self.level_bias = nn.Parameter(start, requires_grad=False)

    @property
    def n_slots(self) -> int:
        """One for s, and one for each level."""
        return self.size * (1 + self.levels)

    def _values(self, like: Tensor) -> Tensor:
        """Return 0, ..., levels - 1, (levels,)."""
        return torch.arange(self.levels, dtype=like.dtype, device=like.device)

    def _logits(self, x: Tensor) -> Tensor:
        """Return x k + c_k, (..., size, levels)."""
        return x[..., None] * self._values(x) + self.level_bias

    def _levels(self, x: Tensor) -> Tensor:
        """Return p(s = k), (..., size, levels)."""
        return torch.softmax(self._logits(x), -1)

    def _potential(self, states: Tensor) -> Tensor:
        """Return -c_s."""
        return -(self._one_hot(states) * self.level_bias).sum(-1)

    def _log_partition(self, x: Tensor) -> Tensor:
        """Return logsumexp_k(x k + c_k)."""
        return torch.logsumexp(self._logits(x), -1)

    def _mean(self, x: Tensor) -> Tensor:
        """Return sum_k k p_k."""
        return (self._levels(x) * self._values(x)).sum(-1)

    def _variance(self, x: Tensor) -> Tensor:
        """Return sum_k (k - mean)^2 p_k."""
        away = self._values(x) - self._mean(x)[..., None]
        return (self._levels(x) * away.square()).sum(-1)

    def _sample(self, x: Tensor, rng: torch.Generator) -> Tensor:
        """Return a level of each unit."""
        return sample_categorical(self._levels(x), rng).to(x.dtype)

    def _one_hot(self, states: Tensor) -> Tensor:
        """Return which level each state is, (..., size, levels)."""
        return (states[..., None] == self._values(states)).to(states.dtype)

    def statistics(self, states: Tensor) -> Tensor:
        """Return s, then each unit's levels as one-hot: (N, size (1 + levels))."""
        return torch.cat([states, self._one_hot(states).flatten(-2)], -1)

    def moments(self, total_input: Tensor, context: Context | None = None) -> Tensor:
        """Return the mean, then p(s = k): (N, size (1 + levels)); of absent units those of 0."""
        p = self._levels(total_input)
        if context is not None and context.mask is not None:
            zero = self._one_hot(torch.zeros_like(total_input))
            p = torch.where((context.mask != 0)[..., None], p, zero)
        return torch.cat([(p * self._values(p)).sum(-1), p.flatten(-2)], -1)

    def parameter_gradients(self, data: Tensor, model: Tensor) -> dict[str, Tensor]:
        """Return dL / dc_k = <s = k>_data - <s = k>_model, less what the bias does already."""
        gradient = (data - model)[self.size :].view(self.size, self.levels)
        return {"level_bias": without_line(gradient)}

    def keep_in_range(self, std: Tensor | None = None) -> None:
        """Clamp the level biases."""
        self.level_bias.copy_(without_line(self.level_bias.clamp(-MOST_BIAS, MOST_BIAS)))

    @torch.no_grad()
    def match(
        self, mean: Tensor, variance: Tensor | None = None, *, cases: int | None = None
    ) -> Tensor:
        """Return the biases (size,) that give this mean; with a `variance`, c_k = -q k^2 / 2 less
        its line gives that too: of all such units those of the largest entropy.
        """
        top = self.levels - 1
        mean = mean.double().clamp(0, top)
        if cases is not None:
            mean = (mean * cases + top) / (cases + 2)  # one case at each end
        else:
            mean = mean.clamp(1e-9 * top, (1 - 1e-9) * top)
        if variance is not None and self.levels > 2:
            largest = mean * (top - mean)
            spread = variance.double() if cases is None else variance.double().clamp(min=1 / cases)
            self.level_bias.copy_(self._curved(mean, torch.minimum(spread, 0.99 * largest)))
        return self._bias_of(mean, self.level_bias.double()).to(self.level_bias.dtype)

    def match_statistics(
        self, statistics: Tensor, variance: Tensor | None, *, cases: int | None = None
    ) -> Tensor:
        """Return the biases (size,) and set the level biases with which each level is as frequent
        as `statistics` says, one case of each more where `cases` does: x + c_k = log p_k but for a
        constant.
        """
        p = statistics[self.size :].view(self.size, self.levels).double()
        p = p.clamp(min=1e-9) if cases is None else (p * cases + 1) / (cases + self.levels)
        logits = torch.log(p)
        self.level_bias.copy_(without_line(logits))
        return slope_of(logits).to(self.level_bias.dtype)

    def _curved(self, mean: Tensor, variance: Tensor) -> Tensor:
        """Return c (size, levels), a parabola, with which units have this mean and variance: the
        curvature by bisection, for the variance falls as it grows.
        """
        low, high = torch.full_like(mean, -50.0), torch.full_like(mean, 50.0)
        values = self._values(mean)
        parabola = without_line(-values.square().expand(self.size, -1) / 2)
        for _ in range(60):
            q = (low + high) / 2
            logits = self._bias_of(mean, q[:, None] * parabola)[:, None] * values
            p = torch.softmax(logits + q[:, None] * parabola, -1)
            wide = (p * (values - mean[:, None]).square()).sum(-1) > variance
            low, high = torch.where(wide, q, low), torch.where(wide, high, q)
        return ((low + high) / 2)[:, None] * parabola

    def _bias_of(self, mean: Tensor, level_bias: Tensor) -> Tensor:
        """Return x (size,) with E[s | x] = mean, by bisection: the mean rises with x."""
        edge = 60.0 + level_bias.diff(dim=-1).abs().amax(-1)
        low, high, values = -edge, edge, self._values(mean)
        for _ in range(60):
            x = (low + high) / 2
            p = torch.softmax(x[:, None] * values + level_bias, -1)
            below = (p * values).sum(-1) < mean
            low, high = torch.where(below, x, low), torch.where(below, high, x)
        return (low + high) / 2

    def interpolate(self, base: Units, t: float | Tensor) -> Units:
        """Return the units whose level biases are (1 - t) c_base + t c."""
        if (
            not isinstance(base, Ordinal)
            or base is self
            or torch.equal(base.level_bias, self.level_bias)
        ):
            return self
        t = t[..., None] if isinstance(t, Tensor) else t
        return with_parameters(self, level_bias=(1 - t) * base.level_bias + t * self.level_bias)

    def validate(self, cases: Tensor, *, states: bool = False) -> None:
        """Raise DataError unless every value is one of the levels 0, 1, ..., levels - 1."""
        super().validate(cases)
        try:
            require_counts(cases, repr(self), self.levels - 1)
        except DataError as error:
            raise DataError(f"{error}; number the answers in their order from 0") from error

    def fill(self, cases: Tensor, known: Tensor, rng: torch.Generator) -> None:
        """Put each column's most frequent level where it is not `known` (N, size), 0 where nothing
        is, in place.
        """
        often = (self._one_hot(cases) * known[..., None]).sum(0).argmax(-1)
        cases.copy_(torch.where(known, cases, often.to(cases.dtype)))

    def atoms(self, context: Context | None = None) -> list[Atom]:
        """Return the levels of each unit; 0 where it is absent."""
        states = torch.arange(self.levels, dtype=torch.float64)[:, None]
        none = Atom(states[:1], torch.zeros(1, dtype=torch.float64))
        every = [Atom(states, row.cpu()) for row in self.level_bias.double()]
        if context is None or context.mask is None:
            return every
        there = context.mask[0].tolist()
        return [atom if on else none for atom, on in zip(every, there, strict=True)]

    def settings(self) -> dict[str, Any]:
        """Return size and number of levels."""
        return {"size": self.size, "levels": self.levels}


def without_line(level_bias: Tensor) -> Tensor:
    """Return level biases (..., levels) less their mean and their slope: what is orthogonal to 1
    and to k.
    """
    k = _centred_levels(level_bias)
    slope = slope_of(level_bias)[..., None]
    return level_bias - level_bias.mean(-1, keepdim=True) - slope * k


def slope_of(level_bias: Tensor) -> Tensor:
    """Return the slope over k of the line nearest to level biases (..., levels): (...,)."""
    k = _centred_levels(level_bias)
    return (level_bias * k).sum(-1) / k.square().sum()


def _centred_levels(like: Tensor) -> Tensor:
    """Return k less its mean, (levels,)."""
    k = torch.arange(like.shape[-1], dtype=like.dtype, device=like.device)
    return k - k.mean()
