"""Reduced precision: what a copy in low precision is, that it samples what it means, and that
weights learn in full precision.
"""

from __future__ import annotations

import pytest
import torch

from wakesleep.compute import precision, select
from wakesleep.foundation.errors import ConfigError
from wakesleep.foundation.rng import generator
from wakesleep.learning import backprop, cd
from wakesleep.learning.backprop import BackpropConfig
from wakesleep.learning.cd import CDConfig
from wakesleep.models.rbm import RBM
from wakesleep.units import Bernoulli

CPU = torch.device("cpu")


def test_a_coarse_mean_is_sampled_with_its_own_chance() -> None:
    chances = torch.tensor(
        [0.0, 0.0001, 0.01, 0.25, 0.5, 0.75, 0.99609375, 1.0], dtype=torch.bfloat16
    )
    n = 400_000
    states = Bernoulli(8).sample_from_mean(
        chances.expand(n, -1), generator(1), out=torch.empty(n, 8, dtype=torch.bfloat16)
    )
    assert states.dtype == torch.bfloat16
    actual, exact = states.double().mean(0), chances.double()
    assert set(states.unique().tolist()) == {0.0, 1.0}
    assert (actual[0], actual[-1]) == (0, 1)
    assert bool(((actual - exact).abs() <= 5 * (exact * (1 - exact) / n).sqrt() + 2**-17).all())


def test_coarse_samples_of_neighbours_are_independent() -> None:
    states = (
        Bernoulli(8)
        .sample_from_mean(torch.full((100_000, 8), 0.5, dtype=torch.bfloat16), generator(2))
        .double()
    )
    correlation = torch.corrcoef(states.t()) - torch.eye(8, dtype=torch.float64)
    assert float(correlation.abs().max()) < 5 / 100_000**0.5


def test_a_copy_follows_its_net_and_a_net_of_the_same_type_is_its_own_copy() -> None:
    rbm = RBM(6, 4, rng=generator(0))
    assert precision.low_precision_copy(rbm, None) is rbm
    assert precision.low_precision_copy(rbm, torch.float32) is rbm
    coarse = precision.low_precision_copy(rbm, torch.bfloat16)
    assert (coarse.weight.dtype, rbm.weight.dtype) == (torch.bfloat16, torch.float32)
    rbm.weight.add_(1.0)
    assert not torch.equal(coarse.weight, rbm.weight.bfloat16())
    precision.sync(coarse, rbm)
    assert torch.equal(coarse.weight, rbm.weight.bfloat16())


def test_an_rbm_learns_as_well_with_coarse_products() -> None:
    rng = generator(3)
    patterns = (torch.rand(4, 30, generator=rng) < 0.5).float()
    cases = patterns[torch.randint(4, (400,), generator=rng)]
    errors = {}
    for dtype in (torch.float32, torch.bfloat16):
        rbm = RBM(30, 20, rng=generator(4))
        *_, last = cd.epochs(
            rbm, cases, config=CDConfig(epochs=30, batch_size=20), rng=generator(5), dtype=dtype
        )
        errors[dtype] = last.metrics["reconstruction_error"]
        assert rbm.weight.dtype == last.state.velocity["weight"].dtype == torch.float32
        assert not torch.equal(rbm.weight, rbm.weight.bfloat16().float()), (
            "the weights themselves are not coarse"
        )
    assert errors[torch.bfloat16] < 0.02
    assert errors[torch.bfloat16] == pytest.approx(errors[torch.float32], abs=0.005)


def test_the_first_coarse_update_is_the_fine_one_but_for_rounding() -> None:
    # so many that the two streams of random numbers hardly matter
    cases = torch.rand(100, 40, generator=generator(6)).repeat(40, 1)
    config, moves = CDConfig(epochs=1, batch_size=4000, weight_decay=0.0), []
    for dtype in (torch.float32, torch.bfloat16):
        rbm = RBM(40, 30, rng=generator(7))
        before = rbm.weight.clone()
        list(cd.epochs(rbm, cases, config=config, rng=generator(8), dtype=dtype))
        moves.append(rbm.weight - before)
    difference = (moves[0] - moves[1]).norm() / moves[0].norm()
    assert 0 < float(difference) < 0.1


def test_backpropagation_with_coarse_products_keeps_fine_weights() -> None:
    rng = generator(9)
    images, labels = torch.rand(200, 10, generator=rng), torch.arange(200) % 2
    images[:, 0] = labels.float()
    net = backprop.random_classifier((10, 8, 2), rng=rng)
    config = BackpropConfig(epochs=30, batch_size=20, sample_pixels=False)
    *_, last = backprop.epochs(net, images, labels, config=config, rng=rng, dtype=torch.bfloat16)
    assert last.metrics["train_error_percent"] < 5
    assert {parameter.dtype for parameter in net.parameters()} == {torch.float32}


def test_the_choice_of_precision() -> None:
    assert select.pick_precision("float32", CPU) == torch.float32
    assert select.pick_precision("bfloat16", CPU) == torch.bfloat16
    assert select.pick_precision("auto", CPU) in (torch.float32, torch.bfloat16)
    with pytest.MonkeyPatch.context() as patch:
        for pays, actual in ((False, torch.float32), (True, torch.bfloat16)):
            patch.setattr(select, "bfloat16_pays", lambda pays=pays: pays)
            assert select.pick_precision("auto", CPU) == actual
            assert select.pick_precision("auto", torch.device("cuda")) == torch.float32
    with pytest.raises(ConfigError, match="'float16': expected one of auto"):
        select.pick_precision("float16", CPU)
