"""Tables in files: a data frame of a .csv, a .tsv or a .parquet."""

from __future__ import annotations

import os
from contextlib import suppress
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

        parquet = path.suffix.lower() == ".parquet"
        table = pd.read_parquet(path) if parquet else _read_text(path)
    except ImportError as error:
        raise DataError(
            f"{path} is a table, which pandas reads, and pyarrow beside it a .parquet ({error}): "
            "pip install 'wakesleep[tables]'"
        ) from error
    except UnicodeDecodeError as error:
        raise DataError(
            f"{path} is no UTF-8 text (byte {error.start} is {error.object[error.start]:#x}, as "
            "programs for Windows write letters): save it as UTF-8, or pandas.read_csv(path, "
            "encoding='cp1252').to_csv(...)"
        ) from error
    except (ValueError, OSError) as error:  # pandas' and pyarrow's own are of these
        why = " ".join(str(error).split()).removeprefix("Error tokenizing data. C error: ")
        raise DataError(
            f"{path} is no table: {why}; expected a line of names, and as many cells in each "
            "line below"
        ) from error
    if not len(table) or not len(table.columns):
        raise DataError(
            f"{path} holds {len(table)} rows of {len(table.columns)} columns; expected some of both"
        )
    return table


def _read_text(path: Path) -> Any:
    """Return the table in a file of text. Cells are parted by tabs in a .tsv, in a .csv by commas,
    or by semicolons where its line of names has more of them, as where decimals have commas.
    """
    import pandas as pd

    if ".tsv" in (suffix.lower() for suffix in path.suffixes):
        return pd.read_csv(path, sep="\t")
    first = "".join(pd.read_csv(path, sep="\0", nrows=0, engine="python", header=0).columns)
    if first.count(";") <= first.count(","):
        return pd.read_csv(path)
    table = pd.read_csv(path, sep=";")
    for name in table.select_dtypes(["object", "string"]):
        with suppress(ValueError):
            dotted = table[name].str.replace(",", ".")
            table[name] = dotted.astype(float)
    return table
