"""What the generative models of the table `descendants` generate, judged by a net that never saw
them, and how likely they find test cases.

    python -m benchmarks.descendants --folder runs/reproduce --picture docs/descendants.png

Models that hold labels learned from 1,000 of them and make a hundred pictures of each; the others
make a thousand freely. Each has learned five times as long as for the table, whose minute is enough
to recognise and not to generate, and the memories of belief nets have chains in their last epochs,
as the library has by default. Goes on where it was stopped.
"""

from __future__ import annotations

import shlex
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
import tyro
from torch import Tensor

from benchmarks import judge
from wakesleep.compute.select import pick_device
from wakesleep.data import load
from wakesleep.evaluation import likelihood
from wakesleep.foundation.rng import generator
from wakesleep.learning import greedy
from wakesleep.learning.records import EpochResult
from wakesleep.models.dbn import DBN
from wakesleep.paper import few_labels, results
from wakesleep.paper.descendants import belief_nets, diffusion, fourteen_methods, vae
from wakesleep.paper.descendants.common import LABELLED_SECONDS, UNLABELLED_SECONDS, Job
from wakesleep.paper.runs import Done, TableSetup, learn
from wakesleep.runs import grids
from wakesleep.runs.settings import preset
from wakesleep.samplers import dreams
from wakesleep.sources.arrays import as_probs
from wakesleep.sources.minibatches import Resident

LABELS = 1000
"""Of the models that hold some."""
TIMES = 5.0
"""How many times as long they learn as for the table."""


@dataclass(frozen=True)
class DescendantsMeasureOptions:
    """Judge what the models generate."""

    models: tuple[str, ...] = ()
    """Which; by default all."""
    folder: Path = Path("runs/reproduce")
    """Where the runs of `wakesleep reproduce descendants` lie."""
    judge: Path = Path("runs/judge.safetensors")
    """The judge; trained and kept here if it is not there."""
    count: int = 100
    """Pictures a class."""
    steps: int = 500
    """Gibbs iterations of a belief net from random top states."""
    bound_cases: int = 1000
    """Test cases whose likelihood is bounded; 0: no bounds, which take minutes a belief net."""
    picture: Path | None = None
    """Where pictures of each model go, a row each; by default nowhere."""
    out: Path | None = Path("results/descendants.json")
    """Where the rows go; None only prints."""


Pictures = Callable[[Any, Tensor, int], Tensor]
"""(net, labels (N,), Gibbs steps) -> pictures (N, pixels) in [0, 1]."""


@dataclass(frozen=True)
class Generator:
    """A model that makes pictures."""

    net: Callable[[Job], Any]
    pictures: Pictures
    labelled: bool = False
    """Whether the pictures are of the labels that are asked for."""


def belief_net(dbn: DBN, labels: Tensor, steps: int) -> Tensor:
    """Return dreams, of these labels where the net holds some."""
    given: dict[str, Any] = {"labels": labels} if dbn.labels else {"count": len(labels)}
    return dreams.dream(dbn, steps=steps, rng=generator(0), **given).pixels


def memory(job: Job, below: Done[DBN]) -> Done[DBN]:
    """Return the net whose memory goes on from `below` with labels, spread where they are unknown,
    and with chains in its last epochs.
    """
    setup = job.setup
    epochs = belief_nets.passes(setup, LABELLED_SECONDS, belief_nets.MEMORY_PASS)
    config = replace(
        setup.config.greedy,
        memory=replace(setup.config.greedy.memory, epochs=epochs, initial_momentum_epochs=1),
    )

    def loop(dbn: DBN, rng: torch.Generator, state: Any) -> Iterator[EpochResult]:
        half = belief_nets.timed(setup, UNLABELLED_SECONDS / 2)
        labels, weights = few_labels.spread_labels(half, layers(job), job.images, job.labels)
        source = Resident(
            greedy.memory_cases(dbn, job.images, labels), classes=labels, weights=weights
        )
        return greedy.memory_epochs(
            dbn.memory, source, config, rng=rng, state=state, dtype=setup.dtype
        )

    return learn(
        setup,
        f"{setup.dataset.name}-pictures-memory-{job.count}",
        job.seed,
        {"from": below.digest, "memory": config.memory, "chains": config.chains},
        make=lambda rng: belief_nets.with_labels(job, below.net, rng),
        loop=loop,
    )


def layers(job: Job) -> Done[DBN]:
    """Return the greedy layers that every memory here stands on."""
    return belief_nets.unlabelled_net(job.setup, UNLABELLED_SECONDS / 2)


def label_memory(job: Job) -> Done[DBN]:
    """Return a label memory on greedy layers."""
    return memory(job, layers(job))


def hybrid_net(job: Job) -> Done[DBN]:
    """Return the hybrid that goes on from that label memory."""
    return belief_nets.hybrid_from(job, layers(job), label_memory(job), LABELLED_SECONDS)


def local_net(job: Job) -> Done[DBN]:
    """Return a label memory on the layers of contrastive wake-sleep."""
    return memory(job, belief_nets.contrastive_wake_sleep(job.setup)[-1])


