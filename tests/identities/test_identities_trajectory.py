"""Learning whose persistent chains trade places with those of earlier machines, on two modes."""

from copy import deepcopy
from functools import cache
from itertools import islice, pairwise

import pytest
import torch

import wakesleep as ws
from tests.identities.exact import assert_same_state, small_rbm
from wakesleep.evaluation import exact
from wakesleep.foundation.errors import ConfigError
from wakesleep.learning import deep_boltzmann, trajectory
from wakesleep.models.dbm import DBM
from wakesleep.samplers import gibbs, replica_exchange
from wakesleep.units import Bernoulli, Context, Gaussian


def two_patterns(count=400, size=10, noise=0.05):
    """Cases (count, size): three quarters all on, a quarter all off, but for a few units."""
    on = (torch.arange(count) % 4 > 0).float()[:, None].expand(-1, size)
    flipped = torch.rand(count, size, generator=ws.generator(0)) < noise
    return torch.where(flipped, 1 - on, on)


def probs_of(rbm, states):
    """p(v) of all states (M, visible), (M,)."""
    return torch.softmax(-rbm.free_energy(states), 0)


CONFIG = ws.CDConfig(
    epochs=60,
    batch_size=20,
    learning_rate=0.1,
    final_learning_rate=0.003,
    persistent=True,
    sample_visible=True,
    momentum=0.0,
    initial_momentum=0.0,
    weight_decay=0.0,
    centred=True,
)


@cache
def learned(seed, steps):
    """The mean log-likelihood, the mass of the upper mode and the chains of a machine that learned
    with so many steps of exchange an epoch.
    """
    cases, rbm = two_patterns(), ws.RBM(10, 6, rng=ws.generator(seed), weight_std=0.01)
    ws.cd.init_visible_bias(rbm, cases)
    config = ws.CDConfig(**(vars(CONFIG) | {"exchange_steps": steps}))
    *_, last = ws.cd.epochs(rbm, cases, config=config, rng=ws.generator(seed + 5))
    every = rbm.visible.states().float()
    p = torch.softmax(-rbm.free_energy(every).double(), 0)
    score = -rbm.free_energy(cases).double().mean() - exact.log_partition(rbm)
    return float(score), float(p[every.mean(1) > 0.5].sum()), rbm, last


@pytest.mark.slow
def test_two_modes_are_learned_in_their_proportions():
    """Plain chains stay in the modes they are in, so nothing teaches how much mass each has."""
    scores, masses = {}, {}
    for steps in (0, 10):
        found = [learned(seed, steps) for seed in range(3)]
        scores[steps] = sum(score for score, *_ in found) / 3
        masses[steps] = [abs(mass - 0.75) for _, mass, *_ in found]
        rbm, last = found[0][2:]
        upper = (rbm.visible_probs(last.state.chains).mean(1) > 0.5).float().mean()
        assert 0 < upper < 1
    assert scores[10] >= scores[0]
    assert max(masses[10]) < 0.2 < max(masses[0])
    assert last.metrics["machines"] == 1 + len(last.state.ladder.visible) > 2
    assert "machines" not in learned(0, 0)[3].metrics


def test_an_exchange_leaves_the_machine_its_law():
    """Chains that all begin in one mode are in both in proportion afterwards, and the ladder's
    machines stay what they were.
    """
    rbm, last = learned(0, 10)[2:]
    state = deepcopy(last.state)
    before = {name: value.clone() for name, value in state.ladder.machines.items()}
    rng, ladder = ws.generator(3), state.ladder
    count = 400
    ladder.visible = ladder.visible[:, :1].expand(-1, count, -1).clone()
    hidden = rbm.sample_hidden(torch.zeros(count, 10), rng)
    for _ in range(30):
        ladder, _ = trajectory.exchange(rbm, hidden, ladder, 10, rng)
    every = rbm.visible.states().float()
    p = torch.softmax(-rbm.free_energy(every).double(), 0)
    mass = float(p[every.mean(1) > 0.5].sum())
    upper = float((rbm.sample_visible(hidden, rng).mean(1) > 0.5).float().mean())
    assert abs(upper - mass) < 5 * (0.25 / count) ** 0.5
    plain = gibbs.run(rbm, rbm.sample_hidden(torch.zeros(count, 10), rng), 5, rng)
    assert float((plain.visible.mean(1) > 0.5).float().mean()) < mass / 2
    first = {name: value[:1] for name, value in ladder.machines.items()}
    assert all(torch.equal(first[name], value[:1]) for name, value in before.items())


