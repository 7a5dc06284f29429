"""wakesleep mixing: do a run's chains mix?"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tyro.conf import Positional

from wakesleep.cli import deep, shared
from wakesleep.cli.options import Backend, DataFolder, Device
from wakesleep.foundation import files
from wakesleep.foundation.errors import ConfigError

if TYPE_CHECKING:
    from torch import Tensor

    from wakesleep.data import Dataset
    from wakesleep.evaluation.mixing import Mixing
    from wakesleep.models.rbm import RBM
    from wakesleep.runs.checkpoint import DeepModel, Model


@dataclass(frozen=True)
class MixingOptions:
    """Find out whether chains of a run's memory, or of its deep Boltzmann machine, are at
    equilibrium, how long they remember, and how many steps a dream needs; draw it.
    """

    run: Positional[Path]
    """A run folder or a model file."""
    steps: int = 1000
    """Steps of the chains; fifty times what they remember are enough to be sure."""
    chains: int = 100
    """Chains that begin at cases, and as many that begin at random."""
    replicas: bool = False
    """Let the chains exchange with those of easier machines between independent units and this one
    (parallel tempering), as many as neighbours need to exchange.
    """
    rate: float = 0.3
    """Wanted rate of exchanges of neighbours, with --replicas."""
    out: Path | None = None
    """The picture to write; by default RUN/figures/mixing.png, or with --replicas
    mixing_replicas.png.
    """
    data: str | None = None
    """Where cases come from; by default what the run learned from."""
    data_folder: DataFolder = None
    seed: int = 0
    """Seed of the chains."""
    device: Device = "auto"
    backend: Backend = None
    overwrite: bool = False
    """Replace the picture where it exists."""
    json: bool = False
    """Print what was measured as JSON."""


MOST_CASES = 2000
"""Cases from which principal components and starts of chains are taken."""


def run(args: MixingOptions, command: str) -> int:
    """Do it; return the exit status."""
    from wakesleep.evaluation import ais, mixing
    from wakesleep.foundation.rng import generator
    from wakesleep.runs import mixing_plot
    from wakesleep.samplers import gibbs, replica_exchange

    if args.steps < 10 or args.chains < 2:
        raise ConfigError(
            f"--steps {args.steps} --chains {args.chains}: expected at least 10 and 2"
        )
    if not args.replicas:
        shared.tell_unused(args, {"rate": "without --replicas"})
    folder = args.run if args.run.is_dir() else args.run.parent
    name = "mixing_replicas.png" if args.replicas else "mixing.png"
    out = args.out or folder / ("figures" if args.run.is_dir() else "") / name
    shared.refuse_place(out, args.overwrite)
    model = deep.load(args.run, args.device) or shared.model(args.run, args.device)
    dataset = shared.set_for(model, args.data, args.data_folder)
    rbm, cases = machine_and_cases(model, dataset)
    rng = generator(args.seed, rbm.weight.device)
    sampler: gibbs.Sampler = gibbs.run
    if args.replicas:
        sampler = replica_exchange.choose(
            [rbm],
            rng=rng,
            base=ais.base_model(rbm, cases),
            chains=2 * args.chains,
            rate=args.rate,
        )
    measured = mixing.measure(
        rbm, cases, rng=rng, steps=args.steps, chains=args.chains, sampler=sampler
    )
    swaps, round_trips = None, 0.0
    if isinstance(sampler, replica_exchange.ReplicaExchange):
        swaps, round_trips = sampler.swap_rates, round(sampler.round_trips, 2)
    title = f"{dataset.name}: do chains mix?"
    mixing_plot.draw(out, measured, cases, title=title, swap_rates=swaps)
    if args.json:
        print(files.to_json({"path": str(out), **as_numbers(measured, swaps, round_trips)}))
        return 0
    print(measured.in_words())
    for line in mixing_plot.numbers(measured):
        print(line)
    if swaps is not None:
        rates = " ".join(f"{rate:.2f}" for rate in swaps.tolist())
        print(f"exchanges of neighbours, easiest first: {rates}")
        print(f"round trips from the first machine to the last and back, a chain: {round_trips}")
    print(out)
    return 0


def as_numbers(measured: Mixing, swaps: Tensor | None, round_trips: float) -> dict[str, Any]:
    """Return what was measured for JSON; of replica exchange how often neighbours swapped, too."""
    result: dict[str, Any] = {
        "words": measured.in_words(),
        "settled": measured.settled,
        "autocorrelation_times": [round(time, 2) for time in measured.times.tolist()],
        "scale_reduction": [round(value, 3) for value in measured.scale_reduction.tolist()],
        "effective_per_second": round(measured.effective_per_second, 2),
        "dream_steps": measured.dream_steps,
    }
    if swaps is not None:
        result["swap_rates"] = [round(rate, 3) for rate in swaps.tolist()]
        result["round_trips_a_chain"] = round_trips
    return result


def machine_and_cases(model: Model | DeepModel, dataset: Dataset) -> tuple[RBM, Tensor]:
    """Return the machine whose chains make dreams, and what it sees of training cases, (N,
    visible): the features below a memory with their labels, or the mean field of all even layers.
    """
    from wakesleep.data import some
    from wakesleep.data.unlabelled import labelled
    from wakesleep.learning import greedy
    from wakesleep.runs.checkpoint import DeepModel

    known = dataset.train if dataset.train.labels is None else labelled(dataset.train)
    split = some(dataset, known, MOST_CASES)
    if isinstance(model, DeepModel):
        dbm = model.dbm
        images = dbm.as_numbers(dbm.check_cases(split.images.to(dbm.rbm.weight.device)))
        labels = split.labels if dbm.labels else None
        labels = None if labels is None else labels.to(images.device)
        return dbm.rbm, dbm.mean_field(images, labels).even
    dbn, device = model.dbn, model.dbn.memory.weight.device
    labels = None if split.labels is None or not dbn.labels else split.labels.to(device)
    return dbn.memory, greedy.memory_cases(dbn, split.images.to(device), labels)
