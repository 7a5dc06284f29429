"""Replica exchange and mixing: laws, log Z and autocorrelation against what is known exactly."""

import math
from copy import deepcopy

import pytest
import torch

import wakesleep as ws
from tests.identities.exact import SIGMAS, TIGHT, small_rbm
from wakesleep.evaluation import bennett, exact, mixing
from wakesleep.foundation.errors import ConfigError, DataError
from wakesleep.samplers import gibbs, replica_exchange, tempering
from wakesleep.units import (
    Bernoulli,
    Categorical,
    Context,
    Gaussian,
    Groups,
    Multinomial,
    Spin,
)


def two_modes(depth=6.0):
    """A machine with all units off or all on, alike in mass, and a wall between."""
    rbm = ws.RBM(8, 4, rng=ws.generator(0), weight_std=0.0).double()
    rbm.weight.fill_(depth / 4)
    rbm.visible_bias.copy_(-rbm.weight.sum(1) / 2)
    rbm.hidden_bias.copy_(-rbm.weight.sum(0) / 2)
    return rbm


def mean_of(rbm):
    """E[v] by enumeration."""
    states = rbm.visible.states().double()
    return torch.softmax(-rbm.free_energy(states), 0) @ states


FAMILIES = {
    "bernoulli": (lambda: Bernoulli(6), lambda: Bernoulli(4)),
    "spin": (lambda: Spin(6), lambda: Spin(4)),
    "sites": (lambda: Categorical(3, 3), lambda: Bernoulli(4)),
    "gaussian": (lambda: Gaussian(4), lambda: Bernoulli(4)),
    "mixed": (lambda: Groups(a=Gaussian(2), b=Bernoulli(3)), lambda: Bernoulli(4)),
}


@pytest.mark.parametrize("family", FAMILIES)
def test_log_z_of_every_family(family):
    visible, hidden = FAMILIES[family]
    rbm, rng = small_rbm(visible(), hidden(), seed=3), ws.generator(1)
    replicas = replica_exchange.choose([rbm], rng=rng, chains=60)
    found = bennett.log_partition(replicas, rng=rng, steps=300, burn_in=30)
    assert found.standard_error < 0.1
    error = abs(found.log_z - exact.log_partition(rbm))
    assert error < SIGMAS * found.standard_error + 1e-3


CONDITIONAL = {
    "absent": (lambda: Bernoulli(6), Context(mask=torch.tensor([[True, True, False] * 2]))),
    "sites": (lambda: Categorical(3, 3), Context(mask=torch.tensor([[True] * 6 + [False] * 3]))),
    "counts": (lambda: Multinomial(3), Context(count=torch.tensor([4.0]))),
}


@pytest.mark.parametrize("kind", CONDITIONAL)
def test_log_z_of_conditional_machines(kind):
    """A ladder for one context leads to the machine that has it."""
    make, context = CONDITIONAL[kind]
    rbm, rng = small_rbm(make(), Bernoulli(4), seed=3), ws.generator(1)
    truth = exact.log_partition(rbm, context)
    if kind != "counts":  # which has none without
        assert abs(truth - exact.log_partition(rbm)) > 1
    replicas = replica_exchange.choose([rbm], rng=rng, chains=60, context=context)
    found = bennett.log_partition(replicas, rng=rng, steps=300, burn_in=30, context=context)
    assert abs(found.log_z - truth) < SIGMAS * found.standard_error + 1e-3
    assert found.standard_error < 0.1
    if context.mask is not None:
        assert not bool((replicas.visible * ~context.mask).any())
    tempered = tempering.choose(rbm, rng=ws.generator(1), chains=60, context=context)
    same = replica_exchange.choose([rbm], rng=ws.generator(1), chains=60, context=context)
    assert tuple(tempered.betas.tolist()) == pytest.approx(same.places)


def test_a_context_sets_the_ladder_and_two_are_refused():
    """Few columns leave little to cross, so fewer machines are needed."""
    rbm = two_modes(9.0)
    mask = torch.arange(8)[None] < 1
    given = {"base": torch.zeros(8), "chains": 50}
    all_there = replica_exchange.choose([rbm], rng=ws.generator(0), **given)
    one_column = replica_exchange.choose(
        [rbm], rng=ws.generator(0), context=Context(mask=mask), **given
    )
    assert len(one_column.machines) < len(all_there.machines)
    two = Context(mask=torch.cat([mask, ~mask]))
    for ask in (
        lambda: replica_exchange.choose([rbm], rng=ws.generator(0), context=two, **given),
        lambda: bennett.log_partition(all_there, rng=ws.generator(0), context=two),
    ):
        with pytest.raises(DataError, match="2 different kinds"):
            ask()


