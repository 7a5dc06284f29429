"""The Helmholtz machine and wake-sleep: probabilities by enumeration, gradients against autograd,
and that it learns.
"""

from copy import deepcopy
from itertools import islice, pairwise

import pytest
import torch
from exact import (
    TIGHT,
    assert_frequencies,
    assert_mean,
    assert_same_state,
    chance,
    differentiable,
    index_of,
    states,
)

from wakesleep.foundation.errors import ConfigError, DivergedError
from wakesleep.foundation.rng import generator
from wakesleep.learning import wake_sleep
from wakesleep.learning.wake_sleep import WakeSleepConfig
from wakesleep.models.helmholtz import Helmholtz
from wakesleep.units import Bernoulli


def every(size):
    return states(Bernoulli(size))


def small_machine(sizes=(3, 2, 2), seed=0, dtype=torch.float64, scale=1.2):
    """Return a machine whose weights and biases are all away from zero."""
    rng = generator(seed)
    net = Helmholtz(sizes, rng=rng).double()
    for parameter in net.parameters():
        parameter.copy_(torch.randn(parameter.shape, generator=rng, dtype=torch.float64) * scale)
    return net.to(dtype)


def layers_of(net, rows):
    """Split states of the whole machine, side by side, into layers."""
    return list(rows.split(net.sizes, 1))


def some_images(count=64, pixels=3, seed=2, dtype=torch.float64):
    return torch.rand(count, pixels, generator=generator(seed), dtype=dtype)


def log_likelihood(net, cases):
    """Return exact mean log p(cases), every hidden state summed over, nats."""
    net, hidden = deepcopy(net).double(), every(sum(net.sizes[1:]))
    each = [
        net.log_joint(layers_of(net, torch.cat([case.double().expand(len(hidden), -1), hidden], 1)))
        for case in cases
    ]
    return float(torch.stack(each).logsumexp(1).mean())


@pytest.mark.parametrize("sizes", [(3, 2), (3, 2, 2), (2, 3, 2, 2)], ids=str)
def test_log_joint_is_the_product_over_layers_and_sums_to_one(sizes):
    net = small_machine(sizes)
    rows = every(sum(sizes))
    layers = layers_of(net, rows)
    p = chance(Bernoulli(sizes[-1]), torch.sigmoid(net.top_bias)[None], layers[-1])[0]
    for layer, (below, above) in zip(net.generative, pairwise(layers), strict=True):
        mean = torch.sigmoid(above @ layer.weight.t() + layer.bias)
        p = p * torch.where(below == 1, mean, 1 - mean).prod(1)
    ours = net.log_joint(layers)
    assert ours.shape == (len(rows),)
    torch.testing.assert_close(ours.exp(), p, **TIGHT)
    torch.testing.assert_close(ours.exp().sum(), torch.tensor(1.0, dtype=torch.float64), **TIGHT)


@pytest.mark.parametrize("sizes", [(3, 2), (3, 2, 2), (2, 3, 2, 2)], ids=str)
def test_log_recognition_is_the_product_over_layers_and_sums_to_one_for_each_case(sizes):
    net = small_machine(sizes)
    layers = layers_of(net, every(sum(sizes)))
    q = torch.ones(len(layers[0]), dtype=torch.float64)
    for layer, (below, above) in zip(net.recognition, pairwise(layers), strict=True):
        mean = torch.sigmoid(below @ layer.weight + layer.bias)
        q = q * torch.where(above == 1, mean, 1 - mean).prod(1)
    ours = net.log_recognition(layers).exp()
    torch.testing.assert_close(ours, q, **TIGHT)
    torch.testing.assert_close(
        ours.reshape(2 ** sizes[0], -1).sum(1),
        torch.ones(2 ** sizes[0], dtype=torch.float64),
        **TIGHT,
    )


def test_dreams_follow_the_joint():
    net = small_machine()
    every_state = every(7)
    dreams_shown = net.dream(60_000, generator(3))
    assert [layer.shape for layer in dreams_shown] == [(60_000, 3), (60_000, 2), (60_000, 2)]
    assert_frequencies(
        index_of(torch.cat(dreams_shown, 1), every_state),
        net.log_joint(layers_of(net, every_state)).exp(),
    )


