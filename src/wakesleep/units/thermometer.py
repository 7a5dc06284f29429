"""Ordered levels as thermometers: of level k the first k columns of a site are on. U(s) = 0,
Gamma(x) = sum over sites of logsumexp_k (x_1 + ... + x_k).
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import pad

from wakesleep.foundation.errors import DataError
from wakesleep.foundation.values import whole
from wakesleep.sources.arrays import as_probs, require_binary
from wakesleep.sources.context import Context
from wakesleep.units.base import Atom, Units, present
from wakesleep.units.categorical import sample_categorical
from wakesleep.units.registry import register


@register
class Thermometer(Units):
    """A number of `sites` side by side, each in one of the `levels` 0, ..., levels - 1, which has
    levels - 1 columns: p(s = k) is proportional to exp(x_1 + ... + x_k), and column j is on where
    s >= j.

    The same distributions as `Categorical` in other coordinates: a weight moves all levels above a
    threshold, so that neighbouring levels share what they learn. Cases may be means, 1, ..., 1, u,
    0, ..., 0 among them: a number between two levels.
    """

    limits = (0.0, 1.0)
    settled_by_mean = True

    def __init__(self, levels: int, sites: int = 1) -> None:
        levels, sites = whole("levels", levels, least=2), whole("sites", sites, least=1)
        super().__init__((levels - 1) * sites)
        self.levels, self.sites = levels, sites

    @property
    def site_columns(self) -> list[slice]:
        """The columns of each site."""
        width = self.levels - 1
        return [slice(start, start + width) for start in range(0, self.size, width)]

    def _by_site(self, values: Tensor) -> Tensor:
        """Return values (..., size) as (..., sites, levels - 1)."""
        return values.view(*values.shape[:-1], self.sites, self.levels - 1)

    def _logits(self, total_input: Tensor) -> Tensor:
        """Return 0, x_1, x_1 + x_2, ... of each site, (..., sites, levels)."""
        return pad(self._by_site(total_input).cumsum(-1), (1, 0))

    def _code(self, probs: Tensor) -> Tensor:
        """Return p(s >= j), j = 1, ..., of probabilities of the levels (..., sites, levels): (...,
        size).
        """
        above = probs.flip(-1).cumsum(-1).flip(-1)[..., 1:]
        return above.clamp(max=1).flatten(-2)

    def _level_probs(self, mean: Tensor) -> Tensor:
        """Return p(s = k) = m_k - m_k+1, (..., sites, levels), of means (..., size)."""
        edges = pad(pad(self._by_site(mean), (1, 0), value=1.0), (0, 1))
        return (-edges.diff(dim=-1)).clamp(min=0)

    def log_partition(self, total_input: Tensor, context: Context | None = None) -> Tensor:
        """Return sum over sites of logsumexp_k (x_1 + ... + x_k), (N,)."""
        log_partition = torch.logsumexp(self._logits(total_input), -1)
        if context is not None and context.mask is not None:
            log_partition = log_partition * self._by_site(context.mask)[..., 0]
        return log_partition.sum(-1)

    def mean(
        self, total_input: Tensor, *, context: Context | None = None, out: Tensor | None = None
    ) -> Tensor:
        """Return p(s >= j) of each column, (N, size)."""
        mean = present(self._code(torch.softmax(self._logits(total_input), -1)), context)
        return mean if out is None else out.copy_(mean)

    def variance(self, total_input: Tensor, context: Context | None = None) -> Tensor:
        """Return m (1 - m), m the mean, (N, size)."""
        mean = self.mean(total_input, context=context)
        return mean * (1 - mean)

    def sample(
        self,
        total_input: Tensor,
        rng: torch.Generator,
        *,
        context: Context | None = None,
        out: Tensor | None = None,
    ) -> Tensor:
        """Return the code of a level of each site, (N, size)."""
        codes = self._sample_codes(torch.softmax(self._logits(total_input), -1), rng, out)
        return present(codes, context, out)

    def mean_and_sample(
        self,
        total_input: Tensor,
        rng: torch.Generator,
        *,
        context: Context | None = None,
        mean: Tensor | None = None,
        out: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Return `mean` and a sample at once, each (N, size)."""
        probs = torch.softmax(self._logits(total_input), -1)
        states = present(self._sample_codes(probs, rng, out), context, out)
        code = present(self._code(probs), context)
        return (code if mean is None else mean.copy_(code)), states

    def sample_from_mean(
        self, mean: Tensor, rng: torch.Generator, out: Tensor | None = None
    ) -> Tensor:
        """Return the code of a level of each site drawn by p(s = k) = m_k - m_k+1, (N, size)."""
        return self._sample_codes(self._level_probs(mean), rng, out)

    def _sample_codes(self, probs: Tensor, rng: torch.Generator, out: Tensor | None) -> Tensor:
        """Return codes (N, size) of levels drawn with `probs` (N, sites, levels)."""
        level = sample_categorical(probs, rng)
        on = torch.arange(self.levels - 1, device=probs.device) < level[..., None]
        states = on.flatten(-2).to(probs.dtype)
        return states if out is None else out.copy_(states)

    def match(
        self, mean: Tensor, variance: Tensor | None = None, *, cases: int | None = None
    ) -> Tensor:
        """Return log p(s = k) - log p(s = k - 1) of each column, (size,)."""
        p = self._level_probs(mean.clamp(0, 1))
        p = p if cases is None else (p * cases + 1) / (cases + 2)
        return torch.log(p).diff(dim=-1).flatten()

    def validate(self, cases: Tensor, *, states: bool = False) -> None:
        """Raise DataError unless no column of a site is above the one before it, and with `states`
        each is 0 or 1.
        """
        super().validate(cases)
        if states:
            require_binary(cases, "thermometers", "give level k as k ones and then zeros")
        slack = 1 / 255 if cases.dtype == torch.uint8 else 1e-3
        rises = (self._by_site(as_probs(cases)).diff(dim=-1) > slack).any(-1).any(-1)
        if bool(rises.any()):
            first = int(rises.int().argmax())
            raise DataError(
                f"{int(rises.sum())} of {len(cases)} cases are no thermometers of {self.levels} "
                f"levels (case {first} is one): expected level k as k ones and then zeros, "
                "or means of such, that do not rise from column to column"
            )

    def fill(self, cases: Tensor, known: Tensor, rng: torch.Generator) -> None:
        """Draw the sites that are not `known` (N, size) of `cases` by the shares of their levels,
        even where nothing is known, in place.

        Raises:
            DataError: a site that is known in part.
        """
        sites = self._by_site(known)
        partly = (sites.any(-1) & ~sites.all(-1)).any(-1)
        if bool(partly.any()):
            raise DataError(
                f"{int(partly.sum())} of {len(cases)} cases know a thermometer of {self.levels} "
                "levels in part; give all of its columns, or NaN in each"
            )
        even = torch.arange(self.levels - 1, 0, -1, device=cases.device) / self.levels
        mean = torch.nanmean(torch.where(known, cases, torch.nan), 0)
        mean = torch.where(mean.isnan(), even.to(cases).repeat(self.sites), mean)
        sampled = self.sample_from_mean(mean.expand_as(cases).contiguous(), rng)
        cases.copy_(torch.where(known, cases, sampled))

    def atoms(self, context: Context | None = None) -> list[Atom]:
        """Return each site, its levels in turn; level 0 where it is absent."""
        codes = torch.ones(self.levels, self.levels - 1, dtype=torch.float64).tril(-1)
        every = Atom(codes, torch.zeros(self.levels, dtype=torch.float64))
        if context is None or context.mask is None:
            return [every] * self.sites
        none = Atom(codes[:1], torch.zeros(1, dtype=torch.float64))
        return [
            every if bool(context.mask[0, columns.start]) else none for columns in self.site_columns
        ]

    def factors(
        self, first: Tensor, second: Tensor
    ) -> Iterator[tuple[Tensor, Tensor, float, float]]:
        """Yield sum_k exp(x_1 + ... + x_k) exp(y_1 + ... + y_k) of each site."""
        for x, y in zip(
            self._logits(first).unbind(-2), self._logits(second).unbind(-2), strict=True
        ):
            bound = float((x.amax(0) + y.amax(0)).max())  # level 0 makes it 0 or more
            # the sum is no smaller than its largest term, and level 0 is 1
            least = float((x.amin(0) + y.amin(0)).max())
            yield torch.exp(x), torch.exp(y), min(least, 0.0), bound + math.log(self.levels)

    def settings(self) -> dict[str, Any]:
        """Return the number of levels, and of sites where there are several."""
        return (
            {"levels": self.levels}
            if self.sites == 1
            else {"levels": self.levels, "sites": self.sites}
        )
