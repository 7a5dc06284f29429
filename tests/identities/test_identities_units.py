"""Every family of units, those of wakesleep and those of `families.py`, held to the same
identities.
"""

from __future__ import annotations

import json
from copy import deepcopy

import pytest
import torch
from exact import TIGHT, assert_frequencies, assert_mean, index_of
from families import OwnGaussian, OwnMultinomial, OwnSpin

from wakesleep.foundation.errors import ConfigError, DataError
from wakesleep.foundation.rng import generator
from wakesleep.units import (
    FAMILIES,
    Bernoulli,
    Binomial,
    Categorical,
    Context,
    DReLU,
    Gaussian,
    Groups,
    Multinomial,
    Ordinal,
    Poisson,
    ReLU,
    Spin,
    Thermometer,
    Units,
    from_spec,
    register,
)
from wakesleep.units.categorical import sample_sites

LOG_PRECISION = torch.tensor([0.0, 0.5, -0.7, 1.0])
MASK = torch.tensor([[True, False, True, True]])


def with_values(units, seed=11):
    """Return the units with parameters of their own that are away from zero."""
    for parameter in units.parameters():
        parameter.copy_(torch.randn(parameter.shape, generator=generator(seed)) * 0.5)
    return units


CASES: dict[str, tuple[Units, Context | None]] = {
    "bernoulli": (Bernoulli(4), None),
    "bernoulli, one absent": (Bernoulli(4), Context(mask=MASK)),
    "categorical": (Categorical(4), None),
    "categorical, absent": (Categorical(4), Context(mask=torch.zeros(1, 4, dtype=torch.bool))),
    "three sites": (Categorical(2, sites=3), None),
    "two sites, one absent": (
        Categorical(2, sites=2),
        Context(mask=torch.tensor([[True, True, False, False]])),
    ),
    "groups": (Groups(features=Bernoulli(3), label=Categorical(4), more=2), None),
    "groups of groups": (Groups(inner=Groups(a=2, b=Categorical(3)), c=Categorical(2)), None),
    "thermometers": (Thermometer(4, sites=2), None),
    "thermometers, one absent": (
        Thermometer(3, sites=2),
        Context(mask=torch.tensor([[True, True, False, False]])),
    ),
    "spins": (Spin(5), None),
    "spins, one absent": (Spin(4), Context(mask=MASK)),
    "binomial": (Binomial(3, trials=4), None),
    "binomial, one absent": (Binomial(4, trials=2), Context(mask=MASK)),
    "ordinal": (with_values(Ordinal(3, levels=4)), None),
    "ordinal, one absent": (with_values(Ordinal(4, levels=3)), Context(mask=MASK)),
    "words": (Multinomial(3), Context(count=torch.tensor([5.0]))),
    "words, one absent": (Multinomial(4), Context(count=torch.tensor([3.0]), mask=MASK)),
    "no words": (Multinomial(3), Context(count=torch.tensor([0.0]))),
    "poisson": (Poisson(3), None),
    "poisson, one absent": (Poisson(4), Context(mask=MASK)),
    "real": (with_values(Gaussian(4)), None),
    "real, one absent": (with_values(Gaussian(4)), Context(mask=MASK)),
    "relu": (with_values(ReLU(4)), None),
    "relu, one absent": (with_values(ReLU(4)), Context(mask=MASK)),
    "drelu": (with_values(DReLU(4)), None),
    "drelu, one absent": (with_values(DReLU(4)), Context(mask=MASK)),
    "every kind": (
        Groups(
            spins=Spin(2),
            numbers=with_values(Gaussian(2)),
            answers=with_values(Ordinal(1, levels=3)),
            counts=Poisson(1),
            halves=with_values(DReLU(1)),
        ),
        None,
    ),
    "gaussian": (OwnGaussian(4, LOG_PRECISION), None),
    "multinomial": (OwnMultinomial(3), Context(count=torch.tensor([5.0]))),
    "spin": (OwnSpin(4), None),
    "spin, one absent": (OwnSpin(4), Context(mask=MASK)),
    "gaussian and label": (
        Groups(pixels=OwnGaussian(4, LOG_PRECISION), label=Categorical(3)),
        None,
    ),
    "words and label": (
        Groups(words=OwnMultinomial(3), label=Categorical(2)),
        Context(count=torch.tensor([4.0])),
    ),
    "spins and label, one absent": (
        Groups(spins=OwnSpin(2), label=Categorical(2)),
        Context(mask=MASK),
    ),
}
ENDLESS = ("gaussian", "poisson", "real", "relu", "every kind")
FINITE = [name for name in CASES if not any(kind in name for kind in ENDLESS)]


