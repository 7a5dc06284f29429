"""A table as a data frame or an array: its columns read, checked, and put together again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import issparse

from wakesleep.foundation.errors import DataError

Array = NDArray[Any]


class TableFormat:
    """What a table was in `fit`: the names of its columns, and its types.

    Args:
        X: a data frame or an array (N, D).

    Raises:
        DataError: a sparse matrix, no rows or columns, or columns of the same name.
    """

    def __init__(self, X: Any) -> None:
        X = as_table(X)
        self.frame = X.iloc[:0] if hasattr(X, "iloc") else None
        self.dtype = None if self.frame is not None else X.dtype
        self.names = list(X.columns) if self.frame is not None else list(range(np.shape(X)[1]))
        _refuse_twice(self.names)

    def as_fitted(self, X: Any) -> Any:
        """Return the table X with its columns in the order of `fit`.

        Raises:
            DataError: other columns, by their names, or an array where `fit` saw a frame.
        """
        X = as_table(X)
        if self.frame is not None and not hasattr(X, "iloc"):
            raise DataError(
                "an array came, and fit saw a data frame: give a frame with its columns "
                f"{listed(self.names)}"
            )
        if self.frame is None:
            if X.shape[1] != len(self.names):
                raise DataError(
                    f"X has {X.shape[1]} features, but fit is expecting {len(self.names)} features "
                    "as input: give the columns that fit saw"
                )
            return X if isinstance(X, np.ndarray) else X.to_numpy()
        _refuse_twice(list(X.columns))
        lacking = [name for name in self.names if name not in X.columns]
        other = [name for name in X.columns if name not in self.names]
        if lacking or other:
            wrong = [f"without {listed(lacking)}"] * bool(lacking) + [
                f"with {listed(other)}, which fit did not see"
            ] * bool(other)
            raise DataError(
                f"a table came {' and '.join(wrong)}; expected the columns that fit saw"
            )
        return X[self.names]

    def build(self, columns: Sequence[Array] | Mapping[int, Array]) -> Any:
        """Return the table of these columns (N,), by number: a frame or an array, as `fit` saw."""
        ordered = [columns[number] for number in range(len(self.names))]
        if self.frame is None:
            return np.stack(ordered, axis=1).astype(self.dtype)
        frame = type(self.frame)(
            dict(zip(self.names, ordered, strict=True)), columns=self.frame.columns
        )
        return frame.astype(dict(self.frame.dtypes))

    def fill(self, X: Any, filled: Any) -> Any:
        """Return the table X with its missing values taken from the table `filled`, in its own
        types.
        """
        if self.frame is None:
            values = np.array(X)
            holes = np.stack([missing_in(values[:, at]) for at in range(values.shape[1])], axis=1)
            return np.where(holes, filled, values)
        out = X.copy()
        for name in self.names:
            holes = missing_in(X[name])
            if holes.any():
                column = X[name].copy()
                column[holes] = filled[name].to_numpy()[holes]
                out[name] = column
        return out

    def spec(self) -> dict[str, Any]:
        """Return the types of the columns as JSON can hold them."""
        if self.frame is None:
            return {"dtype": np.dtype(self.dtype).str}
        return {"types": [_type_spec(self.frame[name].dtype) for name in self.names]}

    @classmethod
    def from_spec(cls, spec: Mapping[str, Any], names: list[Any]) -> TableFormat:
        """Return the format of a table with columns of these names and the types of `spec`."""
        format = cls.__new__(cls)
        format.frame, format.dtype, format.names = None, None, names
        if "types" not in spec:
            format.dtype = np.dtype(spec["dtype"])
            return format
        import pandas as pd

        types = [_type_from(each) for each in spec["types"]]
        format.frame = pd.DataFrame(
            {name: pd.Series([], dtype=each) for name, each in zip(names, types, strict=True)}
        )
        return format


def as_table(X: Any) -> Any:
    """Return a data frame as it is, and whatever NumPy reads as one as an array (N, D).

    Raises:
        DataError: a sparse matrix, complex numbers, no rows or columns, or another number of
            dimensions. Some words are those of scikit-learn, which its checks look for.
    """
    if bool(issparse(X)):
        raise DataError(
            f"a sparse matrix {np.shape(X)} came, and a table has columns of kinds; expected a "
            "data frame or an array: X.toarray(), or give it to an estimator of nets, which takes "
            "sparse cases"
        )
    X = X if hasattr(X, "iloc") else np.asarray(X)
    expected = "expected a table, a data frame or an array (N, D) with a row and a column at least"
    if len(X.shape) != 2:
        raise DataError(
            f"X of shape {X.shape} came; {expected}. Reshape your data: X.reshape(1, -1) where it "
            "is one row, X.reshape(-1, 1) where it is one column"
        )
    for count, what in zip(X.shape, ("sample", "feature"), strict=True):
        if not count:
            raise DataError(
                f"X came with 0 {what}(s) (shape={X.shape}) while a minimum of 1 is required; "
                f"{expected}"
            )
    if getattr(X, "dtype", None) is not None and X.dtype.kind == "c":
        raise DataError(f"Complex data not supported: X of {X.dtype} came; {expected}")
    return X


def _refuse_twice(names: list[Any]) -> None:
    """Raise DataError for a name that comes twice."""
    twice = [name for name in dict.fromkeys(names) if names.count(name) > 1]
    if twice:
        raise DataError(f"the columns {listed(twice)} come more than once; give each its own name")


def column_of(X: Any, at: int) -> Any:
    """Return column number `at` of a frame or an array."""
    return X.iloc[:, at] if hasattr(X, "iloc") else np.asarray(X)[:, at]


def missing_in(values: Any) -> Array:
    """Return which values of a column are missing: NaN, None, or what pandas calls so."""
    if hasattr(values, "isna"):
        return values.isna().to_numpy()  # type: ignore[no-any-return]
    return np.array(
        [value is None or type(value).__name__ == "NAType" or value != value for value in values],
        dtype=bool,
    )


def holds_words(raw: Any) -> bool:
    """Return whether a column holds categories by its type: words, truth values, pandas'
    categories.
    """
    dtype = getattr(raw, "dtype", np.dtype(object))
    if hasattr(dtype, "categories") or str(dtype) in ("bool", "boolean"):
        return True
    if getattr(dtype, "kind", "O") in "iuf":
        return False
    return any(
        not is_number(value)
        for value, gone in zip(np.asarray(raw, dtype=object), missing_in(raw), strict=True)
        if not gone
    )


def is_number(value: Any) -> bool:
    """Return whether a cell holds a number; truth values are none."""
    return isinstance(value, int | float | np.number) and not isinstance(value, bool | np.bool_)


def numbers_of(raw: Any, name: Any, fix: str = "take it for categories") -> Array:
    """Return a column as float64 (N,), NaN where a value is missing; `fix` is for words.

    Raises:
        DataError: it holds something else than numbers, or infinity.
    """
    try:
        if hasattr(raw, "isna"):
            numbers: Array = raw.to_numpy(dtype=np.float64, na_value=np.nan)
        else:
            numbers = np.asarray(
                [np.nan if value is None else value for value in raw], dtype=np.float64
            )
    except (TypeError, ValueError) as error:
        raise DataError(
            f"column {name!r} holds no numbers ({error}); {fix}, or leave it out"
        ) from error
    infinite = int(np.isinf(numbers).sum())
    if infinite:
        raise DataError(
            f"Input X contains infinity: column {name!r} holds {infinite} infinite values; "
            "expected finite numbers. Replace them, NaN for unknown ones"
        )
    return numbers


def listed(names: list[Any]) -> str:
    """Return names of columns for a message, at most ten."""
    more = f" and {len(names) - 10} more" if len(names) > 10 else ""
    return ", ".join(map(repr, names[:10])) + more


def shown(value: Any) -> str:
    """Return a value for a message: words in quotes, numbers plain."""
    return f"{value:g}" if isinstance(value, float) else repr(value)


def _type_spec(dtype: Any) -> Any:
    """Return a type of pandas' as JSON can hold it."""
    if not hasattr(dtype, "categories"):
        return str(dtype)
    return {"categories": dtype.categories.tolist(), "ordered": bool(dtype.ordered)}


def _type_from(spec: Any) -> Any:
    """Return what `_type_spec` was given."""
    if not isinstance(spec, dict):
        return spec
    import pandas as pd

    return pd.CategoricalDtype(spec["categories"], spec["ordered"])
