"""Annealed importance sampling, tempering and replica exchange of units that are not binary."""

import pytest
import torch

import wakesleep as ws
from tests.identities.exact import SIGMAS, small_rbm
from wakesleep.evaluation import ais, bennett, exact
from wakesleep.samplers import replica_exchange, tempering
from wakesleep.units import (
    Bernoulli,
    Binomial,
    Categorical,
    Context,
    Gaussian,
    Multinomial,
    Ordinal,
    Poisson,
    ReLU,
)

FOUR = Context(count=torch.tensor([4.0], dtype=torch.float64))
FAMILIES = {
    "ordinal": (Ordinal(4, 3), Bernoulli(3)),
    "binomial": (Binomial(4, 3), Bernoulli(3)),
    "potts": (Categorical(3, 3), Categorical(3, 2)),
    "relu": (Bernoulli(5), ReLU(3)),
    "poisson": (Poisson(3), Bernoulli(3)),
    "gaussian": (Gaussian(3), Categorical(3, 2)),
    "multinomial": (Multinomial(5), Bernoulli(3)),
}


def machine(family):
    """A machine, the context of its cases, and its log Z."""
    rbm = small_rbm(*FAMILIES[family], seed=3, scale=0.5)
    context = FOUR if family == "multinomial" else None
    return rbm, context, exact.log_partition(rbm, context)


@pytest.mark.parametrize("family", FAMILIES)
def test_annealing_finds_log_z(family):
    rbm, context, log_z = machine(family)
    rng, hidden = ws.generator(1), torch.zeros(50, rbm.hidden.size, dtype=torch.float64)
    base = ais.base_model(rbm, rbm.sample_visible(hidden, rng, context=context), context)
    chains = ais.init_forward(rbm, base, torch.linspace(0, 1, 200), 100, rng, context)
    *_, last = ais.anneal(rbm, base, chains, rng=rng, context=context)
    found = ais.estimate(rbm, base, last, context)
    assert found.standard_error < 0.05
    assert abs(found.log_z - log_z) < SIGMAS * found.standard_error


@pytest.mark.parametrize("family", [name for name in FAMILIES if name != "multinomial"])
def test_exchanges_find_log_z(family):
    rbm, _, log_z = machine(family)
    rng = ws.generator(1)
    replicas = replica_exchange.choose([rbm], rng=rng, chains=60)
    found = bennett.log_partition(replicas, rng=rng, steps=150, burn_in=30)
    assert found.standard_error < 0.05
    assert abs(found.log_z - log_z) < SIGMAS * found.standard_error


@pytest.mark.parametrize("way", ["tempering", "exchange"])
@pytest.mark.parametrize("family", [name for name in FAMILIES if name != "gaussian"])
def test_the_law_of_the_last_machine_is_left_as_it_is(family, way):
    """E[v], by enumeration or, of counts without a limit, as far as they are likely."""
    rbm, context, _ = machine(family)
    if family == "poisson":
        counts = torch.arange(40, dtype=torch.float64)
        states = torch.cartesian_prod(counts, counts, counts)
    else:
        states = rbm.visible.states(context).double()
    p = torch.softmax(-rbm.free_energy(states, context), 0)
    mean = p @ states
    spread = (p @ states.square() - mean.square()).sqrt()
    sampler = (
        tempering.Tempered(torch.linspace(0, 1, 4))
        if way == "tempering"
        else replica_exchange.ReplicaExchange([replica_exchange.independent(rbm), rbm])
    )
    hidden = torch.zeros(1000, rbm.hidden.size, dtype=torch.float64)
    found = sampler(rbm, hidden, 25, ws.generator(2), context=context).visible.mean(0)
    assert bool(((found - mean).abs() < SIGMAS * spread / 1000**0.5).all())
    assert 0.1 < float(sampler.swap_rates.min()) <= 1