def test_chains_that_exchange_keep_the_law_of_the_machine(monkeypatch):
    """Of 4,000 chains drawn exactly, after ten steps beside a machine at half way."""
    rbm, rng, count = small_rbm(Bernoulli(5), Bernoulli(4)).float(), ws.generator(2), 4000
    first, every = replica_exchange.independent(rbm), rbm.visible.states().float()
    middle = replica_exchange.between(first, rbm, 0.5)
    states = [
        every[torch.multinomial(probs_of(machine, every), count, replacement=True, generator=rng)]
        for machine in (first, middle, rbm)
    ]
    replicas = replica_exchange.ReplicaExchange([first, middle])
    replicas.begin(torch.stack(states[:2]))
    ladder, hidden = trajectory.ladder_of(replicas), rbm.sample_hidden(states[-1], rng)
    monkeypatch.setattr(trajectory, "LEAST", 0.0)
    for _ in range(10):
        ladder, _ = trajectory.exchange(rbm, hidden, ladder, 1, rng)
    visible = rbm.sample_visible(hidden, rng)
    number = (visible.long() << torch.arange(4, -1, -1)).sum(1).bincount(minlength=32)
    expected = probs_of(rbm, every) * count
    assert float(((number - expected).square() / expected).sum()) < 31 + 5 * 62**0.5
    assert len(ladder.visible) == len(ladder.machines["weight"]) == 2
    monkeypatch.setattr(trajectory, "LEAST", 2.0)  # above any swap rate there is
    ladder, _ = trajectory.exchange(rbm, hidden, ladder, 2, rng)
    halves = [first.weight, middle.weight / 2, middle.weight, (middle.weight + rbm.weight) / 2]
    torch.testing.assert_close(ladder.machines["weight"], torch.stack(halves))
    assert len(ladder.visible) == 4


@pytest.mark.parametrize("kind", ["rbm", "real", "dbm"])
def test_goes_on_to_the_same_bits(kind):
    cases = two_patterns(60)
    make = {
        "rbm": lambda: ws.RBM(10, 4, rng=ws.generator(1)),
        "real": lambda: ws.RBM(Gaussian(10), 4, rng=ws.generator(1)),
        "dbm": lambda: DBM((10, 4, 3), rng=ws.generator(1)),
    }[kind]
    config = ws.CDConfig(**(vars(CONFIG) | {"epochs": 6, "exchange_steps": 4}))
    deep = ws.DBMConfig(epochs=6, batch_size=20, learning_rate=0.1, centred=True, exchange_steps=4)

    def learn(net, rng, state, count):
        records = (
            deep_boltzmann.epochs(net, cases, config=deep, rng=rng, state=state)
            if kind == "dbm"
            else ws.cd.epochs(net, cases, config=config, rng=rng, state=state)
        )
        return list(islice(records, count))[-1].state

    whole, part, rng = make(), make(), ws.generator(2)
    last = learn(whole, ws.generator(2), None, 6)
    state = deepcopy(learn(part, rng, None, 3).to_tensors())
    assert_same_state(learn(part, rng, state, 3), last)
    for name, parameter in whole.named_parameters():
        assert torch.equal(parameter, part.get_parameter(name))


def test_the_ladder_keeps_its_machines_and_grows():
    config = ws.CDConfig(**(vars(CONFIG) | {"epochs": 40, "exchange_steps": 5}))
    rbm = ws.RBM(10, 6, rng=ws.generator(0), weight_std=0.01)
    records = ws.cd.epochs(rbm, two_patterns(), config=config, rng=ws.generator(1))
    ladders = [record.state.ladder.machines["visible_bias"] for record in records]
    for before, after in pairwise(ladders):
        for machine in before:
            assert bool((machine == after).all(1).any())
    assert len(ladders[-1]) > len(ladders[0])


def test_refused_in_words():
    for wrong in ({"persistent": False}, {"temperatures": 3}):
        with pytest.raises(ConfigError, match="exchange_steps = 5"):
            ws.CDConfig(**{"persistent": True, "exchange_steps": 5, **wrong})
    config = ws.CDConfig(epochs=1, persistent=True, exchange_steps=5)
    rbm, cases = ws.RBM(10, 4, rng=ws.generator(1)), two_patterns(20)
    context = Context(mask=torch.ones(1, 10, dtype=torch.bool))
    with pytest.raises(ConfigError, match="context"):
        next(ws.cd.epochs(rbm, cases, config=config, rng=ws.generator(0), context=context))
    first = replica_exchange.independent(rbm)
    for machines in ([first, rbm], [rbm, rbm]):
        replicas = replica_exchange.ReplicaExchange(machines)
        if machines[0] is rbm:
            replicas.begin(torch.zeros(2, 3, 10))
        with pytest.raises(ConfigError, match="begin with independent units"):
            trajectory.ladder_of(replicas)
