"""Backend and precision follow from what the machine is, and only compute/ knows hardware."""

import json
import re
from pathlib import Path

import pytest
import torch

from helpers import small_config
from wakesleep import cli
from wakesleep.cli import machine
from wakesleep.compute import cpu, ops, select
from wakesleep.compute.select import Processor
from wakesleep.foundation.errors import ConfigError
from wakesleep.runs import report, scores, training

ZEN = Processor("AuthenticAMD", frozenset(("avx2", "avx512f", "avx512_bf16")))
RAPIDS = Processor("GenuineIntel", frozenset(("avx2", "avx512f", "avx512_bf16", "amx_bf16")))
COOPER = Processor("GenuineIntel", frozenset(("avx2", "avx512f", "avx512_bf16")))
OLD = Processor("AuthenticAMD", frozenset(("avx2",)))
UNKNOWN = Processor("", frozenset())


@pytest.mark.parametrize(
    ("machine", "bfloat16", "onednn"),
    [
        (ZEN, True, True),
        (RAPIDS, True, False),
        (COOPER, False, False),
        (OLD, False, False),
        (UNKNOWN, False, False),
    ],
)
def test_what_follows_from_a_processor(machine, bfloat16, onednn, monkeypatch):
    monkeypatch.setattr(select, "processor", lambda: machine)
    assert select.bfloat16_pays() == bfloat16
    assert select.onednn_pays() == onednn
    assert select.describe().startswith("auto; ")


def test_the_processor_is_read_from_what_linux_says(monkeypatch, tmp_path):
    (tmp_path / "cpuinfo").write_text(
        "processor : 0\nvendor_id : AuthenticAMD\nflags : fpu avx2\n\nprocessor : 1\nvendor_id : "
        "AuthenticAMD\n"
    )
    monkeypatch.setattr(select, "Path", lambda name: tmp_path / "cpuinfo")
    assert select.processor.__wrapped__() == Processor("AuthenticAMD", frozenset(("fpu", "avx2")))
    monkeypatch.setattr(select, "Path", lambda name: tmp_path / "absent")
    assert select.processor.__wrapped__() == UNKNOWN


def test_an_unknown_backend_is_refused(monkeypatch):
    monkeypatch.setenv("WAKESLEEP_BACKEND", "fastest")
    with pytest.raises(
        ConfigError, match="WAKESLEEP_BACKEND=fastest: expected one of auto, torch, reference"
    ):
        select.backend()

    with pytest.raises(
        ConfigError, match="backend 'fastest': expected one of auto, torch, reference"
    ):
        ops.use_backend("fastest")


def test_the_backend_that_was_set_goes_before_the_variable(monkeypatch):
    monkeypatch.setenv("WAKESLEEP_BACKEND", "torch")
    with ops.backend(None):
        assert select.backend() == "torch"
        with ops.backend("reference"):
            assert select.backend() == "reference"
            assert type(ops.operations("cpu")).__name__ == "Reference"
            assert type(ops.of(torch.zeros(1))).__name__ == "Reference"
        assert select.backend() == "torch"
        assert type(ops.operations("cpu")).__name__ == "CPU"
        assert not ops.operations("cpu").kernels
        monkeypatch.delenv("WAKESLEEP_BACKEND")
        assert select.backend() == "auto"
    with pytest.raises(ZeroDivisionError), ops.backend("reference"):
        raise ZeroDivisionError
    assert select.chosen_backend() is None


def test_each_device_has_its_operations():
    for name, kinds in (
        ("auto", ("CPU", "CUDA", "Fused")),
        ("torch", ("CPU", "CUDA", "Fused")),
        ("reference", ("Reference",) * 3),
    ):
        with ops.backend(name):
            actual = [ops.operations(device) for device in ("cpu", "cuda", "mps")]
            assert tuple(type(each).__name__ for each in actual) == kinds
            assert ops.operations("cpu") is actual[0]
            assert all(getattr(each, "kernels", False) == (name == "auto") for each in actual[:2])


