"""Sampling from a deep Boltzmann machine: Gibbs steps between its even and its odd layers."""

from __future__ import annotations

import torch
from torch import Tensor

from wakesleep.foundation.arguments import check_arguments
from wakesleep.foundation.errors import ConfigError
from wakesleep.foundation.values import whole
from wakesleep.models.dbm import DBM
from wakesleep.samplers import gibbs
from wakesleep.samplers.gibbs import Clamp, Sampler
from wakesleep.sources import arrays
from wakesleep.sources.axes import ClampValues, Labels, VisibleMask


@check_arguments
def dream(
    dbm: DBM,
    labels: Labels | None = None,
    *,
    count: int = 0,
    steps: int = 1000,
    rng: torch.Generator,
    sampler: Sampler = gibbs.run,
) -> Tensor:
    """Return what the machine makes of the visible layer after `steps` Gibbs steps from random
    states, E[v | h], (N, visible): with `labels` (N,) held, or `count` free dreams.

    Raises:
        ConfigError: neither labels nor a count, or labels for a machine that holds none.
        DataError: labels out of range.
    """
    if (labels is None) == (count == 0):
        raise ConfigError(f"labels = {labels}, count = {count}: expected one of the two")
    if labels is None:
        whole("count", count, least=1)
        chains = sampler(dbm.rbm, gibbs.random_hidden(dbm.rbm, count, rng), steps, rng)
        return dbm.visible_means(chains.hidden)
    if not dbm.labels:
        raise ConfigError("labels came, but this machine holds none: give count=...")
    labels = arrays.as_labels(labels, len(labels), dbm.labels).to(dbm.rbm.weight.device)
    states = arrays.one_hot(labels, dbm.labels, dbm.rbm.weight.dtype)
    on_odd = "label" in dbm.odd.names
    machine = dbm.rbm.turned() if on_odd else dbm.rbm
    clamp = Clamp.of_groups(machine, {"label": states})
    chains = sampler(
        machine, gibbs.random_hidden(machine, len(labels), rng), steps, rng, clamp=clamp
    )
    return dbm.visible_means(chains.visible if on_odd else chains.hidden)


@check_arguments
def fill_in(
    dbm: DBM,
    visible: ClampValues,
    known: VisibleMask,
    *,
    steps: int = 200,
    burn_in: int = 100,
    rng: torch.Generator,
) -> Tensor:
    """Return visible states (N, visible) with what is not `known` (visible,) or (N, visible) filled
    in by its mean over Gibbs chains that hold the rest: E[v | known], estimated.

    Chains begin at the mean field of the known units beside their base rates; the means of E[v | h]
    over all steps after the first `burn_in` are taken.

    Raises:
        ConfigError: no steps after the first `burn_in`.
        DataError: states or a mask that do not fit.
    """
    whole("burn_in", burn_in, least=0)
    if steps <= burn_in:
        raise ConfigError(f"steps = {steps}, burn_in = {burn_in}: expected more steps than that")
    units, weight = dbm.even["visible"], dbm.rbm.weight
    known = known.to(weight.device, torch.bool).expand(len(visible), units.size)
    given = torch.where(known, visible.to(weight), units.any_state().to(weight))
    given = dbm.check_cases(given, rng=rng)
    base = units.mean(dbm.bias("visible")[None])
    even = dbm.mean_field(torch.where(known, given, base)).even
    rest = torch.zeros(len(even), dbm.even.size - units.size, dtype=torch.bool, device=even.device)
    clamp = Clamp(torch.cat([known, rest], 1), even)
    hidden, total = dbm.rbm.sample_hidden(even, rng), torch.zeros_like(given)
    for step in range(steps):
        hidden = gibbs.gibbs_step(dbm.rbm, hidden, rng, clamp).hidden
        if step >= burn_in:
            total += dbm.visible_means(hidden)
    return torch.where(known, given, total / (steps - burn_in))
