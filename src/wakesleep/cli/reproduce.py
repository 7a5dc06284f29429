"""wakesleep reproduce: the paper's tables, re-run."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from tyro.conf import Positional

from wakesleep.cli import machine, shared
from wakesleep.cli.options import Backend, DataFolder, Device, Threads
from wakesleep.foundation import files
from wakesleep.foundation.errors import ConfigError

if TYPE_CHECKING:
    from wakesleep.paper.runs import TableSetup

NAMES = (
    "strategies",
    "pretraining",
    "generative",
    "depth",
    "few-labels",
    "geometry",
    "another",
    "costs",
    "descendants",
)

ROW_BY_ROW = {"few-labels", "another", "descendants"}
"""Tables whose rows can be asked for one by one."""


@dataclass(frozen=True)
class ReproduceOptions:
    """Re-run the paper's tables, or those that are named: reported figure, ours, command and
    minutes. Goes on where it was stopped.
    """

    tables: Positional[tuple[str, ...]] = NAMES
    """strategies, pretraining, generative, depth, few-labels, geometry, another, costs,
    descendants; by default all, about two days on 2 cores.
    """
    smoke: bool = False
    """Run each end to end in seconds, tiny nets on the embedded digits: a check that everything
    works, no figures.
    """
    seeds: tuple[int, ...] = (1, 2, 3)
    """Seeds; figures are medians over them."""
    folder: Path = Path("runs/reproduce")
    """Where the runs go, one folder each, named by their settings; what is finished there is read
    and not run again.
    """
    out: Path | None = None
    """Folder to save the rows in, as JSON, a file a data set; by default they are only printed."""
    only: tuple[str, ...] = ()
    """Of few-labels, another and descendants, these rows alone, such as labels-1000 or
    mnist-ladder-100.
    """
    missing: bool = False
    """Of the rows that --only can name, leave out those that --out holds already for these
    seeds.
    """
    data_folder: DataFolder = None
    device: Device = "auto"
    backend: Backend = None
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    """Of matrix products; auto takes bfloat16 where the processor is fast at it."""
    threads: Threads = 0
    json: bool = False
    """Print the rows as JSON."""


def run(args: ReproduceOptions, command: str) -> int:
    """Do it; return the exit status."""
    from wakesleep.paper import results
    from wakesleep.paper.tables import TABLES

    unknown = [name for name in args.tables if name not in TABLES]
    if unknown or not args.seeds:
        raise ConfigError(
            f"tables {unknown or 'for no seed'}: expected one or more of {', '.join(TABLES)}, and "
            "at least one seed"
        )
    if args.missing and args.out is None:
        raise ConfigError("--missing: expected --out FOLDER beside it, which says what is there")
    if args.smoke:
        shared.tell_unused(args, {"out": "with --smoke, whose figures mean nothing"})
    if not ROW_BY_ROW & set(args.tables):
        without = f"on {', '.join(args.tables)}"
        shared.tell_unused(args, {"only": without, "missing": without})
    machine.set_threads(args.threads)
    bench, rows = _bench(args, command), []
    shown = sys.stderr if args.json else sys.stdout
    for name in args.tables:
        print(f"\n{name}", file=shown)
        devices: dict[str, None] = {}
        for row in TABLES[name](bench):
            rows.append({**row, "smoke": True} if args.smoke else row)
            devices[row["device"]] = None
            print(line(row), file=shown, flush=True)
            if args.out is not None and not args.smoke:
                args.out.mkdir(parents=True, exist_ok=True)
                results.save(args.out / f"{row['table']}.json", [row])
        print(f"  {', '.join(devices)}; {command}", file=shown, flush=True)
    if args.json:
        print(files.to_json(rows, indent=2))
    return 0


def line(row: dict[str, Any]) -> str:
    """Return a row as a line: what, figure, reported, ours with its range, minutes."""
    seeds = len(row["seeds"])
    spread = f" ({row['low']:g} to {row['high']:g}, {seeds} seeds)" if seeds > 1 else ""
    minutes = "" if row["minutes"] is None else f"  {row['minutes']:g} min"
    reported = f"  reported {row['reported']}" if row["reported"] else ""
    return (
        f"  {row['row']:<36} {row['metric'].replace('_', ' '):<24} "
        f"{row['value']:g}{spread}{reported}{minutes}"
    )


def _bench(args: ReproduceOptions, command: str) -> TableSetup:
    """Return what the tables work with: MNIST and its settings, or the embedded digits and a toy
    net.
    """
    from dataclasses import replace

    from wakesleep.compute.select import pick_device
    from wakesleep.paper.runs import TableSetup, toy
    from wakesleep.runs.settings import preset

    name = "digits" if args.smoke else "mnist"
    config = toy(preset(name)) if args.smoke else preset(name)
    dataset = shared.load_set(name, args.data_folder)
    folder, seeds = (
        (args.folder / "smoke", args.seeds[:1]) if args.smoke else (args.folder, args.seeds)
    )
    return TableSetup(
        dataset,
        folder,
        seeds,
        replace(config, precision=args.precision),
        pick_device(args.device),
        command,
        args.data_folder,
        measured=_measured(args.out) if args.missing and args.out is not None else {},
        only=args.only,
        smoke=args.smoke,
    )


def _measured(out: Path) -> dict[tuple[str, str], tuple[int, ...]]:
    """Return table and name of the rows of tables in a folder, with their seeds."""
    texts = [path.read_text(encoding="utf-8") for path in sorted(out.glob("*.json"))]
    rows = [row for text in texts for row in json.loads(text)]
    # speed has one seed for all of its rows, as a number
    rows = [row for row in rows if isinstance(row["seeds"], list)]
    return {(row["table"], row["row"]): tuple(row["seeds"]) for row in rows}
