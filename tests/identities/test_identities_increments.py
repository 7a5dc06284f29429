"""Hinton's momentum rule, written out by hand."""

import pytest
import torch
from exact import TIGHT

from wakesleep.foundation import products
from wakesleep.foundation.rng import generator
from wakesleep.learning import increments
from wakesleep.learning.increments import Lesson


class One(torch.nn.Module):
    """A net of one parameter, which it shares with whoever made it."""

    def __init__(self, parameter):
        super().__init__()
        self.a = torch.nn.Parameter(parameter, requires_grad=False)


def follow(parameter, increment, lesson, *, rate, momentum, decay=0.0):
    state = {} if increment is None else {"increment.a": increment}
    increments.follow(One(parameter), [(lesson, 1.0)], state, rate=rate, momentum=momentum, decay={"a": decay})


def step(parameter, increment, gradient, **settings):
    follow(parameter, increment, Lesson(1, {}, {"a": gradient}), **settings)


def product_step(parameter, increment, left, right, *, cases, **settings):
    follow(parameter, increment, Lesson(cases, {"a": (left, right)}, {}), **settings)


def some(*shape, seed=0):
    return torch.randn(*shape, generator=generator(seed), dtype=torch.float64)


def test_three_updates_by_hand():
    parameter, increment = torch.tensor([1.0], dtype=torch.float64), torch.tensor([0.0], dtype=torch.float64)
    for gradient, rate, momentum in ((2.0, 0.1, 0.5), (3.0, 0.2, 0.5), (-1.0, 0.4, 0.9)):
        step(parameter, increment, torch.tensor([gradient], dtype=torch.float64), rate=rate, momentum=momentum, decay=0.1)
    first = 0.1 * (2.0 - 0.1 * 1.0)  # 0.19, parameter 1.19
    second = 0.5 * first + 0.2 * (3.0 - 0.1 * (1.0 + first))
    third = 0.9 * second + 0.4 * (-1.0 - 0.1 * (1.0 + first + second))
    assert abs(increment.item() - third) < 1e-12
    assert abs(parameter.item() - (1.0 + first + second + third)) < 1e-12


def test_a_product_is_a_step_up_the_explicit_gradient():
    left, right = some(14, 5, seed=1), some(14, 3, seed=2)
    ours, theirs = [some(5, 3, seed=3), some(5, 3, seed=4)], [some(5, 3, seed=3), some(5, 3, seed=4)]
    for rate, decay in ((0.1, 0.0), (0.3, 0.02), (0.05, 0.1)):
        product_step(*ours, left, right, cases=7, rate=rate, momentum=0.8, decay=decay)
        step(*theirs, left.t() @ right / 7, rate=rate, momentum=0.8, decay=decay)
    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a, b, **TIGHT)


@pytest.mark.parametrize("rows", [increments.FEW - 1, increments.FEW])
@pytest.mark.parametrize("layout", [(True, True), (True, False), (False, True)])
@pytest.mark.parametrize(("dtype", "faster"), [(torch.bfloat16, False), (torch.float32, True), (torch.float32, False)])
def test_layouts_change_no_step(monkeypatch, layout, dtype, faster, rows):
    """Weights that lie along the pixels, as the estimators have them, and increments read from a file, which lie the other way."""
    monkeypatch.setattr(products, "onednn_serves", lambda: faster)
    left, right = some(rows, 170, seed=1).to(dtype), some(rows, 160, seed=2).to(dtype)
    plain, turned = ([some(170, 160, seed=seed).float() for seed in (3, 4)] for _ in range(2))
    turned = [one.t().contiguous().t() if turn else one for one, turn in zip(turned, layout, strict=True)]
    for momentum in (0.8, 0.0, 0.8):
        for parameter, increment in (plain, turned):
            product_step(parameter, increment, left, right, cases=20, rate=0.1, momentum=momentum, decay=0.02)
    for a, b in zip(plain, turned, strict=True):
        torch.testing.assert_close(a, b)


def test_steps_are_in_place():
    parameter, increment = some(2), torch.zeros(2, dtype=torch.float64)
    step(parameter, increment, some(2, seed=5), rate=0.1, momentum=0.0)
    torch.testing.assert_close(parameter, some(2) + 0.1 * some(2, seed=5), **TIGHT)


def ours_and_torch(rates):
    ours, increment = some(4), torch.zeros(4, dtype=torch.float64)
    theirs = torch.nn.Parameter(some(4))
    optimizer = torch.optim.SGD([theirs], lr=1.0, momentum=0.9, maximize=True)
    for number, rate in enumerate(rates):
        gradient = some(4, seed=10 + number)
        step(ours, increment, gradient, rate=rate, momentum=0.9)
        theirs.grad = gradient
        optimizer.param_groups[0]["lr"] = rate
        optimizer.step()
    return ours, theirs.detach()


def test_same_as_torch_while_the_rate_stands():
    torch.testing.assert_close(*ours_and_torch([0.1, 0.1, 0.1]), **TIGHT)


def test_unlike_torch_once_the_rate_changes():
    ours, theirs = ours_and_torch([0.1, 0.01])
    torch.testing.assert_close(ours - theirs, (0.1 - 0.01) * 0.9 * some(4, seed=10), **TIGHT)


