"""Every loop ends, by any backend, where the reference ends once chance is removed."""

from __future__ import annotations

import pytest
import torch
from backends import made, some
from torch import Tensor

from wakesleep import units
from wakesleep.compute import cpu_kernels, ops, random_bits
from wakesleep.compute.cpu import CPU
from wakesleep.compute.reference import Reference
from wakesleep.foundation.rng import generator
from wakesleep.learning import backprop, cd, greedy, hybrid, robust, up_down
from wakesleep.learning.backprop import BackpropConfig
from wakesleep.learning.cd import CDConfig
from wakesleep.learning.greedy import GreedyConfig
from wakesleep.learning.hybrid import HybridConfig
from wakesleep.learning.robust import RobustConfig
from wakesleep.learning.up_down import UpDownConfig
from wakesleep.models.dbn import DBN
from wakesleep.models.rbm import RBM

PIXELS = torch.randint(256, (120, 40), generator=generator(6), dtype=torch.uint8)
LABELS = torch.arange(120) % 5
UP_DOWN = UpDownConfig(
    epochs=2, batch_size=30, gibbs_steps=(2,), persistent=0.0, average=0.0, learning_rate=0.05
)


def machine(dtype: torch.dtype | None, **options: object) -> list[Tensor]:
    rbm, rng = RBM(40, 30, rng=generator(0)), generator(1)
    config = CDConfig(**{"epochs": 2, "batch_size": 30, **options})
    *_, last = cd.epochs(rbm, PIXELS, config=config, rng=rng, dtype=dtype)
    return (
        [*rbm.parameters(), torch.tensor(last.metrics["reconstruction_error"])]
        if "reconstruction_error" in last.metrics
        else [*rbm.parameters()]
    )


def net() -> DBN:
    return DBN((40, 30, 20), labels=5, rng=generator(0))


def stack(dtype: torch.dtype | None) -> list[Tensor]:
    dbn, layer = net(), CDConfig(epochs=2, batch_size=30)
    list(
        greedy.epochs(
            dbn, PIXELS, LABELS, config=GreedyConfig(layer, layer), rng=generator(1), dtype=dtype
        )
    )
    return list(dbn.parameters())


def wake_sleep(dtype: torch.dtype | None) -> list[Tensor]:
    dbn = net()
    list(up_down.epochs(dbn, PIXELS, LABELS, config=UP_DOWN, rng=generator(1), dtype=dtype))
    return list(dbn.parameters())


def together(dtype: torch.dtype | None, **options: object) -> list[Tensor]:
    dbn = net()
    list(
        hybrid.epochs(
            dbn,
            PIXELS,
            LABELS,
            config=HybridConfig(UP_DOWN, **options),
            rng=generator(1),
            dtype=dtype,
        )
    )
    return list(dbn.parameters())


def classifier(dtype: torch.dtype | None) -> list[Tensor]:
    model = backprop.random_classifier((40, 30, 5), rng=generator(0))
    list(
        backprop.epochs(
            model,
            PIXELS,
            LABELS,
            config=BackpropConfig(epochs=2, batch_size=30),
            rng=generator(1),
            dtype=dtype,
        )
    )
    return list(model.parameters())


def with_dropout(dtype: torch.dtype | None) -> list[Tensor]:
    model = backprop.random_classifier((40, 30, 5), rng=generator(0))
    list(
        robust.epochs(
            model,
            PIXELS,
            LABELS,
            config=RobustConfig(epochs=2, batch_size=30),
            rng=generator(1),
            dtype=dtype,
        )
    )
    return list(model.parameters())


LOOPS = {
    "cd": machine,
    "cd of several steps": lambda dtype: machine(
        dtype, gibbs_steps=3, sample_visible=True, weight_decay=0.01
    ),
    "centred": lambda dtype: machine(dtype, centred=True),
    "sparse": lambda dtype: machine(dtype, sparsity_cost=0.1),
    "no momentum": lambda dtype: machine(dtype, momentum=0.0, initial_momentum=0.0),
    "greedy": stack,
    "up-down": wake_sleep,
    "hybrid": together,
    "hybrid in turns": lambda dtype: together(dtype, alternate=True),
    "backprop": classifier,
    "robust": with_dropout,
}
KINDS = ["fused", "cpu", "cpu, oneDNN", "cpu, kernels", "cpu, AMX"]


@pytest.fixture
def no_chance(monkeypatch: pytest.MonkeyPatch) -> None:
    """States are their probabilities."""

    def mean_itself(
        self: object, mean: Tensor, rng: torch.Generator, out: Tensor | None = None
    ) -> Tensor:
        return mean.clone() if out is None else out.copy_(mean)

    for kind in (Reference, CPU):
        monkeypatch.setattr(kind, "sample_bernoulli", mean_itself)
    monkeypatch.setattr(units.Categorical, "sample_from_mean", mean_itself)


def learned(
    name: str, backend: str, dtype: torch.dtype | None, monkeypatch: pytest.MonkeyPatch
) -> list[Tensor]:
    with monkeypatch.context() as patch:
        made_backend = made(backend, patch)
        patch.setattr(ops, "operations", lambda device: made_backend.ops)
        ended = LOOPS[name](dtype)
        if backend == "cpu, kernels" and dtype is not None and name not in ("backprop", "robust"):
            assert made_backend.asked["gather"]
            assert made_backend.asked["bias_update"] or "hybrid" in name or name == "no momentum"
        return [each.detach().clone() for each in ended]


