"""Missing values as unknown states of visible units: drawn from the model given all that is known.

While a model learns, they are drawn anew after each pass (stochastic EM); once it has learned, chains with the known units clamped give
samples of p(unknown | known), and what follows from a case is averaged over them.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from wakesleep.foundation.errors import ConfigError
from wakesleep.model.rbm import RBM
from wakesleep.sampling.gibbs import Clamp, gibbs_step

CHUNK = 2000


def begin(cases: Tensor, rng: torch.Generator) -> Tensor:
    """Fill NaN in `cases` (N, D), in place, with draws from each column's mean (1/2 where nothing is known); return what is known (N, D)."""
    known = ~torch.isnan(cases)
    means = torch.nan_to_num(torch.nanmean(cases, 0), nan=0.5)
    cases.copy_(torch.where(known, cases, torch.empty_like(cases).uniform_(generator=rng).lt_(means)))
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


def draws(
    rbm: RBM, cases: Tensor, known: Tensor, rng: torch.Generator, *, count: int = 20, burn_in: int = 20, apart: int = 5
) -> Iterator[Tensor]:
    """Yield `count` fillings of `cases` (N, D), drawn `apart` Gibbs steps from each other after `burn_in`; the same tensor each time."""
    filled = cases.clone()
    refill(rbm, filled, known, rng, burn_in)
    for _ in range(count):
        refill(rbm, filled, known, rng, apart)
        yield filled


def impute(rbm: RBM, cases: Tensor, rng: torch.Generator, *, steps: int = 100, mean: bool = False) -> Tensor:
    """Return `cases` (N, D) with NaN filled in after `steps` Gibbs steps: states, or with `mean` probabilities over the second half of them.

    Raises:
        ConfigError: steps below 2.
    """
    if steps < 2:
        raise ConfigError(f"{steps} Gibbs steps: expected at least 2")
    filled = cases.clone()
    known = begin(filled, rng)
    refill(rbm, filled, known, rng, steps // 2)
    total = torch.zeros_like(filled)
    for _ in range(steps - steps // 2):
        refill(rbm, filled, known, rng)
        if mean:
            total += rbm.visible_probs(rbm.hidden_probs(filled))
    return torch.where(known, filled, total / (steps - steps // 2)) if mean else filled
