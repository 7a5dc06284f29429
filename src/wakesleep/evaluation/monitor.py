"""What to watch while an RBM learns: signs of overfitting, of rates too high or low, of units that
do nothing. Fed by whoever runs a loop.

Reconstruction error is not among them: it falls while the model gets worse, and is not to be
trusted. Source: Hinton (2010), "A practical guide to training restricted Boltzmann machines",
sections 5, 6, 7 and 15.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from wakesleep.evaluation import pseudo
from wakesleep.foundation.arguments import check_arguments
from wakesleep.models.rbm import RBM
from wakesleep.sources.arrays import as_probs, draw_binary
from wakesleep.sources.axes import Rows, Weights

CASES = 500
"""Cases that are looked at: enough to see a trend, few enough to cost nothing."""
DEAD = 0.01
"""A hidden unit whose mean activity lies below this is called dead, and saturated above one minus
this.
"""
MOST_STUCK = 0.5
"""Share of dead and saturated units that is worth a warning: MNIST's memory has 0.4, and its
features none.
"""
WATCHED = 3
"""Epoch of a layer after which it is warned of them: by then weights have left where they began,
and most of the time is still ahead.
"""


@check_arguments
def free_energy_gap(
    rbm: RBM, training: Tensor, validation: Tensor, *, checked: bool = False
) -> float:
    """Return mean F(validation) - mean F(training), nats a case: near 0 at first; a gap that grows
    is the sign of overfitting.

    Both are (N, visible), as many of each; log Z cancels. With `checked` their values were looked
    at already.

    Raises:
        DataError: cases that do not fit the machine.
    """
    if not checked:
        training, validation = rbm.as_cases(training), rbm.as_cases(validation)
    return float(
        rbm.free_energy(as_probs(validation)).mean() - rbm.free_energy(as_probs(training)).mean()
    )


@check_arguments
def update_ratio(increment: Weights, weight: Weights) -> float:
    """Return mean |increment| / mean |weight|: about 1e-3 is healthy (Hinton 2010, section 7)."""
    return float(increment.abs().mean() / weight.abs().mean().clamp(min=1e-30))


@check_arguments
def activity(hidden_probs: Rows) -> dict[str, float]:
    """Return mean activity, and which part of the hidden units is dead or saturated, from
    probabilities (N, hidden).
    """
    mean = hidden_probs.mean(0)
    dead, saturated = (mean < DEAD).float().mean(), (mean > 1 - DEAD).float().mean()
    return {
        "hidden_activity": float(mean.mean()),
        "dead_units": float(dead),
        "saturated_units": float(saturated),
    }


@check_arguments
def pseudo_log_likelihood(
    rbm: RBM, cases: Tensor, rng: torch.Generator, *, checked: bool = False
) -> float:
    """Return mean log p(v_i | all other visible units) over cases (N, visible) and one random
    binary unit i of each, nats a unit.

    log p(v_i | rest) = log sigm(F(v with v_i turned over) - F(v)). Grey cases are first drawn as
    binary states. Needs no log Z.

    Raises:
        ConfigError: the visible side has no binary units.
        DataError: cases that do not fit the machine.
    """
    if not checked and pseudo.two_states(rbm.visible):  # others are refused for their units
        cases = rbm.as_cases(cases)
    return float(pseudo.of_random_unit(rbm, draw_binary(cases, rng), rng).mean())


@check_arguments
def silent_units(stage: str, metrics: Mapping[str, float]) -> str | None:
    """Return a warning, in words, where more than half of a layer's hidden units are dead or
    saturated by its `activity`; else None.
    """
    dead, saturated = metrics.get("dead_units", 0.0), metrics.get("saturated_units", 0.0)
    if dead + saturated <= MOST_STUCK:
        return None
    idle = [
        f"{100 * part:.0f} % of its units are {way}"
        for part, way in ((dead, "off"), (saturated, "on"))
        if part >= DEAD
    ]
    which = "memory" if stage == "memory" else "layer"
    return (
        f"{stage}: {' and '.join(idle)} for nearly every case, so they tell cases apart no longer, "
        "and what stands above learns from the rest. The rate is too high for these cases, or "
        f"there are more units than they can use: try --greedy.{which}.learning-rate 0.03, smaller "
        f"--hidden layers, or --greedy.{which}.sparsity-cost 0.01"
    )


@check_arguments
def measure(
    rbm: RBM,
    training: Tensor,
    validation: Tensor | None,
    *,
    rng: torch.Generator,
    increment: Weights | None = None,
    checked: bool = False,
) -> dict[str, float]:
    """Return all of it by name, from as many training as validation cases (N, visible), some
    hundred each; a key for each that can be had.

    `increment` (visible, hidden) is the last change of the weights. With `checked` values of cases
    were looked at already.

    Raises:
        DataError: cases that do not fit the machine.
    """
    if not checked:
        training, validation = (
            rbm.as_cases(training),
            None if validation is None else rbm.as_cases(validation),
        )
    held_out = training if validation is None else validation
    measured = activity(rbm.hidden_probs(as_probs(held_out)))
    if rbm.hidden.limits != (0.0, 1.0):  # others are neither off nor on
        measured = {"hidden_activity": measured["hidden_activity"]}
    if validation is not None:
        measured["free_energy_gap"] = free_energy_gap(rbm, training, validation, checked=True)
    if increment is not None:
        measured["update_ratio"] = update_ratio(increment, rbm.weight)
    if pseudo.two_states(rbm.visible):
        measured["pseudo_log_likelihood"] = pseudo_log_likelihood(rbm, held_out, rng, checked=True)
    return measured
