"""Kernels by hand for a processor do what the plain way does, mostly to the last bit; and they are never needed."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

from wakesleep.foundation import cases, native, precision, rng
from wakesleep.foundation.rng import generator
from wakesleep.learning import cd, hybrid, increments, up_down
from wakesleep.learning.cd import CDConfig
from wakesleep.learning.hybrid import HybridConfig
from wakesleep.learning.increments import Lesson
from wakesleep.learning.up_down import UpDownConfig
from wakesleep.model.dbn import DBN
from wakesleep.model.rbm import RBM
from wakesleep.model.units import Bernoulli

there = pytest.mark.skipif(native._build() is None, reason="no C compiler that knows OpenMP")
TYPES = [torch.float32, torch.bfloat16]


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """Kernels are taken for whatever size; the names of those that were."""
    names: list[str] = []
    monkeypatch.setattr(native, "MANY", 1)
    monkeypatch.setattr(native, "serves", lambda: native.by_hand)
    for name in ("follow", "lean", "draw", "gather"):
        real = getattr(native, name)
        monkeypatch.setattr(native, name, lambda *given, name=name, real=real, **more: (names.append(name), real(*given, **more)))
    return names


def plainly(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(native, "by_hand", False)


@there
@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("dtype", TYPES, ids=str)
@pytest.mark.parametrize("shape", [(100, 500), (33, 777), (1, 16_387)])
def test_states_are_those_of_the_plain_way(shape: tuple[int, int], dtype: torch.dtype, threads: int, monkeypatch, asked) -> None:
    mean = torch.rand(shape, generator=generator(1)).to(dtype)
    mean[0, :8] = torch.tensor([0.0, 1.0, 2.0**-17, 1 - 2.0**-9, 0.5, 2.0**-16, float("nan"), 0.25]).to(dtype)
    source, other = generator(2), generator(2)
    torch.set_num_threads(threads)
    try:
        ours = Bernoulli(shape[1]).sample(mean, source)
    finally:
        torch.set_num_threads(1)
    assert asked == ["draw"]
    plainly(monkeypatch)
    plain = Bernoulli(shape[1]).sample(mean, other)
    assert asked == ["draw"]
    assert torch.equal(ours, plain)
    assert torch.equal(source.get_state(), other.get_state()), "what is drawn next is the same, too"


@there
@pytest.mark.parametrize("dtype", TYPES, ids=str)
def test_states_that_are_sure_are_never_otherwise(dtype: torch.dtype, asked) -> None:
    source = generator(3)
    for _ in range(20):
        for sure in (0.0, 1.0):
            assert set(Bernoulli(500).sample(torch.full((100, 500), sure, dtype=dtype), source).unique().tolist()) == {sure}
    assert set(asked) == {"draw"}


@there
@pytest.mark.parametrize("dtype", TYPES, ids=str)
def test_a_number_that_meets_its_threshold_is_not_below_it(dtype: torch.dtype) -> None:
    mean = (torch.arange(256).repeat(40) / 256).to(dtype)
    begin, states, met = torch.tensor(-5), torch.empty_like(mean), 0
    numbers = rng.hashed(begin, 2560).view(torch.int16).double()
    for shift in range(256):
        native.draw(mean, states, begin, torch.tensor(-32768.0 + shift))
        thresholds = 65536 * mean.double() - 32768 + shift
        assert torch.equal(states.bool(), numbers < thresholds)
        met += int((numbers == thresholds).sum())
    assert met > 0


@there
def test_every_unit_has_a_number_of_its_own(asked) -> None:
    states = torch.stack([Bernoulli(500).sample(torch.full((100, 500), 0.5), generator(seed)).flatten() for seed in range(200)])
    assert float((states.mean(0) - 0.5).abs().max()) < 5 * 0.5 / 200**0.5
    signs = 2 * states - 1
    for apart in (1, 2, 3, 4, 500):
        assert abs(float((signs[:, apart:] * signs[:, :-apart]).mean())) < 5 / signs[:, apart:].numel() ** 0.5


@there
@pytest.mark.parametrize("dtype", TYPES, ids=str)
def test_pixels_are_those_of_the_plain_way(dtype: torch.dtype, monkeypatch, asked) -> None:
    pixels = torch.randint(256, (90, 256), generator=generator(4), dtype=torch.uint8)
    pixels[0] = torch.arange(256)
    index = torch.cat([torch.tensor([0, 89, 0]), torch.randint(90, (40,), generator=generator(5))])
    ours = cases.gather(pixels, index, torch.full((43, 256), 9.0, dtype=dtype))
    assert asked == ["gather"]
    assert torch.equal(ours.float(), (pixels[index].double() / 255).float().to(dtype).float())
    plainly(monkeypatch)
    assert torch.equal(ours, cases.gather(pixels, index, torch.full((43, 256), 9.0, dtype=dtype)))
    assert asked == ["gather"]


def test_other_kinds_of_pixels_and_rows_go_the_plain_way(asked) -> None:
    pixels, index = torch.randint(256, (90, 64), generator=generator(4), dtype=torch.uint8), torch.tensor([3, 0, 89])
    for given, at, out in (
        (pixels, index.int(), torch.empty(3, 64)),
        (pixels, index, torch.empty(3, 64, dtype=torch.float64)),
        (pixels[:, ::2], index, torch.empty(3, 32)),
        (pixels, index, torch.empty(3, 128)[:, ::2]),
    ):
        torch.testing.assert_close(cases.gather(given, at, out), given[index].to(out.dtype) / 255)
    assert asked == []


@there
@pytest.mark.parametrize("row", [-1, 90, 2**40])
def test_a_row_that_is_not_there_is_refused(row: int, asked) -> None:
    pixels, out = torch.zeros(90, 256, dtype=torch.uint8), torch.full((2, 256), 9.0)
    with pytest.raises(IndexError, match="of 90 cases"):
        cases.gather(pixels, torch.tensor([row, 3]), out)
    assert out[0].unique().tolist() == [9.0]


def some(*shape: int, seed: int, transposed: bool = False) -> Tensor:
    values = torch.randn(shape[::-1] if transposed else shape, generator=generator(seed))
    return values.t() if transposed else values


@there
@pytest.mark.parametrize("transposed", [False, True])
def test_a_weight_its_increment_and_its_twin_move_together(transposed: bool, asked) -> None:
    weight, increment = some(70, 53, seed=1, transposed=transposed), some(70, 53, seed=2, transposed=transposed)
    change = some(70, 53, seed=3, transposed=transposed).bfloat16()
    twin = torch.full_like(weight, 9.0, dtype=torch.bfloat16)
    assert twin.stride() == weight.stride()
    moved = 0.9 * increment.double() + 0.03 * change.double() - 0.002 * weight.double()
    after = weight.double() + moved
    assert increments._with_twin(weight, increment, change, twin, momentum=0.9, decayed=0.002, factor=0.03)
    assert asked == ["follow"]
    torch.testing.assert_close(increment.double(), moved, rtol=1e-6, atol=1e-7)
    torch.testing.assert_close(weight.double(), after, rtol=1e-6, atol=1e-7)
    assert torch.equal(twin, weight.bfloat16())


@there
def test_a_twin_is_rounded_as_pytorch_rounds(asked) -> None:
    bits = torch.arange(2**16, dtype=torch.int32) << 16
    weight = torch.cat([(bits | low).view(torch.float32) for low in (0, 1, 0x7FFF, 0x8000, 0x8001, 0xFFFF)])
    twin = torch.zeros_like(weight, dtype=torch.bfloat16)
    still = torch.zeros_like(weight)
    native.follow(weight, still, twin.clone(), twin, momentum=0.0, factor=0.0, decayed=0.0)
    torch.testing.assert_close(twin, weight.bfloat16(), rtol=0, atol=0, equal_nan=True)


@there
@pytest.mark.parametrize("threads", [1, 2, 5])
@pytest.mark.parametrize("dtype", TYPES, ids=str)
@pytest.mark.parametrize("with_twin", [False, True])
@pytest.mark.parametrize("shape", [(200, 500), (33, 65), (1, 64), (7, 1)])
def test_a_bias_learns_from_the_sum_of_its_rows(shape: tuple[int, int], with_twin: bool, dtype: torch.dtype, threads: int, asked) -> None:
    net, coarse = torch.nn.Module(), torch.nn.Module()
    bias, increment, rows = some(shape[1], seed=1), some(shape[1], seed=2), some(*shape, seed=3).to(dtype)
    net.register_parameter("bias", torch.nn.Parameter(bias.clone(), requires_grad=False))
    coarse.register_parameter("bias", torch.nn.Parameter(torch.zeros(shape[1], dtype=torch.bfloat16), requires_grad=False))
    moved = 0.9 * increment.double() + 0.2 * 0.5 / 30 * rows.double().sum(0)
    lesson, state = Lesson(30, {}, sums={"bias": rows}), {"increment.bias": increment}
    torch.set_num_threads(threads)
    try:
        increments.follow(net, [(lesson, 0.5)], state, rate=0.2, momentum=0.9, coarse=coarse if with_twin else None)
    finally:
        torch.set_num_threads(1)
    assert asked == ["lean"]
    torch.testing.assert_close(increment.double(), moved, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(net.get_parameter("bias").double(), bias.double() + moved, rtol=1e-5, atol=1e-6)
    if with_twin:
        assert torch.equal(coarse.get_parameter("bias"), net.get_parameter("bias").bfloat16())


@pytest.mark.parametrize("kind", ["decay", "no increment", "two lessons", "gradients", "float64", "rows with gaps", "float32 twin"])
def test_other_biases_learn_the_plain_way(kind: str, asked) -> None:
    dtype = torch.float64 if kind == "float64" else torch.float32
    net, coarse, bias = torch.nn.Module(), torch.nn.Module(), some(40, seed=1).to(dtype)
    rows = some(30, 80, seed=3)[:, ::2] if kind == "rows with gaps" else some(30, 40, seed=3)
    net.register_parameter("bias", torch.nn.Parameter(bias.clone(), requires_grad=False))
    coarse.register_parameter("bias", torch.nn.Parameter(torch.zeros(40), requires_grad=False))
    gradient = rows.double().sum(0) / 30
    lesson = Lesson(30, {}, {"bias": gradient.to(dtype)}) if kind == "gradients" else Lesson(30, {}, sums={"bias": rows.to(dtype)})
    lessons = [(lesson, 0.5)] * (2 if kind == "two lessons" else 1)
    state = {} if kind == "no increment" else {"increment.bias": torch.ones(40, dtype=dtype)}
    moved = 0.1 * len(lessons) * gradient + (0.0 if kind == "no increment" else 0.9)
    moved -= 0.2 * 0.03 * bias.double() if kind == "decay" else 0.0
    twin = coarse if kind == "float32 twin" else None
    increments.follow(net, lessons, state, rate=0.2, momentum=0.9, decay={"bias": 0.03} if kind == "decay" else None, coarse=twin)
    assert asked == []
    torch.testing.assert_close(net.get_parameter("bias").double(), bias.double() + moved, rtol=1e-5, atol=1e-6)
    if twin is not None:
        assert torch.equal(coarse.get_parameter("bias"), net.get_parameter("bias"))


def unsuited() -> dict[str, tuple[Tensor, Tensor, Tensor, Tensor]]:
    one, other = torch.zeros(8, 9), torch.zeros(8, 9, dtype=torch.bfloat16)
    across = torch.zeros(9, 8).t()
    return {
        "float32 twin": (one, one.clone(), other, one.clone()),
        "float32 change": (one, one.clone(), one.clone(), other),
        "laid out otherwise": (across, one, other, other.clone()),
        "with gaps": tuple(torch.zeros(8, 18, dtype=each.dtype)[:, ::2] for each in (one, one, other, other)),  # type: ignore[dict-item]
    }


@pytest.mark.parametrize("kind", list(unsuited()))
def test_what_lies_otherwise_goes_the_plain_way(kind: str, asked) -> None:
    assert not increments._with_twin(*unsuited()[kind], momentum=0.5, decayed=0.0, factor=1.0)
    assert asked == []


@there
@pytest.mark.parametrize("ways", ["one lesson", "two lessons", "no momentum"])
def test_a_twin_holds_what_the_net_holds(ways: str, asked) -> None:
    rbm = RBM(40, 30, rng=generator(0))
    coarse = RBM(40, 30, rng=generator(1)).bfloat16()
    left, right = torch.rand(20, 40).bfloat16(), torch.rand(20, 30).bfloat16()
    lesson = Lesson(10, {"weight": (left, right)}, sums={"hidden_bias": right})
    state = {f"increment.{name}": torch.zeros_like(each) for name, each in rbm.named_parameters()}
    lessons = [(lesson, 1.0)] * (2 if ways == "two lessons" else 1)
    before = rbm.weight.clone()
    increments.follow(rbm, lessons, state, rate=0.1, momentum=0.0 if ways == "no momentum" else 0.9, coarse=coarse)
    assert not torch.equal(before, rbm.weight)
    for name, parameter in rbm.named_parameters():
        assert torch.equal(coarse.get_parameter(name), parameter.bfloat16()), name
    assert ("follow" in asked) == (ways == "one lesson")


@pytest.mark.parametrize("centred", [False, True])
def test_after_an_update_the_twin_of_a_machine_is_what_it_is(centred: bool) -> None:
    rbm, config, source = RBM(20, 15, rng=generator(0)), CDConfig(centred=centred), generator(1)
    coarse = precision.twin(rbm, torch.bfloat16)
    state, contrast = cd.start(coarse, config, source), cd.Contrast(coarse, 10, config)
    for _ in range(3):
        contrast.data.copy_(torch.rand(10, 20, generator=source))
        cd.update(rbm, contrast, config, 0, state, source, coarse)
        for name, parameter in rbm.named_parameters():
            assert torch.equal(coarse.get_parameter(name), parameter.bfloat16()), name


@pytest.mark.parametrize("dtype", TYPES, ids=str)
def test_the_difference_is_data_less_model(dtype: torch.dtype) -> None:
    rbm, config, source = RBM(20, 15, rng=generator(0)).to(dtype), CDConfig(), generator(1)
    contrast = cd.Contrast(rbm, 10, config)
    contrast.data.copy_(torch.rand(10, 20, generator=source))
    contrast.fill(rbm, config, source, None)
    assert torch.equal(contrast.difference, (contrast.data - contrast.model).float())
    assert float(contrast.difference.abs().max()) > 0.1


def test_in_between_two_updates_of_the_hybrid_the_twin_is_what_the_net_is(monkeypatch) -> None:
    dbn, source = DBN((12, 9, 8), labels=3, rng=generator(0)), generator(1)
    twins, real = [], hybrid.discriminative

    def seen(coarse: DBN, *given: Any) -> Any:
        twins.append([torch.equal(coarse.get_parameter(name), parameter.bfloat16()) for name, parameter in dbn.named_parameters()])
        return real(coarse, *given)

    monkeypatch.setattr(hybrid, "discriminative", seen)
    config = HybridConfig(UpDownConfig(passes=1, batch_size=10, gibbs_steps=(1,), average=0.0), alternate=True)
    list(hybrid.epochs(dbn, torch.rand(30, 12), torch.arange(30) % 3, config=config, rng=source, dtype=torch.bfloat16))
    assert len(twins) == 3
    assert all(all(each) for each in twins)


def learned(way: str) -> list[Tensor]:
    source = generator(1)
    pixels = torch.randint(256, (200, 64), generator=generator(6), dtype=torch.uint8)
    if way == "cd":
        rbm = RBM(64, 96, rng=source)
        list(cd.epochs(rbm, pixels, config=CDConfig(passes=2, batch_size=50), rng=source, dtype=torch.bfloat16))
        return list(rbm.parameters())
    dbn, labels = DBN((64, 96, 80), labels=10, rng=source), torch.arange(200) % 10
    config = UpDownConfig(passes=2, batch_size=50, gibbs_steps=(2,), average=0.0)
    if way == "up-down":
        list(up_down.epochs(dbn, pixels, labels, config=config, rng=source, dtype=torch.bfloat16))
    else:
        list(hybrid.epochs(dbn, pixels, labels, config=HybridConfig(config), rng=source, dtype=torch.bfloat16))
    return list(dbn.parameters())


@there
@pytest.mark.parametrize("way", ["cd", "up-down", "hybrid"])
def test_loops_end_where_the_plain_way_ends(way: str, monkeypatch, asked) -> None:
    monkeypatch.setattr(rng, "HASHED", 1)
    ours = learned(way)
    assert set(asked) == {"follow", "lean", "draw", "gather"}
    plainly(monkeypatch)
    asked.clear()
    plain = learned(way)
    assert asked == []
    for one, other in zip(ours, plain, strict=True):  # a weight rounded otherwise now and then turns a state over
        torch.testing.assert_close(one, other, rtol=0, atol=2e-3)


def test_small_nets_ask_for_no_compiler(monkeypatch) -> None:
    monkeypatch.setattr(native, "_build", lambda: pytest.fail("a compiler was looked for"))
    small = torch.full((32, 511), 0.5)
    assert not native.suits(small)
    Bernoulli(511).sample(small, generator(0))


@pytest.fixture
def fresh(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> SimpleNamespace:
    """A cache with nothing in it, and functions that have not been asked before."""
    import pooch

    monkeypatch.setattr(pooch, "os_cache", lambda name: str(tmp_path / name))
    return SimpleNamespace(build=native._build.__wrapped__, folder=tmp_path / "wakesleep")


@pytest.mark.parametrize("compiler", ["false", "/nowhere/cc", "true", "true --not 'quoted"])
def test_without_a_compiler_the_plain_way_does_the_work(compiler: str, fresh, monkeypatch) -> None:
    monkeypatch.setenv("CC", compiler)
    assert fresh.build() is None
    monkeypatch.setattr(native, "_build", lambda: None)
    assert not native.serves()


def test_no_compiler_at_all(fresh, monkeypatch) -> None:
    monkeypatch.delenv("CC", raising=False)
    monkeypatch.setattr(native.shutil, "which", lambda name: None)
    assert fresh.build() is None


def test_a_cache_that_cannot_be_written_to_is_no_reason_to_stop(fresh) -> None:
    fresh.folder.parent.joinpath("wakesleep").write_text("a file where a folder should be")
    assert fresh.build() is None


@there
def test_it_is_built_once(fresh, monkeypatch) -> None:
    made = fresh.build()
    assert [path.name for path in fresh.folder.iterdir()] == [made.name]
    monkeypatch.setattr(subprocess, "run", lambda *given, **more: pytest.fail("built again"))
    assert fresh.build() == made
    with monkeypatch.context() as patch:
        patch.setattr(native, "_machine", lambda: "another processor")
        with pytest.raises(pytest.fail.Exception, match="built again"):
            fresh.build()
    for number, source in enumerate(native.SOURCES):
        changed = fresh.folder.parent / source.name
        changed.write_text(source.read_text() + "/* changed */")
        with monkeypatch.context() as patch:
            patch.setattr(native, "SOURCES", (*native.SOURCES[:number], changed, *native.SOURCES[number + 1 :]))
            with pytest.raises(pytest.fail.Exception, match="built again"):
                fresh.build()


def test_it_can_be_turned_off(monkeypatch) -> None:
    monkeypatch.setattr(native, "serves", lambda: native.by_hand)
    assert native.suits(torch.zeros(200, 200))
    assert not native.suits(torch.zeros(200, 400)[:, ::2])
    plainly(monkeypatch)
    assert not native.suits(torch.zeros(200, 200))
