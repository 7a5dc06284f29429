"""The command line: parse, call, print."""

from __future__ import annotations

import json
import os
import shlex
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, TextIO

import tyro
from tyro.conf import Positional

from wakesleep.foundation.errors import CheckpointError, ConfigError, WakesleepError
from wakesleep.learning.backprop import BackpropConfig
from wakesleep.learning.up_down import UpDownConfig
from wakesleep.settings import TrainConfig, preset, read_config

if TYPE_CHECKING:
    from wakesleep.checkpoint import Model
    from wakesleep.data import Dataset
    from wakesleep.learning.records import Pass
    from wakesleep.recipe import Job


@dataclass(frozen=True)
class Train:
    """Pretrain a deep belief net layer by layer, fine-tune it, compare, evaluate, and let it dream: one run folder."""

    data: str = "digits"
    """What to learn: digits (embedded), mnist, fashion-mnist, or the path of a .npz, .npy, a folder of IDX files, or a folder of pictures
    with a folder a class."""
    out: Path | None = None
    """The run folder to make; by default runs/DATA (runs/DATA-2 where that exists). Nothing is ever overwritten."""
    resume: Path | None = None
    """Go on with this run folder after its last saved pass; all settings come from the folder."""
    data_folder: Path | None = None
    """Where mnist and fashion-mnist lie; otherwise the variable WAKESLEEP_DATA, the user's cache, and only then a download."""
    device: str = "auto"
    """auto takes a GPU where there is one; or cpu, cuda, cuda:1."""
    threads: int = 0
    """CPU threads; 0 leaves PyTorch's choice, which is right on a quiet machine. On a busy one fewer are faster."""
    json: bool = False
    """Print the evaluation as JSON instead of a table."""
    config: Annotated[TrainConfig, tyro.conf.arg(name="")] = field(default_factory=TrainConfig)


@dataclass(frozen=True)
class Finetune:
    """Fine-tune the model of a finished run, into a run folder of its own."""

    run: Positional[Path]
    """The run folder to start from; it stays as it is."""
    method: Literal["updown", "backprop"] = "backprop"
    """updown: contrastive wake-sleep, a better generative model; backprop: a feed-forward net from the recognition weights."""
    out: Path | None = None
    """The run folder to make; by default RUN-METHOD."""
    data: str | None = None
    """What to learn; by default what the run learned from."""
    data_folder: Path | None = None
    """Where mnist and fashion-mnist lie; otherwise the variable WAKESLEEP_DATA, the user's cache, and only then a download."""
    validation: int | None = None
    """How many of the last training cases pick the pass; by default as in the run."""
    seed: int | None = None
    """Seed of every random choice; by default that of the run."""
    device: str = "auto"
    """auto takes a GPU where there is one; or cpu, cuda, cuda:1."""
    threads: int = 0
    """CPU threads; 0 leaves PyTorch's choice."""
    json: bool = False
    """Print the evaluation as JSON instead of a table."""
    updown: UpDownConfig = field(default_factory=UpDownConfig)
    backprop: BackpropConfig = field(default_factory=BackpropConfig)


@dataclass(frozen=True)
class Evaluate:
    """Count the errors of a run's model on test cases."""

    run: Positional[Path]
    """A run folder or a model file."""
    method: Literal["auto", "free-energy", "backprop"] = "auto"
    """free-energy asks the generative model, backprop the net fine-tuned from it; auto takes the fine-tuned net where there is one."""
    data: str | None = None
    """What to evaluate on; by default the test cases of what the run learned from."""
    data_folder: Path | None = None
    """Where mnist and fashion-mnist lie; otherwise the variable WAKESLEEP_DATA, the user's cache, and only then a download."""
    device: str = "auto"
    """auto takes a GPU where there is one; or cpu, cuda, cuda:1."""
    json: bool = False
    """Print dataset, n_test, test_errors, test_error_percent and method as JSON."""


@dataclass(frozen=True)
class Dream:
    """Let a run's memory settle, with a label clamped or free, and write down what it thinks of as a picture."""

    run: Positional[Path]
    """A run folder or a model file."""
    label: str | None = None
    """The label to clamp, a class name such as 7; without it the memory runs free."""
    count: int = 20
    """How many dreams."""
    steps: int | None = None
    """Gibbs steps from random top states before a dream is shown; by default 1000 as in the 2006 paper, for the memory mixes slowly, and
    300 in a movie, as in Hinton's."""
    out: Path = Path("dreams.png")
    """The picture to write."""
    movie: Path | None = None
    """Write a .gif instead of a picture: all labels side by side (or the one clamped) settle from random top states."""
    every: int = 3
    """Gibbs steps between two frames of the movie."""
    brain: bool = False
    """Show the activity of every layer beside each dream: pixels, the layers upward, the top, the labels."""
    columns: int = 10
    """Dreams in a row of the picture."""
    seed: int = 0
    """Seed of the random states; another seed, other dreams."""
    device: str = "auto"
    """auto takes a GPU where there is one; or cpu, cuda, cuda:1."""
    overwrite: bool = False
    """Replace the picture where it exists."""
    json: bool = False
    """Print the path and the label of each dream as JSON."""


