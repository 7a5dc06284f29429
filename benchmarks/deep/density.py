"""The deep Boltzmann machine 500-1000 as a density model of binarised MNIST.

    python -m benchmarks.deep.density --mat randomly_binarized_mnist.mat --folder runs/deep

First an RBM of 500 hidden units learns. The deep machine begins there, its second hidden layer
joined by weights near zero, so that it begins at the likelihood of the RBM; then all of it learns.
Other beginnings are options.
Training is resumable: an epoch at most is lost. Every choice was made on the last 10,000 training
columns, held out (`--hold-out 10000`); the figures train on all of them. Test columns choose
nothing.
"""

from __future__ import annotations

import math
import shlex
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import torch
import tyro
from safetensors.torch import load_file, save_file
from torch import Tensor

from benchmarks import likelihood as density_models
from benchmarks.likelihood import LikelihoodMeasureOptions, centred_pcd, read_mat
from wakesleep.compute.select import pick_precision
from wakesleep.data import load
from wakesleep.evaluation import ais, bound, likelihood
from wakesleep.foundation.rng import generator
from wakesleep.learning import cd, deep_boltzmann
from wakesleep.learning.cd import CDConfig
from wakesleep.learning.configs import DBMConfig
from wakesleep.models.dbm import DBM
from wakesleep.models.rbm import RBM
from wakesleep.paper import results
from wakesleep.runs import checkpoint
from wakesleep.runs.progress import resumed, run
from wakesleep.samplers.replica_exchange import ReplicaExchange, choose
from wakesleep.sources.arrays import draw_binary

TRAINING = "dbm-training.safetensors"
"""The deep machine in training."""


@dataclass(frozen=True)
class DensityOptions:
    """Train the machine, score it, save the rows; resumable."""

    mat: Path = Path("randomly_binarized_mnist.mat")
    """Binarised MNIST, see benchmarks.likelihood."""
    folder: Path = Path("runs/deep")
    """Where machines in training, trained ones and checkpoints lie."""
    hold_out: int = 0
    """Score on so many of the last training columns, and do not train on them, instead of on the
    test columns.
    """
    drawn_anew: bool = False
    """Train on the grey training digits of MNIST, binarised anew whenever they are shown, instead
    of on the columns of the file, of which each is one such draw.
    """
    hidden: tuple[int, int] = (500, 1000)
    """Hidden units of the two layers."""
    begin: Literal["rbm", "pretrained", "random"] = "rbm"
    """Where the deep machine begins: at an RBM of its first hidden layer, pretrained a pair of
    layers at a time (Salakhutdinov & Hinton 2009), or with small random weights.
    """
    rbm: CDConfig = field(default_factory=lambda: centred_pcd(0.06, epochs=400))
    """How the RBM learns that the deep machine begins at."""
    pretraining: CDConfig = field(default_factory=lambda: CDConfig(epochs=20))
    """How each pair of layers learns where the machine begins pretrained."""
    dbm: DBMConfig = field(
        default_factory=lambda: DBMConfig(
            epochs=200,
            learning_rate=0.03,
            final_learning_rate=2e-4,
            momentum=0.0,
            initial_momentum=0.0,
            weight_decay=3e-4,
            gibbs_steps=1,
            mean_field_steps=5,
            average=5.0,
            centred=True,
            sample_visible=True,
        )
    )
    """How the deep machine learns."""
    cases: int = 10_000
    """Training cases that are scored beside the others."""
    target_error: float = 0.03
    """Wanted standard error of log Z, nats."""
    limit: int = 60_000
    """Most temperatures."""
    seed: int = 1
    """Seed of everything random."""
    precision: str = "auto"
    """Of products in training: auto, float32 or bfloat16. Likelihoods are always float32 and
    better.
    """
    threads: int = 1
    """CPU threads."""
    out: Path = Path("results/deep.json")
    """Where the rows go; what was scored on held-out columns is printed only."""


def cases_of(options: DensityOptions) -> tuple[Tensor, Tensor]:
    """Return the training cases, bool columns or uint8 grey digits, and the columns to score."""
    columns, scored = read_mat(options.mat)
    held_out = columns[len(columns) - options.hold_out :]
    if options.hold_out:
        scored = held_out
    if not options.drawn_anew:
        return columns[: len(columns) - options.hold_out], scored
    grey = load("mnist").train.images.flatten(1)
    keep = torch.ones(len(grey), dtype=torch.bool)
    keep[drawn_from(grey, held_out)] = False
    return grey[keep], scored


