"""Descent with momentum: the bits of torch.optim.SGD, also without the private step of PyTorch."""

import subprocess
import sys

import pytest
import torch

from wakesleep.compute import ops
from wakesleep.compute.sgd import SGD
from wakesleep.foundation.rng import generator

SHAPES = ((37, 50), (50,), (3, 37))
RATES = (0.2, 0.2, 0.05, 0.01)


def parameters(dtype: torch.dtype) -> list[torch.nn.Parameter]:
    return [
        torch.nn.Parameter(torch.randn(shape, generator=generator(number), dtype=dtype))
        for number, shape in enumerate(SHAPES)
    ]


def groups(moved: list[torch.nn.Parameter], decay: float) -> list[dict]:
    return [{"params": moved[::2], "weight_decay": decay}, {"params": moved[1::2]}]


def descend(optimizer: torch.optim.Optimizer | SGD, moved: list[torch.nn.Parameter]) -> None:
    for number, rate in enumerate(RATES):
        for group in optimizer.param_groups:
            group["lr"] = rate
        optimizer.zero_grad(set_to_none=True)
        skipped = number == 1  # a parameter that no gradient reached stays where it is
        for seed, parameter in enumerate(moved[skipped:]):
            noise = generator(100 * number + seed)
            parameter.grad = torch.randn(parameter.shape, generator=noise, dtype=parameter.dtype)
        optimizer.step()


@pytest.mark.parametrize("decay", [0.0, 0.001])
@pytest.mark.parametrize("momentum", [0.9, 0.0])
@pytest.mark.parametrize("steps", ["auto", "reference", "no private step"])
def test_parameters_and_velocities_are_those_of_torch(steps, momentum, decay, monkeypatch):
    dtype = torch.float32 if steps == "auto" else torch.float64
    theirs, ours = parameters(dtype), parameters(dtype)
    torchs = torch.optim.SGD(groups(theirs, decay), lr=1.0, momentum=momentum, fused=True)
    descend(torchs, theirs)
    if steps == "no private step":
        monkeypatch.delattr(torch, "_fused_sgd_")
    with ops.backend("reference" if steps == "reference" else None):
        optimizer = SGD(groups(ours, decay), lr=1.0, momentum=momentum)
        descend(optimizer, ours)
    tolerance = {"rtol": 0, "atol": 0} if steps == "auto" else {"rtol": 1e-12, "atol": 1e-12}
    torch.testing.assert_close(ours, theirs, **tolerance)
    for own, other in zip(ours, theirs, strict=True):
        assert ("momentum_buffer" in optimizer.state[own]) == bool(momentum)
        if momentum:
            velocities = (
                each.state[parameter]["momentum_buffer"]
                for each, parameter in ((optimizer, own), (torchs, other))
            )
            torch.testing.assert_close(*velocities, **tolerance)


def test_learning_from_labels_loads_no_compiler():
    code = (
        "import sys, torch, wakesleep as ws\n"
        "from wakesleep.learning import backprop, robust\n"
        "net = backprop.random_classifier([5, 4, 2], rng=ws.generator(0))\n"
        "cases, labels = torch.rand(8, 5), torch.arange(8) % 2\n"
        "loops = ((backprop, backprop.BackpropConfig(epochs=1)),"
        " (robust, robust.RobustConfig(epochs=1)))\n"
        "for loop, config in loops:\n"
        "    list(loop.epochs(net, cases, labels, config=config, rng=ws.generator(0)))\n"
        "print([name for name in ('torch._dynamo', 'sympy', 'scipy') if name in sys.modules])\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
