"""wakesleep plot: pictures of what a run's net knows."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from tyro.conf import Positional

from wakesleep.cli import deep, shared, tables
from wakesleep.cli.options import Backend, DataFolder, Device
from wakesleep.foundation import files
from wakesleep.foundation.errors import CheckpointError, ConfigError

if TYPE_CHECKING:
    from torch import Tensor

    from wakesleep.data import Dataset
    from wakesleep.runs.checkpoint import Model

What = Literal[
    "fields", "activity", "histograms", "monitors", "traces", "map", "dreams", "confused"
]
ALL: tuple[What, ...] = (
    "fields",
    "activity",
    "histograms",
    "monitors",
    "traces",
    "map",
    "dreams",
    "confused",
)


@dataclass(frozen=True)
class PlotOptions:
    """Draw what a run's net knows, into its folder of figures."""

    run: Positional[Path]
    """A run folder or a model file."""
    what: tuple[What, ...] = ALL
    """fields: receptive fields by kind; activity: hidden units by case; histograms of weights and
    updates; monitors of training; traces of annealing (after wakesleep likelihood); map: top-level
    codes in two dimensions; dreams: a row a class; confused: the worst cases. Of a run that learned
    a table its columns and their correlations are drawn instead, in data and model.
    """
    out: Path | None = None
    """The folder to draw in; by default RUN/figures."""
    cases: int = 1000
    """How many cases the map shows."""
    data: str | None = None
    """What to look at; by default the test cases of what the run learned from, or those it held
    out.
    """
    data_folder: DataFolder = None
    seed: int = 0
    """Seed of dreams and of the map."""
    device: Device = "auto"
    backend: Backend = None
    overwrite: bool = False
    """Replace pictures where they exist."""
    json: bool = False
    """Print the paths as JSON."""


def run(args: PlotOptions, command: str) -> int:
    """Do it; return the exit status."""
    table_model = tables.load(args.run)
    if table_model is not None:
        return tables.plot(args, table_model)
    machine = deep.load(args.run, args.device)
    if machine is not None:
        return deep.plot(args, machine)
    if args.cases < 10:
        raise ConfigError(f"--cases {args.cases}: expected at least 10")
    if not args.what:
        raise ConfigError(f"--what: expected one or more of {', '.join(ALL)}")
    if "map" not in args.what:
        shared.tell_unused(args, {"cases": "without the map"})
    folder = args.run if args.run.is_dir() else args.run.parent
    target = args.out or folder / "figures"
    what = asked(args, target)
    model = shared.model(args.run, args.device)
    dataset = shared.set_for(model, args.data, args.data_folder)
    paths = draw(args, what, model, dataset, folder, target)
    print(
        files.to_json({"paths": [str(path) for path in paths]})
        if args.json
        else "\n".join(map(str, paths))
    )
    return 0


def draw(
    args: PlotOptions,
    what: tuple[What, ...],
    model: Model,
    dataset: Dataset,
    folder: Path,
    target: Path,
) -> list[Path]:
    """Draw what is asked for of a model and the cases it is judged by into `target`, from the
    metrics and traces in `folder` too; return the files.
    """
    from wakesleep.data import some
    from wakesleep.foundation.rng import generator
    from wakesleep.runs import figures, scores
    from wakesleep.sources.arrays import as_probs

    dbn, device = model.dbn, model.dbn.memory.weight.device
    part = shared.cases_of(args.run, model, dataset)[1]
    images = as_probs(part.images).to(device)
    labels = None if part.labels is None else part.labels.to(device)
    classes, shape = [str(name) for name in dataset.classes], dataset.shape
    rng = generator(args.seed, device)
    make(target)

    def file(name: str) -> Path:
        return target / f"{name}.png"

    def seen(count: int) -> tuple[Tensor, Tensor | None]:
        cases = some(dataset, part, count)
        return as_probs(cases.images).to(device), None if cases.labels is None else cases.labels.to(
            device
        )

    paths: list[Path] = []
    if "fields" in what:
        paths.append(figures.draw_kinds(file("fields"), dbn, shape))
    if "activity" in what:
        paths.append(figures.draw_activity(file("activity"), dbn, seen(100)[0]))
    if "histograms" in what:
        paths.append(figures.draw_histograms(file("histograms"), dbn, *seen(100), rng=rng))
    if "monitors" in what:
        paths += figures.draw_monitors(folder / "metrics.jsonl", file("monitors"))
    if "traces" in what:
        paths += figures.draw_traces(folder, target)
    if "map" in what:
        paths.append(figures.draw_map(file("map"), dbn, *seen(args.cases), classes, seed=args.seed))
    if "dreams" in what:
        steps = figures.DREAM_STEPS
        dreams = figures.draw_dreams(file("dreams"), dbn, shape, classes, rng=rng, steps=steps)
        paths.append(dreams)
    if "confused" in what and labels is not None and (model.net is not None or dbn.labels):
        answers = scores.log_probs(dbn, model.net, images)
        paths.append(
            figures.draw_confused(file("confused"), images, labels, answers, shape, classes)
        )
    return paths


def make(target: Path) -> None:
    """Make the folder to draw in where it does not exist.

    Raises:
        CheckpointError: it cannot be made.
    """
    try:
        target.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise CheckpointError(
            f"{target} cannot be made ({error.strerror}); choose another folder: --out FOLDER"
        ) from error


def asked(args: PlotOptions, target: Path) -> tuple[What, ...]:
    """Return what is to be drawn into `target`; the dreams that training has drawn there stay where
    no choice was made.

    Raises:
        CheckpointError: a picture exists and may not be replaced.
    """
    what = args.what
    if what == ALL and not args.overwrite and (target / "dreams.png").exists():
        shared.tell(f"{target / 'dreams.png'} exists and is kept; --overwrite draws it anew")
        what = tuple(name for name in what if name != "dreams")
    traces = sorted(target.glob("ais_*.png")) if "traces" in what else []
    for path in [*(target / f"{name}.png" for name in what), *traces]:
        shared.refuse_existing(path, args.overwrite)
    return what