@pytest.fixture(params=CASES)
def case(request):
    units, context = CASES[request.param]
    return deepcopy(units).double(), context


@pytest.fixture(params=FINITE)
def finite(request):
    units, context = CASES[request.param]
    return deepcopy(units).double(), context


def parts_of(units):
    """Return (columns, part) of each part of a layer."""
    if isinstance(units, Groups):
        return list(zip(units.slices, units.parts, strict=True))
    return [(slice(0, units.size), units)]


def inputs(units, rows=5, seed=0):
    return torch.randn(rows, units.size, generator=generator(seed), dtype=torch.float64) * 1.5


def test_mean_and_variance_are_derivatives_of_the_log_partition(case):
    units, context = case
    x = inputs(units).requires_grad_()
    (first,) = torch.autograd.grad(units.log_partition(x, context).sum(), x, create_graph=True)
    second = torch.stack(
        [
            torch.autograd.grad(first[:, i].sum(), x, retain_graph=True)[0][:, i]
            for i in range(units.size)
        ],
        1,
    )
    with torch.no_grad():
        torch.testing.assert_close(units.mean(x, context=context), first, **TIGHT)
        torch.testing.assert_close(units.variance(x, context), second, **TIGHT)


def test_log_partition_sums_over_all_states(finite):
    units, context = finite
    states, x = units.states(context), inputs(units)
    potential = units.potential(states, context)
    torch.testing.assert_close(
        units.log_partition(x, context), torch.logsumexp(x @ states.t() - potential, 1), **TIGHT
    )
    assert units.n_states(context) == len(states) == len(states.unique(dim=0))
    log_measure = torch.cat([atom.log_measure.flatten() for atom in units.atoms(context)]).sum()
    assert torch.isfinite(log_measure)


def test_factors_multiply_to_the_log_partition(finite):
    units, context = finite
    first, second = inputs(units, 4, 1), inputs(units, 3, 2)
    if context is not None or (factors := units.factors(first, second)) is None:
        return
    log, low, high = torch.zeros(4, 3, dtype=torch.float64), 0.0, 0.0
    for left, right, least, most in factors:
        log += torch.log(left @ right.t())
        low, high = low + least, high + most
    torch.testing.assert_close(
        log, units.log_partition((first[:, None] + second[None]).flatten(0, 1)).view(4, 3), **TIGHT
    )
    assert low <= float(log.min())
    assert float(log.max()) <= high


def test_log_partition_by_quadrature_where_states_are_a_continuum():
    units = OwnGaussian(1, torch.tensor([0.5])).double()
    grid = torch.linspace(-40, 40, 400_001, dtype=torch.float64)[:, None]
    for x in (-2.0, 0.0, 3.0):
        integral = torch.trapezoid(torch.exp(x * grid[:, 0] - units.potential(grid)), grid[:, 0])
        actual = units.log_partition(torch.tensor([[x]], dtype=torch.float64))
        torch.testing.assert_close(actual[0], integral.log(), **TIGHT)


def test_samples_have_the_mean_the_variance_and_the_moments(case):
    units, context = case
    # half as large as elsewhere, so that no half of a unit is too rare to be seen
    x = (inputs(units, 1) / 2).expand(20_000, -1).contiguous()
    samples = units.sample(x, generator(3), context=context)
    mean = units.mean(x[:1], context=context)[0]
    assert_mean(samples, mean)
    assert_mean((samples - mean).square(), units.variance(x[:1], context)[0])
    assert_mean(units.statistics(samples), units.moments(x[:1], context)[0])
    assert (
        units.statistics(samples).shape[1]
        == units.n_slots
        == units.moments(x[:1], context).shape[1]
    )
    units.validate_present(samples[:50], context, states=True)