@pytest.mark.parametrize("case", [0, 5])
def test_the_way_up_follows_the_recognition_model(case):
    net, pixels, hidden = small_machine(), every(3)[case : case + 1], every(4)
    up = net.up(pixels.repeat(60_000, 1), generator(4))
    assert torch.equal(up[0], pixels.repeat(60_000, 1))
    q = net.log_recognition(layers_of(net, torch.cat([pixels.expand(16, -1), hidden], 1))).exp()
    assert_frequencies(index_of(torch.cat(up[1:], 1), hidden), q)


def gradients(net, objective):
    """Return autograd's gradient of `objective(net)` by name, of the parameters it depends on."""
    moving = differentiable(net)
    objective(moving).backward()
    return {
        name: parameter.grad
        for name, parameter in moving.named_parameters()
        if parameter.grad is not None
    }


def both_gradients(net, images, rng):
    """What a wake phase of the images and a sleep phase of as many dreams find."""
    return wake_sleep.wake_gradients(net, images, rng), wake_sleep.sleep_gradients(
        net, len(images), rng
    )


@pytest.mark.parametrize("sizes", [(3, 2), (4, 3, 2, 3)], ids=str)
def test_the_gradients_are_autograd_of_the_two_log_probabilities(sizes):
    net, images, rng = small_machine(sizes), some_images(pixels=sizes[0]), generator(5)
    wake_states, sleep_states = net.up(images, rng), net.dream(64, rng)
    wake, sleep = both_gradients(net, images, generator(5))
    for ours, exact in (
        (wake, gradients(net, lambda moving: moving.log_joint(wake_states).mean())),
        (sleep, gradients(net, lambda moving: moving.log_recognition(sleep_states).mean())),
    ):
        assert set(ours) == set(exact)
        for name, gradient in exact.items():
            torch.testing.assert_close(ours[name], gradient, **TIGHT)
    assert set(wake) | set(sleep) == {name for name, _ in net.named_parameters()}


def test_expected_gradients():
    net = small_machine()
    case, hidden, whole = every(3)[5:6], every(4), layers_of(net, every(7))
    up = layers_of(net, torch.cat([case.expand(16, -1), hidden], 1))
    q, p = net.log_recognition(up).exp(), net.log_joint(whole).exp()
    exact = gradients(net, lambda moving: (q * moving.log_joint(up)).sum())
    exact |= gradients(net, lambda moving: (p * moving.log_recognition(whole)).sum())
    rng = generator(6)
    actual = [both_gradients(net, case.repeat(200, 1), rng) for _ in range(500)]
    for name, expected in exact.items():
        assert_mean(torch.stack([(wake | sleep)[name] for wake, sleep in actual]), expected)


def test_two_passes_follow_hintons_rule():
    net, images = small_machine(dtype=torch.float32), some_images(12, dtype=torch.float32)
    config = WakeSleepConfig(
        epochs=2, batch_size=12, learning_rate=0.4, final_learning_rate=0.2, momentum=0.7
    )
    hand, rng = deepcopy(net), generator(7)
    velocity = {name: torch.zeros_like(parameter) for name, parameter in hand.named_parameters()}
    records = list(wake_sleep.epochs(net, images, config=config, rng=generator(7)))
    for rate in (0.4, 0.2):
        order = wake_sleep.arrays.order(None, 12, rng)
        wake, sleep = both_gradients(hand, images[order], rng)
        for name, parameter in hand.named_parameters():
            velocity[name] = 0.7 * velocity[name] + rate * (wake | sleep)[name]
            parameter.add_(velocity[name])
    for name, parameter in net.named_parameters():
        torch.testing.assert_close(
            parameter.detach(), hand.get_parameter(name).detach(), rtol=1e-4, atol=1e-5
        )
    assert [(record.epoch, record.metrics["learning_rate"]) for record in records] == [
        (1, 0.4),
        (2, 0.2),
    ]


def bars_and_stripes(side=3):
    """Return every picture of full columns or full rows once, (2^(side+1) - 2, side^2)."""
    rows = every(side)
    pictures = [rows[:, None, :].expand(-1, side, -1), rows[1:-1, :, None].expand(-1, -1, side)]
    return torch.cat(pictures).reshape(-1, side * side).float()


