"""Whether cases are such as the visible units of a model take."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from wakesleep.sources.arrays import as_cases, as_probs
from wakesleep.sources.context import check_context
from wakesleep.units import Context, Units


def check_cases(
    units: Units,
    cases: Any,
    like: Tensor,
    *,
    rng: torch.Generator | None = None,
    missing: bool = False,
    context: Context | None = None,
    states: bool = False,
) -> Any:
    """Return cases (N, size) as a tensor or the `Rows` that came, once they are seen to be data, or
    `states`, of these units, for a model with the parameter `like`.

    NaN pass where `missing`. The `context` is that of each case, (N, ...), or one of all, (1, ...).

    Raises:
        DataError: another shape or device, no cases, NaN (unless `missing`), infinity, or values
            that the units do not take; a context that does not fit, or absent columns that are
            not 0.
    """
    cases = as_cases(cases, units.size, like, rng=rng, missing=missing, limits=units.limits)
    check_context(context, cases, len(cases), units.size)
    if not states and units.limits is not None and not units.site_columns:
        return cases  # what there is to see of them was seen
    size = len(cases) if isinstance(cases, Tensor) else 2000
    for rows in (slice(start, start + size) for start in range(0, len(cases), size)):
        part = cases[rows]
        if missing and part.is_floating_point():
            unknown = torch.isnan(part)
            # one that is known in part is refused where it would be filled in
            for site in units.site_columns:
                unknown[:, site] |= unknown[:, site].any(1, keepdim=True)
            part = torch.where(unknown, units.any_state().to(part), part)
        units.validate_present(part, None if context is None else context.rows(rows), states=states)
    return cases


def as_numbers(units: Units, cases: Tensor, like: Tensor) -> Tensor:
    """Return checked cases in the type of `like`; uint8 are pixels."""
    pixels = units.limits is not None or cases.dtype == torch.uint8
    return (as_probs(cases) if pixels else cases).to(like.dtype)
