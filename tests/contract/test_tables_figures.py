"""The plots of the paper's tables come from rows under results/ alone."""

import json

import pytest

from benchmarks import tables_figures as figures


def test_curves_follow_the_rows():
    rows = [
        {"row": "depth-1", "metric": "validation_errors", "value": 150},
        {"row": "depth-3", "metric": "validation_errors", "value": 120},
        {"row": "depth-1-random", "metric": "validation_errors", "value": 180},
        {"row": "depth-1", "metric": "test_bound", "value": -100.0},
        {"row": "labels-100", "metric": "test_accuracy_percent", "value": 94.0},
        {"row": "labels-1000-supervised", "metric": "test_accuracy_percent", "value": 89.0},
        {
            "row": "strategy-evolution",
            "metric": "validation_errors",
            "value": 5000,
            "curve": [[1, 0.5, 9000], [2, 1.0, 5000]],
        },
        {
            "row": "strategy-evolution",
            "metric": "test_error_percent",
            "value": 50.0,
            "curve": [[1, 0.5, 9000]],
        },
    ]
    assert figures.depth(rows, "validation_errors") == {
        "pretrained": ([1.0, 3.0], [150, 120]),
        "random weights": ([1.0], [180]),
    }
    assert figures.depth(rows, "test_bound") == {"pretrained": ([1.0], [-100.0])}
    assert figures.few_labels(rows) == {
        "supervised": ([1000.0], [89.0]),
        "semi-supervised": ([100.0], [94.0]),
    }
    assert figures.strategies(rows, figures.AXES["passes"]) == {"evolution": ([1, 2], [9000, 5000])}
    assert figures.strategies(rows, figures.AXES["minutes"]) == {
        "evolution": ([0.5, 1.0], [9000, 5000])
    }


@pytest.mark.parametrize(
    ("metric", "name"), [("test_accuracy_percent", None), ("validation_errors", "mnist-depth.png")]
)
def test_only_what_was_measured_is_drawn(tmp_path, metric, name):
    rows = [{"row": "depth-2", "metric": metric, "value": 100}]
    (tmp_path / "mnist.json").write_text(json.dumps(rows), encoding="utf-8")
    drawn = figures.draw(tmp_path, tmp_path / "plots")
    assert [path.name for path in drawn] == ([name] if name else [])
    assert all(path.stat().st_size > 1000 for path in drawn)