class StuckChains(replica_exchange.ReplicaExchange):
    """Chains that never move: of those in the first machine each is with probability 0.2 in the
    only mode of the last, where log p* is 4 higher.
    """

    def step(self, rng, clamp=None, context=None):
        chains = self.visible.shape[1]
        if self.parity == 0:
            self.there = torch.rand(1, chains, generator=rng) < 0.2
            self.parity = 1
        forward = torch.where(self.there, 4.0, -20.0).double()
        backward = torch.full((1, chains), -4.0, dtype=torch.float64)
        return replica_exchange.Exchanges(0, self.there, forward, backward)


def test_log_z_of_few_chains_is_not_too_low():
    """Bennett's ratio is exp(4) times the share that is there, and log Z the mean of its logarithm
    over draws: too low by the variance of the share.
    """
    start, rng = (
        replica_exchange.independent(small_rbm(Bernoulli(6), Bernoulli(4))),
        ws.generator(0),
    )
    start.visible_bias.zero_()
    found = []
    for _ in range(200):
        replicas = StuckChains([start, start])
        replicas.begin(torch.zeros(2, 50, 6, dtype=torch.float64))
        found.append(bennett.log_partition(replicas, rng=rng, steps=2, burn_in=0))
    errors = torch.tensor([each.log_z for each in found]) - (10 * math.log(2) + 4 + math.log(0.2))
    assert abs(float(errors.mean())) < 0.04  # 0.3 / sqrt(200) is 0.02; without the jackknife: 0.06
    given = torch.tensor([each.standard_error for each in found]).mean()
    assert float(given) == pytest.approx(float(errors.std()), rel=0.25)


@pytest.mark.parametrize("shift", [0.0, 0.2])
def test_exchanges_leave_the_distribution_and_cross_walls(shift):
    """Of modes alike in mass, and of two of which one has five times the mass of the other."""
    rbm, rng = two_modes(9.0), ws.generator(2)
    rbm.visible_bias.add_(shift)
    truth = mean_of(rbm)
    start = torch.zeros(1000, 4, dtype=torch.float64)  # all in one mode
    stuck = gibbs.run(rbm, start, 100, rng).visible.mean(0)
    assert (stuck - truth).abs().min() > 0.3
    replicas = replica_exchange.choose([rbm], base=torch.zeros(8), rng=rng, chains=50)
    replicas = replica_exchange.ReplicaExchange(replicas.machines)
    crossed = replicas(rbm, start, 300, rng).visible.mean(0)
    assert (crossed - truth).abs().max() < SIGMAS * 0.5 / math.sqrt(1000) * 2
    assert replicas.round_trips > 1


def test_neighbours_exchange_about_as_often_as_asked():
    rbm, rng = small_rbm(Bernoulli(10), Bernoulli(8), scale=1.5), ws.generator(0)
    replicas = replica_exchange.choose([rbm], rng=rng, rate=0.4, chains=200)
    for _ in range(400):
        replicas.step(rng)
    assert replicas.machines[-1] is rbm
    assert not bool(replicas.machines[0].weight.any())
    assert float(replicas.swap_rates.min()) > 0.3
    fewer = replica_exchange.choose([rbm], rng=rng, rate=0.1, chains=200)
    assert len(fewer.machines) < len(replicas.machines)


def test_chains_of_the_next_machine_are_drawn_by_their_weights():
    """Modes that no Gibbs step joins are as frequent as the next machine has them."""
    one, rng = two_modes(9.0), ws.generator(3)
    other = deepcopy(one)
    other.visible_bias.add_(0.25)  # exp(2) times as much in the mode that is on
    states = one.visible.states().double()
    probs = torch.softmax(-one.free_energy(states), 0)
    chains = states[torch.multinomial(probs, 4000, replacement=True, generator=rng)]
    for steps in (0, 3):
        drawn = replica_exchange._chains_of(other, one, chains, steps, rng)
        assert (drawn.mean(0) - mean_of(other)).abs().max() < SIGMAS * 0.5 / math.sqrt(4000)
    assert (chains.mean(0) - mean_of(other)).abs().min() > 0.3