@dataclass(frozen=True)
class Recognize:
    """Say what an ordinary picture file shows, with the probability of every label."""

    run: Positional[Path]
    """A run folder or a model file."""
    image: Positional[Path]
    """A picture file of any size, dark on light or light on dark."""
    imagine: Path | None = None
    """Also write this picture: the image as the net gets it, what it sees in it, and five times what it imagines in its place."""
    steps: int = 10
    """Gibbs steps of the memory for what it imagines; few stay near the image, many wander off."""
    seed: int = 0
    """Seed of what it imagines."""
    device: str = "auto"
    """auto takes a GPU where there is one; or cpu, cuda, cuda:1."""
    overwrite: bool = False
    """Replace the picture where it exists."""
    json: bool = False
    """Print the label and all probabilities as JSON."""


@dataclass(frozen=True)
class Data:
    """Find, check and describe a data set; mnist and fashion-mnist are fetched if they are not on this machine."""

    name: Positional[str] = "digits"
    """digits, mnist, fashion-mnist, or the path of your own."""
    data_folder: Path | None = None
    """Where mnist and fashion-mnist lie; otherwise the variable WAKESLEEP_DATA, the user's cache, and only then a download."""
    offline: bool = False
    """Never download: say what is missing instead."""
    json: bool = False
    """Print the description as JSON."""


