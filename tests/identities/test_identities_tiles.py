"""Products of tiles are the products they stand for, with what learning makes of them; and they are never needed."""

from __future__ import annotations

import platform
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pooch
import pytest
import torch
from torch import Tensor

from wakesleep.foundation import native, products, tiles
from wakesleep.foundation.rng import generator
from wakesleep.learning import cd, hybrid, increments, up_down
from wakesleep.learning.cd import CDConfig
from wakesleep.learning.hybrid import HybridConfig
from wakesleep.learning.increments import Lesson
from wakesleep.learning.up_down import UpDownConfig
from wakesleep.model import layers
from wakesleep.model.dbn import DBN
from wakesleep.model.rbm import RBM
from wakesleep.model.units import Bernoulli, Groups, Softmax

there = pytest.mark.skipif(native._build() is None or not native.library().tiles_ready(), reason="a processor, or a compiler, without tiles")
STEP = 2.0**-8
"""The most that rounding to bfloat16 changes a number by, relatively."""
SHAPES = [(100, 784, 500), (7, 33, 45), (33, 64, 17), (1, 5, 3), (16, 32, 32), (300, 200, 31), (64, 1, 1), (17, 500, 784)]
"""Rows, inner and columns: whole tiles, tiles that end early on any side, more rows than are laid out at once."""


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    yield
    torch.set_num_threads(1)


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Tiles are taken for whatever size; the names of what was asked of them."""
    names: list[str] = []
    monkeypatch.setattr(tiles, "MANY", 1)
    monkeypatch.setattr(tiles, "are_there", lambda: True)
    monkeypatch.setattr(native, "serves", lambda: native.by_hand)
    for name in ("layer", "learn"):
        real = getattr(tiles, name)
        monkeypatch.setattr(tiles, name, lambda *given, name=name, real=real, **more: (names.append(name), real(*given, **more))[1])
    return names


def some(*shape: int, seed: int = 0, turned: bool = False) -> Tensor:
    """Return numbers around zero, (shape), laid out the other way where `turned`."""
    values = torch.randn(shape, generator=generator(seed)).bfloat16()
    return values.t().contiguous().t() if turned else values


def close(found: Tensor, expected: Tensor, sums: int) -> None:
    """Hold `found` to float64, up to its own rounding and that of float32 sums."""
    torch.testing.assert_close(found.double(), expected, rtol=STEP, atol=1e-6 * sums)


@there
@pytest.mark.parametrize("threads", [1, 2, 5])
@pytest.mark.parametrize("turned", [(False, False), (False, True), (True, False), (True, True)], ids=str)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_a_layer_is_what_it_stands_for(shape: tuple[int, int, int], turned: tuple[bool, bool], threads: int) -> None:
    rows, inner, columns = shape
    states, weight, bias = some(rows, inner, seed=1, turned=turned[0]), some(inner, columns, seed=2, turned=turned[1]), some(columns, seed=3)
    expected = states.double() @ weight.double() + bias.double()
    torch.set_num_threads(threads)
    for squashed in {0, columns // 2, min(20, columns), columns}:
        wide = torch.full((rows, columns + 3), 7.0).bfloat16()
        tiles.layer(states, weight, bias, squashed, wide[:, 1:-2])
        found = wide[:, 1:-2]
        close(found[:, squashed:], expected[:, squashed:], inner)
        close(found[:, :squashed], torch.sigmoid(expected[:, :squashed]), inner)
        assert bool((wide[:, [0, -2, -1]] == 7.0).all()), "only what was asked for is written"
    bare = torch.empty(rows, columns, dtype=torch.bfloat16)
    tiles.layer(states, weight, None, 0, bare)
    close(bare, states.double() @ weight.double(), inner)


@there
def test_probabilities_are_as_exact_as_bfloat16_can_say() -> None:
    bias = torch.linspace(-100, 100, 20_001).bfloat16()
    bias[:4] = torch.tensor([float("inf"), -float("inf"), float("nan"), 0.0]).bfloat16()
    found = torch.empty(2, len(bias), dtype=torch.bfloat16)
    tiles.layer(torch.zeros(2, 3).bfloat16(), torch.ones(3, len(bias)).bfloat16(), bias, len(bias), found)
    assert found[0, 0] == 1.0
    assert 0 <= found[0, 1] < 1e-36
    assert found[0, 2].isnan()
    assert found[0, 3] == 0.5
    expected = torch.sigmoid(bias[3:].double())
    torch.testing.assert_close(found[0, 3:].double(), expected, rtol=STEP + 1e-5, atol=1e-36)
    assert torch.equal(found[0, 3:], found[1, 3:])


AT_THE_EDGE = """
import ctypes, mmap, sys, torch
from wakesleep.foundation import tiles
page, kept = mmap.PAGESIZE, []

