"""What is fixed of each case besides its states: how long it is, and which of its columns are there."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True, eq=False)
class Context:
    """What is fixed of each case besides its states: it is data, and the model says nothing of it."""

    count: Tensor | None = None
    """The number of trials of each case, (N,) or (1,): the length of a document."""
    mask: Tensor | None = None
    """Which columns are there, (N, size) or (1, size), bool: the others are absent, are 0 and say nothing, in learning as in sampling."""

    def columns(self, columns: slice) -> Context:
        """Return the context of some of the columns."""
        return Context(self.count, None if self.mask is None else self.mask[..., columns])

    def rows(self, rows: Tensor | slice) -> Context:
        """Return the context of some of the cases."""
        return Context(*(part if part is None or len(part) == 1 else part[rows] for part in (self.count, self.mask)))

    def repeat(self, times: int) -> Context:
        """Return the context of `times` copies of all cases, one after the other."""
        parts = (self.count, self.mask)
        return Context(*(part if part is None or len(part) == 1 else part.repeat(times, *[1] * (part.ndim - 1)) for part in parts))
