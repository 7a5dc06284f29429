"""The same command, seed and machine give the same bits, however busy the machine is."""

from __future__ import annotations

import pytest

from benchmarks import same_bits


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_ten_fresh_processes_learn_the_same_model_five_of_them_beside_busy_neighbours() -> None:
    # a thread each: two that wait for each other beside four neighbours take minutes a process
    words = ["--processes", "10", "--neighbours", "4", "--threads", "1"]
    assert same_bits.main(words) == 0
