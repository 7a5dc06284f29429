"""wakesleep data: find, check and describe a data set."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from tyro.conf import Positional

from wakesleep.cli.options import DataFolder
from wakesleep.foundation import files
from wakesleep.foundation.errors import DataError
from wakesleep.foundation.values import listed


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
        for line in in_words(description):
            print(line)
    return 0


def in_words(description: dict[str, Any]) -> Iterator[str]:
    """Yield the lines that tell a person what `describe` found."""
    size = " x ".join(map(str, description["shape"]))
    tested = f"{description['n_test']:,} to test" if description["n_test"] else "none to test"
    parts = [f"{description['n_train']:,} to learn from", tested]
    if description["n_unlabelled"] and description["classes"]:
        parts.insert(1, f"{description['n_unlabelled']:,} of them without a label")
    yield f"{description['name']}: cases of {size}, {', '.join(parts)}"
    yield from description["found"]
    classes, counts = description["classes"], description["train_counts"]
    if counts:
        test_counts = description["test_counts"] or [None] * len(classes)
        each = [
            f"{name} ({count:,}{'' if test is None else f' + {test:,}'})"
            for name, count, test in zip(classes, counts, test_counts, strict=True)
        ]
        yield f"{len(classes)} classes: {listed(each, 40)}"
    else:
        yield "no labels"
    if description["mean_intensity"] is not None:
        yield f"mean intensity {description['mean_intensity']:.3f}, 1 is white"
    yield f"checksum {description['checksum']}"


def describe_table(args: DataOptions) -> int:
    """Say of each column of a table what it is taken for, or why it cannot be, and how many of its
    values are missing; return the exit status.
    """
    from wakesleep.data.table_files import read_table

    table = read_table(args.name)
    holes = [int(count) for count in table.isna().sum()]
    taken = [_taken_for(table, at) for at in range(len(holes))]
    if args.json:
        columns = [
            {
                "name": str(name),
                "taken_for": getattr(column, "kind", None),
                "states": getattr(column, "states", 0),
                "missing": missing,
                **({"refused": column} if isinstance(column, str) else {}),
            }
            for name, column, missing in zip(table.columns, taken, holes, strict=True)
        ]
        print(files.to_json({"rows": len(table), "columns": columns}))
        return 0
    print(f"{len(table)} rows, {len(holes)} columns, {sum(holes)} missing values")
    for column, missing in zip(taken, holes, strict=True):
        refused = isinstance(column, str)
        print(f"{column}{f'; {missing} missing' if missing and not refused else ''}")
    left_out = [
        str(name)
        for at, (name, column) in enumerate(zip(table.columns, taken, strict=True))
        if isinstance(column, str) or numbers_rows(table.iloc[:, at], column)
    ]
    if left_out:
        print(f"to leave columns out: wakesleep train --without {shlex.join(left_out)} ...")
    return 0


def _taken_for(table: Any, at: int) -> Any:
    """Return what column number `at` of a table is taken for, or why it cannot be, in words."""
    from wakesleep.data.columns import learn_column
    from wakesleep.data.table_units import bins_for

    try:
        return learn_column(table.columns[at], table.iloc[:, at], None, bins_for(len(table)))
    except DataError as error:
        return str(error)


def numbers_rows(values: Any, column: Any) -> bool:
    """Return whether a column of counts may only number the rows: none comes twice."""
    return column.kind == "counts" and bool(values.is_unique) and not values.isna().any()