def test_without_momentum_no_increment_is_needed():
    left, right = some(14, 5, seed=1), some(14, 3, seed=2)
    for decay in (0.0, 0.1):
        ours, (theirs, increment) = some(5, 3, seed=3), (some(5, 3, seed=3), torch.zeros(5, 3, dtype=torch.float64))
        for rate in (0.1, 0.3):
            product_step(ours, None, left, right, cases=7, rate=rate, momentum=0.0, decay=decay)
            product_step(theirs, increment, left, right, cases=7, rate=rate, momentum=0.0, decay=decay)
            step(ours, None, left.t() @ right, rate=rate, momentum=0.0, decay=decay)
            step(theirs, increment, left.t() @ right, rate=rate, momentum=0.0, decay=decay)
        torch.testing.assert_close(ours, theirs, **TIGHT)


def test_coarse_productmove_fine_weights_without_momentum():
    left, right = some(14, 5, seed=1).bfloat16(), some(14, 3, seed=2).bfloat16()
    weight = some(5, 3, seed=3).float()
    expected = weight * (1 - 0.1 * 0.2) + 0.1 / 7 * (left.t() @ right).float()
    product_step(weight, None, left, right, cases=7, rate=0.1, momentum=0.0, decay=0.2)
    torch.testing.assert_close(weight, expected)


def test_coarse_productmove_fine_weights_as_their_product_does():
    left, right = some(14, 5, seed=1).bfloat16(), some(14, 3, seed=2).bfloat16()
    ours, theirs = ([some(5, 3, seed=3).float(), some(5, 3, seed=4).float()] for _ in range(2))
    for rate, decay in ((0.1, 0.0), (0.3, 0.02), (0.05, 0.1)):
        product_step(*ours, left, right, cases=7, rate=rate, momentum=0.8, decay=decay)
        summed = (left.float().t() @ right.float()).bfloat16()  # rounded once
        step(*theirs, summed.float() / 7, rate=rate, momentum=0.8, decay=decay)
        for a, b in zip(ours, theirs, strict=True):
            torch.testing.assert_close(a, b)


def test_coarse_productof_one_lesson_count_by_its_weight():
    halved, plain = (some(5, 3, seed=3).float() for _ in range(2))
    product = some(14, 5, seed=1).bfloat16(), some(14, 3, seed=2).bfloat16()
    for parameter, weight, rate in ((halved, 0.5, 0.2), (plain, 1.0, 0.1)):
        still = {"increment.a": torch.zeros(5, 3)}
        increments.follow(One(parameter), [(Lesson(7, {"a": product}, {}), weight)], still, rate=rate, momentum=0.8)
    assert torch.equal(halved, plain)
    assert not torch.equal(plain, some(5, 3, seed=3).float())


def test_coarse_productof_two_lessons_add_up():
    ours, theirs = ([some(5, 3, seed=3).float(), some(5, 3, seed=4).float()] for _ in range(2))
    products = [(some(14, 5, seed=seed).bfloat16(), some(14, 3, seed=seed + 1).bfloat16()) for seed in (1, 5)]
    lessons = [(Lesson(7, {"a": product}, {}), weight) for product, weight in zip(products, (1.0, 0.5), strict=True)]
    increments.follow(One(ours[0]), lessons, {"increment.a": ours[1]}, rate=0.1, momentum=0.8, decay={"a": 0.02})
    gradient = sum(weight / 7 * (left.t() @ right).float() for (left, right), weight in zip(products, (1.0, 0.5), strict=True))
    step(*theirs, gradient, rate=0.1, momentum=0.8, decay=0.02)
    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a, b)


@pytest.mark.parametrize("weight", [0.5, 0.0])
def test_a_lesson_of_one_gradient_counts_by_its_weight(weight):
    (ours, moved), (theirs, expected) = ([some(4, seed=1), some(4, seed=2)] for _ in range(2))
    gradient = some(4, seed=3)
    increments.follow(One(ours), [(Lesson(7, {}, {"a": gradient}), weight)], {"increment.a": moved}, rate=0.2, momentum=0.8, decay={"a": 0.1})
    step(theirs, expected, weight * gradient, rate=0.2, momentum=0.8, decay=0.1)
    torch.testing.assert_close(moved, expected, **TIGHT)
    torch.testing.assert_close(ours, theirs, **TIGHT)


def test_a_gradient_beside_a_coarse_product_is_not_forgotten():
    (ours, moved), (theirs, expected) = ([some(5, 3, seed=3).float(), some(5, 3, seed=4).float()] for _ in range(2))
    left, right, gradient = some(14, 5, seed=1).bfloat16(), some(14, 3, seed=2).bfloat16(), some(5, 3, seed=5).float()
    lesson = Lesson(7, {"a": (left, right)}, {"a": gradient})
    increments.follow(One(ours), [(lesson, 1.0)], {"increment.a": moved}, rate=0.2, momentum=0.8)
    step(theirs, expected, (left.t() @ right).float() / 7 + gradient, rate=0.2, momentum=0.8)
    torch.testing.assert_close(ours, theirs)


def test_a_product_is_laid_out_as_what_it_moves():
    left, right, plain = some(9, 5, seed=1), some(9, 3, seed=2), torch.empty(5, 3)
    for moved in (plain, plain.t().contiguous().t()):
        formed = increments._formed(moved, left, right)
        assert formed.stride() == moved.stride()
        torch.testing.assert_close(formed, left.t() @ right)


def test_where_nothing_is_kept_what_stood_there_is_not_read() -> None:
    moved = torch.full((2, 3), torch.nan)
    increments._add(moved, torch.ones(2, 3, dtype=torch.bfloat16), kept=0.0, factor=1 / 3)
    assert torch.equal(moved, torch.full((2, 3), 1 / 3)), "or it is rounded to the change's type"
