"""Pseudo-likelihood: how well an RBM knows each visible unit from all the others. Cheap, exact, and
only a proxy of the likelihood.

    log PL(v) = sum_i log p(v_i | v_-i),    p(v_i = s | v_-i) ~ exp(-F(v with unit i at s))

A categorical site counts as one unit that knows all others. For a unit of two states p(v_i | v_-i)
= sigm(F(v with unit i turned) - F(v)).

Source: Besag (1975); the guide to deep learning's and scikit-learn's monitor of an RBM, which draw
one i a case instead of all.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor
from torch.nn.functional import softplus

from wakesleep.foundation.arguments import check_arguments
from wakesleep.foundation.errors import ConfigError, DataError
from wakesleep.models.rbm import RBM
from wakesleep.sources.axes import Visible
from wakesleep.units import Atom, Context, Units


@check_arguments
def pseudo_log_likelihood(
    rbm: RBM, visible: Tensor, context: Context | None = None, *, checked: bool = False
) -> Tensor:
    """Return sum_i log p(v_i | v_-i) of each case (N, visible): (N,), nats; absent units say
    nothing.

    Values between 0 and 1 of binary units are taken as they are. `checked` says that the cases were
    looked at already.

    Raises:
        ConfigError: visible units with a continuum of states.
        DataError: cases that do not fit the machine, NaN, values out of range, a categorical site
            that is in none of its states, or a context that does not fit.
    """
    if not checked:
        visible = rbm.as_cases(visible, context=context)
    if context is None:
        return _of_one_context(rbm, visible, None, checked)
    score = visible.new_zeros(len(visible))
    for own, index in context.distinct(len(visible)):
        there = index.to(visible.device)
        score = score.index_add(0, there, _of_one_context(rbm, visible[there], own, checked))
    return score


def _of_one_context(rbm: RBM, visible: Tensor, context: Context | None, checked: bool) -> Tensor:
    """Return it of cases that all have the context, (1, ...)."""
    pieces = list(sites(rbm.visible, context))
    if not checked:
        _require_states(pieces, visible)
    total_input = rbm.hidden_input(visible, context=context)
    partition = rbm.hidden.log_partition(total_input)
    score = torch.zeros_like(partition)
    for columns, atom in pieces:
        if atom.states.shape == (2, 1):
            score -= softplus(
                _rise(rbm, visible, total_input, partition, torch.tensor(columns.start), atom)
            )
        else:
            score += _log_prob(rbm, visible, total_input, columns, atom)
    return score


def _require_states(pieces: list[tuple[slice, Atom]], visible: Tensor) -> None:
    """Raise DataError unless all pieces of the layer of more than two states are in one of them in
    each case (N, visible).
    """
    for columns, atom in pieces:
        if atom.states.shape != (2, 1):
            bad = ~(visible[:, None, columns] == atom.states.to(visible)).all(-1).any(1)
            if bool(bad.any()):
                first, count = int(bad.int().argmax()), len(atom.states)
                raise DataError(
                    f"columns {columns.start} to {columns.stop - 1}: {int(bad.sum())} of "
                    f"{len(visible)} cases (case {first} the first) are in "
                    f"none of their {count} states; give each categorical site one 1, else 0"
                )


@check_arguments
def of_random_unit(rbm: RBM, visible: Visible, rng: torch.Generator) -> Tensor:
    """Return log p(v_i | all other visible units) of states (N, visible) and one random unit i of
    two states of each case: (N,), nats.

    Raises:
        ConfigError: the visible side has no units of two states.
    """
    pairs = two_states(rbm.visible)
    if not pairs:
        raise ConfigError(
            f"visible units {rbm.visible}: one unit is turned over, and none of these has two "
            "states, as binary ones have"
        )
    every, atom = torch.tensor([column for column, _ in pairs], device=visible.device), pairs[0][1]
    unit = every[torch.randint(len(every), (len(visible),), generator=rng, device=rng.device)]
    total_input = rbm.hidden_input(visible)
    return -softplus(
        _rise(rbm, visible, total_input, rbm.hidden.log_partition(total_input), unit, atom)
    )


@check_arguments
def sites(units: Units, context: Context | None = None) -> Iterator[tuple[slice, Atom]]:
    """Yield the independent pieces of a layer with their columns; a context is of one case, (1,
    ...).

    Raises:
        ConfigError: units with a continuum of states.
    """
    start = 0
    for atom in units.atoms(context):
        stop = start + atom.states.shape[1]
        yield slice(start, stop), atom
        start = stop


@check_arguments
def two_states(units: Units) -> list[tuple[int, Atom]]:
    """Return the columns of units of two states; none where the layer has a continuum of them."""
    try:
        return [
            (columns.start, atom) for columns, atom in sites(units) if atom.states.shape == (2, 1)
        ]
    except ConfigError:
        return []


def _rise(
    rbm: RBM, visible: Tensor, total_input: Tensor, partition: Tensor, unit: Tensor, atom: Atom
) -> Tensor:
    """Return F(v) - F(v with a unit of two states turned), (N,), for one column `unit` or one a
    case (N,).
    """
    current = visible[:, unit] if unit.ndim == 0 else visible.gather(1, unit[:, None]).squeeze(1)
    change = float(atom.states.sum()) - 2 * current
    flipped = torch.addcmul(total_input, change[:, None], rbm.weight[unit])
    rise = change * rbm.visible_bias[unit] + rbm.hidden.log_partition(flipped) - partition
    measure = float(atom.log_measure[1] - atom.log_measure[0])
    return rise if measure == 0 else rise + measure * torch.sign(change)


def _log_prob(rbm: RBM, visible: Tensor, total_input: Tensor, columns: slice, atom: Atom) -> Tensor:
    """Return log p(state of the columns | all others), (N,), by the free energy of each of their
    states.
    """
    weight, states = rbm.weight[columns], atom.states.to(visible)
    others = total_input - visible[:, columns] @ weight
    scores = (
        rbm.hidden.log_partition_delta(others, states @ weight)
        + states @ rbm.visible_bias[columns]
        + atom.log_measure.to(visible)
    )
    at_state = (visible[:, None, columns] == states).all(-1)
    return torch.where(at_state, torch.log_softmax(scores, 1), 0.0).sum(1)
