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
    """digits, mnist, fashion-mnist, or the path of your own; of a table (.csv, .tsv, .parquet) it
    says what each column is taken for.
    """
    data_folder: DataFolder = None
    offline: bool = False
    """Never download: say what is missing instead."""
    json: bool = False
    """Print the description as JSON."""


def run(args: DataOptions, command: str) -> int:
    """Do it; return the exit status."""
    from wakesleep.data import describe, load_arrays
    from wakesleep.data.table_files import is_table

    if is_table(args.name):
        return describe_table(args)
    description = describe(
        load_arrays(args.name, folder=args.data_folder, download=not args.offline)
    )
    if args.json:
        print(files.to_json(description))
    else:
        for name, value in description.items():
            print(f"{name:>16}  {value}")
    return 0


def describe_table(args: DataOptions) -> int:
    """Say of each column of a table what it is taken for, and how many of its values are missing;
    return the exit status.
    """
    from wakesleep.data.table_files import read_table
    from wakesleep.data.table_units import TableUnits

    table = read_table(args.name)
    units = TableUnits(table)
    holes = [int(count) for count in table.isna().sum()]
    if args.json:
        columns = [
            {
                "name": str(column.name),
                "taken_for": column.kind,
                "states": column.states,
                "missing": missing,
            }
            for column, missing in zip(units.columns, holes, strict=True)
        ]
        print(files.to_json({"rows": len(table), "columns": columns}))
        return 0
    print(f"{len(table)} rows, {len(holes)} columns, {sum(holes)} missing values")
    for column, missing in zip(units.columns, holes, strict=True):
        print(f"{column}{f'; {missing} missing' if missing else ''}")
    return 0
