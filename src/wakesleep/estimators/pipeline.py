"""Tables of numbers and categories made fit for binary units: a pipeline that ends in a net."""

from __future__ import annotations

from functools import partial
from typing import Any, Literal

import numpy as np
from sklearn.compose import ColumnTransformer, make_column_selector
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import Binarizer, KBinsDiscretizer, MinMaxScaler, OneHotEncoder

from wakesleep.estimators.classifier import DBNClassifier
from wakesleep.estimators.shared import check_choice

KINDS = ("object", "string", "category", "bool")
"""Types of the columns of a data frame that hold categories."""


def make_dbn_pipeline(
    estimator: Any = None, *, numbers: Literal["minmax", "binary", "bins"] = "minmax", n_bins: int = 8, categories: Any = None
) -> Pipeline:
    """Return a pipeline that maps columns to [0, 1] and ends in `estimator`, by default a DBNClassifier.

    Categories become one-hot, a column each, and unknown ones all zeros. Numbers are mapped by

    - "minmax": (x - smallest) / (largest - smallest), clipped; right for pixels and for shares.
    - "binary": the same, then 1 above one half; right for counts that say yes or no.
    - "bins": one-hot over `n_bins` quantiles; right for real numbers, which a single binary unit tells apart badly.

    Args:
        estimator: the last step, called "dbn"; any estimator.
        numbers: what becomes of columns of numbers.
        n_bins: quantiles a column, for "bins".
        categories: columns that hold categories, names or numbers of columns; by default those of a data frame's types object, string,
            category and bool, and none of an array.

    Raises:
        ConfigError: an unknown kind of `numbers`.
    """
    check_choice("numbers", numbers, ("minmax", "binary", "bins"))
    scaler = {
        "minmax": MinMaxScaler(clip=True),
        "binary": make_pipeline(MinMaxScaler(), Binarizer(threshold=0.5)),
        "bins": KBinsDiscretizer(n_bins=n_bins, encode="onehot-dense", strategy="quantile"),
    }[numbers]
    columns = ColumnTransformer(
        [
            ("categories", OneHotEncoder(handle_unknown="ignore", sparse_output=False), partial(_columns, categories, True)),
            ("numbers", scaler, partial(_columns, categories, False)),
        ]
    )
    return Pipeline([("columns", columns), ("dbn", DBNClassifier() if estimator is None else estimator)])


def _columns(categories: Any, wanted: bool, X: Any) -> list[Any]:
    """Return the columns of X that hold categories, or, where these are not `wanted`, all others."""
    names = list(X.columns) if hasattr(X, "columns") else list(range(np.shape(X)[1]))
    if categories is None:
        categories = make_column_selector(dtype_include=list(KINDS))(X) if hasattr(X, "columns") else []
    return [name for name in names if (name in categories) == wanted]