def test_wake_sleep_raises_the_exact_log_likelihood():
    patterns, rng = bars_and_stripes(), generator(0)
    net = Helmholtz((9, 8, 4), rng=rng)
    before = log_likelihood(net, patterns)
    config = WakeSleepConfig(epochs=100, batch_size=20, learning_rate=0.1, final_learning_rate=0.1)
    for _ in wake_sleep.epochs(net, patterns.repeat(20, 1), config=config, rng=rng):
        pass
    after = log_likelihood(net, patterns)
    print(f"{before:.2f} -> {after:.2f} nats")
    assert after > before + 1.0


def test_resuming_is_never_having_stopped():
    config = WakeSleepConfig(epochs=4, batch_size=10)
    whole, images = small_machine(dtype=torch.float32), some_images(23, dtype=torch.float32)
    part, rng, again = deepcopy(whole), generator(8), generator(0)
    (*_, last) = wake_sleep.epochs(whole, images, config=config, rng=generator(8))
    (*_, record) = islice(wake_sleep.epochs(part, images, config=config, rng=rng), 2)
    again.set_state(rng.get_state())
    resumed = deepcopy(part)
    records = list(
        wake_sleep.epochs(resumed, images, config=config, rng=again, state=deepcopy(record.state))
    )
    assert [r.epoch for r in records] == [3, 4]
    assert all(
        torch.equal(a, b) for a, b in zip(whole.parameters(), resumed.parameters(), strict=True)
    )
    assert_same_state(last.state, records[-1].state)


def test_uint8_pixels_are_the_same_cases():
    shades = torch.randint(256, (20, 3), generator=generator(1), dtype=torch.uint8)
    nets = [small_machine(dtype=torch.float32) for _ in range(2)]
    for net, images in zip(nets, (shades, shades.float() / 255), strict=True):
        list(wake_sleep.epochs(net, images, config=WakeSleepConfig(epochs=1), rng=generator(0)))
    assert all(torch.equal(a, b) for a, b in zip(*(net.parameters() for net in nets), strict=True))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *[
            (rate, bad)
            for rate in ("learning_rate", "final_learning_rate")
            for bad in (0, -0.1, float("nan"), float("inf"))
        ],
        *[("momentum", bad) for bad in (1, 1.5, -0.1, float("nan"))],
        *[("batch_size", bad) for bad in (0, -3)],
        ("epochs", -1),
    ],
)
def test_settings_that_cannot_work_are_refused_by_value(name, value):
    with pytest.raises(ConfigError) as refusal:
        WakeSleepConfig(**{name: value})
    assert f"{name} = {value}" in str(refusal.value)


@pytest.mark.parametrize("sizes", [(), (3,), (3, 0), (-1, 3)], ids=str)
def test_sizes_that_cannot_work_are_refused(sizes):
    with pytest.raises(ConfigError, match="expected at least two, each at least 1"):
        Helmholtz(sizes, rng=generator(0))


def test_rates_run_in_a_straight_line():
    config = WakeSleepConfig(epochs=5, learning_rate=0.1, final_learning_rate=0.02)
    assert [round(config.learning_rate_at(epoch), 10) for epoch in range(5)] == [
        0.1,
        0.08,
        0.06,
        0.04,
        0.02,
    ]
    assert WakeSleepConfig(epochs=1, learning_rate=0.1).learning_rate_at(0) == 0.1


def test_recognition_and_generation_have_weights_of_their_own():
    net = Helmholtz((4, 3, 2), rng=generator(0))
    storages = [parameter.data_ptr() for parameter in net.parameters()]
    assert len(set(storages)) == len(storages) == 2 * 4 + 1
    for up, down in zip(net.recognition, net.generative, strict=True):
        assert float((up.weight - down.weight).abs().min()) > 0


def test_divergence_is_noticed():
    net, images = (
        small_machine((6, 6, 6), dtype=torch.float32),
        some_images(40, 6, dtype=torch.float32),
    )
    config = WakeSleepConfig(
        epochs=3, batch_size=1, learning_rate=1e38, final_learning_rate=1e38, momentum=0.9
    )
    with pytest.raises(DivergedError, match="learning rate"):
        list(wake_sleep.epochs(net, images, config=config, rng=generator(0)))