GENERATORS = {
    "dbn-greedy": Generator(lambda job: belief_nets.unlabelled_net(job.setup).net, belief_net),
    "dbn-updown": Generator(
        lambda job: belief_nets.contrastive_wake_sleep(job.setup)[-1].net, belief_net
    ),
    "dbn-memory": Generator(lambda job: label_memory(job).net, belief_net, labelled=True),
    "dbn-hybrid": Generator(lambda job: hybrid_net(job).net, belief_net, labelled=True),
    "dbn-local": Generator(lambda job: local_net(job).net, belief_net, labelled=True),
    "vae-m1": Generator(
        lambda job: vae.pretrained(job.setup).net,
        lambda net, labels, steps: net.sample(len(labels), generator(0)),
    ),
    "vae-m1-m2": Generator(
        lambda job: vae.learn_m2(job)[-1].net,
        lambda net, labels, steps: net.sample(labels, generator(0)),
        labelled=True,
    ),
    "diffusion": Generator(
        lambda job: diffusion.pretrained(job.setup).net,
        lambda net, labels, steps: net.sample(len(labels), generator(0)),
    ),
}


def judged(net: torch.nn.Sequential, pictures: Tensor, labels: Tensor | None) -> dict[str, float]:
    """Return what the judge says of pictures (N, pixels).

    `judge_score` is exp(mean KL(p(label | picture) || p(label))), from 1 to the number of labels
    (Salimans et al. 2016, with the judge in place of their net): high where the judge is sure of
    each picture and all labels come. `agreement_percent` is how often it sees the label that was
    asked for.
    """
    with torch.inference_mode():
        log_p = torch.cat([torch.log_softmax(net(part), 1) for part in torch.split(pictures, 1000)])
    mean = log_p.exp().mean(0)
    divergence = (log_p.exp() * (log_p - mean.log())).sum(1).mean()
    judgement = {"judge_score": round(float(divergence.exp()), 3)}
    if labels is not None:
        right = (log_p.argmax(1) == labels).float().mean()
        judgement["agreement_percent"] = round(100 * float(right), 2)
    return judgement


@torch.no_grad()
def bound(net: Any, job: Job, count: int) -> float | None:
    """Return the bound on log p of test cases, nats a case, or None where the model has none that
    can be compared, or log Z cannot be told.

    Pixels are drawn once from their grey levels; ten draws of the code, and for a belief net log Z
    by annealed importance sampling from both sides.
    """
    tested = job.setup.dataset.test
    assert tested is not None
    rng = generator(0)
    cases = torch.bernoulli(as_probs(tested.images[:count]), generator=rng)
    if isinstance(net, vae.VAE):
        return float(torch.stack([net.bound(cases, rng).mean() for _ in range(10)]).mean())
    if isinstance(net, DBN) and not net.labels:
        features = net.up(as_probs(job.images[:5000]))[-1]
        log_z = likelihood.log_partition(
            net.memory, features, rng=rng, target_error=0.1, limit=20_000
        )
        if log_z.disagreement is not None:
            return None
        return likelihood.score(net, cases, log_z, rng=rng).mean
    return None


def judge_model(
    model: Generator, job: Job, net: torch.nn.Sequential, labels: Tensor, steps: int, cases: int
) -> tuple[Tensor, dict[str, float], float]:
    """Return a model's pictures for `labels` (N,), what the judge `net` says of them with the bound
    of `cases` test cases, and the processor's minutes that the pictures took.
    """
    made_by = model.net(job)
    began = time.process_time()
    pictures = model.pictures(made_by, labels, steps).detach()
    minutes = round((time.process_time() - began) / 60, 3)
    judgement = judged(net, pictures, labels if model.labelled else None)
    nats = bound(made_by, job, cases) if cases else None
    if nats is not None:
        judgement["test_bound"] = round(nats, 2)
    return pictures, judgement, minutes


def rows(
    options: DescendantsMeasureOptions, command: str
) -> Iterator[tuple[str, Tensor, list[results.Row]]]:
    """Yield each model's name, its pictures and its rows, real test pictures first."""
    dataset = load("mnist")
    assert dataset.train.labels is not None
    assert dataset.test is not None
    assert dataset.test.labels is not None
    device = pick_device("cpu")
    setup = TableSetup(dataset, options.folder, (1,), preset("mnist"), device, command, times=TIMES)
    options.judge.parent.mkdir(parents=True, exist_ok=True)
    net = judge.get(options.judge, dataset.train.images, dataset.train.labels, dataset.shape)
    labels = torch.arange(10).repeat_interleave(options.count)
    job = fourteen_methods.job(setup, LABELS, 1)

    def rows_of(name: str, values: dict[str, float], minutes: float) -> list[results.Row]:
        where = f"mnist-{name}-pictures"
        notes: dict[str, Any] = {"seeds": [1], "command": command, "minutes": minutes}
        return [
            results.row(fourteen_methods.TABLE, where, metric, [value], **notes)
            for metric, value in values.items()
        ]

    real = as_probs(dataset.test.images[: len(labels)])
    yield "real", real, rows_of("real", judged(net, real, dataset.test.labels[: len(labels)]), 0.0)
    for name in options.models or GENERATORS:
        pictures, judgement, minutes = judge_model(
            GENERATORS[name], job, net, labels, options.steps, options.bound_cases
        )
        yield name, pictures, rows_of(name, judgement, minutes)


def main(argv: list[str]) -> None:
    """Generate, judge, and save the rows as they come."""
    options = tyro.cli(DescendantsMeasureOptions, description=__doc__, args=argv)
    command = shlex.join(["python", "-m", "benchmarks.descendants", *argv])
    shown = []
    for name, pictures, of_model in rows(options, command):
        print(name, {row["metric"]: row["value"] for row in of_model}, flush=True)
        shown.append(pictures[:: max(1, len(pictures) // 20)][:20])
        if options.out is not None:
            results.save(options.out, of_model)
        if options.picture is not None:
            sheet = grids.tile(torch.cat(shown).numpy(), (28, 28), columns=20)
            grids.save_picture(options.picture, sheet)


if __name__ == "__main__":
    main(sys.argv[1:])
