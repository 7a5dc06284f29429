"""What `bits.py` compares and `pairs.py` times: one short training or sampling job an algorithm,
through the public interface only.

Each workload is a generator that yields after each unit of work: the tensors that it has changed so
far, and how many minibatches (or Gibbs steps) the unit took. All cases are drawn from a generator
with a fixed seed, so that no data set is needed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

import wakesleep as ws

Unit = tuple[list[Tensor], int]


@dataclass(frozen=True)
class Size:
    """How large the nets and minibatches of the workloads are."""

    sizes: tuple[int, ...]
    labels: int
    batch: int
    minibatches: int
    """Minibatches (or Gibbs steps, or temperatures) in one unit of work."""
    dtype: torch.dtype | None = None

    @property
    def cases(self) -> int:
        """Cases in one epoch."""
        return self.batch * self.minibatches


SMALL = Size((64, 50, 40), labels=10, batch=20, minibatches=10)
"""For comparing bits: seconds for all workloads together."""
PAPER = Size((784, 500, 500, 2000), labels=10, batch=100, minibatches=10)
"""For timing: the net of Hinton, Osindero & Teh (2006) and minibatches of 100."""
FOR_EVER = 10**6
"""Epochs in a timed workload, which is stopped when its time is up."""


def cases(size: Size, width: int | None = None) -> tuple[Tensor, Tensor]:
    """Return uint8 cases (N, width) that resemble strokes (about a fifth of each case is bright)
    and balanced labels (N,).
    """
    rng = torch.Generator().manual_seed(0)
    width = width or size.sizes[0]
    prototypes = torch.rand(size.labels, width, generator=rng) < 0.2
    labels = torch.arange(size.cases) % size.labels
    flips = torch.rand(size.cases, width, generator=rng) < 0.05
    bright = torch.randint(128, 256, (size.cases, width), generator=rng)
    return ((prototypes[labels] ^ flips) * bright).to(torch.uint8), labels


def _net(size: Size) -> ws.DBN:
    return ws.DBN(size.sizes, labels=size.labels, rng=ws.generator(seed=1))


def _learning(net: nn.Module, records: Iterator[object], size: Size) -> Iterator[Unit]:
    for _ in records:
        yield [tensor for _, tensor in sorted(net.state_dict().items())], size.minibatches


def _cd(size: Size, **settings: Any) -> Iterator[Unit]:
    images, labels = cases(size)
    rbm = ws.RBM(size.sizes[0], size.sizes[1], rng=ws.generator(seed=1))
    config = replace(ws.CDConfig(batch_size=size.batch), **_epochs(ws.CDConfig), **settings)
    yield from _learning(
        rbm,
        ws.cd.epochs(
            rbm, images, config=config, rng=ws.generator(seed=2), classes=labels, dtype=size.dtype
        ),
        size,
    )


def _epochs(kind: type, count: int = FOR_EVER) -> dict[str, Any]:
    """Return the argument that says how many epochs a config has: it is called `epochs` in older
    versions.
    """
    fields = kind.__dataclass_fields__  # type: ignore[attr-defined]
    return {"epochs" if "epochs" in fields else "passes": count}


def cd1(size: Size) -> Iterator[Unit]:
    """CD-1."""
    yield from _cd(size)


def pcd(size: Size) -> Iterator[Unit]:
    """Persistent contrastive divergence."""
    yield from _cd(size, persistent=True, learning_rate=0.01)


def centred(size: Size) -> Iterator[Unit]:
    """CD-3, centred, with a sparsity target and sampled visible units."""
    yield from _cd(
        size,
        centred=True,
        sparsity_cost=0.01,
        gibbs_steps=3,
        sample_visible=True,
        learning_rate=0.01,
    )


def greedy(size: Size) -> Iterator[Unit]:
    """Greedy pretraining, an epoch a layer and three of the memory, the last of which has
    persistent chains that hold labels.
    """
    images, labels = cases(size)
    dbn = _net(size)
    layer = replace(ws.CDConfig(batch_size=size.batch), **_epochs(ws.CDConfig, 1))
    config = ws.GreedyConfig(layer, replace(layer, **_epochs(ws.CDConfig, 3)))
    yield from _learning(
        dbn,
        ws.greedy.epochs(
            dbn, images, labels, config=config, rng=ws.generator(seed=2), dtype=size.dtype
        ),
        size,
    )


def up_down(size: Size) -> Iterator[Unit]:
    """Contrastive wake-sleep, K = 3, a fifth of the chains persistent."""
    images, labels = cases(size)
    dbn = _net(size)
    config = replace(
        ws.UpDownConfig(batch_size=size.batch, gibbs_steps=(3,)), **_epochs(ws.UpDownConfig)
    )
    yield from _learning(
        dbn,
        ws.up_down.epochs(
            dbn, images, labels, config=config, rng=ws.generator(seed=2), dtype=size.dtype
        ),
        size,
    )


def hybrid(size: Size) -> Iterator[Unit]:
    """Contrastive wake-sleep and backpropagation on the same weights."""
    images, labels = cases(size)
    dbn = _net(size)
    inner = replace(
        ws.UpDownConfig(batch_size=size.batch, gibbs_steps=(3,)), **_epochs(ws.UpDownConfig)
    )
    records = ws.hybrid.epochs(
        dbn,
        images,
        labels,
        config=ws.HybridConfig(inner),
        rng=ws.generator(seed=2),
        dtype=size.dtype,
    )
    yield from _learning(dbn, records, size)


def wake_sleep(size: Size) -> Iterator[Unit]:
    """The wake-sleep algorithm for a Helmholtz machine."""
    images, _ = cases(size)
    net = ws.Helmholtz(size.sizes[:3], rng=ws.generator(seed=1))
    config = replace(ws.WakeSleepConfig(batch_size=size.batch), **_epochs(ws.WakeSleepConfig))
    yield from _learning(
        net, ws.wake_sleep.epochs(net, images, config=config, rng=ws.generator(seed=2)), size
    )


def backprop(size: Size) -> Iterator[Unit]:
    """Backpropagation from the weights of a deep belief net, pixels sampled."""
    images, labels = cases(size)
    net = ws.backprop.classifier(_net(size), size.labels, rng=ws.generator(seed=1))
    config = replace(ws.BackpropConfig(batch_size=size.batch), **_epochs(ws.BackpropConfig))
    yield from _learning(
        net,
        ws.backprop.epochs(
            net, images, labels, config=config, rng=ws.generator(seed=2), dtype=size.dtype
        ),
        size,
    )


def conjugate_gradient(size: Size) -> Iterator[Unit]:
    """Backpropagation by conjugate gradients."""
    images, labels = cases(size)
    net = ws.backprop.classifier(_net(size), size.labels, rng=ws.generator(seed=1))
    config = replace(
        ws.BackpropConfig(method="cg", cg_batch_size=size.cases), **_epochs(ws.BackpropConfig)
    )
    yield from _learning(
        net, ws.backprop.epochs(net, images, labels, config=config, rng=ws.generator(seed=2)), size
    )


def robust(size: Size) -> Iterator[Unit]:
    """Backpropagation with dropout, a limit on norms and virtual adversarial smoothness."""
    images, labels = cases(size)
    net = ws.backprop.classifier(_net(size), size.labels, rng=ws.generator(seed=1))
    config = ws.RobustConfig(
        batch_size=size.batch,
        dropout_visible=0.2,
        dropout_hidden=0.5,
        max_norm=4.0,
        vat_epsilon=1.0,
    )
    config = replace(config, **_epochs(ws.RobustConfig))
    records = ws.robust.epochs(
        net, images, labels, config=config, rng=ws.generator(seed=2), unlabelled=images
    )
    yield from _learning(net, records, size)


def dreaming(size: Size) -> Iterator[Unit]:
    """Dreams with clamped labels: Gibbs steps of the memory and a down-pass."""
    dbn, rng = _net(size), ws.generator(seed=2)
    labels = torch.arange(size.batch) % size.labels
    for _ in range(FOR_EVER):
        yield (
            [ws.dreams.dream(dbn, labels=labels, steps=size.minibatches, rng=rng).pixels],
            size.minibatches,
        )


def inpainting(size: Size) -> Iterator[Unit]:
    """The lower half of pictures filled in by the net."""
    dbn, rng = _net(size), ws.generator(seed=2)
    images = cases(size)[0][: size.batch].float() / 255
    known = torch.arange(size.sizes[0]) < size.sizes[0] // 2
    for _ in range(FOR_EVER):
        yield (
            [ws.dreams.inpaint(dbn, images, known, rng=rng, sweeps=size.minibatches)],
            size.minibatches,
        )


def annealing(size: Size) -> Iterator[Unit]:
    """Annealed importance sampling of log Z, 100 chains."""
    from wakesleep.evaluation import ais

    images, _ = cases(size)
    rbm = ws.RBM(size.sizes[0], size.sizes[1], rng=ws.generator(seed=1))
    base, rng = ais.base_rates(rbm, images), ws.generator(seed=2)
    betas = torch.linspace(0, 1, 10 * size.minibatches)
    for _ in range(FOR_EVER):
        *_, chains = ais.anneal(rbm, base, ais.init_forward(rbm, base, betas, 100, rng), rng=rng)
        yield [torch.tensor(ais.estimate(rbm, base, chains).log_z)], len(betas)


WORKLOADS: dict[str, Callable[[Size], Iterator[Unit]]] = {
    "CD-1": cd1,
    "PCD": pcd,
    "centred CD-3": centred,
    "greedy": greedy,
    "up-down, K = 3": up_down,
    "hybrid": hybrid,
    "wake-sleep": wake_sleep,
    "backprop": backprop,
    "conjugate gradient": conjugate_gradient,
    "robust": robust,
    "dreaming": dreaming,
    "inpainting": inpainting,
    "AIS": annealing,
}
