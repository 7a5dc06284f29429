"""The figures that need a GPU, measured by one command, each saved as soon as it is there.

    python -m benchmarks.gpu --out results/speed.json

cases per second of CD-1 with minibatches captured and plain, the whole recipe of 2006 in minutes
with its test error, and rbms and learnergy on the same GPU (`--peers`, the Python that holds them).
It needs PyTorch, NumPy, Pillow and the files of MNIST, nothing of what the command line and the
page need. Run nothing else on that GPU.
"""

from __future__ import annotations

import argparse
import shlex
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks import bench_measure
from benchmarks.bench_measure import Contestant
from wakesleep.compute import cuda_graphs, machine, select
from wakesleep.data import Split, hold_out, load
from wakesleep.evaluation import classify
from wakesleep.foundation.errors import ConfigError
from wakesleep.foundation.rng import generator, stream
from wakesleep.learning import cd, greedy, up_down
from wakesleep.learning.cd import CDConfig
from wakesleep.learning.greedy import GreedyConfig
from wakesleep.learning.records import EpochResult
from wakesleep.learning.up_down import UpDownConfig
from wakesleep.models.dbn import DBN
from wakesleep.models.rbm import RBM
from wakesleep.paper import results
from wakesleep.runs.settings import preset

REPORTED = {"greedy": "2.49 (2006)", "updown-50k": "1.39 (2006)", "updown": "1.25 (2006)"}
"""Test errors of the recipe's stages in 2006, %."""


@dataclass(frozen=True)
class GpuPlan:
    """How much is measured, and of which net."""

    rounds: int = 10
    """Measured epochs of CD-1."""
    turns: int = 5
    """Rounds against the baselines."""
    contested: int = 20_000
    """Cases of each of their epochs."""
    hidden: int = 500
    """Hidden units of the single machine."""
    sizes: tuple[int, ...] = (784, 500, 500, 2000)
    """The deep net, from the pixels up."""
    greedy: int = 50
    """Epochs a layer of the recipe."""
    updown: int = 300
    """Epochs of contrastive wake-sleep on the cases that are not held out, K = 3, 6, 10 for a third
    of them each.
    """
    more: int = 59
    """Further epochs on all cases."""
    held_out: int = 10_000
    """The last training cases, which the recipe's first two stages do not see."""


SMOKE = GpuPlan(
    rounds=2, turns=2, hidden=16, sizes=(64, 16, 16, 32), greedy=1, updown=2, more=1, held_out=100
)
"""The same in seconds, on random pixels: it shows that everything works, and its figures mean
nothing.
"""


@dataclass(frozen=True)
class Work:
    """What all parts share: the plan, the cases, where and in which precision to learn, seeds, and
    where rows go.
    """

    plan: GpuPlan
    train: Split
    test: Split
    device: torch.device
    dtype: torch.dtype
    seeds: tuple[int, ...]
    peers: Path | None
    keep: Callable[[results.Row], None]
    notes: dict[str, Any]

    def save(self, name: str, metric: str, values: Sequence[float], **notes: Any) -> None:
        """Keep a figure of the table "speed"."""
        self.keep(
            results.row(
                "speed", name, metric, values, **{"seeds": self.seeds[:1], **self.notes, **notes}
            )
        )


def seconds(records: Iterator[EpochResult]) -> list[float]:
    """Return the seconds of each epoch but the first, which warms up; a record holds numbers, so
    what it tells of is done.
    """
    result, began = [], 0.0
    for number, _ in enumerate(records):
        now = time.perf_counter()
        if number:
            result.append(now - began)
        began = now
    return result


def cd1(work: Work) -> None:
    """Cases per second of CD-1, batch 100, captured and plain, in float32 (TF32 products) and
    bfloat16; the fastest captured one counts.
    """
    config, cases = (
        CDConfig(epochs=work.plan.rounds + 1, initial_momentum_epochs=0),
        work.train.images,
    )
    rates: dict[tuple[str, str], list[float]] = {}
    for dtype in ("float32", "bfloat16"):
        for way in ("plain", "captured"):
            rng = stream(work.seeds[0], "cd1", work.device)
            rbm = RBM(cases.shape[1], work.plan.hidden, rng=rng)
            enough = cuda_graphs.MIN_MINIBATCHES
            cuda_graphs.MIN_MINIBATCHES = enough if way == "captured" else sys.maxsize
            try:
                took = seconds(
                    cd.epochs(
                        rbm,
                        cases,
                        config=config,
                        rng=rng,
                        classes=work.train.labels,
                        dtype=getattr(torch, dtype),
                    )
                )
            finally:
                cuda_graphs.MIN_MINIBATCHES = enough
            rates[dtype, way] = [len(cases) / each for each in took]
            work.save(
                f"gpu-cd1-{dtype}-{way}", "cases_per_second", rates[dtype, way], precision=dtype
            )
    best = max(
        ("float32", "bfloat16"), key=lambda dtype: statistics.median(rates[dtype, "captured"])
    )
    work.save("gpu-cd1", "cases_per_second", rates[best, "captured"], precision=best)


