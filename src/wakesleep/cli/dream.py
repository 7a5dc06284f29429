"""wakesleep dream: let the memory settle and look."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from tyro.conf import Positional

from wakesleep.cli import deep, shared, tables
from wakesleep.cli.options import Backend, Device
from wakesleep.foundation import files
from wakesleep.foundation.errors import ConfigError
from wakesleep.foundation.values import listed

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from wakesleep.models.rbm import RBM
    from wakesleep.runs import grids
    from wakesleep.runs.checkpoint import Model
    from wakesleep.samplers.dreams import Dream
    from wakesleep.samplers.gibbs import Sampler


@dataclass(frozen=True)
class DreamOptions:
    """Let a run's memory settle, with a label clamped or free, and write down what it thinks of as
    a picture.
    """

    run: Positional[Path]
    """A run folder or a model file."""
    label: str | None = None
    """The label to clamp, a class name such as 7; without it the memory runs free."""
    count: int = 20
    """How many dreams."""
    steps: int | None = None
    """Gibbs steps from random top states before a dream is shown; by default 1000 as in the 2006
    paper, for the memory mixes slowly, and 300 in a movie, as in Hinton's.
    """
    out: Path = Path("dreams.png")
    """The picture to write. Of a run that learned a table: the .csv, .tsv or .parquet; by default
    its rows are printed as CSV.
    """
    movie: Path | None = None
    """Write a .gif instead of a picture: all labels side by side (or the one clamped) settle from
    random top states.
    """
    every: int = 3
    """Gibbs steps between two frames of the movie."""
    brain: bool = False
    """Show the activity of every layer beside each dream: pixels, the layers upward, the top, the
    labels.
    """
    tempering: int | Literal["auto"] = 0
    """Settle by parallel tempering with so many temperatures, e.g. 10, or, by auto, as many as
    neighbours need to swap at three of ten tries, instead of plain Gibbs
    sampling, and say how often neighbouring temperatures swapped: for a memory that mixes
    slowly.
    """
    columns: int = 10
    """Dreams in a row of the picture."""
    seed: int = 0
    """Seed of the random states; another seed, other dreams."""
    device: Device = "auto"
    backend: Backend = None
    overwrite: bool = False
    """Replace the picture where it exists."""
    json: bool = False
    """Print the path and the label of each dream as JSON."""


MOST = 10_000
"""Dreams beyond which nobody looks at each, and their picture does not fit into memory."""


def check(args: DreamOptions) -> None:
    """Raise ConfigError for numbers that cannot be."""
    if not 1 <= args.count <= MOST or args.columns < 1:
        raise ConfigError(
            f"--count {args.count} --columns {args.columns}: expected 1 to {MOST:,} dreams, and "
            "both to be at least 1"
        )
    if args.tempering != "auto" and (args.tempering < 0 or args.tempering == 1):
        raise ConfigError(
            f"--tempering {args.tempering}: expected 2 temperatures or more, e.g. 10, or 0 for "
            "plain Gibbs sampling"
        )
    if args.movie is not None and args.movie.suffix.lower() != ".gif":
        raise ConfigError(f"--movie {args.movie}: expected a name that ends in .gif")
    if args.every < 1 or (args.steps is not None and args.steps < 1):
        raise ConfigError(
            f"--steps {args.steps} --every {args.every}: expected at least 1 Gibbs step"
        )


def run(args: DreamOptions, command: str) -> int:
    """Do it; return the exit status."""
    from wakesleep.foundation.rng import generator
    from wakesleep.runs import grids
    from wakesleep.samplers import dreams, tempering

    table_model = tables.load(args.run)
    if table_model is not None:
        return tables.dream(args, table_model)
    _tell_unused(args)
    out = args.movie or args.out
    shared.refuse_place(out, args.overwrite)
    check(args)
    machine = deep.load(args.run, args.device)
    if machine is not None:
        return deep.dream(args, machine)
    model = shared.model(args.run, args.device)
    dbn, rng = model.dbn, generator(args.seed, model.dbn.memory.weight.device)
    labels = clamped_labels(args, model)
    sampler = sampler_of(args, dbn.memory, rng)
    settings: dict[str, Any] = {
        "rng": rng,
        "labels": labels,
        "count": args.count if labels is None else len(labels),
        "steps": args.steps or (1000 if args.movie is None else 300),
        "sampler": sampler,
    }
    if args.movie is None:
        dream = dreams.dream(dbn, **settings)
        grids.save_picture(out, sheet(args, model, dream, rng), 1)
    else:
        frames = list(dreams.frames(dbn, every=args.every, **settings))
        grids.save_movie(out, [sheet(args, model, frame, rng) for frame in frames], 1)
        dream = frames[-1]
    held = _names_held(model, dream)
    swaps = (
        [round(rate, 3) for rate in sampler.swap_rates.tolist()]
        if isinstance(sampler, tempering.Tempered)
        else None
    )
    if args.json:
        answer = {"path": str(out), "labels": held, "steps": settings["steps"]}
        print(files.to_json({**answer, "seed": args.seed, "swap_rates": swaps}))
        return 0
    free = held is not None and labels is None
    print(f"{out}  (labels the memory held: {' '.join(held or [])})" if free else out)
    if swaps is not None:
        print(f"swap rates, warmest pair first: {' '.join(f'{rate:.2f}' for rate in swaps)}")
    return 0


def sampler_of(args: DreamOptions, rbm: RBM, rng: torch.Generator) -> Sampler:
    """Return what moves the chains of a machine."""
    import torch

    from wakesleep.samplers import gibbs, tempering

    if args.tempering == "auto":
        return tempering.choose(rbm, rng=rng)
    if args.tempering:
        return tempering.Tempered(torch.linspace(0, 1, args.tempering))
    return gibbs.run


def _tell_unused(args: DreamOptions) -> None:
    """Say which options have no effect in this call."""
    unused = (
        {"every": "without --movie"}
        if args.movie is None
        else {"out": "with --movie, which names the file"}
    )
    if args.brain:
        unused["columns"] = "with --brain"
    shared.tell_unused(args, unused)


def clamped_labels(args: DreamOptions, model: Model) -> Tensor | None:
    """Return the label of each dream: the one that the call names, all of them in turn in a movie,
    or None, where the memory runs free.

    Raises:
        ConfigError: a label that the model does not know.
    """
    import torch

    classes = _classes(model)
    if args.label is not None:
        if args.label not in classes:
            raise ConfigError(
                f"label {args.label!r}: this model knows {listed(classes, 20) or 'no labels'}"
            )
        return torch.full((args.count,), classes.index(args.label))
    return torch.arange(model.dbn.labels) if args.movie is not None and model.dbn.labels else None


def sheet(args: DreamOptions, model: Model, dream: Dream, rng: torch.Generator) -> grids.Array:
    """Return the picture of dreams side by side, each with its label; with --brain of what every
    layer does in them.
    """
    from wakesleep.runs import grids
    from wakesleep.samplers import dreams

    dbn, names = model.dbn, _names_held(model, dream) or ()
    shape: tuple[int, int] = tuple(model.header["shape"])
    if not args.brain:
        pixels = dream.pixels.cpu().numpy()
        return grids.captioned(pixels, shape, min(args.columns, len(pixels)), below=names)
    layers = [layer.cpu().numpy() for layer in dreams.activities(dbn, dream.chains, rng)]
    kinds = [*(f"layer {layer}" for layer in range(1, dbn.depth)), "top", "labels"]
    units = [*dbn.sizes[1:], *([dbn.labels] if dbn.labels else [])]
    blocks = [f"{kind} ({number:,})" for kind, number in zip(kinds, units, strict=False)]
    return grids.brain(layers, shape, names=["pixels", *blocks], left=names, title="Of each dream")


def _classes(model: Model) -> list[str]:
    return [str(name) for name in model.header["classes"]]


def _names_held(model: Model, dream: Dream) -> list[str] | None:
    """Return the class that the memory held in each dream; None without labels."""
    classes = _classes(model)
    return None if dream.labels is None else [classes[label] for label in dream.labels.tolist()]
