"""What the experiments with deep Boltzmann machines are made of."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import pytest
import torch

from benchmarks.deep import density, inpaint, trajectory
from benchmarks.deep.density import DensityOptions
from benchmarks.likelihood import centred_pcd
from wakesleep.evaluation import exact
from wakesleep.foundation.rng import generator
from wakesleep.models.dbn import DBN
from wakesleep.models.rbm import RBM
from wakesleep.runs import checkpoint


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


def test_learning_goes_on_with_and_without_exchange(tmp_path: Path) -> None:
    """From the same RBM, chains beside the ladder of its checkpoints."""
    cases = (torch.rand(60, 8, generator=generator(0)) < 0.4).to(torch.uint8) * 255
    options = trajectory.TrajectoryOptions(
        data=DensityOptions(
            folder=tmp_path,
            drawn_anew=True,
            hidden=(5, 4),
            precision="float32",
            rbm=centred_pcd(0.06, epochs=4),
        ),
        epochs=(3, 2),
        config=centred_pcd(0.02, epochs=0),
        steps=3,
    )
    begun = density.train_rbm(options.data, cases)
    ladder = density.ladder(tmp_path, cases, options.rate, generator(0))
    for way, noted in (("pcd", set()), ("exchange", {"machines", "lowest_swap_rate"})):
        rbm, minutes, notes = trajectory.learn(options, way, cases)
        assert not torch.equal(rbm.weight, begun.weight)
        assert minutes > 0
        assert set(notes) == noted
    assert notes["machines"] > len(ladder.machines)


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