@pytest.mark.parametrize("backend", KINDS)
@pytest.mark.parametrize("name", LOOPS)
def test_loops_end_where_the_reference_ends(
    name: str, backend: str, no_chance: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    reference = learned(name, "reference", None, monkeypatch)
    for ours, exact in zip(learned(name, backend, None, monkeypatch), reference, strict=True):
        torch.testing.assert_close(ours, exact, rtol=1e-4, atol=1e-5)
    assert any(float(each.abs().max()) > 1e-3 for each in reference)


@pytest.mark.parametrize("backend", KINDS)
@pytest.mark.parametrize("name", LOOPS)
def test_in_low_precision_they_are_no_further_than_that_is_from_float32(
    name, backend, no_chance, monkeypatch
) -> None:
    exact = learned(name, "reference", None, monkeypatch)
    low, ours = (
        learned(name, "reference", torch.bfloat16, monkeypatch),
        learned(name, backend, torch.bfloat16, monkeypatch),
    )
    for one, other, third in zip(ours, low, exact, strict=True):
        apart, usual = (one - third).square().mean().sqrt(), (other - third).square().mean().sqrt()
        assert float(apart) <= 2 * float(usual) + 1e-3


@pytest.mark.skipif(not cpu_kernels.are_built(), reason="no C compiler that knows OpenMP")
@pytest.mark.parametrize("name", ["cd", "greedy", "up-down", "hybrid"])
def test_with_chance_kernels_end_where_the_processor_ends_without_them(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(random_bits, "HASHED", 1)
    ours, plain = (
        learned(name, backend, torch.bfloat16, monkeypatch) for backend in ("cpu, kernels", "cpu")
    )
    # a weight rounded otherwise now and then turns a state over
    for one, other in zip(ours, plain, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=5e-3)


def test_with_chance_every_backend_learns_as_well() -> None:
    patterns = (torch.rand(4, 30, generator=generator(3)) < 0.5).float()
    cases = patterns[torch.randint(4, (200,), generator=generator(4))]
    errors = {}
    for name in ("reference", "torch", "auto"):
        rbm = RBM(30, 20, rng=generator(4))
        with ops.backend(name):
            *_, last = cd.epochs(
                rbm, cases, config=CDConfig(epochs=30, batch_size=20), rng=generator(5)
            )
        errors[name] = last.metrics["reconstruction_error"]
    assert max(errors.values()) < 0.03
    assert max(errors.values()) - min(errors.values()) < 0.01


# -------------------------------------------------------------------------------------------------
# Triton, where chance decides nothing

sure = pytest.mark.filterwarnings(
    "ignore:overflow encountered in exp:RuntimeWarning"
)  # the interpreter's: sigmoid(-1000) is 0


def decided(model: torch.nn.Module) -> torch.nn.Module:
    """Make the weights so large that every unit is sure, and what is drawn is no chance."""
    for name, parameter in model.named_parameters():
        big = (
            some(*parameter.shape, seed=len(name)).sign() * 60
            if parameter.ndim == 2
            else torch.tensor([15.0, 30.0, -15.0]).repeat(9)
        )
        parameter.copy_(big[: len(parameter)])
    return model


def sure_machine(labels: int, options: dict) -> list[Tensor]:
    visible = (
        units.Groups(features=units.Bernoulli(9), label=units.Categorical(labels)) if labels else 12
    )
    rbm = decided(RBM(visible, 8, rng=generator(0)))
    cases = (some(40, rbm.visible.size, seed=5) > 0).to(torch.uint8) * 255
    if labels:
        cases[:, 9:] = (torch.arange(40)[:, None] % labels == torch.arange(labels)).to(
            torch.uint8
        ) * 255
    list(
        cd.epochs(rbm, cases, config=CDConfig(epochs=1, batch_size=20, **options), rng=generator(1))
    )
    return list(rbm.parameters())


def sure_net() -> list[Tensor]:
    dbn = decided(DBN((12, 8, 6, 9), labels=3, rng=generator(0)))
    cases = (some(40, 12, seed=5) > 0).to(torch.uint8) * 255
    config = UpDownConfig(epochs=1, batch_size=20, gibbs_steps=(2,), persistent=0.0, average=0.0)
    list(up_down.epochs(dbn, cases, torch.arange(40) % 3, config=config, rng=generator(1)))
    return list(dbn.parameters())


SURE = {
    "cd": lambda: sure_machine(0, {}),
    "cd with labels": lambda: sure_machine(3, {}),
    "cd of several steps": lambda: sure_machine(3, {"gibbs_steps": 3, "sample_visible": True}),
    "pcd": lambda: sure_machine(0, {"persistent": True}),
    "decay": lambda: sure_machine(3, {"weight_decay": 0.1}),
    "up-down": sure_net,
}


@sure
@pytest.mark.parametrize("name", SURE)
def test_loops_of_triton_kernels_end_where_the_reference_ends(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    made_backend = made("cuda, interpreted", monkeypatch)
    with monkeypatch.context() as patch:
        patch.setattr(ops, "operations", lambda device: made_backend.ops)
        patch.setattr(made_backend.ops, "replay", lambda step, rng, minibatches: step)
        ours = [each.clone() for each in SURE[name]()]
    expected = {"gather": 2, "weight_update": 2, "bias_update": 4}
    if name == "up-down":
        expected = {
            "gather": 2,
            "weight_update": 10,
            "bias_update": 12,
            "log_partition_delta": 2,
            "layer": 2 * (2 + 2 * 2 + 2 + 4),
        }
    assert {kernel: made_backend.asked[kernel] for kernel in expected} == expected
    assert made_backend.asked["layer"] >= 4
    with ops.backend("reference"):
        for one, other in zip(ours, SURE[name](), strict=True):
            torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-5)
