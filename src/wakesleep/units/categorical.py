"""Sites of which exactly one level is on: U(s) = 0, Gamma(x) = sum over sites of logsumexp x, mean
softmax x of each site.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from wakesleep.compute.ops import accumulation_dtype
from wakesleep.foundation.errors import DataError
from wakesleep.foundation.values import whole
from wakesleep.sources.arrays import as_probs, require_binary
from wakesleep.sources.context import Context
from wakesleep.units.base import Atom, Units, present
from wakesleep.units.registry import register


@register
class Categorical(Units):
    """A number of `sites` side by side, each with `levels` columns: p(s_j = 1) = exp x_j / sum_k
    exp x_k over the levels of its site.
    """

    limits = (0.0, 1.0)
    settled_by_mean = True

    def __init__(self, levels: int, sites: int = 1) -> None:
        levels, sites = whole("levels", levels, least=1), whole("sites", sites, least=1)
        super().__init__(levels * sites)
        self.levels, self.sites = levels, sites

    @property
    def site_columns(self) -> list[slice]:
        """The columns of each site."""
        return [slice(start, start + self.levels) for start in range(0, self.size, self.levels)]

    @property
    def categorical_columns(self) -> list[slice]:
        """The columns of each site."""
        return self.site_columns

    def _by_site(self, values: Tensor) -> Tensor:
        """Return values (N, size) as (N, sites, levels), or, where there is one site, as they
        are.
        """
        return (
            values if self.sites == 1 else values.view(*values.shape[:-1], self.sites, self.levels)
        )

    def _softmax(self, total_input: Tensor) -> Tensor:
        """Return softmax x of each site, (N, size)."""
        if self.sites == 1:
            return torch.softmax(total_input, -1)
        # levels first: over a few columns that lie side by side softmax takes ten times as long
        by_level = self._by_site(total_input).movedim(-1, 0).contiguous()
        return torch.softmax(by_level, 0).movedim(0, -1).flatten(-2)

    def log_partition(self, total_input: Tensor, context: Context | None = None) -> Tensor:
        """Return sum over sites of log sum_j exp x_j, (N,)."""
        log_partition = torch.logsumexp(self._by_site(total_input), -1)
        if context is not None and context.mask is not None:
            log_partition = log_partition * self._by_site(context.mask)[..., 0]
        return log_partition if self.sites == 1 else log_partition.sum(-1)

    def mean(
        self, total_input: Tensor, *, context: Context | None = None, out: Tensor | None = None
    ) -> Tensor:
        """Return softmax(x), (N, size)."""
        probs = present(self._softmax(total_input), context)
        return probs if out is None else out.copy_(probs)

    def variance(self, total_input: Tensor, context: Context | None = None) -> Tensor:
        """Return p (1 - p), (N, size)."""
        probs = self._softmax(total_input)
        return present(probs * (1 - probs), context)

    def sample(
        self,
        total_input: Tensor,
        rng: torch.Generator,
        *,
        context: Context | None = None,
        out: Tensor | None = None,
    ) -> Tensor:
        """Return states with one 1 a site, (N, size)."""
        return present(self.sample_from_mean(self._softmax(total_input), rng, out), context, out)

    def mean_and_sample(
        self,
        total_input: Tensor,
        rng: torch.Generator,
        *,
        context: Context | None = None,
        mean: Tensor | None = None,
        out: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Return softmax(x) and states drawn from it, each (N, size)."""
        probs = self._softmax(total_input)
        states = present(self.sample_from_mean(probs, rng, out), context, out)
        probs = present(probs, context)
        return (probs if mean is None else mean.copy_(probs)), states

    def sample_from_mean(
        self, mean: Tensor, rng: torch.Generator, out: Tensor | None = None
    ) -> Tensor:
        """Return states with one 1 a site drawn from the probabilities, (N, size)."""
        states = torch.empty_like(mean) if out is None else out
        draw = sample_categorical if self.sites == 1 else sample_sites
        level = draw(self._by_site(mean), rng)
        self._by_site(states.zero_()).scatter_(-1, level.unsqueeze(-1), 1.0)
        return states

    def match(
        self, mean: Tensor, variance: Tensor | None = None, *, cases: int | None = None
    ) -> Tensor:
        """Return the log of each level's share of its site, (size,)."""
        p = mean.clamp(0, 1)
        p = p if cases is None else (p * cases + 1) / (cases + 2)
        return (
            torch.log(p / p.sum())
            if self.sites == 1
            else torch.log(self._by_site(p) / self._by_site(p).sum(-1, keepdim=True)).flatten()
        )

    def validate(self, cases: Tensor, *, states: bool = False) -> None:
        """Raise DataError unless each site of each case adds up to 1, with `states` unless it has
        exactly one 1 and else 0.
        """
        super().validate(cases)
        if not states:
            self._validate_sums(cases)
            return
        one_hot = "give each site one 1, e.g. by torch.nn.functional.one_hot"
        require_binary(cases, "categorical sites", one_hot)
        for columns in self.site_columns:
            on = (cases[:, columns] != 0).sum(1)
            if bool((on != 1).any()):
                count, first = int((on != 1).sum()), int((on != 1).int().argmax())
                raise DataError(
                    f"{count} of {len(cases)} cases have another number of 1s than one among the "
                    f"{self.levels} levels of a categorical site, columns {columns.start} to "
                    f"{columns.stop - 1}; expected one (case {first} has "
                    f"{int(on[first])}); {one_hot}"
                )

    def _validate_sums(self, cases: Tensor) -> None:
        """Raise DataError unless each site of each case holds probabilities, up to rounding."""
        slack = self.levels / 510 if cases.dtype == torch.uint8 else 1e-3
        sums = as_probs(cases).view(len(cases), self.sites, self.levels).sum(-1)
        wrong = (sums - 1).abs() > slack
        bad = wrong.any(1)
        if bool(bad.any()):
            first = int(bad.int().argmax())
            at = int(wrong[first].int().argmax()) * self.levels
            shown = [round(value, 4) for value in sums[first].tolist()]
            raise DataError(
                f"{int(bad.sum())} of {len(cases)} cases have a categorical site of {self.levels} "
                f"levels that does not add up to 1 (case {first} has {shown}, the first "
                f"in columns {at} to {at + self.levels - 1}); expected of each site one 1, "
                "e.g. by torch.nn.functional.one_hot, or probabilities"
            )

    def any_state(self) -> Tensor:
        """Return the first level of each site."""
        return torch.eye(1, self.levels).repeat(1, self.sites)[0]

    def fill(self, cases: Tensor, known: Tensor, rng: torch.Generator) -> None:
        """Draw the sites that are not `known` (N, size) of `cases` by the shares of their levels,
        even where nothing is known, in place.

        Raises:
            DataError: a site that is known in part.
        """
        for columns in self.site_columns:
            self._fill_site(cases[:, columns], known[:, columns], rng)

    def _fill_site(self, cases: Tensor, known: Tensor, rng: torch.Generator) -> None:
        """Do it for one site, (N, levels)."""
        all_known = known.all(1)
        partly = known.any(1) & ~all_known
        if bool(partly.any()):
            raise DataError(
                f"{int(partly.sum())} of {len(cases)} cases know a categorical site of "
                f"{self.levels} levels in part; give all of its columns, or NaN in each"
            )
        shares = torch.nanmean(cases, 0) if bool(all_known.any()) else torch.ones_like(cases[0])
        level = sample_categorical((shares / shares.sum()).expand_as(cases).contiguous(), rng)
        sampled = torch.zeros_like(cases).scatter_(-1, level.unsqueeze(-1), 1.0)
        cases.copy_(torch.where(all_known[:, None], cases, sampled))

    def atoms(self, context: Context | None = None) -> list[Atom]:
        """Return each site, each level on in turn; none on where it is absent."""
        one_on = Atom(
            torch.eye(self.levels, dtype=torch.float64),
            torch.zeros(self.levels, dtype=torch.float64),
        )
        if context is None or context.mask is None:
            return [one_on] * self.sites
        none_on = Atom(
            torch.zeros(1, self.levels, dtype=torch.float64), torch.zeros(1, dtype=torch.float64)
        )
        return [
            one_on if bool(context.mask[0, columns.start]) else none_on
            for columns in self.site_columns
        ]

    def factors(
        self, first: Tensor, second: Tensor
    ) -> Iterator[tuple[Tensor, Tensor, float, float]]:
        """Yield sum_j exp x_j exp y_j of each site."""
        for columns in self.site_columns:
            x, y = first[:, columns], second[:, columns]
            bounds = torch.maximum(x.amax(0), x.new_zeros(())) + torch.maximum(
                y.amax(0), y.new_zeros(())
            )
            # the sum is no smaller than its largest term
            least = float((x.amin(0) + y.amin(0)).max())
            yield (
                torch.exp(x),
                torch.exp(y),
                min(least, 0.0),
                float(bounds.max()) + math.log(self.levels),
            )

    def settings(self) -> dict[str, Any]:
        """Return the number of levels, and of sites where there are several."""
        return (
            {"levels": self.levels}
            if self.sites == 1
            else {"levels": self.levels, "sites": self.sites}
        )

    @classmethod
    def from_settings(cls, settings: dict[str, Any]) -> Categorical:
        """Return sites with that number of `levels`, or, of what older versions called a softmax,
        that `size`.
        """
        return cls(settings["size"]) if "size" in settings else cls(**settings)


def sample_categorical(probs: Tensor, rng: torch.Generator) -> Tensor:
    """Return one column a row, drawn with the row's probabilities (..., columns): (...,).

    The smallest of exponential waiting times wins, p / e being largest. Unlike torch.multinomial it
    never waits for the device, and it lets NaN pass, so that a diverging net is noticed where
    weights are checked, with advice.
    """
    waiting = torch.empty_like(probs, dtype=accumulation_dtype(probs.dtype)).exponential_(
        generator=rng
    )
    return (probs / waiting).argmax(-1)


def sample_sites(probs: Tensor, rng: torch.Generator) -> Tensor:
    """Return one level a site, drawn with the probabilities (N, sites, levels): (N, sites).

    By the inverse of the cumulative distribution: a random number a site instead of one a level,
    which are most of the time of `sample_categorical`. NaN pass here too.
    """
    rising = probs.to(accumulation_dtype(probs.dtype)).cumsum(-1)
    at = rising.new_empty(*probs.shape[:-1], 1).uniform_(generator=rng) * rising[..., -1:]
    return (rising[..., :-1] <= at).sum(-1)
