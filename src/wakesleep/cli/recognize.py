"""wakesleep recognize: what do these pictures show?"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, cast

from tyro.conf import Positional

from wakesleep.cli import deep, shared, tables
from wakesleep.cli.options import Backend, Device
from wakesleep.foundation import files
from wakesleep.foundation.errors import ConfigError, DataError
from wakesleep.foundation.values import listed

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from wakesleep.runs.checkpoint import DeepModel, Model

TOGETHER = 256
"""Pictures that are recognised at once."""


@dataclass(frozen=True)
class RecognizeOptions:
    """Say what ordinary picture files show: of one the probability of every label, of several a
    line each.
    """

    run: Positional[Path]
    """A run folder or a model file."""
    pictures: Positional[tuple[Path, ...]] = ()
    """Picture files of any size, or folders of them; they are prepared as the pictures were from
    which the run learned. Of a folder with a folder for each class, the share that is right is
    counted too. For a run that learned a table: tables, which come back as CSV with its answers.
    """
    imagine: Path | None = None
    """Also write this picture: the image as the net gets it, what it sees in it, and five times
    what it imagines in its place.
    """
    steps: int = 10
    """Gibbs steps of the memory for what it imagines; few stay near the image, many wander off."""
    seed: int = 0
    """Seed of what it imagines."""
    device: Device = "auto"
    backend: Backend = None
    overwrite: bool = False
    """Replace the picture where it exists."""
    json: bool = False
    """Print the label and all probabilities as JSON; of several pictures under "pictures", each
    with its path.
    """


class Found(NamedTuple):
    """A picture file, and the class that its folder says it shows."""

    path: Path
    true: str | None = None


def run(args: RecognizeOptions, command: str) -> int:
    """Do it; return the exit status: 1 where a picture could not be read."""
    if not args.pictures:
        raise ConfigError(
            "no picture came; expected picture files, or folders of them: wakesleep recognize "
            f"{args.run} PICTURE"
        )
    table_model = tables.load(args.run)
    if table_model is not None:
        return tables.recognize(args, table_model)
    one = len(args.pictures) == 1 and not args.pictures[0].is_dir()
    if args.imagine is None:
        shared.tell_unused(args, dict.fromkeys(("steps", "seed", "overwrite"), "without --imagine"))
    else:
        if not one:
            raise ConfigError("--imagine is for one picture: name one")
        shared.refuse_place(args.imagine, args.overwrite)
    machine = deep.load(args.run, args.device)
    if machine is not None and args.imagine is not None:
        raise ConfigError("--imagine asks the memory of a deep belief net; leave it out")
    model = machine or shared.model(args.run, args.device)
    shared.refuse_other_scale(model)
    return _one(args, model) if one else _several(args, model)


def _one(args: RecognizeOptions, model: Model | DeepModel) -> int:
    """Say the probability of every label of one picture."""
    from wakesleep.data import from_header

    [path] = args.pictures
    picture = from_header(model.header).read(path).to(_device(model))
    probs = _probs(model, picture)[0]
    label = max(probs, key=lambda name: probs[name])
    [odd] = _novelty(model, picture)
    if args.imagine is not None:
        _draw_imagined(
            args,
            args.imagine,
            cast("Model", model),
            picture,
            label,
            f"{path.name}: {label} ({probs[label]:.1%})",
        )
    if args.json:
        answer = {"label": label, "probabilities": probs, **odd, "method": _method(model)}
        print(files.to_json(answer))
        return 0
    print(f"{path}: {label}")
    for name, prob in probs.items():
        print(f"  {name:>12}  {prob:7.2%}  {'#' * round(40 * prob)}")
    if odd.get("unfamiliar"):
        print(
            f"unlike what the run learned from: {odd['surprise']:.1f} nats of surprise, "
            f"{odd['usual_surprise']:.1f} are usual"
        )
    if args.imagine is not None:
        print(f"imagined: {args.imagine}")
    return 0


def _several(args: RecognizeOptions, model: Model | DeepModel) -> int:
    """Say the label of each of several pictures, and how many are right where their folders
    tell.
    """
    classes = [str(name) for name in model.header["classes"]]
    files_named = [
        one
        for path in args.pictures
        for one in (pictures_in(path, classes) if path.is_dir() else [Found(path)])
    ]
    rows: list[dict[str, Any]] = []
    right = known = failed = 0
    for one, outcome in _recognised(model, files_named):
        if isinstance(outcome, DataError):
            failed += 1
            rows.append({"path": str(one.path), "error": str(outcome)})
            shared.tell(str(outcome) if str(one.path) in str(outcome) else f"{one.path}: {outcome}")
            continue
        probs, odd = outcome
        label = max(probs, key=lambda name: probs[name])
        true_class = {} if one.true is None else {"true": one.true}
        rows.append(
            {"path": str(one.path), "label": label, **true_class, "probabilities": probs, **odd}
        )
        known, right = known + (one.true is not None), right + (one.true == label)
        if not args.json:
            wrong = f"  wrong: {one.true}" if one.true not in (None, label) else ""
            strange = "  unlike what the run learned from" if odd.get("unfamiliar") else ""
            print(f"{one.path}: {label}  {probs[label]:.1%}{wrong}{strange}", flush=True)
    counted = (
        {"n": known, "right": right, "right_percent": round(100 * right / known, 4)}
        if known
        else {}
    )
    if args.json:
        print(files.to_json({"pictures": rows, "method": _method(model), **counted}))
    elif known:
        print(f"{right:,} of {known:,} right, {100 * right / known:.2f} %")
    return 1 if failed else 0


def pictures_in(folder: Path, classes: Sequence[str]) -> list[Found]:
    """Return the pictures in a folder and in those within it, each with its class where a folder
    within is named as one of `classes`.

    Raises:
        DataError: there are none.
    """
    from wakesleep.data.pictures import SUFFIXES

    inside = (
        path.relative_to(folder)
        for path in sorted(folder.rglob("*"))
        if path.suffix.lower() in SUFFIXES and path.is_file()
    )
    shown = [path for path in inside if not any(part.startswith(".") for part in path.parts)]
    if not shown:
        raise DataError(
            f"{folder} holds no pictures; expected files that end in {', '.join(sorted(SUFFIXES))}"
        )
    pictures = [
        Found(
            folder / path,
            path.parts[-2] if len(path.parts) > 1 and path.parts[-2] in classes else None,
        )
        for path in shown
    ]
    other = sorted(
        {one.path.parent.name for one in pictures if one.true is None and one.path.parent != folder}
    )
    if other and any(one.true is not None for one in pictures):
        shared.tell(
            f"pictures in {listed(other, 5)} are not counted: the run knows the classes "
            f"{listed(classes, 20)}"
        )
    return pictures


def _recognised(
    model: Model | DeepModel, files_named: Sequence[Found]
) -> Iterator[tuple[Found, tuple[dict[str, float], dict[str, Any]] | DataError]]:
    """Yield each picture with the probability of every label and what `_novelty` says, or with the
    reason why it cannot be read.
    """
    import torch

    from wakesleep.data import from_header

    preparation, device = from_header(model.header), _device(model)
    for start in range(0, len(files_named), TOGETHER):
        outcomes: list[Any] = []
        for one in files_named[start : start + TOGETHER]:
            try:
                outcomes.append(preparation.read(one.path))
            except DataError as error:
                outcomes.append(error)
        cases = [case for case in outcomes if not isinstance(case, DataError)]
        answers: Iterator[tuple[dict[str, float], dict[str, Any]]] = iter(())
        if cases:
            together = torch.cat(cases).to(device)
            answers = zip(_probs(model, together), _novelty(model, together), strict=True)
        for one, outcome in zip(files_named[start:], outcomes, strict=False):
            yield one, outcome if isinstance(outcome, DataError) else next(answers)


def _generative(model: Model | DeepModel) -> Any:
    """Return the deep belief net or the deep Boltzmann machine."""
    return model[0]


def _device(model: Model | DeepModel) -> torch.device:
    return next(model[0].parameters()).device


def _probs(model: Model | DeepModel, cases: Tensor) -> list[dict[str, float]]:
    """Return p(label | picture) by name, for each of the cases (N, pixels)."""
    from wakesleep.runs import scores

    classes = [str(name) for name in model.header["classes"]]
    log_probs = scores.log_probs(_generative(model), model.net, cases)
    return [dict(zip(classes, row, strict=True)) for row in log_probs.exp().tolist()]


def _novelty(model: Model | DeepModel, cases: Tensor) -> list[dict[str, Any]]:
    """Return how surprising each of the cases (N, pixels) is, and what is usual; nothing where the
    model's file records no calibration.
    """
    from wakesleep.evaluation import novelty

    calibration = novelty.from_header(model.header)
    if calibration is None:
        return [{} for _ in range(len(cases))]
    return [
        {
            "surprise": round(nats, 3),
            "usual_surprise": round(calibration.threshold, 3),
            "unfamiliar": nats > calibration.threshold,
        }
        for nats in novelty.surprise(_generative(model), cases, calibration).tolist()
    ]


def _method(model: Model | DeepModel) -> str:
    from wakesleep.runs import scores

    return "backprop" if model.net is not None else scores.own_method(_generative(model))


def _draw_imagined(
    args: RecognizeOptions, path: Path, model: Model, picture: Tensor, label: str, title: str
) -> None:
    """Draw a picture as the net gets it, what it sees in it, and five times what it imagines with
    `label` in its place.
    """
    import torch

    from wakesleep.foundation.rng import generator
    from wakesleep.runs import grids
    from wakesleep.samplers import dreams

    rng, seen = (
        generator(args.seed, picture.device),
        [picture, dreams.reconstruct(model.dbn, picture)],
    )
    if model.dbn.labels:
        clamped = torch.full(
            (5,),
            [str(name) for name in model.header["classes"]].index(label),
            device=picture.device,
        )
        seen.append(
            dreams.imagine(model.dbn, picture.expand(5, -1), clamped, rng=rng, steps=args.steps)
        )
    names = ["as given", "as seen", *[f"imagined: {label}"] * (sum(map(len, seen)) - 2)]
    shape: tuple[int, int] = tuple(model.header["shape"])
    grids.save_tile(
        path, torch.cat(seen).cpu().numpy(), shape, len(names), below=names, title=title, height=112
    )
