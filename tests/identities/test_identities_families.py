"""Families of units by themselves: integrals, gradients of their own parameters, precision, and
moments that are hard to match.
"""

import mpmath
import numpy as np
import pytest
import torch

from wakesleep.evaluation import exact
from wakesleep.foundation.errors import DataError
from wakesleep.foundation.rng import generator
from wakesleep.learning import cd
from wakesleep.models.rbm import RBM
from wakesleep.units import (
    Bernoulli,
    Binomial,
    Categorical,
    DReLU,
    Gaussian,
    Multinomial,
    Ordinal,
    Poisson,
    ReLU,
    Spin,
    Thermometer,
)
from wakesleep.units.ordinal import without_line

CONTINUOUS = [Gaussian, ReLU, DReLU]


def with_own_parameters(family, size=3, seed=0, **settings):
    units = family(size, **settings).double()
    for parameter in units.parameters():
        noise = torch.randn(parameter.shape, generator=generator(seed), dtype=torch.float64)
        parameter.data = 0.7 * noise
    if isinstance(units, Ordinal):
        units.level_bias.data = without_line(units.level_bias.data)
    return units


@pytest.mark.parametrize("family", CONTINUOUS)
@pytest.mark.parametrize("x", [-25.0, -3.0, -0.5, 0.0, 0.7, 4.0, 25.0])
def test_integrals_over_all_states(family, x):
    units = with_own_parameters(family, size=1, seed=int(abs(10 * x)) + 1)
    s = torch.linspace(0.0 if family is ReLU else -120.0, 120.0, 400_001, dtype=torch.float64)
    log_p = x * s - units.potential(s[:, None])
    gamma = float(torch.log(torch.trapezoid((log_p - log_p.max()).exp(), s)) + log_p.max())
    p = (log_p - gamma).exp()
    mean = float(torch.trapezoid(p * s, s))
    variance = float(torch.trapezoid(p * (s - mean).square(), s))
    total = torch.tensor([[x]], dtype=torch.float64)
    assert float(units.log_partition(total)) == pytest.approx(gamma, abs=1e-5)
    assert float(units.mean(total)) == pytest.approx(mean, abs=1e-5)
    assert float(units.variance(total)) == pytest.approx(variance, rel=1e-4, abs=1e-7)
    second = units.moments(total)[0]
    assert torch.isfinite(second).all()
    expected = torch.trapezoid(p[:, None] * units.statistics(s[:, None]), s, dim=0)
    assert torch.allclose(second, expected, atol=1e-5)


@pytest.mark.parametrize(
    ("family", "settings"), [(Gaussian, {}), (ReLU, {}), (DReLU, {}), (Ordinal, {"levels": 4})]
)
def test_gradients_of_own_parameters_are_those_of_the_likelihood(family, settings):
    units = with_own_parameters(family, **settings)
    x = torch.randn(5, 3, generator=generator(1), dtype=torch.float64)
    states = units.sample(
        torch.randn(7, 3, generator=generator(2), dtype=torch.float64), generator(3)
    )
    actual = units.parameter_gradients(units.statistics(states).mean(0), units.moments(x).mean(0))
    units.requires_grad_()
    (-units.potential(states).mean() - units.log_partition(x).mean()).backward()
    assert set(actual) == {name for name, _ in units.named_parameters()}
    for name, parameter in units.named_parameters():
        exact = without_line(parameter.grad) if name == "level_bias" else parameter.grad
        assert torch.allclose(actual[name], exact, atol=1e-9), name


@pytest.mark.parametrize(
    "units",
    [Spin(1), Binomial(1, 7), Ordinal(1, 5), Gaussian(1), ReLU(1), DReLU(1)],
    ids=lambda units: units.family,
)
def test_single_precision_is_enough_far_from_zero(units):
    x = torch.linspace(-200, 200, 2001)[:, None]
    for function in (units.log_partition, units.mean, units.variance):
        single, double = function(x), function(x.double())
        assert torch.isfinite(single).all()
        assert torch.allclose(single.double(), double, rtol=2e-5, atol=1e-6), function
    drawn = units.sample(x, generator(0))  # of ReLU all were infinite between -30 and -8.3
    assert torch.isfinite(drawn).all()
    away = (drawn.double() - units.mean(x.double())).abs() / units.variance(
        x.double()
    ).sqrt().clamp(min=1e-3)
    assert float(away.median()) < 2


@pytest.mark.parametrize("units", [Gaussian(3), ReLU(3), DReLU(3)], ids=lambda units: units.family)
def test_columns_that_do_not_vary_have_unit_scale(units):
    bias = units.match(torch.tensor([2.0, 0.5, 1e4]), torch.tensor([0.0, 0.04, 1e-9]), cases=1)
    assert torch.isfinite(bias).all()
    assert torch.isfinite(units.log_precision).all()
    assert float(units.log_precision[0]) == float(units.log_precision[2]) == 0.0
    assert float(units.log_precision[1]) > 0


@pytest.mark.parametrize("units", [Ordinal(2, 4), Binomial(2, 5), Poisson(2)], ids=str)
def test_counts_of_zero_and_levels_that_never_occur_give_finite_biases(units):
    bias = units.match(torch.tensor([0.0, 3.0]), torch.tensor([0.0, 0.0]), cases=100)
    assert torch.isfinite(bias).all()
    assert all(torch.isfinite(parameter).all() for parameter in units.parameters())
    assert units.mean(bias[None])[0, 0] < 1


