"""Exact log Z of machines with Gaussian units on both sides, perhaps beside finite ones."""

from itertools import product

import pytest
import torch
from exact import TIGHT, assert_mean, differentiable, small_rbm

from wakesleep.evaluation import exact, integrals, likelihood
from wakesleep.foundation.errors import ConfigError
from wakesleep.foundation.rng import generator
from wakesleep.units import Categorical, Gaussian, Groups, ReLU


def machine(visible, hidden, seed=0):
    rbm = small_rbm(visible, hidden, seed, scale=0.25)
    for units in (rbm.visible, rbm.hidden):
        for parameter in units.parameters():
            parameter.copy_(torch.rand(parameter.shape, generator=generator(seed + 1)))
    return rbm


def precision_of(rbm):
    g, h, w = rbm.visible.precision, rbm.hidden.precision, rbm.weight
    return torch.cat([torch.cat([g.diag(), -w], 1), torch.cat([-w.t(), h.diag()], 1)])


def mixed():
    visible = Groups(numbers=Gaussian(2), kind=Categorical(2))
    return machine(visible, Groups(bits=2, numbers=Gaussian(1)))


def test_gaussian_units_on_both_sides_are_one_normal_distribution():
    rbm = machine(Gaussian(3), Gaussian(2))
    covariance = torch.linalg.inv(precision_of(rbm))
    mean = covariance @ torch.cat([rbm.visible_bias, rbm.hidden_bias])
    normal = torch.distributions.MultivariateNormal(mean[:3], covariance[:3, :3])
    cases = torch.randn(20, 3, generator=generator(3)).double()
    torch.testing.assert_close(exact.log_likelihood(rbm, cases), normal.log_prob(cases), **TIGHT)
    assert likelihood.small_enough(rbm)
    actual = exact.model_statistics(rbm)
    torch.testing.assert_close(actual.visible_bias, mean[:3], **TIGHT)
    torch.testing.assert_close(actual.hidden_bias, mean[3:], **TIGHT)
    second = covariance[:3, 3:] + torch.outer(mean[:3], mean[3:])
    torch.testing.assert_close(actual.weight, second, **TIGHT)


def test_where_a_side_can_be_listed_both_ways_agree():
    rbm = machine(Groups(numbers=Gaussian(3), kind=Categorical(3)), 4)
    assert not exact.is_integral(rbm)
    actual = float(integrals.log_partition(rbm))
    assert actual == pytest.approx(exact.log_partition(rbm), abs=1e-10)
    for ours, listed in zip(integrals.statistics(rbm), exact.model_statistics(rbm), strict=True):
        torch.testing.assert_close(ours, listed, **TIGHT)


def test_a_mixture_is_the_sum_over_its_finite_units():
    rbm = mixed()
    logs = []
    for kind, bits in product(torch.eye(2).double(), product([0.0, 1.0], repeat=2)):
        bits = torch.tensor(bits, dtype=torch.float64)
        given = machine(Gaussian(2), Gaussian(1))
        given.visible.log_precision.copy_(rbm.visible.parts[0].log_precision)
        given.hidden.log_precision.copy_(rbm.hidden.parts[1].log_precision)
        given.weight.copy_(rbm.weight[:2, 2:])
        given.visible_bias.copy_(rbm.visible_bias[:2] + rbm.weight[:2, :2] @ bits)
        given.hidden_bias.copy_(rbm.hidden_bias[2:] + kind @ rbm.weight[2:, 2:])
        p = precision_of(given)
        c = torch.cat([given.visible_bias, given.hidden_bias])
        gaussian = (c @ torch.linalg.solve(p, c) - torch.logdet(p / (2 * torch.pi))) / 2
        alone = kind @ rbm.visible_bias[2:] + bits @ rbm.hidden_bias[:2]
        logs.append(gaussian + alone + kind @ rbm.weight[2:, :2] @ bits)
    assert exact.log_partition(rbm) == pytest.approx(float(torch.logsumexp(torch.stack(logs), 0)))


@pytest.mark.parametrize("rbm", [mixed(), machine(Gaussian(3), Gaussian(2))], ids=str)
def test_gradients_and_samples_agree_with_the_statistics(rbm):
    moving = differentiable(rbm)
    integrals.log_partition(moving).backward()
    for name, expected in exact.model_statistics(rbm)._asdict().items():
        torch.testing.assert_close(getattr(moving, name).grad, expected, **TIGHT)
    samples = exact.sample(rbm, 20_000, generator(5))
    assert_mean(samples, exact.model_statistics(rbm).visible_bias)
    hidden = rbm.hidden_probs(samples)
    products = samples[:, :, None] * hidden[:, None, :]
    assert_mean(products, exact.model_statistics(rbm).weight)


def test_what_is_neither_or_has_no_normaliser_is_refused():
    with pytest.raises(ConfigError, match="AIS"):
        exact.log_partition(machine(Gaussian(3), ReLU(2)))
    rbm = machine(Gaussian(3), Gaussian(2))
    rbm.weight.fill_(2.0)
    with pytest.raises(ConfigError, match="spectral norm"):
        exact.log_partition(rbm)