def recipe(work: Work) -> None:
    """The recipe of Hinton, Osindero & Teh (2006): greedy pretraining, contrastive wake-sleep, and
    some more of it on all cases.

    Settings are those of `wakesleep/paper/mnist.py`. Minutes are those of learning, from cases on
    the GPU to weights on the GPU; test errors are counted between the stages and choose nothing.
    """
    plan, seed = work.plan, work.seeds[0]
    dbn = DBN(plan.sizes, labels=10, rng=stream(seed, "init", work.device))
    most, _ = hold_out(work.train, plan.held_out)
    before = preset("mnist").greedy
    layers = GreedyConfig(
        replace(before.layer, epochs=plan.greedy), replace(before.memory, epochs=plan.greedy)
    )
    long = UpDownConfig(
        epochs=plan.updown,
        gibbs_steps=(3, 6, 10),
        learning_rate=0.015,
        persistent=0.0,
        weight_decay=0.0,
    )
    more = replace(
        long,
        epochs=plan.more,
        gibbs_steps=(10,),
        learning_rate=long.learning_rate_at(plan.updown * 3 // 4),
    )
    stages: list[tuple[str, Callable[[torch.Generator], Iterator[EpochResult]]]] = [
        (
            "greedy",
            lambda rng: greedy.epochs(
                dbn, most.images, most.labels, config=layers, rng=rng, dtype=work.dtype
            ),
        ),
        (
            "updown-50k",
            lambda rng: up_down.epochs(
                dbn, most.images, most.labels, config=long, rng=rng, dtype=work.dtype
            ),
        ),
        (
            "updown",
            lambda rng: up_down.epochs(
                dbn, work.train.images, work.train.labels, config=more, rng=rng, dtype=work.dtype
            ),
        ),
    ]
    minutes: dict[str, float] = {}
    assert work.test.labels is not None
    for name, learn in stages:
        began = time.perf_counter()
        for _ in learn(stream(seed, name, work.device)):
            pass
        minutes[name] = (time.perf_counter() - began) / 60
        wrong, _ = classify.errors_and_loss(
            classify.log_probs(dbn, work.test.images), work.test.labels
        )
        notes = {
            "precision": str(work.dtype).removeprefix("torch."),
            "stages": {key: round(value, 3) for key, value in minutes.items()},
        }
        reported = {
            "reported": "a week (2006)" if name == "updown" else "",
            "minutes": round(sum(minutes.values()), 2),
            **notes,
        }
        work.save(f"gpu-recipe-{name}", "minutes", [sum(minutes.values())], **reported)
        work.save(
            f"gpu-recipe-{name}",
            "test_error_percent",
            [100 * wrong / len(work.test)],
            **{**reported, "reported": REPORTED[name]},
        )


def peers(work: Work) -> None:
    """Cases per second of ours over those of each baseline on the same GPU, CD-1, batch 100, in
    rounds; the fastest baseline counts.
    """
    baselines = (
        []
        if work.peers is None
        else [Contestant(name, "float32", str(work.peers)) for name in ("rbms", "learnergy")]
    )
    if not baselines:
        print(
            "rbms and learnergy: skipped: no --peers, the Python of an environment that holds them",
            flush=True,
        )
        return
    ours = [Contestant("wakesleep", dtype, sys.executable) for dtype in ("float32", "bfloat16")]
    cases = work.train.images[: work.plan.contested]
    with tempfile.TemporaryDirectory() as folder:
        data = Path(folder) / "pixels.npy"
        np.save(data, cases.cpu().numpy())
        request = {
            "work": "cd1",
            "batch": 100,
            "cases": len(cases),
            "visible": cases.shape[1],
            "hidden": work.plan.hidden,
        }
        request |= {
            "threads": torch.get_num_threads(),
            "data": str(data),
            "device": str(work.device),
        }
        cells, versions = bench_measure.take_turns(
            [*ours, *baselines], [request], work.plan.turns, lambda asked: None
        )
    for name, reply in versions.items():
        print(f"{name}: {reply}", flush=True)
    by_time = sorted(cells, key=lambda cell: statistics.median(cell.seconds))
    best = next(cell for cell in by_time if cell.who.name == "wakesleep")
    result = {
        cell.who.name: bench_measure.ratios(cell, best) for cell in by_time if cell.who in baselines
    }
    for name, ratios in result.items():
        work.save(
            f"gpu-against-{name}", "speedup", ratios, precision=best.who.dtype, versions=versions
        )
    if result:
        name = min(result, key=lambda baseline: statistics.median(result[baseline]))
        work.save(
            "gpu-against-peers",
            "speedup",
            result[name],
            precision=best.who.dtype,
            versions=versions,
            compared=name,
        )


DO: dict[str, Callable[[Work], None]] = {"cd1": cd1, "recipe": recipe, "peers": peers}


def options(argv: list[str]) -> argparse.Namespace:
    """Return what was asked for; argparse, so that a machine with a GPU and little else can run
    this.
    """
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.gpu", description=__doc__.partition("\n")[0]
    )
    parser.add_argument(
        "--out", type=Path, help="where the rows go; results/speed.json, and with --smoke nowhere"
    )
    parser.add_argument(
        "--parts",
        nargs="+",
        choices=list(DO),
        default=list(DO),
        help="what to measure, in this order",
    )
    parser.add_argument("--seeds", nargs="+", type=int, default=[1], help="the first is taken")
    parser.add_argument(
        "--peers",
        type=Path,
        help="the Python of an environment that holds rbms and learnergy; without it "
        "they are skipped",
    )
    parser.add_argument(
        "--precision",
        choices=["float32", "bfloat16"],
        default="float32",
        help="of the recipe's products",
    )
    parser.add_argument("--device", default="auto", help="cuda, cuda:1, ...; auto takes the GPU")
    parser.add_argument(
        "--data-folder",
        type=Path,
        help="where mnist lies; otherwise the folder that WAKESLEEP_DATA names",
    )
    parser.add_argument(
        "--smoke",
        action="store_true",
        help="see in seconds that everything works, on a CPU too; the figures mean nothing",
    )
    return parser.parse_args(argv)


