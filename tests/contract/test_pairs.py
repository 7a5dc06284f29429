"""Pairs of timings: the row of the slowest holds what the rule looks at."""

from __future__ import annotations

from benchmarks import pairs


def test_the_slowest_pair_is_the_one_with_the_largest_lower_end() -> None:
    rows = [
        {"row": "CD", "metric": "time_over_before", "value": 1.08, "low": 0.98, "high": 1.15},
        {"row": "AIS", "metric": "time_over_before", "value": 1.06, "low": 1.055, "high": 1.07},
        {"row": "make-test", "metric": "minutes", "value": 8.0, "low": 8.0, "high": 8.0},
    ]
    row = pairs.slowest(rows)
    assert (row["row"], row["metric"], row["value"]) == ("slowest-over-before", "times", 1.055)
    assert (row["pair"], row["median"], row["low"], row["high"]) == ("AIS", 1.06, 1.055, 1.07)


def test_the_interval_of_a_median_holds_it_and_is_narrow_where_ratios_are() -> None:
    low, high = pairs.interval([0.99, 1.0, 1.01, 1.02, 0.98] * 4)
    assert 0.98 <= low <= 1.0 <= high <= 1.02
    assert pairs.interval([1.1] * 20) == (1.1, 1.1)
