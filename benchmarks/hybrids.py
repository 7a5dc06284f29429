"""Tries of the hybrid: smoothness and dropout on its discriminative half alone.

    python -m benchmarks.hybrids --tries plain smooth smooth-dropout --seeds 1

The generative half learns as ever. The discriminative one leaves out pixels and units, and holds
log p(label | image) where it is within a radius of each picture, in the direction in which it
changes most (Miyato et al. 2018). Greedy layers, contrastive wake-sleep and the tries learn from
the first five sixths of the training cases and are judged on the others: test cases choose nothing.
Goes on where it was stopped.
"""

from __future__ import annotations

import shlex
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

import torch
import tyro
from torch import Tensor
from torch.nn.functional import nll_loss, softplus

from benchmarks.few_labels import held_out
from wakesleep.compute.ops import Dense
from wakesleep.compute.select import pick_device
from wakesleep.data import load
from wakesleep.evaluation import classify
from wakesleep.learning import hybrid, inputs, up_down
from wakesleep.learning.configs import HybridConfig
from wakesleep.learning.momentum import Gradients
from wakesleep.learning.records import EpochResult
from wakesleep.learning.robust import divergence
from wakesleep.learning.semi_supervised import neighbour_distance
from wakesleep.models.dbn import DBN
from wakesleep.paper import few_labels, results
from wakesleep.paper.runs import Done, TableSetup, learn, row_of
from wakesleep.runs.settings import preset
from wakesleep.sources.arrays import UNLABELLED

TABLE = "hybrid-tries"


@dataclass(frozen=True)
class Smooth:
    """What the discriminative half is held to."""

    radius: float = 0.0
    """Distance within which log p should stay, as a share of the median distance between nearest
    neighbours.
    """
    smooth_weight: float = 1.0
    """Of the divergence, beside the cross-entropy."""
    pixels: float = 0.0
    """Share of the pixels that are left out."""
    units: float = 0.0
    """Share of the units of each layer that are left out."""
    learning_rate: float = 0.01
    """Of both halves."""
    weight: float = 20.0
    """Of the discriminative half beside the generative one."""


TRIES = {
    "plain": Smooth(),
    "smooth": Smooth(radius=0.45),
    "smooth-near": Smooth(radius=0.22),
    "dropout": Smooth(pixels=0.1, units=0.2),
    "smooth-dropout": Smooth(radius=0.45, pixels=0.1, units=0.2),
    "smooth-slow": Smooth(radius=0.45, learning_rate=0.004),
    "smooth-heavy": Smooth(radius=0.45, weight=60.0),
}
Weights = dict[str, Tensor]


def drop(states: Tensor, share: float, rng: torch.Generator) -> Tensor:
    """Return states with a share of them at 0 and the others scaled up."""
    if not share:
        return states
    keep = torch.rand(states.shape, generator=rng, device=states.device) >= share
    return states * keep / (1 - share)


def label_log_probs(
    weights: Weights, depth: int, features: int, images: Tensor, how: Smooth, rng: torch.Generator
) -> Tensor:
    """Return log p(label | image) (n, labels) by label free energies, pixels and units left out.

    With x the top units' input and L_y the memory's weights from label y:
    log softmax_y(b_y + sum_j m_j (softplus(x_j + L_yj) - softplus(x_j))), m what is kept.
    """
    states = drop(images, how.pixels, rng)
    for layer in range(depth):
        total = states @ weights[f"recognition.{layer}.weight"]
        states = drop((total + weights[f"recognition.{layer}.bias"]).sigmoid(), how.units, rng)
    memory = weights["memory.weight"]
    x = states @ memory[:features] + weights["memory.hidden_bias"]
    rise = softplus(x[:, None] + memory[features:]) - softplus(x)[:, None]
    kept = drop(torch.ones_like(x), how.units, rng)
    scores = (rise * kept[:, None]).sum(2) + weights["memory.visible_bias"][features:]
    return torch.log_softmax(scores, 1)


def gradients(
    dbn: DBN, images: Tensor, labels: Tensor, how: Smooth, rng: torch.Generator
) -> tuple[Gradients, Tensor]:
    """Return the gradient of mean log p(label | image) less the divergence within the radius (here
    a distance between pictures), and log p of every label, (n, labels).
    """
    with torch.inference_mode(False), torch.enable_grad():
        images, labels = images.float().clone(), labels.clone()
        weights = {
            name: parameter.detach().float().clone().requires_grad_()
            for name, parameter in dbn.named_parameters()
            if name.startswith(("recognition", "memory"))
        }
        depth, features = len(dbn.recognition), dbn.sizes[-2]
        still = replace(how, pixels=0.0, units=0.0)
        log_probs = label_log_probs(weights, depth, features, images, how, rng)
        loss = nll_loss(log_probs, labels, ignore_index=UNLABELLED)
        if how.radius:
            answer = label_log_probs(weights, depth, features, images, still, rng).detach()
            towards = torch.randn(images.shape, generator=rng, device=images.device)
            towards = (towards / towards.norm(dim=1, keepdim=True)).requires_grad_()
            near = label_log_probs(weights, depth, features, images + towards, still, rng)
            (worst,) = torch.autograd.grad(divergence(answer, near), towards)
            worst = how.radius * worst / worst.norm(dim=1, keepdim=True).clamp_(min=1e-20)
            there = label_log_probs(weights, depth, features, images + worst, how, rng)
            loss = loss + how.smooth_weight * divergence(answer, there)
        derivatives = torch.autograd.grad(loss, list(weights.values()))
    return (
        {name: [Dense(-each, 1.0)] for name, each in zip(weights, derivatives, strict=True)},
        log_probs.detach(),
    )