def drawn_from(grey: Tensor, columns: Tensor) -> Tensor:
    """Return for each binary column (M, D) the number of the grey digit (N, D) that gives it the
    highest probability, (M,): the digit it was drawn from.
    """
    probs = (grey.float() / 255).clamp(0.002, 0.998)
    log_odds, rest = torch.logit(probs), torch.log1p(-probs).sum(1)
    sampled = [
        (part @ log_odds.t() + rest).argmax(1) for part in torch.split(columns.float(), 1000)
    ]
    return torch.cat(sampled)


def checkpoint_epochs(epochs: int) -> set[int]:
    """Return the epochs after which a checkpoint is kept: the powers of 1.2, rounded."""
    count = math.ceil(math.log(max(epochs, 1)) / math.log(1.2)) + 1
    return {round(1.2**power) for power in range(count)}


def train_rbm(options: DensityOptions, cases: Tensor) -> RBM:
    """Return the RBM, trained; its checkpoints lie in the folder as rbm-EPOCH.safetensors."""
    rbm = RBM(cases.shape[1], options.hidden[0], rng=generator(options.seed), weight_std=0.01)
    cd.init_visible_bias(rbm, cases)
    due = checkpoint_epochs(options.rbm.epochs)

    def keep(epoch: int, mean: RBM) -> None:
        if epoch in due:
            checkpoint.save(mean, options.folder / f"rbm-{epoch:03}.safetensors")

    def draw(rng: torch.Generator) -> Tensor:
        return draw_binary(cases, rng) if options.drawn_anew else cases.clone()

    how = LikelihoodMeasureOptions(seed=options.seed, precision=options.precision)
    path = options.folder / "rbm-training.safetensors"
    rbm = density_models.train(path, rbm, options.rbm, draw, how, "rbm", keep)
    checkpoint.save(rbm, options.folder / "rbm.safetensors")
    return rbm


def checkpoints(folder: Path, epoch: int = 0) -> list[RBM]:
    """Return the RBM that `train_rbm` left in a folder, last, after its checkpoints; or the
    checkpoint of `epoch` after those before it.
    """
    paths = [*sorted(folder.glob("rbm-[0-9]*.safetensors")), folder / "rbm.safetensors"]
    if epoch:
        paths = paths[: paths.index(folder / f"rbm-{epoch:03}.safetensors") + 1]
    return [checkpoint.load(path) for path in paths]


def ladder(
    folder: Path,
    cases: Tensor,
    rate: float,
    rng: torch.Generator,
    epoch: int = 0,
    chains: int = 100,
) -> ReplicaExchange:
    """Return so many replicas of the RBM on the way through its checkpoints from units independent
    as in `cases` (N, visible), or of that of `epoch`; they are kept in the folder.
    """
    path = folder / f"ladder-{epoch:03}-{chains}.safetensors"
    names = ("weight", "visible_bias", "hidden_bias")
    if path.exists():
        kept = load_file(path)
        machines = [RBM(*weight.shape, rng=rng) for weight in kept["weight"]]
        for number, machine in enumerate(machines):
            for name in names:
                machine.get_parameter(name).copy_(kept[name][number])
        replicas = ReplicaExchange(machines)
        replicas.begin(kept["visible"])
        return replicas
    machines = checkpoints(folder, epoch)
    base = ais.base_model(machines[-1], cases)
    replicas = choose(machines, rng=rng, base=base, chains=chains, rate=rate)
    assert replicas.visible is not None
    kept = {
        name: torch.stack([machine.get_parameter(name).detach() for machine in replicas.machines])
        for name in names
    }
    save_file({**kept, "visible": replicas.visible.contiguous()}, path)
    return replicas


def on_top_of(rbm: RBM, top: int, rng: torch.Generator) -> DBM:
    """Return a machine with a second hidden layer of `top` units on that of `rbm`, of nearly the
    same p(v): the new weights are near zero, and what units at 1/2 add through them is taken off.
    """
    visible, hidden = rbm.weight.shape
    dbm = DBM((visible, hidden, top), rng=rng, weight_std=0.01)
    upper = dbm.block("layer1", "layer2")
    dbm.block("visible", "layer1").copy_(rbm.weight)
    dbm.bias("visible").copy_(rbm.visible_bias)
    dbm.bias("layer1").copy_(rbm.hidden_bias - upper.sum(1) / 2)
    return dbm


