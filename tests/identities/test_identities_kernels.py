"""Kernels by hand against what they stand for: on a GPU where there is one, else in Triton's interpreter, where that is installed."""

from __future__ import annotations

from collections import Counter
from types import SimpleNamespace

import numpy
import pytest
import torch
from torch.nn.functional import softplus

from wakesleep.foundation import native, precision, products
from wakesleep.foundation.rng import generator
from wakesleep.learning import cd, increments, up_down
from wakesleep.learning.cd import CDConfig
from wakesleep.learning.increments import Lesson
from wakesleep.learning.up_down import UpDownConfig
from wakesleep.model.dbn import DBN
from wakesleep.model.layers import drawn, heard
from wakesleep.model.rbm import RBM
from wakesleep.model.units import Bernoulli, Groups, Softmax


def release(version: str) -> tuple[int, ...]:
    """Return (major, minor)."""
    return tuple(map(int, version.split(".")[:2]))


triton = pytest.importorskip("triton", reason="Triton is not installed")
kernels = pytest.importorskip("wakesleep.foundation.kernels")

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
if DEVICE == "cpu" and release(triton.__version__) < (3, 7) and release(numpy.__version__) >= (2, 4):
    pytest.skip("the interpreter of Triton before 3.7 needs NumPy below 2.4", allow_module_level=True)
TYPES = [torch.float32] + ([torch.bfloat16] if DEVICE == "cuda" else [])  # the interpreter multiplies no bfloat16
SHAPES = [(7, 12, 9), (1, 3, 1), (100, 80, 50), (33, 50, 51)]
"""Cases, units below, units above."""


def some(*shape, dtype=torch.float32, seed=0, scale=1.0, transposed=False):
    shape = shape[::-1] if transposed else shape
    values = torch.randn(shape, generator=generator(seed)).mul_(scale).to(DEVICE, dtype)
    return values.t() if transposed else values


