"""What the experiments with units share: machines that are trained once and kept, and how probable
they find cases.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

from torch import Tensor

from benchmarks.estimators import Found
from wakesleep.evaluation import likelihood
from wakesleep.evaluation.likelihood import LogZ
from wakesleep.foundation.rng import generator
from wakesleep.learning import cd
from wakesleep.learning.cd import CDConfig
from wakesleep.learning.records import EpochResult
from wakesleep.models.rbm import RBM
from wakesleep.runs.progress import resumed, run


def trained(
    base: Path, rbm: RBM, cases: Tensor, stages: list[CDConfig], *, seed: int, **given: Any
) -> RBM:
    """Train `rbm`, in place, through the stages, each from where the last one ended, and return it;
    `place` says where training stands, so that it goes on after a stop and is not done twice.

    What else is `given` goes to `cd.epochs`.
    """
    base.parent.mkdir(parents=True, exist_ok=True)
    for number, config in enumerate(stages):
        path = base.with_name(f"{base.name}-{number}.safetensors")
        progress = resumed(path, generator(seed + number), {"rbm": rbm})
        records = cd.epochs(
            rbm, cases, config=config, rng=progress.rng, state=progress.state, **given
        )
        for record in run(progress, records, {"rbm": rbm}, rbm):
            show(base.name, record)
    return rbm


def show(name: str, record: EpochResult) -> None:
    """Print a line of an epoch out of ten."""
    if record.epoch % 10 == 0 or record.epoch == record.epochs:
        print(f"{name} epoch {record.epoch} of {record.epochs}", flush=True)


class Likelihood(NamedTuple):
    """Mean log p of cases under both readings of log Z, nats a case."""

    forward: float
    """With forward AIS, which errs high."""
    reverse: float
    """With reverse AIS, which errs low as far as its chains begin in samples of the model."""
    log_z: LogZ

    @property
    def lower(self) -> float:
        """The lower of the two."""
        return min(self.forward, self.reverse)


def log_likelihood(rbm: RBM, base: Tensor, cases: Tensor, **settings: Any) -> Likelihood:
    """Return how probable `cases` (N, visible) are, AIS beginning at the independent model that
    fits the cases `base`; settings as in `likelihood.log_partition`.
    """
    log_z = likelihood.log_partition(rbm, base, **settings)
    assert log_z.reverse is not None
    mean = -float(rbm.free_energy(cases).double().mean())
    return Likelihood(mean - log_z.forward.log_z, mean - log_z.reverse.log_z, log_z)


def both_ways(row: str, metric: str, values: list[Likelihood]) -> Found:
    """Yield the row of the lower of both readings, which have their own rows, a value a seed."""
    yield row, metric, [each.lower for each in values], {}
    yield f"{row}-forward", metric, [each.forward for each in values], {}
    yield f"{row}-reverse", metric, [each.reverse for each in values], {}