def test_a_backend_is_recorded_in_words_and_read_again():
    for name in select.BACKENDS:
        with ops.backend(name):
            assert select.recorded_backend(select.describe()) == name
    assert select.recorded_backend("") is None
    assert select.recorded_backend("another; GenuineIntel") is None


def test_onednn_is_taken_where_it_is_there_and_the_processor_gains_by_it(monkeypatch):
    pays = cpu.onednn_pays.__wrapped__
    for gains in (True, False):
        monkeypatch.setattr(select, "onednn_pays", lambda gains=gains: gains)
        assert pays() == (gains and hasattr(torch.ops.mkldnn, "_linear_pointwise"))
    monkeypatch.setattr(select, "onednn_pays", lambda: True)
    monkeypatch.setattr(torch.backends.mkldnn, "is_available", lambda: False)
    assert not pays()


def test_an_option_chooses_the_backend_of_one_call(run_folder, monkeypatch, capsys):
    monkeypatch.delenv("WAKESLEEP_BACKEND", raising=False)
    seen, real = [], scores.score
    monkeypatch.setattr(
        scores, "score", lambda *given: seen.append(select.backend()) or real(*given)
    )
    for name in select.BACKENDS:
        assert cli.main(["evaluate", str(run_folder), "--backend", name]) == 0
    assert cli.main(["evaluate", str(run_folder)]) == 0
    assert seen == [*select.BACKENDS, "auto"]
    assert select.chosen_backend() is None
    with pytest.raises(SystemExit):
        cli.main(["evaluate", str(run_folder), "--backend", "fastest"])
    assert "reference" in capsys.readouterr().err


def test_a_run_says_and_stores_its_backend_and_goes_on_with_it(tmp_path, digits, monkeypatch):
    monkeypatch.delenv("WAKESLEEP_BACKEND", raising=False)
    with ops.backend("reference"):
        job = training.new_run(
            tmp_path / "run", small_config(), digits, torch.device("cpu"), "a test"
        )
        assert any("backend reference" in line for line in report.announce(job))
    stored = json.loads((tmp_path / "run" / "provenance.json").read_text())["backend"]
    with ops.backend(None):
        machine.keep_backend(None, stored)
        assert select.backend() == "reference"
    with ops.backend("torch"):
        machine.keep_backend("torch", stored)
        assert select.backend() == "torch", "what the call asks for goes before"
    monkeypatch.setenv("WAKESLEEP_BACKEND", "torch")
    with ops.backend(None):
        machine.keep_backend(None, stored)
        assert select.backend() == "torch", "and so does the environment"
    with ops.backend(None):
        machine.keep_backend(None, "")


HARDWARE = re.compile(
    r"\b(native|tiles|triton|onednn|mkldnn|amx|cuda|autocast|is_cuda|bfloat16|by_hand|ctypes)\b|device\.type|torch\._"
)
SETTINGS = re.compile(
    r'"auto", "float32", "bfloat16"|"bfloat16" if|bfloat16 adds it|auto takes|cpu, cuda, '
    r'cuda:1|"auto" \(CUDA|"bfloat16", or "auto"|'
    r"== torch\.bfloat16|torch\.bfloat16 \(`compute|about twice as fast|e\.g\. "
    r"torch\.bfloat16|startswith\(\"cuda\"\)|auto, float32 or bfloat16"
)
"""Settings of device and precision, and their documentation."""


def test_only_compute_knows_hardware():
    root = Path(ops.__file__).parents[1]
    actual = []
    for path in sorted(root.rglob("*.py")):
        part = path.relative_to(root).parts[0]
        if part != "compute":
            for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
                if HARDWARE.search(line) and not SETTINGS.search(line):
                    actual.append(f"{path.relative_to(root)}:{number}: {line.strip()}")
    assert not actual