def test_samples_are_states_and_come_as_often_as_they_should(finite):
    units, context = finite
    states, x = units.states(context), inputs(units, 1)
    p = torch.softmax(states @ x[0] - units.potential(states, context), 0)
    samples = units.sample(x.expand(20_000, -1).contiguous(), generator(4), context=context)
    assert_frequencies(index_of(samples, states), p)


def test_mean_and_sample_are_mean_and_sample(case):
    units, context = case
    x = inputs(units)
    mean, sample = units.mean_and_sample(x, generator(5), context=context)
    assert torch.equal(mean, units.mean(x, context=context))
    assert torch.equal(sample, units.sample(x, generator(5), context=context))
    into, out = x.clone(), torch.empty_like(x)
    units.mean_and_sample(into, generator(5), context=context, mean=into, out=out)
    assert torch.equal(into, mean)
    assert torch.equal(out, sample)
    into = x.clone()
    assert units.mean(into, context=context, out=into) is into
    assert torch.equal(into, mean)


def test_log_partition_delta(case):
    units, context = case
    if context is not None:
        return
    x, rows = inputs(units), inputs(units, 3, 6)
    expected = (
        units.log_partition((x[:, None] + rows).flatten(0, 1)).view(5, 3)
        - units.log_partition(x)[:, None]
    )
    torch.testing.assert_close(units.log_partition_delta(x, rows), expected, **TIGHT)


def test_spec_goes_through_json_and_parameters_through_a_state(case):
    units, context = case
    again = from_spec(json.loads(json.dumps(units.spec()))).double()
    assert again.spec() == units.spec()
    assert again is not units
    again.load_state_dict(units.state_dict())
    x = inputs(units)
    assert torch.equal(again.log_partition(x, context), units.log_partition(x, context))
    assert repr(again) == repr(units)


def test_copies_are_apart(case):
    units, _ = case
    copy = deepcopy(units)
    assert copy is not units
    assert len({units, copy}) == 2
    for parameter in copy.parameters():
        parameter += 1
    assert all(
        not torch.equal(a, b) for a, b in zip(copy.parameters(), units.parameters(), strict=True)
    )


def test_match_fits_the_data_so_that_gradients_vanish(case):
    """At W = 0 the model is one of independent units; after `match` its moments are those of the
    data.
    """
    units, context = case
    if context is not None and (context.mask is not None or not context.count):
        return  # means of absent columns, and of no words, say nothing
    x = inputs(units, 1).expand(300, -1).contiguous() * 0.5
    data = units.sample(x, generator(7), context=context)
    bias = units.match(data.mean(0), data.var(0, correction=0))
    close = {"rtol": 1e-9, "atol": 1e-9}
    torch.testing.assert_close(units.mean(bias[None], context=context)[0], data.mean(0), **close)
    if any(name.endswith(("level_bias", "gap")) for name, _ in units.named_parameters()):
        # these have more moments than the mean and the variance, which are met
        actual = units.variance(bias[None], context)[0]
        spread = data.var(0, correction=0)
        own = [at for at, part in parts_of(units) if isinstance(part, Ordinal | DReLU)]
        for at in own:
            torch.testing.assert_close(actual[at], spread[at], rtol=1e-6, atol=1e-9)
        return
    moments = units.moments(bias[None], context)[0]
    torch.testing.assert_close(moments, units.statistics(data).mean(0), **close)
    gradients = units.parameter_gradients(units.statistics(data).mean(0), moments)
    assert set(gradients) == {name for name, _ in units.named_parameters()}
    for gradient in gradients.values():
        torch.testing.assert_close(gradient, torch.zeros_like(gradient), rtol=0, atol=1e-9)


def test_match_of_few_cases_stays_finite(case):
    units, _ = case
    edge = torch.zeros(units.size, dtype=torch.float64)
    assert bool(torch.isfinite(units.match(edge, torch.zeros_like(edge), cases=10)).all())
    assert all(bool(torch.isfinite(parameter).all()) for parameter in units.parameters())


