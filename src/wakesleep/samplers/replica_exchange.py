"""Replica exchange: chains of several machines trade places, so that what the last machine's chains
cannot cross is crossed in an earlier one.

    p(swap) = min(1, p_r(v') p_r+1(v) / (p_r(v) p_r+1(v'))),   v ~ p_r, v' ~ p_r+1

The machines lead from independent units, whose samples and log Z are exact, to the one that is
wanted. Where they are its own checkpoints along training this is parallel trajectory tempering
(Bereux, Decelle, Furtlehner, Rosset & Seoane 2024, arXiv 2405.15376): modes split one after the
other in learning, while a rise of temperature melts them all at once. Without checkpoints the
machines are those of parallel tempering, on the straight line between independent units and the
last. `choose` puts as many on the way as neighbours need to exchange often;
`bennett.log_partition` reads log Z from their exchanges.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from wakesleep.foundation.arguments import check_arguments
from wakesleep.foundation.errors import ConfigError
from wakesleep.foundation.values import whole
from wakesleep.models.rbm import RBM
from wakesleep.samplers.annealed import Independent, as_independent
from wakesleep.samplers.replica_chains import Exchanges as Exchanges
from wakesleep.samplers.replica_chains import ReplicaExchange as ReplicaExchange
from wakesleep.sources.axes import Bias
from wakesleep.sources.context import one_context
from wakesleep.units import Context

CLOSEST = 1e-4
"""The shortest step between two machines of a ladder, in checkpoints."""


@check_arguments
def independent(rbm: RBM, base: Bias | Independent | None = None) -> RBM:
    """Return the machine of independent units with which a ladder to `rbm` begins: no weights, no
    hidden biases, and the visible biases of `base` (visible,), e.g. `ais.base_model(rbm, cases)`;
    by default the machine's own.
    """
    start = as_independent(rbm, rbm.visible_bias if base is None else base)
    weight, bias, hidden_bias = (
        nn.Parameter(tensor, requires_grad=False)
        for tensor in (
            torch.zeros_like(rbm.weight),
            start.bias.to(rbm.weight.dtype).clone(),
            torch.zeros_like(rbm.hidden_bias),
        )
    )
    return RBM.sharing(start.units, rbm.hidden, weight, bias, hidden_bias)


@check_arguments
def between(first: RBM, last: RBM, t: float) -> RBM:
    """Return the machine at `t` in [0, 1] on the straight line from `first` to `last`: weights,
    biases and the units' own natural parameters.
    """
    visible, hidden = (
        after.interpolate(before, t)
        for before, after in ((first.visible, last.visible), (first.hidden, last.hidden))
    )
    weight, visible_bias, hidden_bias = (
        nn.Parameter(torch.lerp(a, b, t), requires_grad=False)
        for a, b in (
            (first.weight, last.weight),
            (first.visible_bias, last.visible_bias),
            (first.hidden_bias, last.hidden_bias),
        )
    )
    return RBM.sharing(visible, hidden, weight, visible_bias, hidden_bias)


@check_arguments
def choose(
    machines: Sequence[RBM],
    *,
    rng: torch.Generator,
    base: Bias | Independent | None = None,
    chains: int = 100,
    rate: float = 0.3,
    steps: int = 20,
    most: int = 200,
    context: Context | None = None,
) -> ReplicaExchange:
    """Return replicas on the way from independent units through `machines`, checkpoints in the
    order of training, to the last of them, with as few between as exchange at about `rate`.

    The way goes straight from each checkpoint to the next. From the last machine found it tries how
    far the next may be: chains of the last, drawn by their weights p_next(v) / p_last(v) so that
    modes are left as often as they should be, and moved by `steps` Gibbs steps of the candidate,
    stand for the candidate's own; then all replicas so far exchange for as many steps. At the end
    machines are put between neighbours that swap at less than half the rate in ten times as many
    steps, until there are none.

    Args:
        machines: at least the one that is wanted.
        rng: where all random choices come from.
        base: biases (visible,) of the independent units, or their model; by default the first
            machine's biases.
        chains: N, of each machine.
        rate: wanted swap rate of neighbours, in (0, 1).
        steps: see above; more where machines mix slowly.
        most: machines at most.
        context: of all chains, (1, ...); hand it to what the replicas do afterwards too.

    Raises:
        ConfigError: no machines, a rate outside (0, 1), or more machines needed than `most`.
        DataError: a context of several kinds of cases, between which chains cannot trade places.
    """
    whole("chains", chains, least=2)
    whole("steps", steps, least=1)
    if not machines or not 0 < rate < 1:
        raise ConfigError(
            f"{len(machines)} machines, rate = {rate}: expected one at least, and a rate in (0, 1)"
        )
    way = [independent(machines[0], base), *machines]
    search = _Search(way, rate, steps, most, rng, one_context(context))
    start = way[0].visible_bias.expand(chains, -1).contiguous()
    places = [0.0]
    states = [way[0].visible.sample(start, rng, context=search.context)]
    while places[-1] < len(way) - 1:
        position, moved = search.next_position(places[-1], states[-1])
        places = [*places, position]
        _, states = search.exchanged(places, [*states, moved], steps)
    while True:
        replicas, states = search.exchanged(places, states, 10 * steps)
        walls = [pair for pair, swaps in enumerate(replicas.swap_rates) if swaps < rate / 2]
        if not walls:
            replicas.begin(torch.stack(states))
            return replicas
        for pair in reversed(walls):
            middle = (places[pair] + places[pair + 1]) / 2
            nearest, machine = _at(way, places[pair]), _at(way, middle)
            places.insert(pair + 1, middle)
            moved = _chains_of(machine, nearest, states[pair], steps, rng, search.context)
            states.insert(pair + 1, moved)


class _Search(NamedTuple):
    """How `choose` looks for machines on the way, see there."""

    way: Sequence[RBM]
    rate: float
    steps: int
    most: int
    rng: torch.Generator
    context: Context | None

    def next_position(self, position: float, states: Tensor) -> tuple[float, Tensor]:
        """Return how far on the way, in steps of halves and doubles, the next machine may be from
        the one at `position`, whose chains are `states` (N, visible); and chains moved there.

        Raises:
            ConfigError: nowhere.
        """
        last, nearest, context = len(self.way) - 1.0, _at(self.way, position), self.context

        def tried(stride: float) -> tuple[float, Tensor] | None:
            there = min(position + stride, last)
            machine = _at(self.way, there)
            moved = _chains_of(machine, nearest, states, self.steps, self.rng, context)
            swaps = _swap_rate(nearest, machine, states, moved, context)
            return (there, moved) if swaps >= self.rate else None

        stride, furthest = 1.0, None
        while furthest is None:
            furthest = tried(stride)
            if furthest is None:
                stride /= 2
                if stride < CLOSEST:
                    raise ConfigError(
                        f"machines {CLOSEST:g} checkpoints apart, at {position:.2f} of {last:.0f}, "
                        f"exchange at a rate below {self.rate}: give more checkpoints from there, "
                        "or a lower rate"
                    )
        while furthest[0] < last and (further := tried(2 * stride)) is not None:
            stride, furthest = 2 * stride, further
        return furthest

    def exchanged(
        self, places: Sequence[float], states: Sequence[Tensor], steps: int
    ) -> tuple[ReplicaExchange, list[Tensor]]:
        """Return replicas at these places after so many steps from these states, and where their
        chains are then.

        Raises:
            ConfigError: there are more than `most`.
        """
        if len(places) > self.most:
            raise ConfigError(
                f"more than {self.most} machines are needed on the way, which is done to "
                f"{max(places):.2f} of {len(self.way) - 1}; give more checkpoints from early "
                "training, a lower rate or more"
            )
        replicas = ReplicaExchange([_at(self.way, position) for position in places])
        replicas.places = tuple(places)
        replicas.begin(torch.stack(list(states)))
        for _ in range(steps):
            replicas.step(self.rng, context=self.context)
        assert replicas.visible is not None
        return replicas, list(replicas.visible)


def _at(way: Sequence[RBM], position: float) -> RBM:
    """Return the machine at `position` of the way, 0 the first; whole numbers are the machines
    themselves.
    """
    number = min(math.floor(position), len(way) - 1)
    t = position - number
    return way[number] if t < 1e-9 else between(way[number], way[number + 1], t)


def _chains_of(
    other: RBM,
    one: RBM,
    visible: Tensor,
    steps: int,
    rng: torch.Generator,
    context: Context | None = None,
) -> Tensor:
    """Return as many chains of `other` as `visible` (N, visible) of `one`: drawn from these by
    their weights p_other(v) / p_one(v) (systematic resampling), and moved by Gibbs steps.
    """
    gain = one.free_energy(visible, context) - other.free_energy(visible, context)
    weights = torch.softmax(gain.double(), 0)
    start = torch.rand((), generator=rng, device=rng.device, dtype=torch.float64)
    places = (torch.arange(len(visible), device=rng.device) + start) / len(visible)
    visible = visible[torch.searchsorted(weights.cumsum(0), places).clamp(max=len(visible) - 1)]
    for _ in range(steps):
        hidden = other.sample_hidden(visible, rng, context=context)
        visible = other.sample_visible(hidden, rng, context=context)
    return visible


def _swap_rate(
    one: RBM, other: RBM, first: Tensor, second: Tensor, context: Context | None
) -> float:
    """Return at what rate chains of two machines would swap, each of one with each of the other."""
    gain_first = (one.free_energy(first, context) - other.free_energy(first, context)).double()
    gain_second = (other.free_energy(second, context) - one.free_energy(second, context)).double()
    return float((gain_first[:, None] + gain_second).clamp(max=0).exp().mean())