class SmoothHybrid(hybrid.Hybrid):
    """The hybrid whose discriminative half is held to more than its labels."""

    how = Smooth()

    def from_labels(self, images: Tensor, labels: Tensor) -> tuple[Gradients, Tensor]:
        """Return the gradients of the labels and of smoothness."""
        return gradients(self.copy, images, labels, self.how, self.rng)


@dataclass(frozen=True)
class HybridsMeasureOptions:
    """Try hybrids."""

    dataset: Literal["mnist", "fashion-mnist", "digits"] = "mnist"
    """The pictures."""
    tries: tuple[str, ...] = ("plain", "smooth", "smooth-dropout")
    """Which."""
    epochs: int = 20
    """Epochs of the hybrid."""
    updown_epochs: int = 20
    """Epochs of contrastive wake-sleep before it."""
    seeds: tuple[int, ...] = (1,)
    """A run for each."""
    cases: int = 60_000
    """How many training cases are used, those to judge on among them."""
    folder: Path = Path("runs/hybrid-tries")
    """Where the runs go; what is there is read."""
    out: Path | None = None
    """File of the rows; by default they are only printed."""


def started(setup: TableSetup, seed: int, epochs: int) -> Done[DBN]:
    """Return the net with a label memory, greedy layers and then contrastive wake-sleep, from which
    all tries of a seed begin.
    """
    train, config = setup.dataset.train, replace(setup.config.updown, epochs=epochs)
    assert train.labels is not None
    labels = train.labels
    first = few_labels.spread_memory(
        setup, len(train), seed, train.images, labels, epochs=setup.config.greedy.memory.epochs
    )

    def make(rng: torch.Generator) -> DBN:
        return untied_copy(first.net, rng)

    return learn(
        setup,
        f"{setup.dataset.name}-updown",
        seed,
        {"from": first.digest, "updown": config},
        make=make,
        loop=lambda dbn, rng, state: up_down.epochs(
            dbn, train.images, labels, config=config, rng=rng, state=state, dtype=setup.dtype
        ),
        log_probs=classify.log_probs,
    )


def untied_copy(dbn: DBN, rng: torch.Generator) -> DBN:
    """Return a copy with generative weights of its own."""
    copy = DBN(dbn.sizes, labels=dbn.labels, rng=rng)
    if not dbn.tied:
        copy.untie()
    copy.load_state_dict(dbn.state_dict())
    copy.untie()
    return copy


def tried(setup: TableSetup, first: Done[DBN], seed: int, how: Smooth, epochs: int) -> Done[DBN]:
    """Return the hybrid of one try."""
    train, base = setup.dataset.train, setup.config.hybrid
    updown = replace(base.updown, epochs=epochs, learning_rate=how.learning_rate)
    radius = how.radius * neighbour_distance(train.images) if how.radius else 0.0
    config = HybridConfig(updown=updown, weight=how.weight, sample_pixels=base.sample_pixels)

    def loop(dbn: DBN, rng: torch.Generator, state: Any) -> Iterator[EpochResult]:
        images, known, weights = inputs.for_memory(dbn, train.images, train.labels, None, rng=rng)
        begun = up_down.started(dbn, updown, state, rng, setup.dtype)
        algorithm = SmoothHybrid(dbn, config, begun, rng, setup.dtype)
        algorithm.how = replace(how, radius=radius)
        return algorithm.learn(images, known, weights, "hybrid")

    return learn(
        setup,
        f"{setup.dataset.name}-hybrid",
        seed,
        {"from": first.digest, "hybrid": config, "how": asdict(how)},
        make=lambda rng: untied_copy(first.net, rng),
        loop=loop,
        log_probs=classify.log_probs,
    )


def rows(options: HybridsMeasureOptions, command: str) -> Iterator[results.Row]:
    """Yield a row of validation error for each try, again after each seed."""
    setup = TableSetup(
        held_out(load(options.dataset), options.cases),
        options.folder,
        options.seeds,
        preset("digits" if options.dataset == "digits" else "mnist"),
        pick_device("cpu"),
        command,
    )
    for name in options.tries:
        done: list[Done[Any]] = []
        for seed in options.seeds:
            first = started(setup, seed, options.updown_epochs)
            done.append(tried(setup, first, seed, TRIES[name], options.epochs))
            values = [run.errors["test_error_percent"] for run in done]
            row = f"{options.dataset}-{len(setup.dataset.train)}-{name}"
            seeds = options.seeds[: len(done)]
            measured = row_of(setup, row, "validation_error_percent", values, done, seeds=seeds)
            yield {**measured, "table": TABLE}


def main(argv: list[str]) -> None:
    """Try, and save the rows as they come."""
    options = tyro.cli(HybridsMeasureOptions, description=__doc__, args=argv)
    command = shlex.join(["python", "-m", "benchmarks.hybrids", *argv])
    for row in rows(options, command):
        print(row["row"], row["value"], row["each"], f"{row['minutes']:g} min", flush=True)
        if options.out is not None:
            results.save(options.out, [row])


if __name__ == "__main__":
    main(sys.argv[1:])
