"""What the experiments with deep Boltzmann machines are made of."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import pytest
import torch

from benchmarks.deep import density, inpaint, trajectory
from wakesleep.evaluation import exact
from wakesleep.foundation.rng import generator
from wakesleep.models.dbn import DBN
from wakesleep.models.rbm import RBM
from wakesleep.runs import checkpoint
from wakesleep.samplers import replica_exchange


def some_rbm(visible: int, hidden: int) -> RBM:
    """An RBM with weights and biases of size 1."""
    rng = generator(0)
    rbm = RBM(visible, hidden, rng=rng, weight_std=1.0).double()
    for bias in (rbm.visible_bias, rbm.hidden_bias):
        bias.normal_(generator=rng)
    return rbm


def test_a_deep_machine_begins_at_the_likelihood_of_its_rbm() -> None:
    rbm = some_rbm(6, 4)
    dbm = density.on_top_of(rbm, 300, generator(1)).double()
    states, hidden = rbm.visible.states().double(), rbm.hidden.states().double()
    wanted = -rbm.free_energy(states) - exact.log_partition(rbm)
    above = dbm.bias("layer2") + hidden @ dbm.block("layer1", "layer2")
    joint = (
        states @ dbm.block("visible", "layer1") @ hidden.t()
        + (states @ dbm.bias("visible"))[:, None]
        + hidden @ dbm.bias("layer1")
        + torch.nn.functional.softplus(above).sum(1)
    )
    found = torch.logsumexp(joint, 1) - exact.log_partition(dbm.rbm)
    assert torch.allclose(found, wanted, atol=0.05)


def test_columns_are_drawn_from_the_digit_that_makes_them_likeliest() -> None:
    rng = generator(0)
    grey = torch.randint(0, 256, (50, 100), generator=rng, dtype=torch.uint8)
    columns = torch.rand(50, 100, generator=rng) < grey / 255
    order = torch.randperm(50, generator=rng)
    assert torch.equal(density.drawn_from(grey, columns[order]), order)
    assert len(density.drawn_from(grey, columns[:0])) == 0


def test_chains_that_exchange_keep_the_law_of_the_machine() -> None:
    """Of 4,000 chains drawn exactly, after ten steps beside a machine at half way."""
    rbm = some_rbm(5, 4).float()
    probs = torch.softmax(-rbm.free_energy(rbm.visible.states().float()), 0)
    rng = generator(2)
    replicas = replica_exchange.ReplicaExchange(
        [
            replica_exchange.independent(rbm),
            replica_exchange.between(replica_exchange.independent(rbm), rbm, 0.5),
            rbm,
        ]
    )
    chains = 4000
    states = []
    for machine in replicas.machines:
        of_machine = torch.softmax(-machine.free_energy(rbm.visible.states().float()), 0)
        drawn = torch.multinomial(of_machine, chains, replacement=True, generator=rng)
        states.append(rbm.visible.states().float()[drawn])
    replicas.begin(torch.stack(states))
    ladder = trajectory.Ladder(replicas, rate=1e-9)
    hidden = rbm.sample_hidden(states[-1], rng)
    for _ in range(10):
        ladder.exchange(rbm, rbm, hidden, 1, rng)
    visible = rbm.sample_visible(hidden, rng)
    number = (visible.long() << torch.arange(4, -1, -1)).sum(1).bincount(minlength=32)
    expected = probs * chains
    assert float(((number - expected).square() / expected).sum()) < 31 + 5 * 62**0.5
    assert len(ladder.machines) == 3
    ladder.rate = 3.0  # above any swap rate there is
    ladder.exchange(rbm, rbm, hidden, 2, rng)
    assert len(ladder.machines) == len(ladder.visible) == 4


@pytest.mark.parametrize("half", ["lower_half", "left_half"])
def test_a_belief_net_fills_in_what_is_hidden_and_nothing_else(half: str) -> None:
    known, rng = inpaint.halves()[half], generator(0)
    assert int(known.sum()) == 392
    dbn = DBN((784, 20, 30), rng=rng)
    cases = torch.bernoulli(torch.full((3, 784), 0.5), generator=rng)
    filled = inpaint.filled_by(dbn, torch.full((784,), 0.5), cases, known, 4, rng)
    assert torch.equal(filled[:, known], cases[:, known])
    assert bool(((filled[:, ~known] > 0) & (filled[:, ~known] < 1)).all())


def test_checkpoints_are_a_fifth_apart() -> None:
    epochs = sorted(density.checkpoint_epochs(400))
    assert epochs[:7] == [1, 2, 3, 4, 5, 6, 7]
    assert epochs[-1] >= 400
    assert all(after <= 1.25 * before + 1 for before, after in pairwise(epochs))


def test_a_ladder_is_kept(tmp_path: Path) -> None:
    rbm, rng = some_rbm(6, 4).float(), generator(0)
    checkpoint.save(rbm, tmp_path / "rbm.safetensors")
    cases = torch.bernoulli(torch.full((20, 6), 0.5), generator=rng)
    made = density.ladder(tmp_path, cases, 0.3, rng)
    kept = density.ladder(tmp_path, cases[:0], 0.3, rng)
    assert made.visible is not None
    assert kept.visible is not None
    assert torch.equal(made.visible, kept.visible)
    for one, other in zip(made.machines, kept.machines, strict=True):
        assert torch.equal(one.free_energy(cases), other.free_energy(cases))
    assert torch.equal(kept.machines[-1].weight, rbm.weight)
