"""Learn a little by every algorithm, with nothing left to chance, and save the weights: the same
under torchrun as in one process.

Called by test_distributed.py as a script: in_ranks.py OUT. Cases come in their own order and states
are replaced by their means, so that ranks which split a minibatch see together what one process
sees alone.
"""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

from wakesleep import units
from wakesleep.compute import distributed
from wakesleep.compute.cpu import CPU
from wakesleep.foundation.rng import generator
from wakesleep.learning import (
    backprop,
    cd,
    cd_state,
    contrast,
    deep_boltzmann,
    greedy,
    hybrid,
    up_down,
    up_down_phases,
    up_down_state,
)
from wakesleep.learning.backprop import BackpropConfig
from wakesleep.learning.cd import CDConfig
from wakesleep.learning.configs import DBMConfig
from wakesleep.learning.greedy import GreedyConfig
from wakesleep.learning.hybrid import HybridConfig
from wakesleep.learning.up_down import UpDownConfig
from wakesleep.models.dbm import DBM
from wakesleep.models.dbn import DBN
from wakesleep.models.rbm import RBM
from wakesleep.sources import arrays


def certain(
    self: object, mean: torch.Tensor, rng: torch.Generator, out: torch.Tensor | None = None
) -> torch.Tensor:
    return mean.clone() if out is None else out.copy_(mean)


def first(probs: torch.Tensor, rng: torch.Generator) -> torch.Tensor:
    return probs.argmax(1)


def learn() -> dict[str, torch.Tensor]:
    """Return the weights after two epochs of each algorithm over 100 cases in minibatches of 20."""
    arrays.order = lambda labels, n, rng, weights=None: torch.arange(n)
    CPU.sample_bernoulli = units.Categorical.sample_from_mean = certain
    contrast.sample_categorical = up_down_phases.sample_categorical = first
    up_down_state.random_hidden = lambda rbm, count, rng: torch.full((count, rbm.hidden.size), 0.5)
    begin = cd.init_state

    def with_mean_chains(*arguments: Any) -> cd.CDState:
        state = begin(*arguments)
        if state.chains is not None:
            state.chains.fill_(0.5)
        return state

    cd.init_state = cd_state.init_state = with_mean_chains
    rng = generator(1)
    images = distributed.share((torch.rand(100, 64, generator=rng) * 255).to(torch.uint8))
    labels = distributed.share(torch.arange(100) % 10)
    size = distributed.part_of_batch(20)
    each = CDConfig(epochs=2, batch_size=size, sparsity_cost=0.01)
    centred = CDConfig(epochs=2, batch_size=size, centred=True)
    standardised = replace(centred, standardised=True, learning_rate=0.01, l1_penalty=0.01)
    actual: dict[str, torch.Tensor] = {}

    def keep(name: str, net: torch.nn.Module) -> None:
        actual.update(
            {f"{name}.{key}": value.detach().clone() for key, value in net.state_dict().items()}
        )

    dbn = DBN((64, 24, 32), labels=10, rng=rng)
    list(greedy.epochs(dbn, images, labels, config=GreedyConfig(each, each), rng=rng, dtype=None))
    keep("greedy", dbn)
    other = DBN((64, 24, 32), labels=10, rng=generator(1))
    list(
        greedy.epochs(
            other, images, labels, config=GreedyConfig(centred, centred), rng=rng, dtype=None
        )
    )
    keep("centred", other)
    for name, visible in {
        "gaussian": units.Gaussian(6),
        "ordinal": units.Ordinal(6, 3),
        "mixed": units.Groups(numbers=units.DReLU(3), kind=units.Categorical(3)),
    }.items():
        drawn = generator(2)
        cases = visible.sample(torch.randn(100, 6, generator=drawn) / 2, drawn)
        rbm, cases = RBM(visible, 8, rng=generator(1)), distributed.share(cases)
        cd.init_visible_bias(rbm, cases)
        list(cd.epochs(rbm, cases, config=standardised, rng=drawn))
        keep(name, rbm)
    net = backprop.classifier(dbn, 10, rng=rng)
    list(
        backprop.epochs(
            net,
            images,
            labels,
            config=BackpropConfig(epochs=2, batch_size=size, sample_pixels=False),
            rng=rng,
        )
    )
    keep("sgd", net)
    net = backprop.random_classifier((64, 24, 10), rng=generator(1))
    # more line searches would magnify rounding
    once = BackpropConfig(epochs=1, method="cg", cg_batch_size=5 * size, cg_top_epochs=0)
    list(backprop.epochs(net, images, labels, config=once, rng=rng))
    keep("cg", net)
    updown = UpDownConfig(
        epochs=2, batch_size=size, gibbs_steps=(2,), persistent=0.0, learning_rate=0.05
    )
    list(up_down.epochs(dbn, images, labels, config=updown, rng=rng))
    keep("updown", dbn)
    list(
        hybrid.epochs(
            dbn, images, labels, config=HybridConfig(updown, sample_pixels=False), rng=rng
        )
    )
    keep("hybrid", dbn)

    chained = CDConfig(epochs=2, batch_size=size, persistent=True)
    pool = UpDownConfig(
        epochs=2,
        batch_size=size,
        gibbs_steps=(2,),
        persistent=0.2,
        chain_pool=2,
        hold_labels=False,
        restart=0.0,
    )
    net = DBN((64, 24, 32), labels=10, rng=generator(1))
    list(greedy.epochs(net, images, labels, config=GreedyConfig(chained, chained), rng=rng))
    list(
        up_down.epochs(
            net, images, labels, config=replace(pool, learning_rate=0.05, average=0.5), rng=rng
        )
    )
    keep("chains", net)
    dbm = DBM((64, 24, 16), labels=10, rng=generator(1))
    deep_boltzmann.init_visible_bias(dbm, images)
    deep = DBMConfig(epochs=2, batch_size=size, centred=True, learning_rate=0.05)
    list(deep_boltzmann.epochs(dbm, images, labels, config=deep, rng=rng))
    keep("deep", dbm)

    coarse: dict[str, Any] = {"rng": rng, "dtype": torch.bfloat16}
    net = DBN((64, 24, 32), labels=10, rng=generator(1))
    list(greedy.epochs(net, images, labels, config=GreedyConfig(each, each), **coarse))
    keep("coarse-greedy", net)
    list(up_down.epochs(net, images, labels, config=updown, **coarse))
    keep("coarse-updown", net)
    forward = backprop.random_classifier((64, 24, 10), rng=generator(1))
    list(
        backprop.epochs(
            forward,
            images,
            labels,
            config=BackpropConfig(epochs=2, batch_size=size, sample_pixels=False),
            **coarse,
        )
    )
    keep("coarse-sgd", forward)
    return actual


if __name__ == "__main__":
    torch.set_num_threads(1)
    distributed.setup(torch.device("cpu"))
    save_file(
        {name: tensor.contiguous() for name, tensor in learn().items()},
        Path(sys.argv[1]) / f"rank-{distributed.rank()}.safetensors",
    )
    distributed.shutdown()
    distributed.end_process(0)
