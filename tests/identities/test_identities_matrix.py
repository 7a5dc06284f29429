"""Each feature with each family of units, as visible and as hidden units: it runs, or is refused in
words; the page says which.
"""

import logging
from pathlib import Path

import pytest

from benchmarks.units import matrix
from wakesleep.foundation.errors import ConfigError, DataError

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("feature", matrix.FEATURES)
@pytest.mark.parametrize("side", ["visible", "hidden"])
def test_each_family_runs_or_is_refused(side, feature, caplog):
    caplog.set_level(logging.ERROR)
    for family in matrix.FAMILIES:
        if (side, feature, family) not in matrix.REFUSED:
            matrix.run(side, feature, family)
            continue
        with pytest.raises((ConfigError, DataError), match=r"expected|estimate|give|call"):
            matrix.run(side, feature, family)


def test_refusals_are_of_cells_that_there_are():
    for side, feature, family in matrix.REFUSED:
        assert side in ("visible", "hidden")
        assert feature in matrix.FEATURES
        assert family in matrix.FAMILIES


def test_the_page_has_the_tables_as_they_are():
    page = (ROOT / "docs/units.md").read_text(encoding="utf-8")
    assert matrix.table("visible") in page
    assert matrix.table("hidden") in page
    assert matrix.written(page) == page
