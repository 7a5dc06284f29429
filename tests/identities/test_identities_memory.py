"""Memory: a process that learns keeps what its arrays leave behind."""

import subprocess
import sys

import pytest

FAULTS = """
import resource
import sys

import torch

from wakesleep.compute import ops

def minibatch():
    made = [torch.zeros(1_000_000) for _ in range(5)]

if sys.argv[1:]:
    with ops.operations("cpu").learning():
        minibatch()
minibatch()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(10):
    minibatch()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def fresh_pages(*words):
    return int(
        subprocess.run(
            [sys.executable, "-c", FAULTS, *words], check=True, capture_output=True, text=True
        ).stdout
    )


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="only glibc is asked to keep memory")
def test_large_arrays_cost_no_fresh_pages_at_each_minibatch():
    """Ten times 20 MB are 49,000 pages of 4 KiB; by itself glibc takes most of them anew, some runs
    fewer.
    """
    if max(fresh_pages() for _ in range(3)) < 20_000:
        pytest.skip("this allocator keeps memory by itself, or its pages are large")
    assert fresh_pages("at work") < 5000
