"""What is fixed of each case besides its states: how long it is, and which of its columns are
there.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import torch
from torch import Tensor

from wakesleep.foundation.errors import DataError
from wakesleep.foundation.tensors import Expected
from wakesleep.sources.arrays import Rows, chunks


@dataclass(frozen=True, eq=False)
class Context:
    """What is fixed of each case besides its states: it is data, and the model says nothing of
    it.
    """

    count: Annotated[Tensor, Expected("N?", "counts")] | None = None
    """The number of trials of each case, (N,) or (1,): the length of a document."""
    mask: Annotated[Tensor, Expected("N? visible", "mask")] | None = None
    """Which columns are there, (N, size) or (1, size), bool: the others are absent, are 0 and say
    nothing, in learning as in sampling.
    """

    def columns(self, columns: slice) -> Context:
        """Return the context of some of the columns."""
        return Context(self.count, None if self.mask is None else self.mask[..., columns])

    def rows(self, rows: Tensor | slice) -> Context:
        """Return the context of some of the cases."""
        return Context(
            *(
                part if part is None or len(part) == 1 else part[rows]
                for part in (self.count, self.mask)
            )
        )

    def repeat(self, times: int) -> Context:
        """Return the context of `times` copies of all cases, one after the other."""
        parts = (self.count, self.mask)
        return Context(
            *(
                part
                if part is None or len(part) == 1
                else part.repeat(times, *[1] * (part.ndim - 1))
                for part in parts
            )
        )

    def distinct(self, cases: int) -> list[tuple[Context, Tensor]]:
        """Return the different contexts, (1, ...) each, and the numbers (n,) of those among `cases`
        cases that have it.
        """
        parts = [part for part in (self.count, self.mask) if part is not None]
        rows = max((len(part) for part in parts), default=1)
        if rows == 1:
            return [(self, torch.arange(cases))]
        every = torch.cat(
            [part.reshape(len(part), -1).double().expand(rows, -1) for part in parts], 1
        )
        kind = torch.unique(every, dim=0, return_inverse=True)[1]
        members = [
            torch.nonzero(kind == number).squeeze(1) for number in range(int(kind.max()) + 1)
        ]
        return [(self.rows(index[:1]), index) for index in members]


def one_context(context: Context | None) -> Context | None:
    """Return the context (1, ...) that all cases of `context` have: log Z is a number of one.

    Raises:
        DataError: they differ.
    """
    if context is None:
        return None
    kinds = context.distinct(1)
    if len(kinds) > 1:
        raise DataError(
            f"a context of {len(kinds)} different kinds of cases came, and each has a log Z of "
            "its own; give one, (1, ...)"
        )
    return kinds[0][0]


def check_context(
    context: Context | None, cases: Tensor | Rows | None, count: int, size: int
) -> None:
    """See that a context fits `count` cases (N, size), and that their absent columns are 0.

    Raises:
        DataError: a count or mask of another shape, or cases with other values in absent columns.
    """
    if context is None:
        return
    for name, part, width in (("count", context.count, ()), ("mask", context.mask, (size,))):
        if part is not None and tuple(part.shape) not in ((count, *width), (1, *width)):
            raise DataError(
                f"a context's {name} of shape {tuple(part.shape)} came for {count} cases; "
                f"expected {(count, *width)} or {(1, *width)}"
            )
    if context.mask is None or cases is None:
        return
    start = bad = 0
    for chunk in chunks(cases):
        mask = context.rows(slice(start, start + len(chunk))).mask
        bad += int(((chunk != 0) & (mask == 0)).any(1).sum())
        start += len(chunk)
    if bad:
        raise DataError(
            f"{bad} of {count} cases have values in columns that the context's mask says are "
            "absent; set those to 0: cases * mask"
        )
