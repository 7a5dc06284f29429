"""Persistent chains that trade places with those of earlier machines of the same training, which
cross from mode to mode where the machine that learns cannot (parallel trajectory tempering).

A ladder begins at independent units. After each epoch its replicas and the chains that teach move
together for a few steps of `ReplicaExchange`; where neighbours swap too seldom, a machine is put
between them, so that the ladder follows the learning. Source: Bereux, Decelle, Furtlehner, Rosset &
Seoane (2024), arXiv 2405.15376.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from wakesleep.foundation.arguments import check_arguments
from wakesleep.foundation.errors import ConfigError
from wakesleep.learning.state import State
from wakesleep.models.rbm import RBM
from wakesleep.samplers.replica_chains import ReplicaExchange
from wakesleep.sources.axes import HiddenWritten

LEAST = 0.15
"""The swap rate of neighbours below which a machine is put between them: on a machine with two
modes 0.15 gave twice the effective samples a second of 0.25.
"""


@dataclass
class Ladder(State):
    """Chains at fixed machines on the way to the one that learns."""

    machines: dict[str, Tensor]
    """Parameters of the R machines by their names, independent units first, (R, ...)."""
    visible: Tensor
    """States of their chains, (R, N, visible)."""


def start(rbm: RBM, chains: int, rng: torch.Generator) -> Ladder:
    """Return the ladder of independent units alone, with the biases of `rbm`."""
    first = copy.deepcopy(rbm)
    first.weight.zero_()
    first.hidden_bias.zero_()
    hidden = first.weight.new_zeros(chains, first.hidden.size)
    return Ladder(_parameters([first]), first.sample_visible(hidden, rng)[None])


@check_arguments
def ladder_of(replicas: ReplicaExchange) -> Ladder:
    """Return the ladder of all machines of replicas, independent units first, and their chains: for
    the state of a machine that goes on learning with as many chains.

    Raises:
        ConfigError: replicas without chains, or whose first machine has weights.
    """
    if replicas.visible is None or bool(replicas.machines[0].weight.any()):
        raise ConfigError(
            "these replicas have no chains, or do not begin with independent units; give those of "
            "replica_exchange.choose"
        )
    return Ladder(_parameters(replicas.machines), replicas.visible.clone())


@check_arguments
def exchange(
    rbm: RBM, chains: HiddenWritten, ladder: Ladder, steps: int, rng: torch.Generator
) -> tuple[Ladder, float]:
    """Move the hidden states `chains` (N, hidden) of `rbm` on, in place, in exchange with those of
    a ladder for `steps` steps; return the ladder as it is then, and the lowest swap rate.
    """
    machines = [*_machines(rbm, ladder), rbm]
    own = rbm.sample_visible(chains.to(rbm.weight.dtype), rng)
    replicas = ReplicaExchange(machines)
    replicas.begin(torch.cat([ladder.visible, own[None]]))
    for _ in range(steps):
        replicas.step(rng)
    assert replicas.visible is not None
    visible, rates = list(replicas.visible), replicas.swap_rates.tolist()
    chains.copy_(rbm.sample_hidden(visible[-1], rng))
    for pair in reversed(range(len(rates))):
        if rates[pair] < LEAST:
            middle = _between(machines[pair], machines[pair + 1])
            states = visible[pair]
            for _ in range(steps):
                states = middle.sample_visible(middle.sample_hidden(states, rng), rng)
            machines.insert(pair + 1, middle)
            visible.insert(pair + 1, states)
    return Ladder(_parameters(machines[:-1]), torch.stack(visible[:-1])), min(rates)


def _parameters(machines: Sequence[RBM]) -> dict[str, Tensor]:
    """Return the parameters of R machines by their names, (R, ...)."""
    each = [dict(machine.named_parameters()) for machine in machines]
    return {name: torch.stack([own[name].detach() for own in each]) for name in each[0]}


def _between(one: RBM, other: RBM) -> RBM:
    """Return the machine half the way from one to the other."""
    middle = copy.deepcopy(one)
    for own, parameter in zip(middle.parameters(), other.parameters(), strict=True):
        own.lerp_(parameter, 0.5)
    return middle


def _machines(rbm: RBM, ladder: Ladder) -> list[RBM]:
    """Return the machines of a ladder to `rbm`."""
    machines = [copy.deepcopy(rbm) for _ in ladder.visible]
    for name, values in ladder.machines.items():
        for machine, value in zip(machines, values, strict=True):
            machine.get_parameter(name).copy_(value)
    return machines
