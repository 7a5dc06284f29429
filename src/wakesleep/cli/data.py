"""wakesleep data: find, check and describe a data set."""

from __future__ import annotations

from dataclasses import dataclass

from tyro.conf import Positional

from wakesleep.cli.options import DataFolder
from wakesleep.foundation import files


@dataclass(frozen=True)
class DataOptions:
    """Find, check and describe a data set; mnist and fashion-mnist are fetched if they are not on
    this machine.
    """

    name: Positional[str] = "digits"
    """digits, mnist, fashion-mnist, or the path of your own."""
    data_folder: DataFolder = None
    offline: bool = False
    """Never download: say what is missing instead."""
    json: bool = False
    """Print the description as JSON."""


def run(args: DataOptions, command: str) -> int:
    """Do it; return the exit status."""
    from wakesleep.data import describe, load_arrays

    description = describe(
        load_arrays(args.name, folder=args.data_folder, download=not args.offline)
    )
    if args.json:
        print(files.to_json(description))
    else:
        for name, value in description.items():
            print(f"{name:>16}  {value}")
    return 0
