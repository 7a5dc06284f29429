"""log Z of a machine from what its replicas exchanged: Bennett's acceptance ratio of each pair of
neighbours, from independent units, whose log Z is known, to the machine.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from wakesleep.foundation.arguments import check_arguments
from wakesleep.foundation.errors import ConfigError
from wakesleep.samplers.replica_chains import ReplicaExchange
from wakesleep.sources.context import one_context
from wakesleep.units import Context


class LogZ(NamedTuple):
    """log Z of the last machine from what its replicas exchanged, nats."""

    log_z: float
    """The estimate."""
    standard_error: float
    """By the jackknife over ten groups of chains."""


@check_arguments
def log_partition(
    replicas: ReplicaExchange,
    *,
    rng: torch.Generator,
    steps: int = 1000,
    burn_in: int = 100,
    groups: int = 10,
    context: Context | None = None,
) -> LogZ:
    """Return log Z of the last machine from the exchanges of `steps` steps after `burn_in` others:
    log Z of its independent units, and of each pair of neighbours Bennett's acceptance ratio.

        log Z_r+1 / Z_r = c such that sum_r f(forward - c) = sum_r+1 f(backward + c)

    with f the logistic function, `forward` = log p*_r+1 - log p*_r of the states in r, and
    `backward` the reverse of those in r + 1. Of few chains, some of which stay long in one mode,
    the logarithm of a ratio is too low on average: the jackknife over `groups` of chains takes that
    off to first order and gives the error. Replicas come from `choose`, or have been sampled with;
    the error does not know of modes that they have yet to find the weights of. The `context` is
    that of all chains, (1, ...): log Z is that of such cases. Source: Bennett (1976); Shirts &
    Chodera (2008).

    Raises:
        ConfigError: no replicas yet, too few steps or chains, or a ladder that does not begin with
            independent units.
        DataError: a context of several kinds of cases.
    """
    first, pairs = replicas.machines[0], len(replicas.machines) - 1
    chains = 0 if replicas.visible is None else replicas.visible.shape[1]
    if steps < 2 or groups < 2 or chains < groups or bool(first.weight.any()):
        raise ConfigError(
            f"log Z from {steps} steps of {chains} chains in {groups} groups: expected replicas "
            "that were sampled with and begin with independent units, at least 2 steps, and as "
            "many chains as groups"
        )
    context = one_context(context)
    for _ in range(burn_in):
        replicas.step(rng, context=context)
    works = [replicas.step(rng, context=context) for _ in range(steps)]
    ratio, without = 0.0, torch.zeros(groups, dtype=torch.float64)
    for pair in range(pairs):
        rounds = [work for work in works if work.parity == pair % 2]
        forward = torch.stack([work.forward[pair // 2] for work in rounds])
        backward = torch.stack([work.backward[pair // 2] for work in rounds])
        ratio += float(_log_ratio(forward, backward))
        without += _without_a_group(forward, backward, groups)
    base = float(
        first.visible.log_partition(first.visible_bias[None].double(), context)
        + first.hidden.log_partition(first.hidden_bias[None].double())
    )
    log_z = base + groups * ratio - (groups - 1) * float(without.mean())
    return LogZ(log_z, (groups - 1) * float(without.std()) / math.sqrt(groups))


def _without_a_group(forward: Tensor, backward: Tensor, groups: int) -> Tensor:
    """Return log Z_r+1 / Z_r from works (T, N) of all chains but those of one group, for each
    group, (groups,).
    """
    columns = torch.arange(forward.shape[1]).tensor_split(groups)
    others = [torch.cat([*columns[:group], *columns[group + 1 :]]) for group in range(groups)]
    return torch.stack([_log_ratio(forward[:, rest], backward[:, rest]) for rest in others])


def _log_ratio(forward: Tensor, backward: Tensor) -> Tensor:
    """Return log Z_r+1 / Z_r from works of as many states of both, by bisection: the difference of
    the two sums falls with c.
    """
    low = torch.minimum(forward.min(), -backward.max()) - 1
    high = torch.maximum(forward.max(), -backward.min()) + 1
    for _ in range(50):
        middle = (low + high) / 2
        excess = torch.sigmoid(forward - middle).sum() - torch.sigmoid(backward + middle).sum()
        low, high = (middle, high) if bool(excess > 0) else (low, middle)
    return (low + high) / 2
