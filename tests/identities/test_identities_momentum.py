"""Hinton's momentum rule, written out by hand, and what gradients are sums of."""

import pytest
import torch
from exact import TIGHT

from wakesleep.compute import distributed
from wakesleep.compute.ops import Dense, Product, RowSum
from wakesleep.foundation.rng import generator
from wakesleep.learning import momentum as rule


class One(torch.nn.Module):
    """A net of one parameter, which it shares with whoever made it."""

    def __init__(self, parameter):
        super().__init__()
        self.a = torch.nn.Parameter(parameter, requires_grad=False)


def move(parameter, velocity, *terms, rate, momentum, decay=0.0, copy=None):
    velocities = {} if velocity is None else {"a": velocity}
    copy = None if copy is None else One(copy)
    rule.apply_update(
        One(parameter),
        {"a": list(terms)},
        velocities,
        rate=rate,
        momentum=momentum,
        decay={"a": decay},
        copy=copy,
    )


def step(parameter, velocity, gradient, **settings):
    move(parameter, velocity, Dense(gradient, 1.0), **settings)


def product_step(parameter, velocity, left, right, *, cases, **settings):
    move(parameter, velocity, Product(left, right, 1 / cases), **settings)


def some(*shape, seed=0):
    return torch.randn(*shape, generator=generator(seed), dtype=torch.float64)


def test_three_updates_by_hand():
    parameter, velocity = (
        torch.tensor([1.0], dtype=torch.float64),
        torch.tensor([0.0], dtype=torch.float64),
    )
    for gradient, rate, momentum in ((2.0, 0.1, 0.5), (3.0, 0.2, 0.5), (-1.0, 0.4, 0.9)):
        step(
            parameter,
            velocity,
            torch.tensor([gradient], dtype=torch.float64),
            rate=rate,
            momentum=momentum,
            decay=0.1,
        )
    first = 0.1 * (2.0 - 0.1 * 1.0)  # 0.19, parameter 1.19
    second = 0.5 * first + 0.2 * (3.0 - 0.1 * (1.0 + first))
    third = 0.9 * second + 0.4 * (-1.0 - 0.1 * (1.0 + first + second))
    assert abs(velocity.item() - third) < 1e-12
    assert abs(parameter.item() - (1.0 + first + second + third)) < 1e-12


def test_a_product_is_a_step_up_the_explicit_gradient():
    left, right = some(14, 5, seed=1), some(14, 3, seed=2)
    ours, theirs = (
        [some(5, 3, seed=3), some(5, 3, seed=4)],
        [some(5, 3, seed=3), some(5, 3, seed=4)],
    )
    for rate, decay in ((0.1, 0.0), (0.3, 0.02), (0.05, 0.1)):
        product_step(*ours, left, right, cases=7, rate=rate, momentum=0.8, decay=decay)
        step(*theirs, left.t() @ right / 7, rate=rate, momentum=0.8, decay=decay)
    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a, b, **TIGHT)


def test_steps_are_in_place():
    parameter, velocity = some(2), torch.zeros(2, dtype=torch.float64)
    step(parameter, velocity, some(2, seed=5), rate=0.1, momentum=0.0)
    torch.testing.assert_close(parameter, some(2) + 0.1 * some(2, seed=5), **TIGHT)


def ours_and_torch(rates):
    ours, velocity = some(4), torch.zeros(4, dtype=torch.float64)
    theirs = torch.nn.Parameter(some(4))
    optimizer = torch.optim.SGD([theirs], lr=1.0, momentum=0.9, maximize=True)
    for number, rate in enumerate(rates):
        gradient = some(4, seed=10 + number)
        step(ours, velocity, gradient, rate=rate, momentum=0.9)
        theirs.grad = gradient
        optimizer.param_groups[0]["lr"] = rate
        optimizer.step()
    return ours, theirs.detach()


def test_same_as_torch_while_the_rate_stands():
    torch.testing.assert_close(*ours_and_torch([0.1, 0.1, 0.1]), **TIGHT)


def test_unlike_torch_once_the_rate_changes():
    ours, theirs = ours_and_torch([0.1, 0.01])
    torch.testing.assert_close(ours - theirs, (0.1 - 0.01) * 0.9 * some(4, seed=10), **TIGHT)


def test_without_momentum_no_velocity_is_needed():
    left, right = some(14, 5, seed=1), some(14, 3, seed=2)
    for decay in (0.0, 0.1):
        ours, (theirs, velocity) = (
            some(5, 3, seed=3),
            (some(5, 3, seed=3), torch.zeros(5, 3, dtype=torch.float64)),
        )
        for rate in (0.1, 0.3):
            product_step(ours, None, left, right, cases=7, rate=rate, momentum=0.0, decay=decay)
            product_step(
                theirs, velocity, left, right, cases=7, rate=rate, momentum=0.0, decay=decay
            )
            step(ours, None, left.t() @ right, rate=rate, momentum=0.0, decay=decay)
            step(theirs, velocity, left.t() @ right, rate=rate, momentum=0.0, decay=decay)
        torch.testing.assert_close(ours, theirs, **TIGHT)


def test_products_of_low_precision_move_weights_without_momentum():
    left, right = some(14, 5, seed=1).bfloat16(), some(14, 3, seed=2).bfloat16()
    weight = some(5, 3, seed=3).float()
    expected = weight * (1 - 0.1 * 0.2) + 0.1 / 7 * (left.t() @ right).float()
    product_step(weight, None, left, right, cases=7, rate=0.1, momentum=0.0, decay=0.2)
    torch.testing.assert_close(weight, expected)


