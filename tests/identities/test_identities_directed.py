"""Directed layers: probabilities by hand, the delta rule against autograd."""

import pytest
import torch
from exact import TIGHT, assert_frequencies, chance, index_of, states

from wakesleep.foundation.rng import generator
from wakesleep.models.directed import DirectedLayer
from wakesleep.units import Bernoulli, Categorical, Groups


def layer(units, inputs, downward, seed=0):
    rng = generator(seed)
    shape = (units.size, inputs) if downward else (inputs, units.size)
    weight = torch.nn.Parameter(torch.randn(shape, generator=rng, dtype=torch.float64))
    return DirectedLayer(
        units,
        weight,
        torch.nn.Parameter(torch.randn(units.size, generator=rng, dtype=torch.float64)),
        downward=downward,
    )


def log_prob(units, total_input, target):
    """Return log p(target | total input) from first principles: score of the state less that of all
    states.
    """
    return (total_input * target).sum(1) - torch.logsumexp(total_input @ states(units).t(), 1)


@pytest.mark.parametrize("downward", [False, True], ids=["up", "down"])
@pytest.mark.parametrize(
    "units",
    [Bernoulli(3), Categorical(4), Groups(features=Bernoulli(2), label=Categorical(3))],
    ids=str,
)
def test_delta_rule_is_the_gradient_of_log_probability(units, downward):
    net = layer(units, 4, downward)
    rng = generator(1)
    heard = torch.rand(9, 4, generator=rng, dtype=torch.float64)
    target = states(units)[torch.randint(len(states(units)), (9,), generator=rng)]
    weight = net.weight.t() if downward else net.weight
    log_prob(units, heard @ weight + net.bias, target).mean().backward()
    with torch.no_grad():
        delta = net.delta_rule(heard, target)
    torch.testing.assert_close(delta.weight, net.weight.grad, **TIGHT)
    torch.testing.assert_close(delta.bias, net.bias.grad, **TIGHT)


@torch.no_grad()
@pytest.mark.parametrize("downward", [False, True], ids=["up", "down"])
def test_probs_and_samples(downward):
    net = layer(Bernoulli(3), 2, downward)
    heard = torch.tensor([[1.0, 0.0], [1.0, 1.0]], dtype=torch.float64)
    weight = net.weight.t() if downward else net.weight
    torch.testing.assert_close(net.probs(heard), torch.sigmoid(heard @ weight + net.bias), **TIGHT)
    drawn = net.sample(heard[1:].expand(50_000, -1), generator(2))
    assert_frequencies(
        index_of(drawn, states(net.units)),
        chance(net.units, net.probs(heard[1:]), states(net.units))[0],
    )
