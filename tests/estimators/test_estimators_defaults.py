"""The experiment that measures the defaults runs, on a few cases and toy nets."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks.defaults import tables


@pytest.mark.parametrize(
    ("part", "rows"),
    [
        ("accuracy", {"make-classification", "breast-cancer", "digits"}),
        (
            "early",
            {
                "make-classification-early-stopping",
                "breast-cancer-early-stopping",
                "digits-early-stopping",
            },
        ),
        ("few", {"breast-cancer-29-labels"}),
    ],
)
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_every_part_of_the_defaults_experiment_runs(
    part: str, rows: set[str], tmp_path: Path
) -> None:
    tables.main(["--parts", part, "--quick", "--out", str(tmp_path / "rows.json")])
    actual = {row["row"]: row for row in json.loads((tmp_path / "rows.json").read_text())}
    assert rows <= set(actual)
    for row in actual.values():
        assert row["table"] == "defaults"
        assert row["metric"] == "test_accuracy_percent"
        assert 0 <= row["value"] <= 100
        assert "--quick" in row["command"], "no figure, and it says so"