def test_checkpoints_are_on_the_way():
    rbm = small_rbm(Bernoulli(6), Bernoulli(4))
    early = replica_exchange.between(replica_exchange.independent(rbm), rbm, 0.3)
    way = [replica_exchange.independent(early), early, rbm]
    for number, machine in enumerate(way):
        assert replica_exchange._at(way, number) is machine
    middle = replica_exchange._at(way, 1.5)
    torch.testing.assert_close(middle.weight, (early.weight + rbm.weight) / 2, **TIGHT)
    gauss = small_rbm(Gaussian(3), Bernoulli(2))
    for name, end in (("first", 0.0), ("last", 1.0)):
        first, last = deepcopy(gauss), gauss
        first.weight.zero_()
        found = replica_exchange.between(first, last, end)
        torch.testing.assert_close(found.weight, (first if name == "first" else last).weight)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("count", [2, 3, 4])
def test_works_are_differences_of_free_energies(family, count):
    visible, hidden = FAMILIES[family]
    rbm = small_rbm(visible(), hidden(), seed=3)
    start = replica_exchange.independent(rbm)
    ladder = [replica_exchange.between(start, rbm, t / (count - 1)) for t in range(count - 1)]
    replicas, rng = replica_exchange.ReplicaExchange([*ladder, rbm]), ws.generator(1)
    replicas(rbm, gibbs.random_hidden(rbm, 7, rng), 1, rng)
    for _ in range(4):
        before, parity = replicas.visible.clone(), replicas.parity
        done = replicas.step(rng)
        lows = range(parity, count - 1, 2)
        assert done.parity == parity
        assert len(done.swapped) == len(lows) > 0
        for low, forward, backward in zip(lows, done.forward, done.backward, strict=True):
            one, other = replicas.machines[low : low + 2]
            for works, states, here, there in (
                (forward, before[low], one, other),
                (backward, before[low + 1], other, one),
            ):
                expected = here.free_energy(states) - there.free_energy(states)
                torch.testing.assert_close(works, expected, **TIGHT)


def test_chains_swap_as_often_as_keeps_both_laws():
    """With min(1, p_r(v') p_r+1(v) / (p_r(v) p_r+1(v'))), pair by pair of chains."""
    rbm, rng, count = small_rbm(Bernoulli(6), Bernoulli(4), scale=1.5), ws.generator(0), 20_000
    replicas = replica_exchange.ReplicaExchange([replica_exchange.independent(rbm), rbm])
    replicas(rbm, torch.zeros(count, 4, dtype=torch.float64), 1, rng)
    done = replicas.step(rng)
    chance = (done.forward + done.backward).exp().clamp(max=1)
    assert abs(float((done.swapped.double() - chance).mean())) < SIGMAS * 0.5 / math.sqrt(count)
    sure = done.forward + done.backward >= 0
    assert bool(done.swapped[sure].all())
    assert 0.05 < float(chance[~sure].mean()) < 0.95


def test_absent_columns_stay_out_of_exchanges():
    rbm, rng = small_rbm(Bernoulli(6), Bernoulli(4)), ws.generator(0)
    mask = torch.rand(9, 6, generator=rng) < 0.6
    replicas = replica_exchange.ReplicaExchange([replica_exchange.independent(rbm), rbm])
    hidden, context = torch.zeros(9, 4, dtype=torch.float64), Context(mask=mask)
    replicas(rbm, hidden, 3, rng, context=context)
    assert not bool((replicas.visible * ~mask).any())
    before = replicas.visible.clone()
    forward = replicas.step(rng, context=context).forward[0]
    first, last = (each.free_energy(before[0], context) for each in replicas.machines)
    torch.testing.assert_close(forward, first - last, **TIGHT)


