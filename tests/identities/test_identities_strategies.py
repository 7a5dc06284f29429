"""Evolution's estimate against the gradient it stands for, and that the baselines learn."""

from copy import deepcopy

import pytest
import torch
from torch.nn.functional import cross_entropy

from wakesleep.foundation.errors import ConfigError
from wakesleep.foundation.rng import generator
from wakesleep.learning import backprop, strategies
from wakesleep.learning.strategies import AutoencoderConfig, EvolutionConfig


def two_kinds(count=200):
    """Cases of two kinds: the first or the last three pixels are on."""
    labels = torch.arange(count) % 2
    images = torch.rand(count, 6, generator=generator(1)) * 0.3
    images[labels == 0, :3] += 0.7
    images[labels == 1, 3:] += 0.7
    return images, labels


def test_the_population_finds_the_gradient():
    net = backprop.random_classifier((3, 4, 2), rng=generator(0))
    image, label = torch.rand(1, 3, generator=generator(1)), torch.tensor([1])
    expected = torch.autograd.grad(cross_entropy(net(image), label), list(net.parameters()))
    sums = [torch.zeros_like(parameter) for parameter in net.parameters()]
    rng = generator(2)
    for _ in range(20):
        strategies.perturb(net, image.expand(20_000, 3), label.expand(20_000), 0.02, rng)
        for total, parameter in zip(sums, net.parameters(), strict=True):
            total += parameter.grad / 20
    actual, exact = (
        torch.cat([total.flatten() for total in sums]),
        torch.cat([gradient.flatten() for gradient in expected]),
    )
    assert float((actual - exact).norm() / exact.norm()) < 0.05


def test_evolution_learns_and_goes_on_where_it_was_stopped():
    images, labels = two_kinds()
    config = EvolutionConfig(epochs=30, batch_size=50, learning_rate=0.05)
    net = backprop.random_classifier((6, 5, 2), rng=generator(0))
    records = list(strategies.evolve(net, images, labels, config=config, rng=generator(3)))
    assert records[-1].metrics["cross_entropy"] < 0.2 < records[0].metrics["cross_entropy"]
    again, rng = backprop.random_classifier((6, 5, 2), rng=generator(0)), generator(3)
    for record in strategies.evolve(again, images, labels, config=config, rng=rng):
        if record.epoch == 12:
            break
    list(strategies.evolve(again, images, labels, config=config, rng=rng, state=record.state))
    assert all(
        torch.equal(one, other)
        for one, other in zip(net.parameters(), again.parameters(), strict=True)
    )
    with pytest.raises(ConfigError, match="sigma"):
        EvolutionConfig(sigma=0)


def test_autoencoders_learn_to_copy_layer_by_layer_and_leave_the_last_layer_alone():
    images, _ = two_kinds()
    net = backprop.random_classifier((6, 5, 4, 2), rng=generator(0), gain=1.0)
    before = [parameter.detach().clone() for parameter in net.parameters()]
    config = AutoencoderConfig(epochs=20, batch_size=20, learning_rate=0.01)
    records = list(strategies.autoencode(net, images, config=config, rng=generator(1)))
    assert [record.epoch for record in records] == list(range(1, 41))
    for layer in (records[:20], records[20:]):
        assert (
            layer[-1].metrics["reconstruction_cross_entropy"]
            < layer[0].metrics["reconstruction_cross_entropy"]
        )
    moved = [bool((old != new).any()) for old, new in zip(before, net.parameters(), strict=True)]
    assert moved == [True] * 4 + [False] * 2


@pytest.mark.parametrize("stop", [3, 5, 7])
def test_autoencoders_go_on_where_they_were_stopped(stop):
    images, _ = two_kinds()
    config = AutoencoderConfig(epochs=5, batch_size=20, learning_rate=0.01)
    whole, again = (
        backprop.random_classifier((6, 5, 4, 2), rng=generator(0), gain=1.0) for _ in range(2)
    )
    list(strategies.autoencode(whole, images, config=config, rng=generator(1)))
    rng = generator(1)
    for record in strategies.autoencode(again, images, config=config, rng=rng):
        if record.epoch == stop:
            break
    rest = list(
        strategies.autoencode(again, images, config=config, rng=rng, state=deepcopy(record.state))
    )
    assert [record.epoch for record in rest] == list(range(stop + 1, 11))
    assert all(
        torch.equal(one, other)
        for one, other in zip(whole.parameters(), again.parameters(), strict=True)
    )
