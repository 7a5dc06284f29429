"""What contrastive wake-sleep goes on from: velocities, running means, persistent chains with their
labels.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from wakesleep.foundation.arguments import check_arguments
from wakesleep.foundation.values import whole
from wakesleep.learning.configs import UpDownConfig
from wakesleep.learning.state import EpochState, RunningMean, check_fit
from wakesleep.models.dbn import DBN
from wakesleep.models.multimodal import MultimodalDBN
from wakesleep.samplers.gibbs import random_hidden, restarted
from wakesleep.sources import arrays
from wakesleep.sources.arrays import UNLABELLED
from wakesleep.sources.axes import ChainWritten, SomeLabels

UNASSIGNED = -2
"""The label of a persistent chain before the first minibatch."""


@dataclass
class UpDownState(EpochState):
    """What contrastive wake-sleep needs to go on after an epoch."""

    velocity: dict[str, Tensor] = field(default_factory=dict)
    """Of each parameter, by its name."""
    mean: RunningMean | None = None
    """The running mean of the weights."""
    chains: Tensor | None = None
    """Persistent chains: top states (pool, M, hidden)."""
    chain_labels: Tensor | None = None
    """The labels that the chains hold, (M,)."""


@check_arguments
def init_state(
    dbn: DBN | MultimodalDBN,
    config: UpDownConfig,
    rng: torch.Generator,
    dtype: torch.dtype | None = None,
) -> UpDownState:
    """Untie the net's weights and return the state before the first epoch: no velocity, running
    means, chains (of `dtype`) at random.
    """
    dbn.untie()
    state = UpDownState(
        velocity={name: torch.zeros_like(parameter) for name, parameter in dbn.named_parameters()}
    )
    if config.average:
        state.mean = RunningMean.start(dbn)
    if count := round(config.persistent * config.batch_size):
        chains = random_hidden(dbn.memory, config.chain_pool * count, rng).to(
            dtype or dbn.memory.weight.dtype
        )
        state.chains = chains.view(config.chain_pool, count, -1)
        if dbn.labels and config.hold_labels:
            state.chain_labels = torch.full((count,), UNASSIGNED, device=rng.device)
    return state


@check_arguments
def started(
    dbn: DBN | MultimodalDBN,
    config: UpDownConfig,
    state: UpDownState | Mapping[str, Any] | None,
    rng: torch.Generator,
    dtype: torch.dtype | None,
) -> UpDownState:
    """Return the state to go on from, once it is seen to fit net and settings, or that before the
    first epoch; unties the net's weights.

    Raises:
        CheckpointError: a state of other settings or another net.
    """
    state = UpDownState.read(state)
    if state is None:
        return init_state(dbn, config, rng, dtype)
    dbn.untie()
    parameters, count = dict(dbn.named_parameters()), round(config.persistent * config.batch_size)
    expected = {
        "velocity": parameters,
        "mean": parameters if config.average else None,
        "chains": (config.chain_pool, count, dbn.memory.hidden.size) if count else None,
        "chain_labels": (count,) if count and dbn.labels and config.hold_labels else None,
    }
    check_fit(state, expected, "net")
    return state


@check_arguments
def reset_chains(
    dbn: DBN, chains: ChainWritten, config: UpDownConfig, rng: torch.Generator
) -> None:
    """Let some of the persistent chains, top states (M, hidden), start again from random states, in
    place.
    """
    chains.copy_(restarted(dbn.memory, chains, config.restart, rng))


@check_arguments
def labels_to_hold(labels: SomeLabels | None, count: int, device: torch.device) -> Tensor:
    """Return the labels that `count` chains will hold, (count,), in the proportions of `labels`
    (N,).

    Other proportions would teach the label weights that some classes are rarer than they are.
    """
    whole("count", count, least=1)
    if labels is None:
        return torch.full((count,), UNLABELLED, device=device)
    return arrays.labels_in_proportion(labels, count)