def test_replicas_follow_a_machine_that_goes_on_learning():
    rbm, rng = small_rbm(Bernoulli(6), Bernoulli(4)), ws.generator(0)
    replicas = replica_exchange.ReplicaExchange([replica_exchange.independent(rbm), rbm])
    replicas(rbm, torch.zeros(20, 4, dtype=torch.float64), 5, rng)
    rbm.weight.zero_()
    rbm.visible_bias.fill_(30.0)
    chains = replicas(rbm, torch.zeros(20, 4, dtype=torch.float64), 3, rng)
    assert bool((chains.visible == 1).all())
    before = replicas.visible.clone()
    forward = replicas.step(rng).forward[0]
    first, last = (each.free_energy(before[0]) for each in replicas.machines)
    torch.testing.assert_close(forward, first - last, **TIGHT)


@pytest.mark.parametrize("rho", [0.0, 0.5, 0.9])
def test_autocorrelation_time_of_a_known_process(rho):
    rng = ws.generator(0)
    series = torch.randn(20_000, 5, generator=rng, dtype=torch.float64)
    for t in range(1, len(series)):
        series[t] = rho * series[t - 1] + math.sqrt(1 - rho**2) * series[t]
    assert mixing.autocorrelation_time(series) == pytest.approx((1 + rho) / (1 - rho), rel=0.1)
    rates = mixing.autocorrelation(series)[:4]
    torch.testing.assert_close(rates, rho ** torch.arange(4.0).double(), atol=0.03, rtol=0)


def test_mixing_tells_equilibrium_from_a_wall():
    wall, rng = two_modes(9.0), ws.generator(0)
    cases = torch.zeros(50, 8)
    cases[::2, :3] = 1  # all chains from the cases begin on one side
    found = mixing.measure(wall, cases, rng=rng, steps=200, chains=50, count=2)
    assert not found.settled
    easy = small_rbm(Bernoulli(8), Bernoulli(4), scale=0.1)
    found = mixing.measure(easy, cases, rng=rng, steps=400, chains=20, count=2)
    assert found.settled
    assert "at equilibrium" in found.in_words()
    assert found.effective_per_second > 0
    assert found.from_cases.shape == (400, 20, 2)
    directions = found.projection.directions
    torch.testing.assert_close(directions.t() @ directions, torch.eye(2), atol=1e-5, rtol=0)
    replicas = replica_exchange.choose([wall], base=torch.zeros(8), rng=rng, chains=40)
    found = mixing.measure(wall, cases, rng=rng, steps=400, chains=20, count=1, sampler=replicas)
    assert float(found.scale_reduction.max()) < 1.1


def test_refused_in_words():
    rbm, rng = small_rbm(Bernoulli(4), Bernoulli(3)), ws.generator(0)
    other = small_rbm(Bernoulli(5), Bernoulli(3))
    with pytest.raises(ConfigError, match="at least two"):
        replica_exchange.ReplicaExchange([rbm])
    with pytest.raises(ConfigError, match="one shape"):
        replica_exchange.ReplicaExchange([other, rbm])
    replicas = replica_exchange.ReplicaExchange([replica_exchange.independent(rbm), rbm])
    hidden = torch.zeros(20, 3, dtype=torch.float64)
    with pytest.raises(ConfigError, match="another machine"):
        replicas(deepcopy(rbm), hidden, 1, rng)
    with pytest.raises(ConfigError, match="temperature"):
        replicas(rbm, hidden, 1, rng, temperature=2.0)
    with pytest.raises(ConfigError, match="sampled with"):
        bennett.log_partition(replicas, rng=rng)
    with pytest.raises(ConfigError, match="rate in"):
        replica_exchange.choose([rbm], rng=rng, rate=1.0)
    with pytest.raises(ConfigError, match="more than 3 machines"):
        replica_exchange.choose([two_modes(9.0)], base=torch.zeros(8), rng=rng, rate=0.9, most=3)
    with pytest.raises(ConfigError, match="directions"):
        mixing.principal_projection(torch.zeros(5, 3), 4)


def test_a_dream_takes_five_times_what_the_slowest_projection_remembers():
    cases = torch.bernoulli(torch.full((20, 6), 0.5), generator=ws.generator(0))
    rbm = ws.RBM(6, 4, rng=ws.generator(1))
    found = ws.mixing.measure(rbm, cases, rng=ws.generator(2), steps=20, chains=4, count=2)
    slower = found._replace(times=torch.tensor([2.0, 7.0]))
    assert (slower.slowest, slower.dream_steps) == (7.0, 35)
