"""One site of which exactly one level is on: U(s) = 0, Gamma(x) = logsumexp x, mean softmax x."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from wakesleep.compute.ops import accumulation_dtype
from wakesleep.foundation.errors import DataError
from wakesleep.sources.arrays import require_binary
from wakesleep.sources.context import Context
from wakesleep.units.base import Atom, Units, present, register


@register
class Categorical(Units):
    """A site with a number of `levels`, one column each: p(s_j = 1) = exp x_j / sum_k exp x_k."""

    limits = (0.0, 1.0)
    settled_by_mean = True

    def __init__(self, levels: int) -> None:
        super().__init__(levels)

    @property
    def levels(self) -> int:
        """How many levels, and columns, there are."""
        return self.size

    def log_partition(self, total_input: Tensor, context: Context | None = None) -> Tensor:
        """Return log sum_j exp x_j, (N,)."""
        log_partition = torch.logsumexp(total_input, -1)
        return log_partition if context is None or context.mask is None else log_partition * context.mask[..., 0]

    def mean(self, total_input: Tensor, *, context: Context | None = None, out: Tensor | None = None) -> Tensor:
        """Return softmax(x), (N, levels)."""
        probs = present(torch.softmax(total_input, -1), context)
        return probs if out is None else out.copy_(probs)

    def variance(self, total_input: Tensor, context: Context | None = None) -> Tensor:
        """Return p (1 - p), (N, levels)."""
        probs = torch.softmax(total_input, -1)
        return present(probs * (1 - probs), context)

    def sample(self, total_input: Tensor, rng: torch.Generator, *, context: Context | None = None, out: Tensor | None = None) -> Tensor:
        """Return one-hot rows, (N, levels)."""
        return present(self.sample_from_mean(torch.softmax(total_input, -1), rng, out), context, out)

    def mean_and_sample(
        self,
        total_input: Tensor,
        rng: torch.Generator,
        *,
        context: Context | None = None,
        mean: Tensor | None = None,
        out: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Return softmax(x) and one-hot rows drawn from it, each (N, levels)."""
        probs = torch.softmax(total_input, -1)
        states = present(self.sample_from_mean(probs, rng, out), context, out)
        probs = present(probs, context)
        return (probs if mean is None else mean.copy_(probs)), states

    def sample_from_mean(self, mean: Tensor, rng: torch.Generator, out: Tensor | None = None) -> Tensor:
        """Return one-hot rows drawn from the probabilities, (N, levels)."""
        states = torch.empty_like(mean) if out is None else out
        return states.zero_().scatter_(-1, sample_categorical(mean, rng).unsqueeze(-1), 1.0)

    def match(self, mean: Tensor, variance: Tensor | None = None, *, cases: int | None = None) -> Tensor:
        """Return the log of each level's share, (levels,)."""
        p = mean.clamp(0, 1)
        p = p if cases is None else (p * cases + 1) / (cases + 2)
        return torch.log(p / p.sum())

    def validate(self, cases: Tensor, *, states: bool = False) -> None:
        """Raise DataError, with `states`, unless each case has exactly one 1 and else 0."""
        super().validate(cases)
        if not states:
            return
        require_binary(cases)
        on = (cases != 0).sum(1)
        if bool((on != 1).any()):
            count, first = int((on != 1).sum()), int((on != 1).int().argmax())
            raise DataError(
                f"{count} of {len(cases)} cases have another number of 1s than one among the {self.levels} levels of a categorical site "
                f"(case {first} has {int(on[first])}); give each site one 1, e.g. by torch.nn.functional.one_hot"
            )

    def fill(self, cases: Tensor, known: Tensor, rng: torch.Generator) -> None:
        """Draw the sites that are not `known` (N, levels) of `cases` by the shares of the levels, even where nothing is known, in place.

        Raises:
            DataError: a site that is known in part.
        """
        whole = known.all(1)
        partly = known.any(1) & ~whole
        if bool(partly.any()):
            raise DataError(
                f"{int(partly.sum())} of {len(cases)} cases know a categorical site of {self.levels} levels in part; give all of its columns, "
                "or NaN in each"
            )
        shares = torch.nanmean(cases, 0) if bool(whole.any()) else torch.ones_like(cases[0])
        drawn = self.sample_from_mean((shares / shares.sum()).expand_as(cases).contiguous(), rng)
        cases.copy_(torch.where(whole[:, None], cases, drawn))

    def atoms(self, context: Context | None = None) -> list[Atom]:
        """Return one site, each level on in turn; none on where it is absent."""
        if context is not None and context.mask is not None and not bool(context.mask[0, 0]):
            return [Atom(torch.zeros(1, self.levels, dtype=torch.float64), torch.zeros(1, dtype=torch.float64))]
        return [Atom(torch.eye(self.levels, dtype=torch.float64), torch.zeros(self.levels, dtype=torch.float64))]

    def factors(self, first: Tensor, second: Tensor) -> Iterator[tuple[Tensor, Tensor, float, float]]:
        """Yield sum_j exp x_j exp y_j."""
        bounds = torch.maximum(first.amax(0), first.new_zeros(())) + torch.maximum(second.amax(0), second.new_zeros(()))
        least = float((first.amin(0) + second.amin(0)).max())  # the sum is no smaller than its largest term
        yield torch.exp(first), torch.exp(second), min(least, 0.0), float(bounds.max()) + math.log(self.levels)

    def settings(self) -> dict[str, Any]:
        """Return the number of levels."""
        return {"levels": self.levels}

    @classmethod
    def from_settings(cls, settings: dict[str, Any]) -> Categorical:
        """Return a site with that number of `levels`, or, in files of older versions, that `size`."""
        return cls(settings["levels"] if "levels" in settings else settings["size"])


def sample_categorical(probs: Tensor, rng: torch.Generator) -> Tensor:
    """Return one column a row, drawn with the row's probabilities (N, columns): (N,).

    The smallest of exponential waiting times wins, p / e being largest. Unlike torch.multinomial it never waits for the device, and it
    lets NaN pass, so that a diverging net is noticed where weights are checked, with advice.
    """
    waiting = torch.empty_like(probs, dtype=accumulation_dtype(probs.dtype)).exponential_(generator=rng)
    return (probs / waiting).argmax(-1)
