"""The zero-sum gauge leaves the model alone; ordered answers start at the shares of levels."""

import pytest
import torch
from exact import TIGHT, small_rbm

from wakesleep.evaluation import ais
from wakesleep.foundation.rng import generator
from wakesleep.learning import cd
from wakesleep.models import gauge
from wakesleep.models.rbm import RBM
from wakesleep.units import (
    Bernoulli,
    Categorical,
    Context,
    DReLU,
    Gaussian,
    Groups,
    Multinomial,
    Ordinal,
    Thermometer,
)

WORDS = Context(count=torch.tensor([2.0, 3.0, 5.0, 1.0, 2.0]).double())


@pytest.mark.parametrize(
    ("visible", "hidden", "context"),
    [
        (Categorical(3, sites=2), Bernoulli(4), None),
        (Categorical(4), DReLU(3), None),
        (Groups(bits=2, kinds=Categorical(3, sites=2), rest=Categorical(2)), 3, None),
        (Gaussian(3), Categorical(3, sites=2), None),
        (Groups(kind=Thermometer(3), a=Categorical(2)), Groups(a=2, b=Categorical(3)), None),
        (Multinomial(4), Bernoulli(3), WORDS),
        (Groups(words=Multinomial(3), label=Categorical(2)), 3, WORDS),
    ],
    ids=str,
)
def test_the_gauge_changes_no_free_energy(visible, hidden, context):
    rbm = small_rbm(visible, hidden)
    x = torch.randn(5, rbm.visible.size, generator=generator(1), dtype=torch.float64)
    cases = rbm.visible.sample(x, generator(2), context=context)
    states = rbm.hidden.sample(x.new_zeros(5, rbm.hidden.size), generator(3))
    before = rbm.free_energy(cases, context)
    other = rbm.hidden_free_energy(states, context)
    weight = rbm.weight.clone()
    gauge.zero_sum(rbm)
    assert not torch.equal(rbm.weight, weight)
    torch.testing.assert_close(rbm.free_energy(cases, context), before, **TIGHT)
    torch.testing.assert_close(rbm.hidden_free_energy(states, context), other, **TIGHT)
    again = rbm.weight.clone()
    gauge.zero_sum(rbm)
    torch.testing.assert_close(rbm.weight, again, **TIGHT)
    sites = gauge.sites(rbm.visible)
    for columns, levels, words in sites:
        if context is None or words:
            sums = rbm.weight[columns].reshape(-1, levels, rbm.hidden.size).sum(1)
            torch.testing.assert_close(sums, torch.zeros_like(sums), **TIGHT)


def answers(count=500):
    """Return answers whose levels are no parabola: most are extreme."""
    p = torch.tensor([[0.45, 0.05, 0.1, 0.4], [0.1, 0.6, 0.0, 0.3]])
    rng = generator(0)
    return torch.stack([torch.multinomial(row, count, True, generator=rng) for row in p], 1).float()


@pytest.mark.parametrize("units", [Ordinal(2, 4), Groups(number=Gaussian(1), grade=Ordinal(2, 4))])
def test_answers_start_at_the_shares_of_their_levels(units):
    cases = answers()
    if isinstance(units, Groups):
        cases = torch.cat([torch.randn(500, 1, generator=generator(1)), cases], 1)
    rbm = RBM(units, 3, rng=generator(2), weight_std=0.0)
    cd.init_visible_bias(rbm, cases)
    own = units if isinstance(units, Ordinal) else units["grade"]
    columns = slice(0, 2) if isinstance(units, Ordinal) else slice(1, 3)
    p = torch.softmax(own._logits(rbm.visible_bias[columns]), -1)
    counts = (cases[:, columns, None] == torch.arange(4)).sum(0)
    torch.testing.assert_close(p, (counts + 1) / (500 + 4))
    assert float(own.level_bias.sum(1).abs().max()) < 1e-4
    assert float((own.level_bias * torch.arange(4.0)).sum(1).abs().max()) < 1e-4
    base = ais.base_model(rbm, cases)
    torch.testing.assert_close(base.bias, rbm.visible_bias.detach())


def test_weights_count_in_shares():
    cases, weights = torch.tensor([[0.0], [1.0], [2.0]]), torch.tensor([2.0, 1.0, 1.0])
    rbm = RBM(Ordinal(1, 3), 2, rng=generator(0))
    cd.init_visible_bias(rbm, cases, weights)
    p = torch.softmax(rbm.visible._logits(rbm.visible_bias), -1)
    torch.testing.assert_close(p, (torch.tensor([[1.5, 0.75, 0.75]]) + 1) / 6)
