"""How filling in is judged: what is hidden, what counts as right, and that it runs."""

from __future__ import annotations

import numpy as np
import pandas as pd

from benchmarks.units import tables

TABLE = pd.DataFrame({"a": ["x", "y", None] * 30, "b": [0.0, 1.0, 2.0] * 30})


def test_a_tenth_of_the_known_entries_is_hidden() -> None:
    holes, places = tables.hidden(TABLE, 0)
    assert len(places) == 15
    assert TABLE.notna().to_numpy()[tuple(places.T)].all()
    assert holes.isna().sum().sum() == 30 + 15
    kept = holes.notna()
    assert holes.where(kept).equals(TABLE.where(kept))


def test_numbers_are_rounded_to_levels_that_occur() -> None:
    levels = np.array([[0.0], [3.0], [np.nan]])
    assert tables.rounded(np.array([[1.4], [1.6], [9.0]]), levels).tolist() == [[0], [3], [3]]


def test_each_way_is_judged_on_the_same_entries() -> None:
    actual = tables.accuracies(TABLE, 0, n_iter=1, n_components=2)
    assert set(actual) == {"", "most-frequent", "knn"}
    assert all(0 <= value <= 100 for value in actual.values())
    assert actual["knn"] > actual["most-frequent"]
