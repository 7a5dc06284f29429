"""Cases of which each has a context of its own: exact numbers beside enumeration, and what does not
fit is refused.
"""

from __future__ import annotations

import pytest
import torch
from exact import TIGHT, small_rbm, states
from families import OwnMultinomial

from wakesleep.evaluation import ais, exact, likelihood
from wakesleep.foundation.errors import DataError
from wakesleep.foundation.rng import generator
from wakesleep.learning import cd
from wakesleep.learning.configs import CDConfig
from wakesleep.samplers import gibbs, missing
from wakesleep.units import Bernoulli, Categorical, Context, Groups

VISIBLE = Groups(x=Bernoulli(2), site=Categorical(3))
MASKS = torch.tensor([[1, 1, 1, 1, 1], [1, 0, 1, 1, 1], [1, 1, 0, 0, 0]], dtype=torch.bool)


def there(mask):
    """Return every state with the columns of the mask, the others 0, once each."""
    return torch.unique(states(VISIBLE) * mask, dim=0)


def cases_of_all():
    """Return every state of every mask, and the masks, case by case."""
    lists = [there(mask) for mask in MASKS]
    masks = torch.cat([mask.expand(len(rows), -1) for mask, rows in zip(MASKS, lists, strict=True)])
    order = torch.randperm(len(masks), generator=generator(1))
    return torch.cat(lists)[order], masks[order]


def test_each_case_has_the_log_z_of_its_own_mask():
    rbm = small_rbm(VISIBLE, 3)
    cases, masks = cases_of_all()
    actual = exact.log_likelihood(rbm, cases, Context(mask=masks))
    for mask in MASKS:
        rows = (masks == mask).all(1)
        logs = -rbm.free_energy(cases[rows])
        torch.testing.assert_close(actual[rows], torch.log_softmax(logs, 0), **TIGHT)


def test_each_case_has_the_log_z_of_its_own_count():
    rbm = small_rbm(OwnMultinomial(3), 2)
    cases, count = torch.tensor([[1.0, 0, 0], [1, 1, 1], [0, 0, 3]]), torch.tensor([1.0, 3, 3])
    one_by_one = [
        exact.log_likelihood(rbm, cases[i : i + 1], Context(count=count[i : i + 1]))
        for i in range(3)
    ]
    actual = exact.log_likelihood(rbm, cases, Context(count=count))
    torch.testing.assert_close(actual, torch.cat(one_by_one), **TIGHT)
    assert float(actual.max()) < 0


@pytest.mark.parametrize("kind", ["mask", "count"])
def test_the_gradient_is_that_of_the_mean_log_likelihood(kind):
    if kind == "mask":
        rbm, (cases, masks) = small_rbm(VISIBLE, 3), cases_of_all()
        context = Context(mask=masks)
    else:
        rbm, cases, context = (
            small_rbm(OwnMultinomial(3), 2),
            torch.tensor([[1.0, 0, 0], [1, 1, 1]]),
            Context(count=torch.tensor([1.0, 3])),
        )
    actual = exact.gradient(rbm, cases, context)
    rbm.requires_grad_()
    exact.log_likelihood(rbm, cases, context).mean().backward()
    for part, parameter in zip(
        actual, (rbm.weight, rbm.visible_bias, rbm.hidden_bias), strict=True
    ):
        torch.testing.assert_close(part, parameter.grad, **TIGHT)


def test_states_are_drawn_with_the_mask_of_each():
    rbm, n = small_rbm(VISIBLE, 3), 3000
    masks = MASKS[torch.arange(n) % 3]
    actual = exact.sample(rbm, n, generator(0), Context(mask=masks))
    for mask in MASKS:
        rows = (masks == mask).all(1)
        mean = exact.model_statistics(rbm, Context(mask=mask[None])).visible_bias
        error = (mean * (1 - mean) / int(rows.sum())).sqrt()
        assert bool(((actual[rows].mean(0) - mean).abs() <= 5 * error + 1e-12).all())


def learn(rbm, cases, context):
    return list(
        cd.epochs(
            rbm, cases, config=CDConfig(epochs=1, batch_size=4), rng=generator(0), context=context
        )
    )


def test_values_in_absent_columns_are_refused_and_say_nothing():
    rbm, context = small_rbm(4, 3), Context(mask=torch.tensor([[True, True, True, False]]))
    every = states(rbm.visible)
    for use in (exact.log_likelihood, exact.gradient, learn):
        with pytest.raises(DataError, match=r"8 of 16 cases have values in columns.*absent"):
            use(rbm, every, context)
    absent = every * context.mask
    assert float(
        exact.log_likelihood(rbm, torch.unique(absent, dim=0), context).exp().sum()
    ) == pytest.approx(1)
    torch.testing.assert_close(rbm.free_energy(every, context), rbm.free_energy(absent), **TIGHT)
    hidden = torch.ones(16, 3, dtype=torch.float64)
    torch.testing.assert_close(
        rbm.energy(every, hidden, context), rbm.energy(absent, hidden), **TIGHT
    )