def edge(*shape, dtype=torch.bfloat16, turned=False):  # a matrix whose last number is the last of its page, nothing readable behind it
    if turned:
        return edge(*shape[::-1], dtype=dtype).t()
    count = torch.Size(shape).numel()
    length = -(-count * dtype.itemsize // page) * page
    memory = mmap.mmap(-1, length + page)
    begin = ctypes.addressof(ctypes.c_char.from_buffer(memory))
    assert ctypes.CDLL(None, use_errno=True).mprotect(ctypes.c_void_p(begin + length), page, 0) == 0
    kept.append(memory)
    return torch.frombuffer(memory, dtype=dtype, count=count, offset=length - count * dtype.itemsize).view(shape).fill_(1)

for rows, inner, columns in ((100, 784, 500), (7, 33, 45), (1, 5, 3), (16, 32, 32), (17, 1, 33)):
    for turned in ((False, False), (False, True), (True, False), (True, True)):
        states, weight, bias = edge(rows, inner, turned=turned[0]), edge(inner, columns, turned=turned[1]), edge(columns)
        tiles.layer(states, weight, bias, columns // 2, edge(rows, columns))
    fine = edge(inner, columns, dtype=torch.float32), edge(inner, columns, dtype=torch.float32)
    tiles.learn(*fine, edge(inner, columns), edge(rows, inner), edge(rows, columns), momentum=0.5, factor=0.1, decayed=0.0)
print("nothing else was touched")
"""


@there
def test_only_what_is_there_is_touched() -> None:
    done = subprocess.run([sys.executable, "-c", AT_THE_EDGE], capture_output=True, text=True, check=False)
    assert done.stdout == "nothing else was touched\n", (done.returncode, done.stderr)


@there
@pytest.mark.parametrize("turned", [False, True])
def test_what_is_no_number_stays_in_its_row(turned: bool) -> None:
    states, weight = some(40, 70, seed=1), some(70, 50, seed=2, turned=turned)
    states[33, 69] = float("nan")
    means = torch.empty(40, 50, dtype=torch.bfloat16)
    tiles.layer(states, weight, some(50, seed=3), 50, means)
    assert means.isnan().any(1).nonzero().flatten().tolist() == [33]
    assert bool(means[33].isnan().all())


@there
def test_the_number_of_threads_changes_nothing() -> None:
    states, weight, bias = some(300, 784, seed=1), some(784, 500, seed=2), some(500, seed=3)
    made: list[list[Tensor]] = []
    for threads in (1, 2, 3, 8):
        torch.set_num_threads(threads)
        means, moved = torch.empty(300, 500, dtype=torch.bfloat16), torch.ones(784, 500)
        increment, twin = torch.ones_like(moved), moved.bfloat16()
        tiles.layer(states, weight, bias, 300, means)
        tiles.learn(moved, increment, twin, states, means, momentum=0.9, factor=0.01, decayed=0.001)
        made.append([means, moved, increment, twin])
    assert all(torch.equal(one, other) for others in made[1:] for one, other in zip(made[0], others, strict=True))


@there
@pytest.mark.parametrize("threads", [1, 2, 5])
@pytest.mark.parametrize("momentum", [0.9, 0.0, None])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_a_weight_learns_what_it_should(shape: tuple[int, int, int], momentum: float | None, threads: int) -> None:
    cases, below, above = shape
    pair, weight = (some(cases, below, seed=1), some(cases, above, seed=2)), torch.randn(below, above, generator=generator(3))
    increment = None if momentum is None else torch.randn(below, above, generator=generator(4))
    twin = torch.zeros_like(weight, dtype=torch.bfloat16)
    gone = 0.0 if increment is None or momentum is None else momentum * increment.double()
    expected = gone + 0.01 * (pair[0].double().t() @ pair[1].double()) - 0.003 * weight.double()
    after = weight.double() + expected
    torch.set_num_threads(threads)
    tiles.learn(weight, increment, twin, *pair, momentum=momentum or 0.0, factor=0.01, decayed=0.003)
    torch.testing.assert_close(weight.double(), after, rtol=1e-6, atol=1e-7 * cases)
    assert torch.equal(twin, weight.bfloat16())
    if increment is not None:
        torch.testing.assert_close(increment.double(), expected, rtol=1e-6, atol=1e-7 * cases)


@there
@pytest.mark.parametrize("turned", [False, True])
@pytest.mark.parametrize("still", [False, True], ids=["with momentum", "without"])
def test_an_update_takes_them_whichever_way_the_weight_lies(turned: bool, still: bool, asked) -> None:
    net = torch.nn.Module()
    weight = torch.randn(40, 70, generator=generator(1))
    net.register_parameter("weight", torch.nn.Parameter(weight.t().contiguous().t() if turned else weight, requires_grad=False))
    coarse = torch.nn.Module()
    coarse.register_parameter("weight", torch.nn.Parameter(net.get_parameter("weight").bfloat16(), requires_grad=False))
    state = {} if still else {"increment.weight": torch.ones_like(net.get_parameter("weight"))}
    left, right = some(30, 40, seed=2), some(30, 70, seed=3)
    expected = weight.double() * (1 - 0.02 * 0.5) + 0.5 * 0.02 / 25 * (left.double().t() @ right.double()) + (0.0 if still else 0.25)
    lesson = Lesson(25, {"weight": (left, right)})
    increments.follow(net, [(lesson, 0.5)], state, rate=0.02, momentum=0.25, decay={"weight": 0.5}, coarse=coarse)
    assert asked == ["learn"]
    torch.testing.assert_close(net.get_parameter("weight").double(), expected, rtol=1e-5, atol=1e-6)
    assert torch.equal(coarse.get_parameter("weight"), net.get_parameter("weight").bfloat16())


@there
@pytest.mark.parametrize("more", ["gradients", "sums", "another lesson", "no twin", "float64"])
def test_what_is_no_product_alone_is_learned_as_before(more: str, asked) -> None:
    net = RBM(40, 70, rng=generator(1)).to(torch.float64 if more == "float64" else torch.float32)
    coarse = RBM(40, 70, rng=generator(2)).bfloat16()
    pair = some(30, 40, seed=2), some(30, 70, seed=3)
    gradients = {"weight": torch.full((40, 70), 2.0)} if more == "gradients" else {}
    sums = {"weight": torch.full((3, 40, 70), 20.0)} if more == "sums" else {}
    lesson = Lesson(30, {"weight": pair}, gradients, sums)
    lessons = [(lesson, 1.0)] * (2 if more == "another lesson" else 1)
    before = net.weight.double().clone()
    gradient = len(lessons) / 30 * (pair[0].double().t() @ pair[1].double()) + (2.0 if gradients or sums else 0.0)
    increments.follow(net, lessons, {}, rate=0.1, momentum=0.0, coarse=None if more == "no twin" else coarse)
    assert "learn" not in asked
    torch.testing.assert_close(net.weight.double(), before + 0.1 * gradient, rtol=1e-2, atol=1e-3)


@there
def test_statistics_are_formed_of_tiles(asked) -> None:
    left, right = some(200, 130, seed=1), some(200, 70, seed=2)
    found = products.correlation(left, right)
    assert asked == ["layer"]
    close(found, left.double().t() @ right.double(), 200)


@there
@pytest.mark.parametrize("units", [Bernoulli(70), Groups((Bernoulli(60), Softmax(10))), Softmax(70)], ids=str)
def test_units_hear_the_same(units: Any, asked, monkeypatch) -> None:
    squashed, real = [], tiles.layer
    monkeypatch.setattr(tiles, "layer", lambda *given: (squashed.append(given[3]), real(*given))[1])
    states, weight, bias = some(30, 40, seed=1), some(40, 70, seed=2), some(70, seed=3)
    expected = units.mean(states.double() @ weight.double() + bias.double())
    given = torch.empty(30, 70, dtype=torch.bfloat16)
    for found in (layers.heard(units, states, weight, bias), layers.heard(units, states, weight, bias, out=given)):
        torch.testing.assert_close(found.double(), expected, rtol=0.1, atol=0.01)  # a softmax's input is rounded, its output again
    assert torch.equal(found, given)
    drawn = layers.drawn(units, states, weight, bias, generator(5), given)
    assert asked == ["layer"] * 3
    assert squashed == [{Bernoulli: 70, Groups: 60, Softmax: 0}[type(units)]] * 3, "coins' sigmoids are made with the product"
    assert set(drawn.unique().tolist()) == {0.0, 1.0}
    torch.testing.assert_close(drawn.double().mean(), expected.mean(), rtol=0.1, atol=0.02)


@there
def test_it_serves_nothing_else(asked, monkeypatch) -> None:
    left, right, bias = some(30, 40), some(40, 70), some(70)
    assert tiles.suit(left, right, bias, None)
    assert tiles.suit(left.t().contiguous().t(), right.t().contiguous().t())
    assert not tiles.suit(left.float(), right.float())
    assert not tiles.suit(left, right.float())
    assert not tiles.suit(left, right, bias.float())
    assert not tiles.suit(left, right, some(70, 30).t())
    assert not tiles.suit(some(30, 80)[:, ::2], right)
    assert not tiles.suit(left, some(40, 140)[:, ::2])
    assert not tiles.suit(left[None], right)
    assert not tiles.suit(left.to("meta"), right.to("meta"))
    assert not tiles.suit(left, right, bias.clone().requires_grad_())
    with torch.no_grad():
        assert tiles.suit(left, right, bias.clone().requires_grad_())
    for owner, name, value in ((tiles, "MANY", 30 * 40 * 70 + 1), (tiles, "are_there", lambda: False), (native, "by_hand", False)):
        with monkeypatch.context() as patch:
            patch.setattr(owner, name, value)
            assert not tiles.suit(left, right, bias), name
    monkeypatch.setattr(native, "serves", lambda: False)
    assert not tiles.suit(left, right, bias)


def learned(way: str, dtype: torch.dtype = torch.bfloat16) -> list[Tensor]:
    source, pixels = generator(1), torch.randint(256, (200, 64), generator=generator(6), dtype=torch.uint8)
    if way in ("cd", "pcd"):
        rbm, still = RBM(64, 96, rng=source), {"momentum": 0.0, "initial_momentum": 0.0} if way == "pcd" else {}
        list(cd.epochs(rbm, pixels, config=CDConfig(passes=2, batch_size=50, persistent=way == "pcd", **still), rng=source, dtype=dtype))
        return list(rbm.parameters())
    dbn, labels = DBN((64, 96, 80), labels=10, rng=source), torch.arange(200) % 10
    config = UpDownConfig(passes=2, batch_size=50, gibbs_steps=(2,), average=0.0)
    if way == "up-down":
        list(up_down.epochs(dbn, pixels, labels, config=config, rng=source, dtype=dtype))
    else:
        list(hybrid.epochs(dbn, pixels, labels, config=HybridConfig(config), rng=source, dtype=dtype))
    return list(dbn.parameters())


@there
@pytest.mark.parametrize("way", ["cd", "pcd", "up-down", "hybrid"])
def test_loops_end_where_the_plain_way_ends(way: str, monkeypatch, asked) -> None:
    ours = learned(way)
    assert set(asked) == {"layer", "learn"}
    asked.clear()
    monkeypatch.setattr(tiles, "are_there", lambda: False)
    plain, fine = learned(way), learned(way, torch.float32)
    assert asked == []
    for one, other, third in zip(ours, plain, fine, strict=True):  # states are drawn from means that are rounded otherwise now and then
        apart, usual = (one - other).square().mean().sqrt(), (third - other).square().mean().sqrt()
        assert float(apart) <= 1.5 * float(usual) + 1e-4, "no further than bfloat16 is from float32"


@pytest.mark.skipif(native._build() is None or platform.machine() != "x86_64", reason="for compilers of x86-64")
def test_a_processor_without_tiles_says_so_and_has_the_other_kernels(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(pooch, "os_cache", lambda name: str(tmp_path / name))
    plain = [flag for flag in native.FLAGS if not flag.startswith("-march")]
    monkeypatch.setattr(native, "FLAGS", (*plain, "-march=x86-64", "-Wall", "-Wextra", "-Werror"))
    built = native._build.__wrapped__()
    monkeypatch.setattr(native, "_build", lambda: built)
    library = native.library.__wrapped__()
    assert library.tiles_ready() == 0
    monkeypatch.setattr(native, "library", lambda: library)
    assert not tiles.are_there.__wrapped__()
    states = torch.empty(3, 8)
    native.draw(torch.ones(3, 8), states, torch.ones((), dtype=torch.int64), torch.tensor(-32768.5))
    assert bool((states == 1).all())


def test_small_products_ask_for_no_compiler(monkeypatch) -> None:
    monkeypatch.setattr(native, "_build", lambda: pytest.fail("a compiler was looked for"))
    assert not tiles.suit(some(100, 100), some(100, 100))
