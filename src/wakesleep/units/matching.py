"""The independent model that fits cases: where learning starts, and AIS."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from wakesleep.foundation.errors import DataError
from wakesleep.sources import arrays
from wakesleep.sources.context import Context
from wakesleep.units.base import Units


def match_cases(
    units: Units,
    cases: Tensor | arrays.Rows,
    *,
    weights: Tensor | None = None,
    context: Context | None = None,
    mean_over_ranks: Callable[[Tensor], Tensor] | None = None,
    count: int | None = None,
) -> Tensor:
    """Return the bias (size,) with which units without other input are as the cases (N, size) are,
    and set the family's own parameters.

    Cases count as their `weights` (N,) say, and columns where the mask of their `context` has them.
    A family with more statistics than s meets them all where no column is absent
    (`Units.match_statistics`), else mean and variance. Several ranks take the mean of theirs, and
    `count` is the number of the cases of all.

    Raises:
        DataError: NaN or infinite values.
    """
    together = mean_over_ranks or (lambda values: values)
    mask = None if context is None else context.mask
    mean, variance = arrays.moments(cases, weights, mask)
    if not bool(torch.isfinite(mean).all()):
        column = int((~torch.isfinite(mean)).int().argmax())
        raise DataError(
            f"cases with NaN or infinite values in column {column}; expected finite numbers: fill "
            "them in first (wakesleep.missing.init_missing), or say by a Context that they are "
            "absent"
        )
    if mean_over_ranks is not None:
        square = together(variance + mean.square())
        mean = together(mean)
        variance = square - mean.square()
    spread = None if units.holds_scale and units.scales else variance
    count = len(cases) if count is None else count
    if units.n_slots == units.size or mask is not None:
        return units.match(mean, spread, cases=count)
    statistics = together(arrays.mean_of(units.statistics, cases, weights))
    return units.match_statistics(statistics, spread, cases=count)
