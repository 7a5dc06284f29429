"""Backend and precision follow from what the machine is."""

import os
import subprocess
import sys

import pytest

from wakesleep.foundation import select
from wakesleep.foundation.errors import ConfigError
from wakesleep.foundation.select import Processor

ZEN = Processor("AuthenticAMD", frozenset(("avx2", "avx512f", "avx512_bf16")))
RAPIDS = Processor("GenuineIntel", frozenset(("avx2", "avx512f", "avx512_bf16", "amx_bf16")))
COOPER = Processor("GenuineIntel", frozenset(("avx2", "avx512f", "avx512_bf16")))
OLD = Processor("AuthenticAMD", frozenset(("avx2",)))
UNKNOWN = Processor("", frozenset())


@pytest.mark.parametrize(
    ("machine", "bfloat16", "onednn"),
    [(ZEN, True, True), (RAPIDS, True, False), (COOPER, False, False), (OLD, False, False), (UNKNOWN, False, False)],
)
def test_what_follows_from_a_processor(machine, bfloat16, onednn, monkeypatch):
    monkeypatch.setattr(select, "processor", lambda: machine)
    assert select.bfloat16_pays() == bfloat16
    assert select.onednn_pays() == onednn
    assert select.describe().startswith("auto; ")


def test_the_processor_is_read_from_what_linux_says(monkeypatch, tmp_path):
    (tmp_path / "cpuinfo").write_text("processor : 0\nvendor_id : AuthenticAMD\nflags : fpu avx2\n\nprocessor : 1\nvendor_id : AuthenticAMD\n")
    monkeypatch.setattr(select, "Path", lambda name: tmp_path / "cpuinfo")
    assert select.processor.__wrapped__() == Processor("AuthenticAMD", frozenset(("fpu", "avx2")))
    monkeypatch.setattr(select, "Path", lambda name: tmp_path / "absent")
    assert select.processor.__wrapped__() == UNKNOWN


def test_an_unknown_backend_is_refused(monkeypatch):
    monkeypatch.setenv("WAKESLEEP_BACKEND", "fastest")
    with pytest.raises(ConfigError, match="WAKESLEEP_BACKEND=fastest: expected one of auto, reference"):
        select.backend()


def test_the_reference_backend_takes_no_kernel_and_no_compiler():
    code = (
        "import torch; from wakesleep.foundation import native, products; "
        "native._build = lambda: 1 / 0; print(native.serves(), products.onednn_serves(), native.suits(torch.zeros(200, 200)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], env={**os.environ, "WAKESLEEP_BACKEND": "reference"}, capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == ["False", "False", "False"]