def test_log_z_is_that_of_one_context():
    rbm, context = small_rbm(VISIBLE, 3), Context(mask=MASKS)
    base, betas = torch.zeros(5, dtype=torch.float64), torch.linspace(0, 1, 3)
    for use in (
        lambda: exact.log_partition(rbm, context),
        lambda: exact.model_statistics(rbm, context),
        lambda: ais.init_forward(rbm, base, betas, 3, generator(0), context),
    ):
        with pytest.raises(DataError, match="3 different kinds of cases"):
            use()
    assert exact.log_partition(rbm, Context(mask=MASKS[1:2].expand(4, -1))) == exact.log_partition(
        rbm, Context(mask=MASKS[1:2])
    )


@pytest.mark.parametrize(
    "context",
    [
        Context(mask=MASKS[0]),
        Context(mask=MASKS[:, :3]),
        Context(mask=MASKS[:2]),
        Context(count=torch.ones(2)),
    ],
)
def test_a_context_of_another_shape_is_refused(context):
    rbm, cases = small_rbm(VISIBLE, 3), states(VISIBLE)
    for use in (exact.log_likelihood, exact.gradient, learn):
        with pytest.raises(DataError, match=r"context.*(mask|count) of shape"):
            use(rbm, cases, context)


SITES = Groups(x=Bernoulli(2), site=Categorical(3, sites=2))
TWO, NONE = [1.0, 1.0, 0.0], [0.0, 0.0, 0.0]
ADDS_UP = r"site, columns 2 to 7: 1 of 3 cases have a categorical site.*not add up to 1 \(case 1"


def sites(second):
    """Return three cases, the second of whose first site holds `second`."""
    first = torch.eye(3, dtype=torch.float64)
    first[1] = torch.tensor(second, dtype=torch.float64)
    return torch.cat(
        [
            torch.tensor([[0.0, 0.4]] * 3, dtype=torch.float64),
            first,
            torch.eye(3, dtype=torch.float64),
        ],
        1,
    )


USES = {
    "cd": lambda rbm, cases: learn(rbm, cases, None),
    "gradient": exact.gradient,
    "base rates": ais.base_rates,
    "log_partition": lambda rbm, cases: likelihood.log_partition(
        rbm, cases, rng=generator(0), chains=3, limit=5, reverse_steps=1
    ),
    "impute": lambda rbm, cases: missing.impute(rbm, cases, generator(0), steps=2),
}


@pytest.mark.parametrize("use", USES)
def test_categorical_data_are_probabilities_of_each_site(use):
    rbm = small_rbm(SITES, 3)
    USES[use](rbm, sites([0.25, 0.25, 0.5]))
    for second in (TWO, NONE):
        with pytest.raises(DataError, match=ADDS_UP):
            USES[use](rbm, sites(second))
    pixels = (sites(NONE) * 255).to(torch.uint8)
    with pytest.raises(DataError, match=ADDS_UP):
        USES[use](rbm, pixels)


@pytest.mark.parametrize("second", [TWO, NONE, [1.0, float("nan"), 0.0], [2.0, -1.0, 0.0]])
def test_what_is_clamped_is_what_the_units_take(second):
    rbm, states = small_rbm(SITES, 3), sites(second)[:, 2:]
    for use in (
        lambda known: gibbs.Clamp.of_groups(rbm, known),
        lambda known: missing.recall(rbm, known, generator(0), steps=2),
    ):
        with pytest.raises(DataError):
            use({"site": states})
    pixels = (sites([0.0, 1.0, 0.0])[:, 2:] * 255).to(torch.uint8)
    actual = gibbs.Clamp.of_groups(rbm, {"site": pixels}).values[:, 2:]
    torch.testing.assert_close(actual, sites([0.0, 1.0, 0.0])[:, 2:], **TIGHT)


def test_a_site_is_there_or_absent_as_a_whole():
    rbm, context = (
        small_rbm(VISIBLE, 3),
        Context(mask=torch.tensor([[True, True, True, True, False]])),
    )
    cases = torch.tensor([[0.0, 1, 1, 0, 0]], dtype=torch.float64)
    for use in (exact.log_likelihood, exact.gradient, learn):
        with pytest.raises(DataError, match=r"part of the site of columns 2 to 4"):
            use(rbm, cases, context)