def main(argv: list[str] | None = None) -> int:
    """Run one command; return the exit status: 0, 1 for a refusal, 2 for a wrong call, 130 after Ctrl-C."""
    argv = sys.argv[1:] if argv is None else argv
    try:
        return _run(argv)
    except WakesleepError as error:
        print(f"wakesleep: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("wakesleep: stopped", file=sys.stderr)
        return 130
    except BrokenPipeError:  # the reader of a pipe has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as error:
        print(f"wakesleep: {error}; check that the path exists and that there is space", file=sys.stderr)
        return 1


def _run(argv: list[str]) -> int:
    commands = {"finetune": Finetune, "evaluate": Evaluate, "dream": Dream, "recognize": Recognize, "data": Data}
    defaults = Train(config=preset(_wanted_data(argv)))
    union: Any = Annotated[Train, tyro.conf.subcommand("train", description=Train.__doc__, default=defaults)]
    for name, kind in commands.items():
        known: dict[str, Any] = {"default": _finetune_defaults(argv)} if kind is Finetune else {}
        union = union | Annotated[kind, tyro.conf.subcommand(name, description=kind.__doc__, **known)]
    args = tyro.cli(union, prog="wakesleep", description=__import__("wakesleep").__doc__, args=argv)
    return COMMANDS[type(args)](args, shlex.join(["wakesleep", *argv]))


def _wanted_data(argv: list[str]) -> str:
    """Return the data set a call names, before it is parsed: the defaults shown and used are those that suit the data."""
    for position, word in enumerate(argv):
        if word == "--data" and position + 1 < len(argv):
            return argv[position + 1]
        if word.startswith("--data="):
            return word.removeprefix("--data=")
    return "digits"


def _finetune_defaults(argv: list[str]) -> Finetune:
    """Return the defaults of a fine-tuning: the run's own settings, where the call names a run as its first word."""
    run = Path(argv[1]) if argv[:1] == ["finetune"] and len(argv) > 1 else Path()
    known = read_config(run) if (run / "config.json").is_file() else TrainConfig()
    return Finetune(run=tyro.MISSING, updown=known.updown, backprop=known.backprop)


def _train(args: Train, command: str) -> int:
    from wakesleep import recipe
    from wakesleep.checkpoint import read_json
    from wakesleep.foundation.devices import pick_device

    _set_threads(args.threads)
    device = pick_device(args.device)
    if args.resume is not None:
        name = str(read_json(args.resume / "provenance.json").get("data_path", "digits"))
        job = recipe.resume(args.resume, _load(name, args.data_folder), device)
    else:
        dataset = _load(args.data, args.data_folder)
        job = recipe.start(args.out or _free_folder(Path("runs") / dataset.name), args.config, dataset, device, command, data_path=args.data)
    return _work(job, as_json=args.json)


def _finetune(args: Finetune, command: str) -> int:
    from wakesleep import recipe
    from wakesleep.checkpoint import load_model
    from wakesleep.foundation.devices import pick_device

    _set_threads(args.threads)
    device = pick_device(args.device)
    model = load_model(args.run, device)
    before = read_config(args.run)
    name = args.data or str(model.header.get("data_path", "digits"))
    config = replace(
        before,
        stages=(args.method,),
        updown=args.updown,
        backprop=args.backprop,
        validation=before.validation if args.validation is None else args.validation,
        seed=before.seed if args.seed is None else args.seed,
    )
    out = args.out or _free_folder(args.run.with_name(f"{args.run.name}-{args.method}"))
    job = recipe.start(out, config, _load(name, args.data_folder), device, command, data_path=name, dbn=model.dbn)
    return _work(job, as_json=args.json)


def _work(job: Job, *, as_json: bool) -> int:
    """Drive a job to its end with a progress bar (plain lines in a pipe), then show its table."""
    from wakesleep import recipe, report
    from wakesleep.checkpoint import read_json

    shown = sys.stderr if as_json else sys.stdout
    for line in report.announce(job):
        print(line, file=shown)
    try:
        for line in _progress(recipe.train(job), job, shown):
            print(line, file=shown, flush=True)
    except KeyboardInterrupt:
        print(f"\nstopped; every finished pass is saved. Go on with: wakesleep train --resume {job.folder}", file=sys.stderr)
        return 130
    result = read_json(job.folder / "evaluation.json") if job.dataset.train.labels is not None else {"rows": []}
    if as_json:
        print(json.dumps({"run": str(job.folder), **result}))
        return 0
    for line in report.table(job):
        print(line)
    return 0


def _progress(records: Iterator[Pass], job: Job, shown: TextIO) -> Iterator[str]:
    """Show each pass: on a terminal as a bar with rate and time left, in a pipe as a line that is yielded."""
    from tqdm import tqdm

    from wakesleep import report

    work = report.plan(job)
    done = sum(work.get(stage, 0.0) * passes for stage, passes in report.passes_done(job).items())
    total = sum(work[stage] * passes for stage, passes in report.passes_planned(job).items())
    form = "{desc} {percentage:3.0f}%|{bar}| {elapsed}<{remaining}{postfix}"
    with tqdm(total=total, initial=done, file=shown, disable=not shown.isatty(), bar_format=form, leave=False, smoothing=0.05) as bar:
        for record in records:
            rate = job.last_rate
            bar.set_description_str(f"{record.stage} {record.epoch}/{record.epochs}")
            bar.set_postfix_str(f"{rate:,.0f} cases/s")
            bar.update(work[record.stage])
            if not shown.isatty():
                numbers = "  ".join(f"{name} {value:.4g}" for name, value in record.metrics.items())
                yield f"{record.stage} {record.epoch}/{record.epochs}  {rate:,.0f} cases/s  {numbers}"


def _evaluate(args: Evaluate, command: str) -> int:
    from wakesleep import recipe

    model = _model(args.run, args.device)
    method = args.method if args.method != "auto" else "backprop" if model.net is not None else "free-energy"
    if method == "backprop" and model.net is None:
        raise ConfigError(f"{args.run} holds no fine-tuned net; make one: wakesleep finetune {args.run}")
    dataset = _load(args.data or str(model.header.get("data_path", "digits")), args.data_folder)
    part = dataset.test or dataset.train
    result = recipe.evaluate(model.dbn, model.net if method == "backprop" else None, part, dataset.name, method)
    if args.json:
        print(json.dumps(result))
    else:
        which = "test" if dataset.test else "training (it has no test cases)"
        found = f"{result['test_errors']} errors, {result['test_error_percent']:.2f} %"
        print(f"{dataset.name}, {result['n_test']:,} {which} cases, {method}: {found}")
    return 0


def _dream(args: Dream, command: str) -> int:
    import torch

    from wakesleep import plots
    from wakesleep.foundation.rng import generator
    from wakesleep.sampling import dreams

    out = args.movie or args.out
    _refuse_existing(out, args.overwrite)
    if args.count < 1 or args.columns < 1:
        raise ConfigError(f"--count {args.count} --columns {args.columns}: expected both to be at least 1")
    model = _model(args.run, args.device)
    dbn, rng = model.dbn, generator(args.seed, model.dbn.memory.weight.device)
    classes = [str(name) for name in model.header["classes"]]
    shape: tuple[int, int] = tuple(model.header["shape"])
    labels = None
    if args.label is not None:
        if args.label not in classes:
            raise ConfigError(f"label {args.label!r}: this model knows {', '.join(classes) or 'no labels'}")
        labels = torch.full((args.count,), classes.index(args.label))
    elif args.movie is not None and dbn.labels:
        labels = torch.arange(dbn.labels)
    count = args.count if labels is None else len(labels)

    def sheet(dreamt: dreams.Dream) -> plots.Array:
        if args.brain:
            return plots.brain([layer.cpu().numpy() for layer in dreams.activities(dbn, dreamt.chains, rng)], shape)
        return plots.tile(dreamt.pixels.cpu().numpy(), shape, min(args.columns, count))

    scale = 2 if args.brain else plots.scale_for(shape)
    if args.movie is not None:
        steps = 300 if args.steps is None else args.steps
        shown = list(dreams.frames(dbn, rng=rng, labels=labels, count=count, steps=steps, every=args.every))
        plots.save_movie(out, [sheet(dreamt) for dreamt in shown], scale)
        dreamt = shown[-1]
    else:
        steps = 1000 if args.steps is None else args.steps
        dreamt = dreams.dream(dbn, rng=rng, labels=labels, count=count, steps=steps)
        plots.save_picture(out, sheet(dreamt), scale)
    held = None if dreamt.labels is None else [classes[label] for label in dreamt.labels.tolist()]
    if args.json:
        print(json.dumps({"path": str(out), "labels": held, "steps": steps, "seed": args.seed}))
    else:
        print(out if held is None or labels is not None else f"{out}  (labels the memory held: {' '.join(held)})")
    return 0


def _recognize(args: Recognize, command: str) -> int:
    import torch

    from wakesleep import plots
    from wakesleep.data import FIELD, read_picture
    from wakesleep.foundation.rng import generator
    from wakesleep.judging import classify
    from wakesleep.learning import backprop
    from wakesleep.sampling import dreams

    if args.imagine is not None:
        _refuse_existing(args.imagine, args.overwrite)
    model = _model(args.run, args.device)
    shape: tuple[int, int] = tuple(model.header["shape"])
    classes = [str(name) for name in model.header["classes"]]
    picture = read_picture(args.image, shape, field=float(model.header.get("ink_field", FIELD))).to(model.dbn.memory.weight.device)
    log_probs = backprop.log_probs(model.net, picture) if model.net is not None else classify.log_probs(model.dbn, picture)
    probs = {name: float(prob) for name, prob in zip(classes, log_probs.exp()[0], strict=True)}
    label = max(probs, key=lambda name: probs[name])
    if args.imagine is not None:
        rng = generator(args.seed, picture.device)
        seen = [picture, dreams.reconstruct(model.dbn, picture)]
        if model.dbn.labels:
            clamped = torch.full((5,), classes.index(label), device=picture.device)
            seen.append(dreams.imagine(model.dbn, picture.expand(5, -1), clamped, rng=rng, steps=args.steps))
        plots.save_tile(args.imagine, torch.cat(seen).cpu().numpy(), shape, 7)
    if args.json:
        print(json.dumps({"label": label, "probabilities": probs, "method": "backprop" if model.net is not None else "free-energy"}))
        return 0
    print(f"{args.image}: {label}")
    for name, prob in probs.items():
        print(f"  {name:>12}  {prob:7.2%}  {'#' * round(40 * prob)}")
    if args.imagine is not None:
        print(f"imagined: {args.imagine}")
    return 0


def _data(args: Data, command: str) -> int:
    from wakesleep.data import describe, load

    about = describe(load(args.name, folder=args.data_folder, download=not args.offline))
    if args.json:
        print(json.dumps(about))
    else:
        for name, value in about.items():
            print(f"{name:>16}  {value}")
    return 0


COMMANDS: dict[type, Callable[[Any, str], int]] = {
    Train: _train,
    Finetune: _finetune,
    Evaluate: _evaluate,
    Dream: _dream,
    Recognize: _recognize,
    Data: _data,
}


def _load(name: str, folder: Path | None) -> Dataset:
    from wakesleep.data import load

    return load(name, folder=folder)


def _model(path: Path, device: str) -> Model:
    from wakesleep.checkpoint import load_model
    from wakesleep.foundation.devices import pick_device

    return load_model(path, pick_device(device))


def _free_folder(path: Path) -> Path:
    """Return `path`, or path-2, path-3, ... where it exists."""
    names = (path if number == 1 else path.with_name(f"{path.name}-{number}") for number in count(1))
    return next(name for name in names if not name.exists())


def _refuse_existing(path: Path, overwrite: bool) -> None:
    if path.exists() and not overwrite:
        raise CheckpointError(f"{path} exists; choose another name, or say --overwrite")


def _set_threads(threads: int) -> None:
    import torch

    if threads < 0:
        raise ConfigError(f"--threads {threads}: expected 0 (PyTorch's choice) or more")
    if threads:
        torch.set_num_threads(threads)


if __name__ == "__main__":
    sys.exit(main())
