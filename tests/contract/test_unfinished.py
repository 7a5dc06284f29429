"""A run that was stopped, and a run that two processes want."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from helpers import small_config
from wakesleep.cli import main
from wakesleep.data import Dataset
from wakesleep.runs import training


def begun(folder: Path, digits: Dataset, epochs: int) -> training.Job:
    """Return the job of a run that stops after so many epochs."""
    job = training.new_run(
        folder, small_config(), digits, torch.device("cpu"), "a test", data_path="digits"
    )
    records = training.train(job)
    for _ in range(epochs):
        next(records)
    return job


@pytest.mark.parametrize(
    ("epochs", "where"),
    [
        (0, "in stage pretrain, 1 of 3, before its first epoch"),
        (1, "in stage pretrain, 1 of 3 (last saved epoch: layer 1 1/6)"),
    ],
)
def test_an_unfinished_run_says_so(
    tmp_path: Path, digits: Dataset, epochs: int, where: str, capsys: pytest.CaptureFixture[str]
) -> None:
    begun(tmp_path / "run", digits, epochs)
    assert main(["evaluate", str(tmp_path / "run"), "--json"]) == 0
    reported = capsys.readouterr().err
    assert where in reported
    assert f"wakesleep train --resume {tmp_path / 'run'}" in reported


def test_a_finished_run_says_nothing(run_folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["evaluate", str(run_folder), "--json"]) == 0
    assert "unfinished" not in capsys.readouterr().err


def test_a_run_that_is_being_trained_is_in_use(
    tmp_path: Path, digits: Dataset, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "run"
    job = training.new_run(
        folder, small_config(), digits, torch.device("cpu"), "a test", data_path="digits"
    )
    records = training.train(job)
    next(records)
    before = {path: path.read_bytes() for path in folder.iterdir() if path.is_file()}
    assert main(["train", "--resume", str(folder)]) == 1
    assert f"{folder} is in use" in capsys.readouterr().err
    assert {path: path.read_bytes() for path in folder.iterdir() if path.is_file()} == before
    records.close()
    assert training.resume_run(folder, digits, torch.device("cpu")).lines == 1