def cases(args: argparse.Namespace, device: torch.device) -> tuple[Split, Split]:
    """Return training and test cases of MNIST on the device; with --smoke, random ones."""
    if args.smoke:
        rng = generator(0)
        pixels = torch.randint(0, 256, (400, SMOKE.sizes[0]), generator=rng, dtype=torch.uint8)
        labels = torch.arange(400) % 10
        result = [Split(pixels[:300], labels[:300]), Split(pixels[300:], labels[300:])]
    else:
        mnist = load("mnist", folder=args.data_folder, download=False)
        assert mnist.test is not None
        result = [mnist.train, mnist.test]
    train, test = [
        Split(split.images.to(device), None if split.labels is None else split.labels.to(device))
        for split in result
    ]
    return train, test


def main(argv: list[str]) -> None:
    """Measure what is asked for.

    Raises:
        ConfigError: there is no GPU, and --smoke was not asked for.
    """
    args = options(argv)
    device = select.pick_device(args.device)
    if device.type != "cuda" and not args.smoke:
        raise ConfigError(
            f"these figures are a GPU's, and the device is {device}; run this where "
            "torch.cuda.is_available() says True, or see with --smoke that everything works"
        )
    out = args.out or (None if args.smoke else Path("results/speed.json"))

    def keep(result: results.Row) -> None:
        print(
            f"{result['row']}: {result['metric'].replace('_', ' ')} {result['value']:g} "
            f"({result['low']:g} to {result['high']:g})",
            flush=True,
        )
        if out is not None:
            results.save(out, [result])

    train, test = cases(args, device)
    command = shlex.join(["python", "-m", "benchmarks.gpu", *argv])
    notes = {"command": command, "device": machine.describe(device), "versions": machine.versions()}
    dtype: torch.dtype = getattr(torch, args.precision)
    work = Work(
        SMOKE if args.smoke else GpuPlan(),
        train,
        test,
        device,
        dtype,
        tuple(args.seeds),
        args.peers,
        keep,
        notes,
    )
    for part in args.parts:
        DO[part](work)


if __name__ == "__main__":
    main(sys.argv[1:])
