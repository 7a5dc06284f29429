"""Tables in files: a data frame of a .csv, a .tsv or a .parquet."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from wakesleep.foundation.errors import DataError
from wakesleep.foundation.files import TABLE_ENDS as ENDS
from wakesleep.foundation.files import is_table as is_table


def read_table(path: str | Path) -> Any:
    """Return the table in a file as a data frame; its first line has the names of the columns, and
    an empty cell is a hole.

    Raises:
        DataError: no such file, one that is no table, no rows, or a package that is not installed.
    """
    path = Path(os.path.expanduser(path))
    if not path.is_file():
        raise DataError(f"there is no file {path}; expected a table ({', '.join(ENDS)})")
    try:
        import pandas as pd

        if path.suffix.lower() == ".parquet":
            table = pd.read_parquet(path)
        else:
            tabs = ".tsv" in (suffix.lower() for suffix in path.suffixes)
            table = pd.read_csv(path, sep="\t" if tabs else ",")
    except ImportError as error:
        raise DataError(
            f"{path} is a table, which pandas reads, and pyarrow beside it a .parquet ({error}): "
            "pip install 'wakesleep[tables]'"
        ) from error
    except (ValueError, OSError) as error:  # pandas' and pyarrow's own are of these
        raise DataError(
            f"{path} is no table: {error}; expected a line of names, and as many cells in each "
            "line below"
        ) from error
    if not len(table) or not len(table.columns):
        raise DataError(
            f"{path} holds {len(table)} rows of {len(table.columns)} columns; expected some of both"
        )
    return table
