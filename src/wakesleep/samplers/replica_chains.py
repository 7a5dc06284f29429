"""Replicas: chains of several machines, neighbours of which trade places."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from wakesleep.foundation.arguments import check_arguments
from wakesleep.foundation.errors import ConfigError
from wakesleep.models.rbm import RBM
from wakesleep.samplers.gibbs import Chains, Clamp, check_states, check_steps
from wakesleep.sources.axes import Hidden
from wakesleep.units import Context, Units


class Exchanges(NamedTuple):
    """What one round of exchanges between neighbours (r, r + 1) of one parity did, of N chains."""

    parity: int
    """r of the first pair; the others are every second after it."""
    swapped: Tensor
    """Which chains traded places, (P, N)."""
    forward: Tensor
    """log p*_r+1(v) - log p*_r(v) of the states that stood in r before, unnormalised, (P, N)."""
    backward: Tensor
    """log p*_r(v) - log p*_r+1(v) of those that stood in r + 1, (P, N)."""


class ReplicaExchange:
    """Replica exchange with the interface of `gibbs.run`: hand it to a dream as its sampler, and
    read `swap_rates` and `round_trips` afterwards.

    `machines` lead to the one that is sampled, the last; from `choose`, or earlier checkpoints of
    it. Replicas stay in it, so that a later call with as many chains goes on with them; those of
    clamped chains have their clamped units put there.

    Raises:
        ConfigError: fewer than two machines, or machines of different sizes.
    """

    def __init__(self, machines: Sequence[RBM]) -> None:
        self.machines = list(machines)
        shapes = {tuple(machine.weight.shape) for machine in self.machines}
        if len(self.machines) < 2 or len(shapes) > 1:
            raise ConfigError(
                f"{len(self.machines)} machines of shapes {sorted(shapes)}: expected at least two "
                "of one shape, e.g. replica_exchange.choose([rbm], rng=rng)"
            )
        device = self.machines[-1].weight.device
        self.places: tuple[float, ...] = ()
        """Where the machines of `choose` stand on its way: 0 independent units, 1 the first that
        was given, and so on.
        """
        self.visible: Tensor | None = None
        """The replicas, (R, N, visible), those of the last machine last."""
        pairs = len(self.machines) - 1
        self.accepted = torch.zeros(pairs, device=device)
        self.tried = torch.zeros(pairs, device=device)
        self.parity = 0

    @property
    def swap_rates(self) -> Tensor:
        """The part of the tried swaps that were made, (R - 1,), earliest pair first; a rate near 0
        is a wall: put a machine there.
        """
        return self.accepted / self.tried.clamp(min=1)

    @property
    def round_trips(self) -> float:
        """How many times a chain went from the first machine to the last and back, a chain."""
        if self.visible is None:
            return 0.0
        return float(self.trips.sum()) / self.visible.shape[1]

    @check_arguments
    def __call__(
        self,
        rbm: RBM,
        hidden: Hidden,
        steps: int,
        rng: torch.Generator,
        clamp: Clamp | None = None,
        temperature: float = 1.0,
        context: Context | None = None,
    ) -> Chains:
        """Return the chains of the last machine, which is `rbm`, after `steps` steps from hidden
        states (N, hidden); all replicas begin there at first.

        Raises:
            ConfigError: another machine, steps below 1, or a temperature other than 1.
            DataError: hidden states or clamped values that are NaN or infinite.
        """
        check_steps(steps, temperature)
        check_states(hidden, clamp)
        if rbm is not self.machines[-1]:
            raise ConfigError("these replicas lead to another machine: sample that one with them")
        if temperature != 1:
            raise ConfigError(f"temperature = {temperature}: replicas stand at 1; expected that")
        visible = rbm.sample_visible(hidden, rng, context=context)
        if self.visible is None or self.visible.shape[1:] != visible.shape:
            self.begin(visible.expand(len(self.machines), -1, -1).clone())
        assert self.visible is not None
        self.visible[-1] = visible
        if clamp is not None:
            self.visible.copy_(clamp.put(self.visible))
        for _ in range(steps):
            self.step(rng, clamp, context)
        last = self.visible[-1].clone()
        return Chains(last, rbm.sample_hidden(last, rng, context=context))

    def begin(self, visible: Tensor) -> None:
        """Put replicas at visible states (R, N, visible); what was counted is forgotten."""
        self.visible = visible
        chains = visible.shape[1]
        self.accepted.zero_()
        self.tried.zero_()
        self.heading = torch.zeros(visible.shape[:2], dtype=torch.int8, device=visible.device)
        """Of each replica, where it was last: 1 the first machine, -1 the last, 0 neither."""
        self.trips = torch.zeros(chains, device=visible.device)

    @check_arguments
    def step(
        self, rng: torch.Generator, clamp: Clamp | None = None, context: Context | None = None
    ) -> Exchanges:
        """Move all replicas: exchanges between neighbours of one parity, then a Gibbs step each;
        the parity takes turns.
        """
        assert self.visible is not None
        totals, done = self._exchange(rng, context)
        moved = _gibbs_step(self.machines, totals, rng, context)
        self.visible = moved if clamp is None else clamp.put(moved)
        self._count(done)
        self.parity = (self.parity + 1) % min(2, len(self.machines) - 1)
        return done

    def _exchange(self, rng: torch.Generator, context: Context | None) -> tuple[Tensor, Exchanges]:
        """Return what the pairs of this turn's parity exchange, and the hidden units' input in each
        machine, (R, N, hidden), given the state that then stands there.

        Both machines of a pair are asked about both states, and what they answer decides and is the
        input too. So exchanges cost one product more a step, and no state need be moved.
        """
        machines, visible, parity = self.machines, self.visible, self.parity
        assert visible is not None
        pairs = (len(machines) - parity) // 2
        paired = slice(parity, parity + 2 * pairs)
        chains, width = visible.shape[1:]
        both = visible[paired].reshape(pairs, 2 * chains, width)
        asked, twice = [s for s in both for _ in range(2)], context and context.repeat(2)
        totals = _hidden_inputs(machines[paired], asked, twice)
        log_p = _log_p(machines[paired], asked, totals, twice)

        gain = (log_p[1::2] - log_p[::2]).view(pairs, 2, chains)
        forward, backward = gain[:, 0], -gain[:, 1]
        chance = torch.rand(forward.shape, generator=rng, device=rng.device, dtype=torch.float64)
        swapped = chance.log() < forward + backward

        totals, rows = totals.view(2 * pairs, 2, chains, -1), swapped[..., None]
        own = visible.new_empty(len(machines), chains, totals.shape[-1])
        own[paired][::2] = torch.where(rows, totals[::2, 1], totals[::2, 0])
        own[paired][1::2] = torch.where(rows, totals[1::2, 0], totals[1::2, 1])
        for alone in {0, len(machines) - 1} - set(range(parity, paired.stop)):
            own[alone] = machines[alone].hidden_input(visible[alone], context=context)
        return own, Exchanges(parity, swapped, forward, backward)

    def _count(self, done: Exchanges) -> None:
        """Count what was swapped, and which chains came back to the first machine from the last."""
        low, high = (slice(done.parity + k, len(self.heading) - 1 + k, 2) for k in (0, 1))
        swapped, before = done.swapped, self.heading.clone()
        self.heading[low] = torch.where(swapped, before[high], before[low])
        self.heading[high] = torch.where(swapped, before[low], before[high])
        self.accepted[low] += swapped.sum(1)
        self.tried[low] += swapped.shape[1]
        self.trips += self.heading[0] == -1
        self.heading[0] = 1
        self.heading[-1] = torch.where(self.heading[-1] == 1, -1, self.heading[-1])


def _hidden_inputs(
    machines: Sequence[RBM], visible: Sequence[Tensor], context: Context | None
) -> Tensor:
    """Return the hidden units' input in each of R machines given its visible states (N, visible):
    (R, N, hidden).
    """
    each = zip(machines, visible, strict=True)
    return torch.stack([rbm.hidden_input(states, context=context) for rbm, states in each])


def _log_p(
    machines: Sequence[RBM], visible: Sequence[Tensor], totals: Tensor, context: Context | None
) -> Tensor:
    """Return log p*(v) = a'v - U(v) + Gamma(x), unnormalised, of its visible states (N, visible) in
    each of R machines given their hidden units' input x, of `totals` (R, N, hidden): (R, N),
    float64, nats.
    """
    terms = [
        states @ rbm.visible_bias - rbm.visible.potential(states, context)
        for rbm, states in zip(machines, visible, strict=True)
    ]

    def partition(layer: Units, total: Tensor, context: Context | None) -> Tensor:
        return layer.log_partition(total, context)

    return torch.stack(terms).double() + _each([rbm.hidden for rbm in machines], partition, totals)


def _gibbs_step(
    machines: Sequence[RBM], totals: Tensor, rng: torch.Generator, context: Context | None
) -> Tensor:
    """Return visible states (R, N, visible) drawn by way of hidden ones, whose input is `totals`
    (R, N, hidden).
    """

    def sample(layer: Units, total: Tensor, context: Context | None) -> Tensor:
        return layer.mean_and_sample(total, rng, context=context, mean=total)[1]

    hidden = _each([rbm.hidden for rbm in machines], sample, totals)
    below = [rbm.visible_input(states) for rbm, states in zip(machines, hidden, strict=True)]
    return _each([rbm.visible for rbm in machines], sample, torch.stack(below), context)


def _each(
    units: Sequence[Units],
    call: Callable[[Units, Tensor, Context | None], Tensor],
    values: Tensor,
    context: Context | None = None,
) -> Tensor:
    """Return what `call` makes of each layer's values (R, N, size), (R, N, ...): of all layers at
    once where units have no parameters of their own, so that these are alike.
    """
    if any(True for layer in units for _ in layer.parameters()):
        pairs = zip(units, values, strict=True)
        return torch.stack([call(layer, rows, context) for layer, rows in pairs])
    context = None if context is None else context.repeat(len(values))
    made = call(units[-1], values.flatten(0, 1), context)
    return made.view(*values.shape[:2], *made.shape[1:])