def test_interpolation_goes_from_the_base_to_the_family(case):
    units, context = case
    base, x = deepcopy(units), inputs(units)
    for parameter in base.parameters():
        parameter += 0.3
    for t, end in ((0.0, base), (1.0, units)):
        between = units.interpolate(base, t)
        torch.testing.assert_close(
            between.log_partition(x, context), end.log_partition(x, context), **TIGHT
        )
    each = units.interpolate(base, torch.linspace(0, 1, 5, dtype=torch.float64)[:, None])
    torch.testing.assert_close(
        each.log_partition(x, context)[0], base.log_partition(x, context)[0], **TIGHT
    )
    torch.testing.assert_close(
        each.log_partition(x, context)[4], units.log_partition(x, context)[4], **TIGHT
    )
    assert units.interpolate(units, 0.5) is units


def test_parameter_gradients_are_autograds():
    units = OwnGaussian(3, torch.tensor([0.1, -0.4, 0.6])).double()
    bias, data = inputs(units, 1)[0], inputs(units, 50, 8)
    moving = deepcopy(units).requires_grad_()
    (data @ bias - moving.potential(data)).mean().sub(
        moving.log_partition(bias[None])[0]
    ).backward()
    (actual,) = units.parameter_gradients(
        units.statistics(data).mean(0), units.moments(bias[None])[0]
    ).values()
    torch.testing.assert_close(actual, moving.rho.grad, **TIGHT)


def test_groups_have_names():
    groups = Groups(image=Bernoulli(3), label=Categorical(2))
    assert groups.names == ("image", "label")
    assert groups.columns("label") == slice(3, 5)
    assert groups["label"].levels == 2
    states = groups.sample(torch.zeros(4, 5), generator(0))
    parts = groups.split(states)
    assert list(parts) == ["image", "label"]
    assert torch.equal(groups.join(dict(reversed(parts.items()))), states)
    assert repr(groups) == "Groups(image=Bernoulli(size=3), label=Categorical(levels=2))"
    with pytest.raises(ConfigError, match=r"'sound'.*image, label"):
        groups.columns("sound")
    with pytest.raises(ConfigError, match="no parts"):
        Groups()
    with pytest.raises(ConfigError, match="scale"):
        Groups(a=OwnMultinomial(2), b=OwnMultinomial(2)).bias_scale(Context(count=torch.ones(1)))


def test_data_that_units_do_not_take_are_refused():
    with pytest.raises(DataError, match="0 to 1"):
        Groups(a=Bernoulli(2), b=OwnGaussian(1)).validate(torch.tensor([[0.0, 2.0, 7.0]]))
    with pytest.raises(DataError, match="NaN"):
        OwnGaussian(1).validate(torch.tensor([[float("nan")]]))
    with pytest.raises(DataError, match="one among the 3 levels"):
        Categorical(3).validate(torch.tensor([[1.0, 1.0, 0.0]]), states=True)
    with pytest.raises(ConfigError, match="continuum"):
        OwnGaussian(2).states()
    with pytest.raises(ConfigError, match="total input"):
        OwnGaussian(2).sample_from_mean(torch.zeros(1, 2), generator(0))


def test_a_name_is_registered_once():
    with pytest.raises(ConfigError, match="known already"):
        register(type("Bernoulli", (Units,), {}))
    assert FAMILIES["Bernoulli"] is Bernoulli


def test_levels_of_many_sites_are_drawn_with_their_probabilities() -> None:
    probs = torch.tensor([[0.5, 0.0, 0.3, 0.2], [0.0, 0.0, 0.0, 1.0]])
    count = 40_000
    drawn = sample_sites(probs.expand(count, -1, -1), generator(0))
    shares = torch.nn.functional.one_hot(drawn, 4).double().mean(0)
    assert torch.all(shares[probs == 0] == 0)
    assert torch.all((shares - probs).abs() < 5 * (probs * (1 - probs) / count).sqrt() + 1e-12)
