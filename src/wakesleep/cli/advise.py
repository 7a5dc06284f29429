"""wakesleep advise: how deep and how wide a net these data want."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from wakesleep.cli import driver, machine, shared
from wakesleep.cli.options import Backend, DataFolder, Threads
from wakesleep.foundation import files
from wakesleep.foundation.errors import ConfigError

if TYPE_CHECKING:
    from wakesleep.runs.advice import Candidate


@dataclass(frozen=True)
class AdviseOptions:
    """Train small candidates within a budget of time and say which depth and width is worth it, and
    how sure that is.
    """

    data: str = "digits"
    """What to learn: digits, mnist, fashion-mnist, or a path as for train."""
    minutes: float = 5.0
    """Time for all candidates together; more time, more epochs, and advice that holds for longer
    training.
    """
    cases: int = 5000
    """Most training cases each candidate learns from; a sixth as many again are held out to judge
    it.
    """
    repeats: int = 2
    """Seeds a candidate; their spread is the uncertainty of the advice."""
    shapes: tuple[str, ...] = ()
    """Candidates' hidden layers, e.g. 100 200-200 500-500-2000; by default nine around the usual
    ones.
    """
    out: Path = Path("advice.png")
    """The picture to draw."""
    data_folder: DataFolder = None
    seed: int = 0
    """Seed of the first repeat, and of which cases are taken."""
    backend: Backend = None
    threads: Threads = 0
    overwrite: bool = False
    """Replace the picture where it exists."""
    json: bool = False
    """Print candidates and advice as JSON."""


def run(args: AdviseOptions, command: str) -> int:
    """Do it; return the exit status."""
    import statistics

    from wakesleep.data.unlabelled import set_aside
    from wakesleep.runs import advice, plots

    shared.refuse_place(args.out, args.overwrite)
    machine.set_threads(args.threads)
    try:
        shapes = (
            tuple(tuple(int(size) for size in words.split("-")) for words in args.shapes)
            or advice.SHAPES
        )
    except ValueError as error:
        raise ConfigError(
            f"--shapes {' '.join(args.shapes)}: expected sizes joined by '-', e.g. 200 200-200"
        ) from error
    budget = advice.Budget(args.minutes, args.cases, args.repeats)
    dataset = set_aside(shared.load_set(args.data, args.data_folder))
    show, candidates = driver.say(args.json), []
    for one in advice.candidates(dataset, budget, shapes, seed=args.seed):
        candidates.append(one)
        show(f"{len(candidates)} of {len(shapes) * args.repeats} candidates")
    advised = advice.recommend(candidates)
    points = {
        _name(shape): (
            statistics.mean(one.seconds for one in candidates if one.hidden == shape),
            [one.bound for one in candidates if one.hidden == shape],
        )
        for shape in dict.fromkeys(one.hidden for one in candidates)
    }
    plots.save_tradeoff(
        args.out,
        points,
        _name(advised.hidden),
        x="seconds to train",
        y="bound on log p of held-out cases, nats",
    )
    if args.json:
        print(files.to_json({**advice.as_json(candidates, advised), "picture": str(args.out)}))
        return 0
    for line in _table(candidates):
        print(line)
    gap = (
        (f"{advised.difference:.2f} nats below the best ({_name(advised.best)})")
        if advised.hidden != advised.best
        else "the best"
    )
    print(f"\nadvice: {_name(advised.hidden)}, {gap}; uncertainty {advised.uncertainty:.2f} nats")
    spent = f"{args.minutes:g} minutes, {args.cases:,} cases, {args.repeats} seeds"
    print(
        f"That holds for {spent}; nets that made few epochs are not done yet, and more minutes "
        f"may favour them. Picture: {args.out}"
    )
    return 0


def _name(hidden: tuple[int, ...]) -> str:
    return "-".join(map(str, hidden))


def _table(candidates: list[Candidate]) -> list[str]:
    """Return a line a shape, its figures the means over seeds, best bound first."""
    from statistics import mean

    shapes = dict.fromkeys(one.hidden for one in candidates)
    groups = sorted(
        ([one for one in candidates if one.hidden == shape] for shape in shapes),
        key=lambda group: -mean(one.bound for one in group),
    )
    lines = [
        f"{'hidden layers':<16}{'bound, nats':>12}{'spread':>8}{'label errors':>14}"
        f"{'free-energy gap':>17}{'epochs':>8}{'seconds':>9}"
    ]
    for group in groups:
        values = [one.bound for one in group]
        errors = mean(one.validation_error for one in group)
        lines.append(
            f"{_name(group[0].hidden):<16}{mean(values):>12.2f}{max(values) - min(values):>8.2f}"
            f"{errors:>12.1f} %{mean(one.gap for one in group):>17.2f}{group[0].epochs:>8}"
            f"{mean(one.seconds for one in group):>9.1f}"
        )
    return lines
