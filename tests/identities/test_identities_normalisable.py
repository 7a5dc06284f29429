"""Which pairs of layers have a normaliser, and that learning never leaves those that do."""

import logging

import pytest
import torch

from wakesleep.foundation.errors import ConfigError
from wakesleep.foundation.rng import generator
from wakesleep.learning import cd
from wakesleep.learning.cd import CDConfig
from wakesleep.models import normalisable
from wakesleep.models.rbm import RBM
from wakesleep.units import (
    Bernoulli,
    Binomial,
    DReLU,
    Gaussian,
    Groups,
    Multinomial,
    Poisson,
    ReLU,
)

UNBOUNDED = [Gaussian, ReLU, DReLU]


@pytest.mark.parametrize(
    ("visible", "hidden"),
    [
        (Poisson(2), Gaussian(2)),
        (ReLU(2), Poisson(2)),
        (Poisson(2), Poisson(2)),
        (Groups(words=Poisson(1), bits=2), Groups(bits=2, number=DReLU(1))),
        (Bernoulli(3), Multinomial(2)),
        (Gaussian(2), Groups(a=2, b=Multinomial(2))),
    ],
    ids=str,
)
def test_pairs_that_no_weights_normalise_are_refused(visible, hidden):
    with pytest.raises(ConfigError, match="expected"):
        RBM(visible, hidden, rng=generator(0))


@pytest.mark.parametrize(
    ("visible", "hidden"),
    [
        (Poisson(2), Bernoulli(2)),
        (Multinomial(3), Gaussian(2)),
        (Binomial(2, 3), Poisson(2)),
        (Groups(numbers=Gaussian(2), bits=2), Groups(numbers=ReLU(1), bits=2)),
    ],
    ids=str,
)
def test_the_others_are_not(visible, hidden):
    RBM(visible, hidden, rng=generator(0))


def gaussians(weight, visible_g, hidden_g):
    rbm = RBM(Gaussian(3), Gaussian(2), rng=generator(0)).double()
    rbm.weight.copy_(weight)
    rbm.visible.log_precision.copy_(torch.tensor(visible_g).log())
    rbm.hidden.log_precision.copy_(torch.tensor(hidden_g).log())
    return rbm


def test_of_gaussian_units_the_norm_says_exactly_whether_the_joint_precision_is_positive():
    seen = set()
    for seed in range(30):
        weight = torch.randn(3, 2, generator=generator(seed), dtype=torch.float64) * 0.5
        rbm = gaussians(weight, [0.5, 1.0, 2.0], [1.5, 0.7])
        g, h = rbm.visible.precision, rbm.hidden.precision
        joint = torch.cat(
            [torch.cat([g.diag(), -weight], 1), torch.cat([-weight.t(), h.diag()], 1)]
        )
        positive = bool((torch.linalg.eigvalsh(joint) > 0).all())
        assert (normalisable.spectral_norm(rbm) < 1) == positive
        seen.add(positive)
    assert seen == {True, False}


def test_the_smaller_half_counts_and_bounded_columns_do_not():
    rbm = RBM(Groups(bits=2, numbers=Gaussian(1)), DReLU(2), rng=generator(0)).double()
    rbm.weight.copy_(torch.tensor([[9.0, 9.0], [9.0, 9.0], [0.3, 0.4]]))
    rbm.hidden.skew.copy_(torch.tensor([1.0, -3.0]))  # eta = 1/2 and -3/4
    expected = torch.tensor([0.3 * 1.5**0.5, 0.4 * 1.75**0.5]).norm()
    assert normalisable.spectral_norm(rbm) == pytest.approx(float(expected))
    assert normalisable.spectral_norm(RBM(Gaussian(4), 3, rng=generator(0), weight_std=9)) == 0


@pytest.mark.parametrize("hidden", UNBOUNDED)
@pytest.mark.parametrize("visible", UNBOUNDED)
def test_a_machine_that_is_not_seen_to_be_normalised_does_not_learn(visible, hidden):
    rbm = RBM(visible(20), hidden(20), rng=generator(0), weight_std=1.0)
    with pytest.raises(ConfigError, match=r"spectral norm .* below 1.*weight_std"):
        next(cd.epochs(rbm, torch.rand(30, 20), config=CDConfig(), rng=generator(1)))


@pytest.mark.parametrize("persistent", [False, True])
@pytest.mark.parametrize("hidden", UNBOUNDED)
@pytest.mark.parametrize("visible", UNBOUNDED)
def test_updates_that_cross_are_scaled_back_and_told_once(visible, hidden, persistent, caplog):
    caplog.set_level(logging.WARNING)
    rng = generator(0)
    cases = torch.randn(200, 1, generator=rng) + 0.05 * torch.randn(200, 6, generator=rng)
    cases = cases.abs() if visible is ReLU else cases
    rbm = RBM(visible(6), hidden(4), rng=rng, weight_std=0.01)
    cd.init_visible_bias(rbm, cases)
    config = CDConfig(
        epochs=6, batch_size=20, learning_rate=0.3, persistent=persistent, sample_visible=True
    )
    crossed = 0
    for record in cd.epochs(rbm, cases, config=config, rng=generator(1)):
        crossed += record.metrics["scaled_back"]
        assert normalisable.spectral_norm(rbm) <= normalisable.LARGEST + 1e-5
    assert crossed
    reported = [each for each in caplog.records if "no normaliser" in each.getMessage()]
    assert len(reported) == 1
    assert "learning rate" in reported[0].getMessage()


def test_only_weights_between_unbounded_units_are_scaled():
    rbm = RBM(
        Groups(bits=2, numbers=Gaussian(2)), Groups(numbers=Gaussian(2), bits=1), rng=generator(0)
    )
    rbm.weight.fill_(1.0)
    guard = normalisable.Guard(rbm)
    guard.begin_epoch()
    guard.after_update()
    assert guard.end_epoch() == 1
    inner = rbm.weight[2:, :2]
    torch.testing.assert_close(inner, torch.full_like(inner, normalisable.LARGEST / 2))
    assert float(rbm.weight.sum() - inner.sum()) == pytest.approx(8)