def train_dbm(options: DensityOptions, cases: Tensor, dbm: DBM) -> float:
    """Train the deep machine, in place, and return the minutes of processor time it took; goes on
    after a stop.
    """
    models, path = {"dbm": dbm}, options.folder / TRAINING
    progress = resumed(path, generator(options.seed + 1), models, "training")
    began = time.process_time() - progress.notes.get("seconds", 0.0)

    def note(record: Any) -> None:
        progress.notes["seconds"] = time.process_time() - began
        change = record.metrics["mean_field_change"]
        minutes = progress.notes["seconds"] / 60
        print(f"dbm {record.epoch}/{record.epochs}  {minutes:.1f} min  {change:.3f}", flush=True)

    dtype = pick_precision(options.precision, dbm.rbm.weight.device)
    records = deep_boltzmann.epochs(
        dbm, cases, config=options.dbm, rng=progress.rng, state=progress.state, dtype=dtype
    )
    for _ in run(progress, records, models, dbm, note=note):
        pass
    checkpoint.save(dbm, options.folder / "dbm.safetensors")
    return float(progress.notes.get("seconds", 0.0)) / 60


def train(options: DensityOptions) -> tuple[DBM, float, Tensor, Tensor]:
    """Return the machine, trained; the minutes of processor time of its last stage; the cases it
    learned from and those to score.
    """
    options.folder.mkdir(parents=True, exist_ok=True)
    cases, scored = cases_of(options)
    rng = generator(options.seed)
    if options.begin == "rbm":
        dbm = on_top_of(train_rbm(options, cases), options.hidden[1], rng)
    else:
        dbm = DBM((cases.shape[1], *options.hidden), rng=rng)
        deep_boltzmann.init_visible_bias(dbm, cases)
    if options.begin == "pretrained" and not (options.folder / TRAINING).exists():
        dtype = pick_precision(options.precision, dbm.rbm.weight.device)
        how = options.pretraining
        for record in deep_boltzmann.pretrain(dbm, cases, config=how, rng=rng, dtype=dtype):
            print(f"{record.stage} {record.epoch}/{record.epochs}", flush=True)
    return dbm, train_dbm(options, cases, dbm), cases, scored


def score(
    options: DensityOptions, dbm: DBM, cases: Tensor, scored: Tensor
) -> tuple[dict[str, float], dict[str, Any]]:
    """Return the bounds of the machine, nats a case, by name, and what stands beside them: log Z is
    at the upper end of the interval of forward AIS where the name says nothing else.
    """
    rng = generator(options.seed + 2)
    trained = draw_binary(cases[: options.cases], rng)
    even = dbm.mean_field(trained).even
    log_z = likelihood.log_partition(
        dbm.rbm, even, rng=rng, target_error=options.target_error, limit=options.limit
    )
    assert log_z.reverse is not None
    of_training = bound.mean_field_bound(dbm, trained, log_z.forward.high)
    estimate = bound.mean_field_bound(dbm, scored.float(), 0.0, rng=rng, samples=20)
    mean, weighted = float(estimate.bound.mean()), float(estimate.importance_weighted.mean())
    part = "held_out" if options.hold_out else "test"
    values = {
        f"{part}_bound": mean - log_z.forward.high,
        f"{part}_bound_at_log_z_estimate": mean - log_z.forward.log_z,
        f"{part}_bound_reverse": mean - log_z.reverse.log_z,
        f"{part}_importance_weighted": weighted - log_z.forward.high,
        "train_bound": float(of_training.bound.mean()),
    }
    error = float(estimate.bound.std()) / len(scored) ** 0.5
    notes = {"log_z": log_z.as_json(), "error": error, "scored_cases": len(scored)}
    return values, {**notes, "training_cases": len(cases), "drawn_anew": options.drawn_anew}


def main(argv: list[str]) -> None:
    """Train, score, print, and save the rows."""
    options = tyro.cli(DensityOptions, description=__doc__, args=argv)
    torch.set_num_threads(options.threads)
    dbm, minutes, cases, scored = train(options)
    values, notes = score(options, dbm, cases, scored)
    name = "dbm-500-1000" if options.drawn_anew else "dbm-500-1000-fixed-columns"
    rows = [
        results.row(
            "deep",
            name,
            metric,
            [value],
            seeds=[options.seed],
            reported="-84.62" if metric == "test_bound" else "",
            command=shlex.join(["python", "-m", "benchmarks.deep.density", *argv]),
            minutes=round(minutes, 1),
            **notes,
        )
        for metric, value in values.items()
    ]
    for row in rows:
        print(row["row"], row["metric"], row["value"], flush=True)
    if not options.hold_out:
        results.save(options.out, rows)


if __name__ == "__main__":
    main(sys.argv[1:])