def close(ours, theirs, dtype):
    tolerance = {torch.float32: 2e-6 if DEVICE == "cpu" else 3e-3, torch.bfloat16: 2e-2}[dtype]  # a GPU multiplies numbers of ten or seven bits
    torch.testing.assert_close(ours.double(), theirs.double(), rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("dtype", TYPES, ids=str)
@pytest.mark.parametrize("transposed", [False, True])
@pytest.mark.parametrize(("cases", "below", "above"), SHAPES)
def test_a_layer_is_a_product_a_sigmoid_and_coins(cases, below, above, transposed, dtype) -> None:
    states, bias = some(cases, below, dtype=dtype).sigmoid(), some(above, dtype=dtype, seed=1)
    weight = some(below, above, dtype=dtype, seed=2, scale=0.2, transposed=transposed)
    squashed = max(above - 3, 1)
    wide = torch.full((2, cases, above + 5), 9.0, dtype=dtype, device=DEVICE)  # poisoned, and not contiguous
    means, drawn = wide[0, :, 2 : above + 2], wide[1, :, 3 : above + 3]
    kernels.layer(states, weight, bias, squashed, means, drawn, generator(3, DEVICE))
    total = states.double() @ weight.double() + bias.double()
    want = torch.cat([total[:, :squashed].sigmoid(), total[:, squashed:]], 1)
    close(means, want, dtype)
    close(drawn[:, squashed:], want[:, squashed:], dtype)
    assert set(drawn[:, :squashed].unique().tolist()) <= {0.0, 1.0}
    assert bool((wide[0, :, :2] == 9).all())
    assert bool((wide[0, :, above + 2 :] == 9).all())
    alone = torch.empty_like(means)
    kernels.layer(states, weight, bias, squashed, alone)
    assert torch.equal(alone, means)
    again = torch.empty_like(drawn)
    kernels.layer(states, weight, bias, squashed, None, again, generator(3, DEVICE))
    assert torch.equal(again, drawn)


def test_coins_fall_as_often_as_they_should_and_each_by_itself() -> None:
    cases, above = 400, 40
    bias = torch.linspace(-4, 4, above, device=DEVICE)
    rng, states = generator(5, DEVICE), torch.zeros(cases, 4, device=DEVICE)
    drawn = torch.empty(2, cases, above, device=DEVICE)
    for each in drawn:
        kernels.layer(states, torch.zeros(4, above, device=DEVICE), bias, above, None, each, rng)
    p = bias.sigmoid()
    error = (p * (1 - p) / (2 * cases)).sqrt()
    assert float(((drawn.mean((0, 1)) - p) / error).abs().max()) < 4
    centred = (drawn - p) / (p * (1 - p)).sqrt()
    below, right = (centred[:, 1:], centred[:, :-1]), (centred[:, :, 1:], centred[:, :, :-1])
    across = [(centred[:, 1:, 1:], centred[:, :-1, :-1]), (centred[:, 1:, :-1], centred[:, :-1, 1:])]
    for one, other in (below, right, *across, (centred[0], centred[1])):
        assert abs(float((one * other).mean())) * one.numel() ** 0.5 < 4


@pytest.mark.parametrize("dtype", TYPES, ids=str)
@pytest.mark.parametrize("transposed", [False, True])
@pytest.mark.parametrize(("cases", "below", "above"), SHAPES)
def test_a_weight_follows_a_product(cases, below, above, transposed, dtype) -> None:
    left, right = some(cases, below, dtype=dtype), some(cases, above, dtype=dtype, seed=1)
    weight, increment = (some(below, above, seed=seed, transposed=transposed) for seed in (2, 3))
    moved = 0.9 * increment.double() + 0.01 * left.double().t() @ right.double() - 0.002 * weight.double()
    ended = weight.double() + moved
    kernels.follow(weight, increment, left, right, momentum=0.9, factor=0.01, decayed=0.002)
    close(increment, moved, dtype)
    close(weight, ended, dtype)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize(("count", "units"), [(7, 9), (300, 50), (1, 1)])
def test_a_bias_follows_a_sum(count, units, dtype) -> None:
    rows = some(count, units, dtype=dtype, transposed=True)
    bias, increment = some(units, seed=1), some(units, seed=2)
    moved = 0.8 * increment.double() + 0.05 * rows.double().sum(0)
    ended = bias.double() + moved
    kernels.lean(bias, increment, rows, momentum=0.8, factor=0.05)
    torch.testing.assert_close(increment.double(), moved, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(bias.double(), ended, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_cases_are_gathered_as_probabilities(dtype) -> None:
    pixels = torch.randint(0, 256, (20, 1500), generator=generator(0), dtype=torch.uint8).to(DEVICE)
    index = torch.tensor([3, 19, 0, 3], device=DEVICE)
    out = torch.full((4, 1500), 9.0, dtype=dtype, device=DEVICE)
    kernels.gather(pixels, index, out)
    torch.testing.assert_close(out, (pixels[index].float() / 255).to(dtype), rtol=1e-6 if dtype == torch.float32 else 0.01, atol=0)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("size", [5, 700])
def test_shifts_of_the_log_partition(size, dtype) -> None:
    heard, rows = some(6, size, scale=5.0), some(3, size, dtype=dtype, seed=1)
    want = (softplus(heard.double().unsqueeze(1) + rows.double()) - softplus(heard.double()).unsqueeze(1)).sum(-1)
    torch.testing.assert_close(kernels.shifts(heard, rows).double(), want, rtol=1e-5, atol=1e-3)


def served(first, *more):
    return native.by_hand and first.dtype == torch.float32 and first.ndim == 2


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """Let kernels serve whatever may be served, on any device, and count what they are asked for."""
    monkeypatch.setattr(products, "suit_kernels", served)
    found: Counter[str] = Counter()
    for name in ("layer", "follow", "lean", "gather", "shifts"):
        real = getattr(kernels, name)
        monkeypatch.setattr(kernels, name, lambda *given, real=real, name=name, **more: (found.update([name]), real(*given, **more))[1])
    return found


LAYERS = [Bernoulli(6), Groups((Bernoulli(5), Softmax(3))), Softmax(4), Groups((Softmax(3), Bernoulli(4)))]


@pytest.mark.parametrize("units", LAYERS, ids=str)
def test_layers_hear_and_draw_the_same_by_hand(units, calls, monkeypatch: pytest.MonkeyPatch) -> None:
    states, weight, bias = some(2000, 4).sigmoid(), some(4, units.size, seed=1), some(units.size, seed=2)
    out = torch.empty(2000, units.size, device=DEVICE)
    assert heard(units, states, weight, bias, out=out) is out
    means = torch.empty_like(out)
    states_drawn = drawn(units, states, weight, bias, generator(3, DEVICE), means=means)
    soft = drawn(units, states, weight, bias, generator(3, DEVICE), soft=True)
    binary_first = units.kinds[0][0] == "bernoulli"
    assert calls["layer"] == 3 * binary_first
    monkeypatch.setattr(native, "by_hand", False)
    plain = heard(units, states, weight, bias)
    close(out, plain, torch.float32)
    close(means, plain, torch.float32)
    assert set(states_drawn.unique().tolist()) == {0.0, 1.0}
    error = (plain * (1 - plain)).sum(0).sqrt() / len(states)
    assert float(((states_drawn - plain).mean(0) / error).abs().max()) < 4
    if isinstance(units, Groups):
        for part, columns in zip(units.parts, units.slices, strict=True):
            if isinstance(part, Softmax):
                close(soft[:, columns], plain[:, columns], torch.float32)
                assert torch.equal(states_drawn[:, columns].sum(1), torch.ones(2000, device=DEVICE))
            else:
                assert set(soft[:, columns].unique().tolist()) == {0.0, 1.0}


def decided(net):
    """Make the weights so large that every unit is sure, and what is drawn is no chance."""
    for name, parameter in net.named_parameters():
        sure = some(*parameter.shape, seed=len(name)).sign() * 60 if parameter.ndim == 2 else torch.tensor([15.0, 30.0, -15.0]).repeat(9)
        parameter.copy_(sure[: len(parameter)])
    return net


def cd_step(config, labels=0):
    visible = Groups((Bernoulli(9), Softmax(labels))) if labels else 12
    rbm, rng = decided(RBM(visible, 8, rng=generator(0, DEVICE))), generator(1, DEVICE)
    cases = (some(40, rbm.visible.size, seed=5) > 0).to(torch.uint8) * 255
    if labels:
        cases[:, 9:] = (torch.arange(40, device=DEVICE)[:, None] % labels == torch.arange(labels, device=DEVICE)).to(torch.uint8) * 255
    (record,) = cd.epochs(rbm, cases, config=config, rng=rng)
    return rbm, record


sure = pytest.mark.filterwarnings("ignore:overflow encountered in exp:RuntimeWarning")  # the interpreter's: sigmoid(-1000) is 0


@sure
@pytest.mark.parametrize("labels", [0, 3])
@pytest.mark.parametrize("options", [{}, {"gibbs_steps": 3, "sample_visible": True}, {"persistent": True}, {"weight_decay": 0.1}], ids=str)
def test_contrastive_divergence_by_hand_is_the_plain_one(options, labels, calls, monkeypatch: pytest.MonkeyPatch) -> None:
    config = CDConfig(passes=1, batch_size=20, **options)
    ours, told = cd_step(config, labels)
    assert calls["gather"] == 2
    assert calls["follow"] == 2
    assert calls["lean"] == 4
    assert calls["layer"] >= 4
    monkeypatch.setattr(native, "by_hand", False)
    plain, told_plain = cd_step(config, labels)
    for (name, one), other in zip(ours.named_parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-5, msg=name)
    assert told.metrics == pytest.approx(told_plain.metrics)


def up_down_step():
    dbn, rng = decided(DBN((12, 8, 6, 9), labels=3, rng=generator(0, DEVICE))), generator(1, DEVICE)
    cases = (some(40, 12, seed=5) > 0).to(torch.uint8) * 255
    config = UpDownConfig(passes=1, batch_size=20, gibbs_steps=(2,), persistent=0.0, average=0.0)
    list(up_down.epochs(dbn, cases, torch.arange(40, device=DEVICE) % 3, config=config, rng=rng))
    return dbn


@sure
def test_contrastive_wake_sleep_by_hand_is_the_plain_one(calls, monkeypatch: pytest.MonkeyPatch) -> None:
    ours = up_down_step()
    assert calls == {"gather": 2, "follow": 10, "lean": 12, "shifts": 2, "layer": 2 * (2 + 2 * 2 + 2 + 4)}
    monkeypatch.setattr(native, "by_hand", False)
    plain = up_down_step()
    for (name, one), other in zip(ours.named_parameters(), plain.named_parameters(), strict=True):
        torch.testing.assert_close(one, other[1], rtol=1e-5, atol=1e-5, msg=name)


@pytest.mark.parametrize("decayed", [0.0, 0.3])
def test_one_lesson_of_any_weight(decayed, calls) -> None:
    start = {"weight": some(5, 4), "bias": some(4, seed=1)}
    net = torch.nn.Module()
    for name, value in start.items():
        net.register_parameter(name, torch.nn.Parameter(value.clone(), requires_grad=False))
    state = {f"increment.{name}": some(*value.shape, seed=2) for name, value in start.items()}
    left, right, rows = some(7, 5, seed=3), some(7, 4, seed=4), some(14, 4, seed=5)
    taught = {"weight": left.t() @ right / 7, "bias": rows.sum(0) / 7}
    want = {name: 0.5 * state[f"increment.{name}"] + 0.1 * (2.5 * taught[name] - decayed * value) for name, value in start.items()}
    lesson = Lesson(7, {"weight": (left, right)}, sums={"bias": rows})
    increments.follow(net, [(lesson, 2.5)], state, rate=0.1, momentum=0.5, decay=dict.fromkeys(start, decayed))
    assert calls == ({"follow": 1} if decayed else {"follow": 1, "lean": 1})
    for name, parameter in net.named_parameters():
        close(state[f"increment.{name}"], want[name], torch.float32)
        close(parameter, start[name] + want[name], torch.float32)


def test_several_lessons_go_the_plain_way(calls) -> None:
    weight, increment = some(5, 4), torch.zeros(5, 4, device=DEVICE)
    net = torch.nn.Module()
    net.weight = torch.nn.Parameter(weight, requires_grad=False)
    pair = some(7, 5, seed=1), some(7, 4, seed=2)
    lessons = [(Lesson(7, {"weight": pair}), 1.0), (Lesson(7, {}, {"weight": some(5, 4, seed=3)}), 1.0)]
    increments.follow(net, lessons, {"increment.weight": increment}, rate=0.1, momentum=0.5)
    assert not calls
    torch.testing.assert_close(increment, 0.1 * (pair[0].t() @ pair[1] / 7 + some(5, 4, seed=3)))


def test_kernels_are_for_small_minibatches_of_a_gpu_that_may_be_coarse(monkeypatch: pytest.MonkeyPatch) -> None:
    class OnGPU:
        is_cuda, ndim, dtype = True, 2, torch.float32

        def __len__(self):
            return self.rows

        def __init__(self, rows=100):
            self.rows = rows

    monkeypatch.setattr(products, "_kernels_work", lambda: True)
    assert not products.suit_kernels(torch.zeros(100, 5))
    assert not products.suit_kernels(OnGPU())
    with precision.tensor_cores(torch.device("cuda")):
        assert products.suit_kernels(OnGPU())
        assert not products.suit_kernels(OnGPU(), SimpleNamespace(dtype=torch.bfloat16))
        assert not products.suit_kernels(OnGPU(products.MINIBATCH + 1))
        monkeypatch.setattr(native, "by_hand", False)
        assert not products.suit_kernels(OnGPU())
    assert not products.tensor_cores


def test_where_kernels_cannot_be_built_pytorch_does_the_work(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*given: object, **more: object) -> None:
        raise RuntimeError("Failed to find C compiler.\nInstall one.")

    monkeypatch.setattr(products.torch, "zeros", lambda *shape, device: torch.empty(shape))
    monkeypatch.setattr(kernels, "lean", lambda *given, **more: None)
    products._kernels_work.cache_clear()
    assert products._kernels_work()
    monkeypatch.setattr(kernels, "lean", fail)
    products._kernels_work.cache_clear()
    with pytest.warns(UserWarning, match=r"cannot be built here \(RuntimeError: Failed to find C compiler\.\); PyTorch's do the work"):
        assert not products._kernels_work()
    monkeypatch.setattr(products, "find_spec", lambda name: None)
    products._kernels_work.cache_clear()
    assert not products._kernels_work()
    products._kernels_work.cache_clear()
