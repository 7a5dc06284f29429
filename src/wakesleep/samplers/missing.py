"""Missing values as unknown states of visible units: drawn from the model given all that is known.

While a model learns, they are drawn anew after each epoch (stochastic EM); once it has learned,
chains with the known units clamped give samples of p(unknown | known), and what follows from a case
is averaged over them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, cast

import torch
from torch import Tensor

from wakesleep.foundation import renamed
from wakesleep.foundation.arguments import check_arguments
from wakesleep.foundation.errors import ConfigError
from wakesleep.foundation.values import whole
from wakesleep.models.rbm import RBM
from wakesleep.samplers.gibbs import Clamp, gibbs_step, random_hidden, run
from wakesleep.sources.axes import (
    GroupCases,
    LayerWritten,
    Visible,
    VisibleMaskOfEach,
    VisibleWritten,
)
from wakesleep.units import Bernoulli, Context, Groups, Units

CHUNK = 2000
ABSENT_STEPS = 5
"""Gibbs steps that draw what is absent from a case of several senses while a net of them learns,
begun at columns' means or at what the units are without input.
"""


@check_arguments
def init_missing(cases: LayerWritten, rng: torch.Generator, units: Units | None = None) -> Tensor:
    """Fill NaN in `cases` (N, D), in place, with draws from what is known of each column; return
    what is known (N, D).

    How they are drawn is for the `units` to say, see `Units.fill`; by default all are binary.

    Raises:
        DataError: a categorical site that is known in part.
    """
    known = ~torch.isnan(cases)
    (units or Bernoulli(cases.shape[1])).fill(cases, known, rng)
    return known


@check_arguments
def refill(
    rbm: RBM,
    cases: VisibleWritten,
    known: VisibleMaskOfEach,
    rng: torch.Generator,
    steps: int = 1,
    context: Context | None = None,
) -> None:
    """Move what is not `known` (N, D) of `cases` (N, visible units), in place, `steps` Gibbs steps
    on with the rest clamped.
    """
    for start in range(0, len(cases), CHUNK):
        rows = slice(start, start + CHUNK)
        visible, clamp = cases[rows], Clamp(known[rows], cases[rows])
        own = None if context is None else context.rows(rows)
        for _ in range(steps):
            hidden = rbm.sample_hidden(visible, rng, context=own)
            visible = clamp.put(rbm.sample_visible(hidden, rng, context=own))
        cases[rows] = visible


@check_arguments
def draws(
    rbm: RBM,
    cases: Visible,
    known: VisibleMaskOfEach,
    rng: torch.Generator,
    *,
    count: int = 20,
    burn_in: int = 20,
    apart: int = 5,
) -> Iterator[Tensor]:
    """Yield `count` fillings of `cases` (N, D), drawn `apart` Gibbs steps from each other after
    `burn_in`; the same tensor each time.
    """
    for name, number in (("count", count), ("burn_in", burn_in), ("apart", apart)):
        whole(name, number, least=0)
    filled = cases.clone()
    refill(rbm, filled, known, rng, burn_in)
    for _ in range(count):
        refill(rbm, filled, known, rng, apart)
        yield filled


@check_arguments
def impute(
    rbm: RBM,
    cases: Tensor,
    rng: torch.Generator,
    *,
    steps: int = 100,
    mean: bool = False,
    checked: bool = False,
) -> Tensor:
    """Return `cases` (N, D) with NaN filled in after `steps` Gibbs steps: states, or with `mean`
    E[v | known].

    The mean is that of p(v | h) over the hidden states h of the second half of the steps. `checked`
    says that the cases were looked at already.

    Raises:
        ConfigError: steps below 2.
        DataError: cases that do not fit the machine, values out of range, a categorical site that
            is known in part.
    """
    if steps < 2:
        raise ConfigError(f"{steps} Gibbs steps: expected at least 2")
    if not checked:
        cases = rbm.as_cases(cases, rng=rng, missing=True)
    filled = cases.clone()
    known = init_missing(filled, rng, rbm.visible)
    refill(rbm, filled, known, rng, steps // 2)
    total = torch.zeros_like(filled)
    for _ in range(steps - steps // 2):
        refill(rbm, filled, known, rng)
        if mean:
            total += rbm.visible_probs(rbm.sample_hidden(filled, rng))
    return torch.where(known, filled, total / (steps - steps // 2)) if mean else filled


@check_arguments
def recall(
    rbm: RBM,
    known: Mapping[str, GroupCases],
    rng: torch.Generator,
    *,
    steps: int = 100,
    mean: bool = True,
) -> dict[str, Tensor]:
    """Return all visible groups by name, those that are not `known` after `steps` Gibbs steps: E[v
    | known], or states where not `mean`.

    `known` holds states (N, columns of the group) of some groups. The mean is that of p(v | h) over
    the second half of the steps.

    Raises:
        ConfigError: a layer without named groups, no such group, steps below 2.
        DataError: nothing known, states of another shape, or values that the group's units do not
            take.
    """
    if steps < 2:
        raise ConfigError(f"{steps} Gibbs steps: expected at least 2")
    clamp = Clamp.of_groups(rbm, known)
    chains = run(rbm, random_hidden(rbm, len(clamp.values), rng), steps // 2, rng, clamp)
    total = torch.zeros_like(chains.visible)
    for _ in range(steps - steps // 2):
        total += rbm.visible_probs(chains.hidden)
        chains = gibbs_step(rbm, chains.hidden, rng, clamp)
    groups = cast(Groups, rbm.visible)
    return groups.split(clamp.put(total / (steps - steps // 2)) if mean else chains.visible)


if not TYPE_CHECKING:
    __getattr__ = renamed.attributes(__name__, begin="init_missing")
