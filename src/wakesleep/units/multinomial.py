"""Words of a document, D of each case (the replicated softmax): U(s) = -log D! / prod_k s_k!,
Gamma(x) = D logsumexp x, mean D softmax x. The hidden units' biases count D times.
"""

from __future__ import annotations

import torch
from torch import Tensor

from wakesleep.foundation.errors import ConfigError, DataError
from wakesleep.sources.context import Context
from wakesleep.units.base import Atom, Units
from wakesleep.units.counts import require_counts
from wakesleep.units.registry import register

MOST_STATES = 1 << 22
"""States that are listed."""


@register
class Multinomial(Units):
    """Counts of `size` words whose sum D is the `count` of the case's `Context`.

    Source: Salakhutdinov & Hinton (2009), "Replicated softmax: an undirected topic model".
    """

    needs_count = True

    def _log_probs(self, total_input: Tensor, context: Context | None) -> tuple[Tensor, Tensor]:
        """Return log p of each word, (N, size), and logsumexp x, (N,), over the words that are
        there.
        """
        if context is not None and context.mask is not None:
            lowest = torch.finfo(total_input.dtype).min / 4
            total_input = torch.where(context.mask != 0, total_input, lowest)
        sums = torch.logsumexp(total_input, -1)
        return total_input - sums[..., None], sums

    def potential(self, states: Tensor, context: Context | None = None) -> Tensor:
        """Return -log D! / prod_k s_k!, (N,)."""
        return torch.lgamma(states + 1).sum(-1) - torch.lgamma(states.sum(-1) + 1)

    def log_partition(self, total_input: Tensor, context: Context | None = None) -> Tensor:
        """Return D logsumexp x, (N,)."""
        return _count(context).to(total_input) * self._log_probs(total_input, context)[1]

    def mean(
        self, total_input: Tensor, *, context: Context | None = None, out: Tensor | None = None
    ) -> Tensor:
        """Return D softmax x, (N, size)."""
        p = self._log_probs(total_input, context)[0].exp()
        mean = _count(context).to(p)[:, None] * p
        return mean if out is None else out.copy_(mean)

    def variance(self, total_input: Tensor, context: Context | None = None) -> Tensor:
        """Return D p (1 - p), (N, size)."""
        p = self._log_probs(total_input, context)[0].exp()
        return _count(context).to(p)[:, None] * p * (1 - p)

    def sample(
        self,
        total_input: Tensor,
        rng: torch.Generator,
        *,
        context: Context | None = None,
        out: Tensor | None = None,
    ) -> Tensor:
        """Return how often each word came in D draws, (N, size)."""
        p = self._log_probs(total_input, context)[0].exp()
        count = _count(context).to(p.device).expand(len(p))
        longest = max(1, int(count.max()))
        words = torch.multinomial(p, longest, replacement=True, generator=rng)
        counted = torch.arange(longest, device=p.device) < count[:, None]
        states = torch.zeros_like(p) if out is None else out.zero_()
        return states.scatter_add_(1, words, counted.to(states.dtype))

    def bias_scale(self, context: Context | None) -> Tensor | None:
        """Return D of each case, (N, 1)."""
        return _count(context)[:, None]

    def match(
        self, mean: Tensor, variance: Tensor | None = None, *, cases: int | None = None
    ) -> Tensor:
        """Return the log of each word's share, (size,), each word once more where `cases` says."""
        p = mean.clamp(min=0) + (0 if cases is None else 1 / cases)
        return torch.log(p / p.sum())

    def validate(self, cases: Tensor, *, states: bool = False) -> None:
        """Raise DataError unless every value is a whole number of 0 or more."""
        super().validate(cases)
        require_counts(cases, repr(self))

    def validate_counts(self, cases: Tensor, context: Context | None) -> None:
        """Raise DataError unless the counts of each case add up to the context's count."""
        sums, counts = cases.sum(-1, dtype=torch.float64), _count(context).double()
        wrong = sums != counts.to(sums.device)
        if bool(wrong.any()):
            first = int(wrong.int().argmax())
            raise DataError(
                f"{self!r}: the counts of {int(wrong.sum())} of {len(cases)} cases do not add up "
                f"to the context's count (case {first} has {float(sums[first]):g}, its count is "
                f"{float(counts.expand_as(sums)[first]):g}); give Context(count=cases.sum(1))"
            )

    def atoms(self, context: Context | None = None) -> list[Atom]:
        """Return the whole layer: every way to share D among the words.

        Raises:
            ConfigError: there are too many.
        """
        count = int(_count(context)[0])
        mask = None if context is None or context.mask is None else context.mask[0].tolist()
        states = torch.zeros(1, 0, dtype=torch.float64)
        for word in range(self.size):
            free = 1 if mask is not None and not mask[word] else count + 1
            if len(states) * free > MOST_STATES:
                raise ConfigError(
                    f"{self}: too many ways to share {count} words; estimate log Z by AIS "
                    "(wakesleep.likelihood.log_partition)"
                )
            more = torch.arange(free, dtype=torch.float64).repeat(len(states))
            states = torch.cat([states.repeat_interleave(free, 0), more[:, None]], 1)
            states = states[states.sum(1) <= count]
        states = states[states.sum(1) == count]
        return [Atom(states, -self.potential(states))]


def _count(context: Context | None) -> Tensor:
    """Return the number of words of each case, (N,) or (1,)."""
    if context is None or context.count is None:
        raise DataError("multinomial units want the count of each case: give a Context(count=...)")
    return context.count
