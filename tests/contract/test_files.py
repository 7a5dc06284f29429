"""What is written can be read by those it was written for, whatever happened to the writer."""

from __future__ import annotations

import contextlib
import json
import math
import os
import shutil
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from helpers import small_config
from wakesleep.cli import main
from wakesleep.foundation import files
from wakesleep.foundation.errors import CheckpointError
from wakesleep.runs import checkpoint, training

CPU = torch.device("cpu")


def call(*words: object) -> int:
    return main([str(word) for word in words])


def stopped(folder: Path, digits, stage: str) -> Path:
    """A run that was stopped after an epoch of `stage`."""
    records = training.train(training.new_run(folder, small_config(), digits, CPU, "a test"))
    while next(records).stage != stage:
        pass
    records.close()
    return folder


@contextlib.contextmanager
def as_somebody_else() -> Iterator[None]:
    """Without the rights of root, which may read everything."""
    if os.geteuid():
        yield
        return
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


@pytest.mark.parametrize("stage", ["layer 1", "backprop", "random"])
def test_a_run_stopped_in_any_stage_is_a_model(
    stage: str, tmp_path: Path, digits, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = stopped(tmp_path / "run", digits, stage)
    model = checkpoint.load_model(folder)
    assert (model.net is None) == (stage == "layer 1")
    assert call("evaluate", folder, "--json") == 0
    assert json.loads(capsys.readouterr().out)["method"] == (
        "free-energy" if model.net is None else "backprop"
    )
    assert call("dream", folder, "--steps", 2, "--count", 2, "--out", tmp_path / "d.png") == 0


@pytest.mark.parametrize(
    "torn",
    ['{"stage": "lay', '{"stage": "layer 1", "epoch": 2}', ""],
    ids=["half", "whole but for its end", "none"],
)
def test_a_torn_last_line_of_metrics_is_left_out(
    torn: str, tmp_path: Path, digits, run_folder: Path
) -> None:
    folder = stopped(tmp_path / "run", digits, "layer 1")
    with (folder / "metrics.jsonl").open("a") as file:
        file.write(torn)
    list(training.train(training.resume_run(folder, digits, CPU)))
    assert [line["stage"] for line in files.read_metrics(folder)] == [
        line["stage"] for line in files.read_metrics(run_folder)
    ]


def test_a_line_of_metrics_that_the_system_lost_is_not_counted_on(tmp_path: Path, digits) -> None:
    folder = stopped(tmp_path / "run", digits, "memory")
    lines = (folder / "metrics.jsonl").read_text().splitlines(keepends=True)
    (folder / "metrics.jsonl").write_text("".join(lines[:-2]))
    records = training.train(training.resume_run(folder, digits, CPU))
    next(records)
    records.close()
    assert (
        training.resume_run(folder, digits, CPU).lines
        == len(files.read_metrics(folder))
        == len(lines) - 1
    )


def test_a_damaged_line_within_is_named(tmp_path: Path) -> None:
    (tmp_path / "metrics.jsonl").write_text('{"a": 1}\n{"a": \n{"a": 2}\n')
    with pytest.raises(CheckpointError, match="line 2"):
        files.read_metrics(tmp_path)


@pytest.mark.parametrize("umask", [0o022, 0o077, 0o002])
def test_files_have_the_mode_that_the_umask_says(
    umask: int, tmp_path: Path, run_folder: Path
) -> None:
    model = checkpoint.load_model(run_folder)
    before = os.umask(umask)
    try:
        checkpoint.save_models(tmp_path / "m.safetensors", {"dbn": model.dbn, "net": model.net}, {})
        files.write_json(tmp_path / "j.json", {})
    finally:
        os.umask(before)
    for name in ("m.safetensors", "j.json"):
        assert stat.S_IMODE((tmp_path / name).stat().st_mode) == 0o666 & ~umask


@pytest.mark.parametrize("locked", ["model.safetensors", "config.json", "."])
def test_a_file_that_may_not_be_read_is_not_called_damaged(
    locked: str, tmp_path: Path, run_folder: Path
) -> None:
    folder = tmp_path / "run"
    shutil.copytree(run_folder, folder)
    for place in (folder, *tmp_path.parents, tmp_path):
        if not place.stat().st_mode & 0o001 and place.owner() == tmp_path.owner():
            place.chmod(0o755)
    for path in folder.rglob("*"):
        path.chmod(0o755)
    (folder / locked).chmod(0o000)
    try:
        with as_somebody_else(), pytest.raises(CheckpointError) as refused:
            files.read_json(
                folder / "config.json"
            ) if locked == "config.json" else checkpoint.load_model(folder)
    finally:
        (folder / locked).chmod(0o755)
    assert "may not be read" in str(refused.value)
    assert "damaged" not in str(refused.value)
    assert "train" not in str(refused.value)


def test_what_a_killed_writer_left_is_removed_by_the_next_and_that_of_a_living_one_is_kept(
    tmp_path: Path,
) -> None:
    code = (
        "import os, sys\nfrom pathlib import Path\nfrom wakesleep.foundation import files\n"
        "files.write_atomically(Path(sys.argv[1]), lambda path: os._exit(9))"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path / "model.safetensors")], check=False)
    assert len(list(tmp_path.iterdir())) == 1
    (tmp_path / "notes.tmp").touch()
    (tmp_path / ".own.tmp").touch()

    def write(path: Path) -> None:
        files.remove_abandoned(tmp_path)
        path.write_text("x")

    files.write_atomically(tmp_path / "c.txt", write)
    assert sorted(path.name for path in tmp_path.iterdir()) == [".own.tmp", "c.txt", "notes.tmp"]