@pytest.mark.parametrize(
    ("units", "cases"),
    [
        (Spin(2), [[1.0, 0.0]]),
        (Binomial(2, 3), [[4.0, 0.0]]),
        (Ordinal(2, 3), [[0.5, 1.0]]),
        (Poisson(2), [[-1.0, 0.0]]),
        (Multinomial(2), [[-1.0, 2.0]]),
        (ReLU(2), [[-0.5, 0.0]]),
        (Gaussian(2), [[np.inf, 0.0]]),
    ],
    ids=lambda value: value.family if hasattr(value, "family") else "",
)
def test_values_outside_a_family_are_refused(units, cases):
    with pytest.raises(DataError, match=r"expected|leave them out"):
        units.validate(torch.tensor(cases), states=True)


@pytest.mark.parametrize(
    ("units", "row"),
    [
        (Bernoulli(3), [0.0, 0.5, 1.0]),
        (Bernoulli(3), [0.0, 2.0, 1.0]),
        (Spin(3), [1.0, 0.0, -1.0]),
        (Categorical(2, sites=2), [1.0, 0.0, 1.0, 1.0]),
        (Binomial(3, 3), [0.0, 4.0, 1.0]),
        (Ordinal(3, 3), [0.0, 3.0, 1.0]),
        (Poisson(3), [0.0, -1.0, 1.0]),
        (Gaussian(3), [0.0, np.inf, 1.0]),
        (ReLU(3), [0.0, -1.0, 1.0]),
        (DReLU(3), [0.0, np.nan, 1.0]),
    ],
    ids=str,
)
def test_a_likelihood_names_the_column_that_is_no_state(units, row):
    rbm = RBM(units, 2, rng=generator(0))
    cases = torch.zeros(4, units.size) + torch.tensor(row)
    column = "columns 2 to 3" if units.site_columns else "column 1"
    with pytest.raises(DataError, match=rf"(?s){column}.*expect|expect.*{column}"):
        exact.log_likelihood(rbm, cases)


def test_learning_starts_from_no_column_with_holes():
    rbm, cases = RBM(Gaussian(3), 2, rng=generator(0)), torch.zeros(4, 3)
    cases[:, 2] = torch.nan
    with pytest.raises(DataError, match=r"first in column 2; expected numbers: .* fill them in"):
        cd.init_visible_bias(rbm, cases)


@pytest.mark.parametrize("x", [-29.0, -12.0, -8.0, -2.0, 3.0])
@pytest.mark.parametrize("family", [ReLU, DReLU])
def test_samples_far_from_zero_have_the_moments(family, x):
    units = family(1)
    if family is DReLU:
        units.gap.fill_(-9.0)  # two halves, each far in its tail
    total = torch.full((40_000, 1), x)
    drawn, mean = units.sample(total, generator(1)).double(), units.mean(total[:1].double())
    variance = units.variance(total[:1].double())
    assert float(drawn.mean() - mean) == pytest.approx(0, abs=4 * float((variance / 40_000).sqrt()))
    assert float(drawn.var()) == pytest.approx(float(variance), rel=0.08)


@pytest.mark.parametrize("a", [-29.9, -30.1, -45.0, -300.0])
def test_moments_of_the_far_tail_against_many_digits(a):
    with mpmath.workdps(60):
        z = mpmath.mpf(a)
        ratio = mpmath.npdf(z) / (mpmath.erfc(-z / mpmath.sqrt(2)) / 2)
        mean, variance = float(z + ratio), float(1 - ratio * (z + ratio))
    actual = ReLU(1).double()
    total = torch.tensor([[a]], dtype=torch.float64)
    assert float(actual.mean(total)) == pytest.approx(mean, rel=1e-9)
    assert float(actual.variance(total)) == pytest.approx(variance, rel=1e-6)


@pytest.mark.parametrize("x", [-3.0, 0.0, 2.5])
def test_probabilities_of_counts_without_a_limit_add_up_to_one(x):
    units, total = Poisson(1), torch.tensor([[x]], dtype=torch.float64)
    s = torch.arange(200, dtype=torch.float64)
    p = (x * s - units.potential(s[:, None]) - units.log_partition(total)).exp()
    assert float(p.sum()) == pytest.approx(1, abs=1e-12)
    assert float(p @ s) == pytest.approx(float(units.mean(total)), rel=1e-9)
    assert float(p @ (s - p @ s).square()) == pytest.approx(float(units.variance(total)), rel=1e-9)


@pytest.mark.parametrize(
    ("units", "message"),
    [
        (Bernoulli(2), "likelihood of binary units .*draw binary cases"),
        (Categorical(2), "likelihood of categorical sites .*one_hot"),
        (Thermometer(3), "likelihood of thermometers .*level k as k ones"),
    ],
)
def test_values_between_states_are_refused_in_the_words_of_their_family(units, message):
    with pytest.raises(DataError, match=message):
        units.validate(torch.tensor([[1.0, 0.5]]), states=True)
