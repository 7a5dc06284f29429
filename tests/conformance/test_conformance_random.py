"""States are drawn with the probabilities that are asked for, each by itself, by every backend."""

from __future__ import annotations

import pytest
import torch
from backends import FLOATS, LAYOUTS, Backend, is_untouched_around, laid, made, some

from wakesleep.compute import cpu, random_bits
from wakesleep.foundation.rng import generator

CHANCES = torch.tensor([0.0, 2.0**-12, 0.01, 0.25, 0.5, 0.75, 0.99609375, 1.0])


@pytest.fixture(params=[1, 2**60], ids=["hashed words", "the generator's words"])
def words(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> int:
    monkeypatch.setattr(random_bits, "HASHED", request.param)
    return request.param


@pytest.mark.parametrize("dtype", FLOATS, ids=str)
def test_each_state_has_its_probability_and_neighbours_are_independent(
    dtype: torch.dtype, words: int, backend: Backend
) -> None:
    n, rng = 100_000, generator(1, backend.device)
    mean = CHANCES.to(backend.device, dtype).expand(n, -1).contiguous()
    states = backend.ops.sample_bernoulli(mean, rng)
    assert states.dtype == dtype
    assert set(states.unique().tolist()) == {0.0, 1.0}
    exact, actual = mean[0].double(), states.double().mean(0)
    assert (float(actual[0]), float(actual[-1])) == (0, 1)
    assert bool(((actual - exact).abs() <= 5 * (exact * (1 - exact) / n).sqrt() + 2.0**-17).all())
    deviations = ((states.double() - exact) / (exact * (1 - exact) + 1e-9).sqrt())[:, 2:-1]
    for apart in (1, 2, 3, 4):
        assert float((deviations[apart:] * deviations[:-apart]).mean(0).abs().max()) < 5.5 / n**0.5
    correlation = torch.corrcoef(deviations.t())
    assert (
        float(
            (correlation - torch.eye(len(correlation), dtype=torch.float64, device=backend.device))
            .abs()
            .max()
        )
        < 5.5 / n**0.5
    )
    again = backend.ops.sample_bernoulli(mean, rng)
    assert not torch.equal(again, states)


def test_the_generator_decides(words: int, backend: Backend) -> None:
    mean = torch.full((33, 777), 0.5, device=backend.device)
    one, other, third = (
        backend.ops.sample_bernoulli(mean, generator(seed, backend.device)) for seed in (1, 1, 2)
    )
    assert torch.equal(one, other)
    assert not torch.equal(one, third)


def test_states_of_a_layer_have_its_probabilities(backend: Backend) -> None:
    bias = torch.linspace(-4, 4, 40, device=backend.device)
    states, weight = (
        torch.zeros(400, 4, device=backend.device),
        torch.zeros(4, 40, device=backend.device),
    )
    samples, rng = torch.empty(10, 400, 40, device=backend.device), generator(5, backend.device)
    for sample in samples:
        backend.ops.bernoulli_layer(states, weight, bias, 40, sample=sample, rng=rng)
    p = bias.sigmoid()
    error = (p * (1 - p) / 4000).sqrt()
    assert float(((samples.mean((0, 1)) - p) / error).abs().max()) < 5
    deviations = (samples - p) / (p * (1 - p)).sqrt()
    pairs = [(deviations[:, 1:], deviations[:, :-1]), (deviations[:, :, 1:], deviations[:, :, :-1])]
    pairs += [
        (deviations[:, 1:, 1:], deviations[:, :-1, :-1]),
        (deviations[:, 1:, :-1], deviations[:, :-1, 1:]),
    ]
    for one, other in (*pairs, (deviations[1:], deviations[:-1])):
        assert abs(float((one * other).mean())) * one.numel() ** 0.5 < 5


@pytest.mark.parametrize("layout", LAYOUTS)
def test_states_go_where_they_are_asked_for(layout: str, words: int, backend: Backend) -> None:
    for dtype in FLOATS:
        mean = torch.rand(33, 77, generator=generator(1)).to(backend.device, dtype)
        out = some(33, 77, dtype=dtype, layout=layout, device=backend.device)
        assert (
            backend.ops.sample_bernoulli(laid(mean, layout), generator(2, backend.device), out)
            is out
        )
        assert bool(((out == 0) | (out == 1)).all())
        assert abs(float((out - mean).mean())) < 5 / (33 * 77) ** 0.5
        assert is_untouched_around(out)


# -------------------------------------------------------------------------------------------------
# kernels of a processor, to the last bit


def both(patch: pytest.MonkeyPatch) -> tuple[Backend, Backend]:
    """Return a processor with our kernels and one without."""
    return made("cpu, kernels", patch), made("cpu", patch)


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("shape", [(100, 500), (33, 777), (1, 16_387)])
def test_states_of_a_kernel_are_those_without_it(shape, dtype, threads, monkeypatch) -> None:
    kernels, plain = both(monkeypatch)
    mean = torch.rand(shape, generator=generator(1)).to(dtype)
    mean[0, :8] = torch.tensor(
        [0.0, 1.0, 2.0**-17, 1 - 2.0**-9, 0.5, 2.0**-16, float("nan"), 0.25]
    ).to(dtype)
    source, other = generator(2), generator(2)
    torch.set_num_threads(threads)
    try:
        ours = kernels.ops.sample_bernoulli(mean, source)
    finally:
        torch.set_num_threads(1)
    assert sum(kernels.asked.values()) == 1
    assert torch.equal(ours, plain.ops.sample_bernoulli(mean, other))
    assert sum(kernels.asked.values()) == 1
    assert torch.equal(source.get_state(), other.get_state()), "what is drawn next is the same, too"


@pytest.mark.parametrize("kind", ["kernels", "plain"])
def test_sure_states_are_never_otherwise(kind: str, monkeypatch) -> None:
    ops, rng = both(monkeypatch)[kind == "plain"].ops, generator(3)
    for _ in range(20):
        for sure in (0.0, 1.0):
            for dtype in (torch.float32, torch.bfloat16):
                assert set(
                    ops.sample_bernoulli(torch.full((100, 500), sure, dtype=dtype), rng)
                    .unique()
                    .tolist()
                ) == {sure}


def test_few_units_draw_a_float_each() -> None:
    few, many = torch.rand(1, cpu.MIN_UNITS - 1), torch.rand(1, cpu.MIN_UNITS)
    for mean, same in ((few, True), (many, False)):
        actual = cpu.CPU(kernels=False).sample_bernoulli(mean, generator(1))
        assert (
            torch.equal(actual, torch.empty_like(mean).uniform_(generator=generator(1)).lt_(mean))
            == same
        )
