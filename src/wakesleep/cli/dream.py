"""wakesleep dream: let the memory settle and look."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from tyro.conf import Positional

from wakesleep.cli import shared
from wakesleep.cli.options import Backend, Device
from wakesleep.foundation import files
from wakesleep.foundation.errors import ConfigError
from wakesleep.foundation.values import listed


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
    """The picture to write."""
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
    tempering: int = 0
    """Settle by parallel tempering with so many temperatures, e.g. 10, instead of plain Gibbs
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
    if args.tempering < 0 or args.tempering == 1:
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
    import torch

    from wakesleep.foundation.rng import generator
    from wakesleep.runs import grids
    from wakesleep.samplers import dreams, gibbs, tempering

    unused = (
        {"every": "without --movie"}
        if args.movie is None
        else {"out": "with --movie, which names the file"}
    )
    if args.brain:
        unused["columns"] = "with --brain"
    shared.tell_unused(args, unused)
    out = args.movie or args.out
    shared.refuse_place(out, args.overwrite)
    check(args)
    model = shared.model(args.run, args.device)
    dbn, rng = model.dbn, generator(args.seed, model.dbn.memory.weight.device)
    classes = [str(name) for name in model.header["classes"]]
    shape: tuple[int, int] = tuple(model.header["shape"])
    labels = None
    if args.label is not None:
        if args.label not in classes:
            raise ConfigError(
                f"label {args.label!r}: this model knows {listed(classes, 20) or 'no labels'}"
            )
        labels = torch.full((args.count,), classes.index(args.label))
    elif args.movie is not None and dbn.labels:
        labels = torch.arange(dbn.labels)
    count = args.count if labels is None else len(labels)

    units = [*dbn.sizes[1:], *([dbn.labels] if dbn.labels else [])]
    kinds = [
        *(f"layer {layer + 1}" for layer in range(dbn.depth - 1)),
        "top",
        *(["labels"] if dbn.labels else []),
    ]
    blocks = [
        "pixels",
        *(f"{kind} ({number:,})" for kind, number in zip(kinds, units, strict=True)),
    ]

    def sheet(dreamt: dreams.Dream) -> grids.Array:
        names = (
            () if dreamt.labels is None else [classes[label] for label in dreamt.labels.tolist()]
        )
        if args.brain:
            layers = [layer.cpu().numpy() for layer in dreams.activities(dbn, dreamt.chains, rng)]
            return grids.brain(layers, shape, names=blocks, left=names, title="Of each dream")
        return grids.captioned(
            dreamt.pixels.cpu().numpy(), shape, min(args.columns, count), below=names
        )

    sampler = (
        gibbs.run
        if not args.tempering
        else tempering.Tempered(torch.linspace(0, 1, args.tempering))
    )
    if args.movie is not None:
        steps = 300 if args.steps is None else args.steps
        shown = list(
            dreams.frames(
                dbn,
                rng=rng,
                labels=labels,
                count=count,
                steps=steps,
                every=args.every,
                sampler=sampler,
            )
        )
        grids.save_movie(out, [sheet(dreamt) for dreamt in shown], 1)
        dreamt = shown[-1]
    else:
        steps = 1000 if args.steps is None else args.steps
        dreamt = dreams.dream(
            dbn, rng=rng, labels=labels, count=count, steps=steps, sampler=sampler
        )
        grids.save_picture(out, sheet(dreamt), 1)
    held = None if dreamt.labels is None else [classes[label] for label in dreamt.labels.tolist()]
    swaps = (
        [round(rate, 3) for rate in sampler.swap_rates.tolist()]
        if isinstance(sampler, tempering.Tempered)
        else None
    )
    if args.json:
        print(
            files.to_json(
                {
                    "path": str(out),
                    "labels": held,
                    "steps": steps,
                    "seed": args.seed,
                    "swap_rates": swaps,
                }
            )
        )
    else:
        print(
            out
            if held is None or labels is not None
            else f"{out}  (labels the memory held: {' '.join(held)})"
        )
        if swaps is not None:
            print(f"swap rates, warmest pair first: {' '.join(f'{rate:.2f}' for rate in swaps)}")
    return 0