def test_a_reader_of_a_run_removes_what_was_left_too(tmp_path: Path, run_folder: Path) -> None:
    shutil.copytree(run_folder, tmp_path / "run")
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    left = tmp_path / "run" / f".model.safetensors.{files.HOST}.{dead.pid}.0123abcd.tmp"
    left.touch()
    checkpoint.load_model(tmp_path / "run")
    assert not left.exists()


def test_json_holds_no_number_that_json_does_not_know(tmp_path: Path) -> None:
    files.write_json(
        tmp_path / "a.json", {"low": -math.inf, "list": [1.5, math.nan], "pair": (math.inf,)}
    )

    def refuse(name: str) -> None:
        raise AssertionError(name)

    assert json.loads((tmp_path / "a.json").read_text(), parse_constant=refuse) == {
        "low": None,
        "list": [1.5, None],
        "pair": [None],
    }


def test_the_likelihood_is_json_where_an_interval_has_no_end(
    run_folder: Path, tmp_path: Path, capsys, monkeypatch
) -> None:
    from wakesleep.evaluation import ais

    shutil.copytree(run_folder, tmp_path / "run")
    real = ais.estimate
    monkeypatch.setattr(ais, "estimate", lambda *args: real(*args)._replace(low=-math.inf))
    words = (
        "likelihood",
        tmp_path / "run",
        "--binarise",
        "round",
        "--cases",
        20,
        "--chains",
        10,
        "--limit",
        200,
        "--json",
        "--target-error",
        5,
    )
    found = []
    for _ in range(2):  # the second reads what the first wrote
        assert call(*words) == 0
        found.append(
            json.loads(capsys.readouterr().out, parse_constant=lambda name: pytest.fail(name))
        )
    assert found[0] == found[1]
    assert found[0]["depths"][0]["log_z"]["forward"]["low"] is None


def test_the_model_is_saved_before_its_pictures_and_a_run_killed_between_goes_on(
    tmp_path: Path, digits, monkeypatch, run_folder: Path
) -> None:
    from wakesleep.runs import figures

    folder, said = stopped(tmp_path / "run", digits, "random"), []
    with monkeypatch.context() as patch:

        def killed(*args: object, **words: object) -> None:
            raise KeyboardInterrupt

        patch.setattr(figures, "draw_run", killed)
        with pytest.raises(KeyboardInterrupt):
            list(training.train(training.resume_run(folder, digits, CPU)))
    saved = (folder / "model.safetensors").read_bytes()
    assert saved == (run_folder / "model.safetensors").read_bytes()
    list(training.train(training.resume_run(folder, digits, CPU), said.append))
    assert (folder / "model.safetensors").read_bytes() == saved
    assert (folder / "figures" / "dreams.png").exists()
    assert not (folder / "checkpoint.safetensors").exists()
    assert "model saved" in said[0]
    assert "dreams" in said[1]


def test_a_number_is_a_number_again(tmp_path: Path) -> None:
    assert json.loads(files.to_json({"a": 0.1, "b": True, "c": None, "d": "x"})) == {
        "a": 0.1,
        "b": True,
        "c": None,
        "d": "x",
    }