def test_products_of_low_precision_move_weights_as_their_rounded_product_does():
    left, right = some(14, 5, seed=1).bfloat16(), some(14, 3, seed=2).bfloat16()
    ours, theirs = ([some(5, 3, seed=3).float(), some(5, 3, seed=4).float()] for _ in range(2))
    for rate, decay in ((0.1, 0.0), (0.3, 0.02), (0.05, 0.1)):
        product_step(*ours, left, right, cases=7, rate=rate, momentum=0.8, decay=decay)
        summed = (left.float().t() @ right.float()).bfloat16()  # rounded once
        step(*theirs, summed.float() / 7, rate=rate, momentum=0.8, decay=decay)
        for a, b in zip(ours, theirs, strict=True):
            torch.testing.assert_close(a, b)


@pytest.mark.parametrize("weight", [0.5, 0.0])
def test_a_weighted_sum_of_gradients(weight):
    left, right, rows, dense = (
        some(7, 5, seed=1),
        some(7, 3, seed=2),
        some(7, 3, seed=3),
        some(5, 3, seed=4),
    )
    one = {"w": [Product(left, right, 1 / 7)], "b": [RowSum(rows, 1 / 7)]}
    total = rule.weighted_sum((one, 1.0), ({"w": [Dense(dense, 2.0)]}, weight))
    net = torch.nn.Module()
    net.w, net.b = (
        torch.nn.Parameter(torch.zeros(shape, dtype=torch.float64), requires_grad=False)
        for shape in ((5, 3), (3,))
    )
    rule.apply_update(net, total, {}, rate=0.1, momentum=0.0)
    torch.testing.assert_close(net.w, 0.1 * (left.t() @ right / 7 + 2 * weight * dense), **TIGHT)
    torch.testing.assert_close(net.b, 0.1 * rows.mean(0), **TIGHT)
    assert one["w"] == [Product(left, right, 1 / 7)], "what was added up is as it was"


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16], ids=str)
def test_terms_add_up(dtype):
    (ours, moved), (theirs, expected) = ([some(5, 3, seed=3), some(5, 3, seed=4)] for _ in range(2))
    if dtype == torch.bfloat16:
        ours, moved, theirs, expected = (each.float() for each in (ours, moved, theirs, expected))
    pairs = [
        (some(14, 5, seed=seed).to(dtype), some(14, 3, seed=seed + 1).to(dtype)) for seed in (1, 5)
    ]
    gradient = some(5, 3, seed=9).to(ours.dtype)
    terms = [
        *(Product(*pair, scale) for pair, scale in zip(pairs, (1 / 7, 0.5 / 7), strict=True)),
        Dense(gradient, 1.0),
    ]
    move(ours, moved, *terms, rate=0.1, momentum=0.8, decay=0.02)
    formed = [
        (left.float().t() @ right.float()).bfloat16().float()
        if dtype == torch.bfloat16
        else left.t() @ right
        for left, right in pairs
    ]
    step(
        theirs,
        expected,
        formed[0] / 7 + 0.5 / 7 * formed[1] + gradient,
        rate=0.1,
        momentum=0.8,
        decay=0.02,
    )
    torch.testing.assert_close(moved, expected)
    torch.testing.assert_close(ours, theirs)


def test_parameters_without_a_gradient_stay_and_only_those_named_decay():
    net = torch.nn.Module()
    net.w, net.b, net.c = (torch.nn.Parameter(torch.ones(3), requires_grad=False) for _ in range(3))
    gradients = {name: [Dense(torch.ones(3), 1.0)] for name in ("w", "b")}
    rule.apply_update(
        net, gradients, {"c": torch.ones(3)}, rate=0.5, momentum=0.9, decay={"w": 0.5}
    )
    assert (net.w[0].item(), net.b[0].item(), net.c[0].item()) == (1.25, 1.5, 1.0)


@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_the_copy_in_low_precision_is_what_the_parameter_is(momentum):
    parameter, copy = some(5, 3).float(), torch.full((5, 3), 9.0, dtype=torch.bfloat16)
    for terms in (
        [Dense(some(5, 3, seed=1).float(), 1.0)],
        [Product(torch.rand(4, 5).bfloat16(), torch.rand(4, 3).bfloat16(), 1.0)] * 2,
    ):
        move(
            parameter,
            torch.zeros(5, 3) if momentum else None,
            *terms,
            rate=0.1,
            momentum=momentum,
            copy=copy,
        )
        assert torch.equal(copy, parameter.bfloat16())


def test_the_mean_over_ranks_is_written_at_once(monkeypatch):
    """A second rank has gradients of zero."""
    sent = []

    def average_written(count, like, write):
        flat = torch.full((count,), torch.nan, dtype=like.dtype)
        write(flat)
        sent.append(count)
        return flat / 2

    monkeypatch.setattr(distributed, "all_reduce_mean_written", average_written)
    monkeypatch.setattr(distributed, "ranks", lambda: 2)
    net = torch.nn.Module()
    net.w, net.b = (
        torch.nn.Parameter(torch.zeros(shape, dtype=torch.float64), requires_grad=False)
        for shape in ((5, 3), (3,))
    )
    left, right, rows = some(7, 5, seed=1), some(7, 3, seed=2), some(7, 3, seed=3)
    gradients = {
        "w": [Product(left, right, 1 / 7), Dense(torch.ones(5, 3, dtype=torch.float64), 1.0)],
        "b": [RowSum(rows, 1 / 7)],
    }
    rule.apply_update(net, gradients, {}, rate=2.0, momentum=0.0)
    assert sent == [18]
    torch.testing.assert_close(net.w, left.t() @ right / 7 + 1, **TIGHT)
    torch.testing.assert_close(net.b, rows.mean(0), **TIGHT)
