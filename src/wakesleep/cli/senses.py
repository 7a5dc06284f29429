"""What `wakesleep train` does with several senses: a data set each."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wakesleep.cli import machine, shared
from wakesleep.foundation import files
from wakesleep.foundation.errors import ConfigError

if TYPE_CHECKING:
    from wakesleep.cli.train import TrainOptions
    from wakesleep.data import Dataset


def named(senses: tuple[str, ...]) -> dict[str, str]:
    """Return the data set of each sense, by its name, from NAME=DATA.

    Raises:
        ConfigError: another form, or a name that comes twice.
    """
    pairs = [sense.partition("=") for sense in senses]
    names = [name for name, _, _ in pairs]
    if any(not name or not data for name, _, data in pairs) or len(set(names)) < len(names):
        raise ConfigError(
            f"--sense {' '.join(senses)}: expected NAME=DATA for each sense, e.g. --sense "
            "image=mnist --sense sound=recordings.zip"
        )
    return {name: data for name, _, data in pairs}


def sets_of(args: TrainOptions) -> dict[str, Dataset]:
    """Return the data set of each sense of a call."""
    return {
        name: shared.load_set(data, args.data_folder) for name, data in named(args.sense).items()
    }


def train(args: TrainOptions, command: str) -> int:
    """Learn several senses into a run folder; return the exit status."""
    from wakesleep.compute import machine as hardware
    from wakesleep.runs import senses

    if args.resume is not None:
        raise ConfigError(
            f"--resume with --sense: name the run with --out {args.resume} and the same senses; it "
            "goes on after its last epoch"
        )
    device = machine.setup(args.threads, args.device)
    sets = sets_of(args)
    folder = args.out or shared.free_folder(Path("runs") / "-".join(sets))
    if (folder / "model.safetensors").exists():
        raise ConfigError(f"{folder} is finished; choose another folder with --out")
    provenance = {
        "senses": {
            name: {"data_path": each.origin, "checksum": each.checksum}
            for name, each in sets.items()
        },
        "seed": args.config.seed,
        "device": str(device),
        "command": command,
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
        "versions": hardware.versions(),
    }
    for record in senses.train(folder, sets, args.config, provenance=provenance):
        shared.tell(f"{record.stage} {record.epoch}/{record.epochs}")
    result = files.read_json(folder / "evaluation.json")
    if args.json:
        print(files.to_json({"run": str(folder), **result}))
        return 0
    for row in result["rows"]:
        print(f"{row['given']:12} {row['errors']} errors of {row['n']}, {row['error_percent']} %")
    print(f"run: {folder}")
    return 0


def config_of(args: TrainOptions) -> Any:
    """Return the settings that suit the largest of the sets."""
    from dataclasses import replace

    from wakesleep.runs.senses import largest
    from wakesleep.runs.settings import suited

    sets = sets_of(args)
    most = largest(sets)
    return replace(suited(len(most.train), tested=True), stages=("pretrain", "updown"))
