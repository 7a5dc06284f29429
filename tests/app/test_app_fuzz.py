"""Twenty seconds of random bytes at every endpoint leave the server serving; ten minutes of it are
in results/app.json.
"""

from __future__ import annotations

import pytest

from benchmarks import browser as browsing
from benchmarks import fuzz


@pytest.mark.slow
def test_noise_leaves_it_serving() -> None:
    with browsing.serving() as server:
        counts = fuzz.throw(server, 20, seed=4)
        assert fuzz.serves(server)
        assert counts["500"] == 0, counts
        assert {"200", "422"} <= set(counts), counts
        assert server.memory_mb() < 2000
