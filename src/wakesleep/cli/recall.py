"""wakesleep recall: what a net of several senses makes of a picture, a sound or a label."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from tyro.conf import Positional

from wakesleep.cli import shared
from wakesleep.cli.options import Backend
from wakesleep.foundation import files
from wakesleep.foundation.errors import CheckpointError, ConfigError

if TYPE_CHECKING:
    from torch import Tensor

    from wakesleep.runs.senses import Several


@dataclass(frozen=True)
class RecallOptions:
    """Recall what belongs to a picture, a sound or a label: a net of several senses holds what it
    is given, its memory settles, and the senses that are wanted are written as files.
    """

    run: Positional[Path]
    """A run folder or a model file of several senses (wakesleep train --sense ...)."""
    image: Path | None = None
    """A picture file for the sense that is called image."""
    sound: Path | None = None
    """A sound file (.wav) for the sense that is called sound."""
    label: str | None = None
    """A label to hold."""
    want: tuple[str, ...] = ()
    """What to recall: names of senses, and label; by default all that is not given."""
    out: Path = Path("recalled")
    """The folder for what is recalled: a .png a sense, of sounds a .wav as well."""
    steps: int = 200
    """Gibbs steps of the memory."""
    method: Literal["gibbs", "mean-field"] = "gibbs"
    """How the memory settles: by states that are drawn, or by means alone."""
    seed: int = 0
    """Seed of what is drawn: another seed, another recollection."""
    backend: Backend = None
    overwrite: bool = False
    """Replace files where they exist."""
    json: bool = False
    """Print paths and probabilities as JSON."""


def run(args: RecallOptions, command: str) -> int:
    """Do it; return the exit status."""
    from wakesleep.foundation.rng import generator
    from wakesleep.runs import senses
    from wakesleep.samplers.recalling import recall

    several = senses.load(args.run)
    given = cases(args, several)
    _check_given(args, several, given)
    rng = generator(args.seed)
    settings: dict[str, Any] = {"steps": args.steps, "method": args.method, "rng": rng}
    wanted = args.want or None
    recalled = recall(several.net, want=wanted, mean=False, **given, **settings)
    if "label" in recalled:
        label = recall(several.net, want="label", **given, **settings)["label"]
        recalled["label"] = label  # the mean over the chain, not its last state
    paths = [
        path
        for name, case in recalled.items()
        if name != "label"
        for path in write(args, several, name, case)
    ]
    probabilities = None
    if "label" in recalled:
        numbers = recalled["label"][0].tolist()
        probabilities = dict(zip(several.classes, (round(p, 6) for p in numbers), strict=True))
    if args.json:
        answer = {"paths": [str(path) for path in paths], "probabilities": probabilities}
        print(files.to_json(answer))
        return 0
    for path in paths:
        print(path)
    for name, p in sorted((probabilities or {}).items(), key=lambda each: -each[1])[:3]:
        print(f"{name}: {100 * p:.1f} %")
    return 0


def _check_given(args: RecallOptions, several: Several, given: dict[str, Any]) -> None:
    """Raise ConfigError where nothing is given, or all of it and nothing named that is wanted."""
    every = [*several.senses, *(["label"] if several.classes else [])]
    names = ", ".join(f"--{name}" for name in every)
    if not given:
        raise ConfigError(
            f"nothing was given to recall from; expected some of {names}, e.g. --{every[-1]} "
            f"{several.classes[0] if several.classes else 'FILE'}"
        )
    if len(given) == len(every) and not args.want:
        raise ConfigError(
            f"all of {names} was given, so that nothing is left to recall; leave out what is "
            f"wanted, or name it: --want {every[-1]}"
        )


def cases(args: RecallOptions, several: Several) -> dict[str, Any]:
    """Return what is given as cases, (1, size) by sense, and the label (1,).

    Raises:
        ConfigError: a sense or a label that the net does not have.
    """
    import torch

    given = {}
    for name, path in (("image", args.image), ("sound", args.sound)):
        if path is None:
            continue
        if name not in several.senses:
            raise ConfigError(
                f"--{name} {path}: the net's senses are {', '.join(several.senses)}; others than "
                "image and sound are recalled in Python: wakesleep.recall"
            )
        given[name] = several.senses[name].read(path)
    if args.label is not None:
        if args.label not in several.classes:
            raise ConfigError(
                f"--label {args.label}: the net knows {', '.join(several.classes) or 'no labels'}"
            )
        given["label"] = torch.tensor([several.classes.index(args.label)])
    return given


def write(args: RecallOptions, several: Several, name: str, case: Tensor) -> list[Path]:
    """Write a recalled case of a sense into the folder; return the files.

    Raises:
        CheckpointError: they exist and may not be replaced.
    """
    import numpy as np

    from wakesleep.data.sound import LogMel, save_wav, to_wave
    from wakesleep.runs import grids

    how = several.senses[name]
    picture = case.reshape(how.shape).numpy()
    is_sound = isinstance(how, LogMel)
    paths = [args.out / f"{name}.png", *([args.out / f"{name}.wav"] if is_sound else [])]
    for path in paths:
        shared.refuse_existing(path, args.overwrite)
    try:
        args.out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise CheckpointError(f"{args.out} cannot be made ({error}); choose another") from error
    if isinstance(how, LogMel):
        save_wav(paths[1], to_wave(picture, how), how.rate)
        picture = np.clip((picture[::-1] + 3) / 6, 0, 1)  # the lowest band at the bottom
    grids.save_picture(paths[0], picture, grids.scale_for(how.shape, 168))
    return paths
