"""Missing values as unknown states of visible units: drawn from the model given all that is known.

While a model learns, they are drawn anew after each pass (stochastic EM); once it has learned, chains with the known units clamped give
samples of p(unknown | known), and what follows from a case is averaged over them.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from wakesleep.foundation.errors import ConfigError, DataError
from wakesleep.foundation.values import check_arguments
from wakesleep.model.rbm import RBM
from wakesleep.model.units import Softmax, Units, columns_of
from wakesleep.sampling.gibbs import Clamp, gibbs_step
from wakesleep.sources import cases as rows

CHUNK = 2000


def begin(cases: Tensor, rng: torch.Generator, units: Units | None = None) -> Tensor:
    """Fill NaN in `cases` (N, D), in place, with draws from each column's mean (1/2 where nothing is known); return what is known (N, D).

    `units` say which columns are softmax groups, of which one unit is drawn; by default all are binary.

    Raises:
        DataError: a softmax group that is known in part.
    """
    known = ~torch.isnan(cases)
    means = torch.nan_to_num(torch.nanmean(cases, 0), nan=0.5)
    cases.copy_(torch.where(known, cases, torch.empty_like(cases).uniform_(generator=rng).lt_(means)))
    for columns in columns_of(units, Softmax) if units is not None else []:
        group, whole = cases[:, columns], known[:, columns].all(1)
        partly = known[:, columns].any(1) & ~whole
        if bool(partly.any()):
            raise DataError(
                f"{int(partly.sum())} of {len(cases)} cases know the softmax group of columns {columns.start} to {columns.stop - 1} in part; "
                "give all of its columns, or NaN in each"
            )
        shares = means[columns] if bool(whole.any()) else torch.ones_like(means[columns])
        drawn = Softmax(group.shape[1]).sample((shares / shares.sum()).expand_as(group).contiguous(), rng)
        group.copy_(torch.where(whole[:, None], group, drawn))
    return known


def refill(rbm: RBM, cases: Tensor, known: Tensor, rng: torch.Generator, steps: int = 1) -> None:
    """Move what is not `known` (N, D) of `cases` (N, visible units), in place, `steps` Gibbs steps on with the rest clamped."""
    for start in range(0, len(cases), CHUNK):
        part, clamp = cases[start : start + CHUNK], known[start : start + CHUNK]
        visible = part
        for _ in range(steps):
            hidden = rbm.hidden.sample(rbm.hidden_probs(visible), rng)
            visible = gibbs_step(rbm, hidden, rng, Clamp(clamp, part)).visible
        part.copy_(visible)


@check_arguments
def draws(
    rbm: RBM, cases: Tensor, known: Tensor, rng: torch.Generator, *, count: int = 20, burn_in: int = 20, apart: int = 5
) -> Iterator[Tensor]:
    """Yield `count` fillings of `cases` (N, D), drawn `apart` Gibbs steps from each other after `burn_in`; the same tensor each time."""
    filled = cases.clone()
    refill(rbm, filled, known, rng, burn_in)
    for _ in range(count):
        refill(rbm, filled, known, rng, apart)
        yield filled


@check_arguments
def impute(rbm: RBM, cases: Tensor, rng: torch.Generator, *, steps: int = 100, mean: bool = False, checked: bool = False) -> Tensor:
    """Return `cases` (N, D) with NaN filled in after `steps` Gibbs steps: states, or with `mean` E[v | known].

    The mean is that of p(v | h) over the hidden states h of the second half of the steps. `checked` says that the cases were looked at already.

    Raises:
        ConfigError: steps below 2.
        DataError: cases that do not fit the machine, values out of range, a softmax group that is known in part.
    """
    if steps < 2:
        raise ConfigError(f"{steps} Gibbs steps: expected at least 2")
    if not checked:
        cases = rows.as_probs(rows.as_cases(cases, rbm.visible.size, rbm.weight, rng=rng, missing=True)).to(rbm.weight.dtype)
    filled = cases.clone()
    known = begin(filled, rng, rbm.visible)
    refill(rbm, filled, known, rng, steps // 2)
    total = torch.zeros_like(filled)
    for _ in range(steps - steps // 2):
        refill(rbm, filled, known, rng)
        if mean:
            total += rbm.visible_probs(rbm.hidden.sample(rbm.hidden_probs(filled), rng))
    return torch.where(known, filled, total / (steps - steps // 2)) if mean else filled
