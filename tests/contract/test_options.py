"""Every option does what its help says, wherever it stands in the call, or says that it does
nothing.
"""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest

from helpers import small_config
from wakesleep import cli
from wakesleep.cli import finetune, machine, shared
from wakesleep.foundation.errors import ConfigError
from wakesleep.runs.settings import TrainConfig, preset, read_config


def parsed(*words: object):
    return cli.parse([str(word) for word in words]).args


def call(*words: object) -> int:
    return cli.main([str(word) for word in words])


@pytest.mark.parametrize(
    "order",
    [
        "{run} --method updown",
        "--method updown {run}",
        "--method=updown {run}",
        "--seed 3 {run} --method=updown",
        "--updown.momentum 0.8 --method updown {run}",
    ],
)
def test_finetune_keeps_the_settings_of_its_run_wherever_the_run_stands(
    order: str, run_folder: Path
) -> None:
    own = read_config(run_folder)
    args = parsed("finetune", *order.format(run=run_folder).split())
    new = finetune.settings(args, own)
    changed = shared.differences(new, own)
    expected = {"--stages": (("updown",), own.stages)}
    if "--seed" in order:
        expected["--seed"] = (3, own.seed)
    if "momentum" in order:
        expected["--updown.momentum"] = (0.8, own.updown.momentum)
    assert changed == expected
    assert own.backprop != TrainConfig().backprop  # or nothing could be forgotten


@pytest.mark.parametrize(
    "words", ["--data mnist", "--data=mnist", "--seed 1 --data mnist", "--data digits --data mnist"]
)
def test_train_takes_the_settings_that_suit_its_data_wherever_they_are_named(words: str) -> None:
    assert parsed("train", *words.split(), "--seed", 0).config == preset("mnist")


def _stopped(folder: Path, run_folder: Path) -> Path:
    shutil.copytree(run_folder, folder)
    return folder


def test_a_resumed_run_refuses_other_settings_and_names_them(
    tmp_path: Path, run_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    own = parsed("train", "--resume", run_folder)
    assert own.config == read_config(run_folder)
    assert call("train", "--resume", run_folder, "--greedy.layer.epochs", 9, "--hidden", 5, 6) == 1
    error = capsys.readouterr().err
    assert "--greedy.layer.epochs 9 (the run has 6)" in error
    assert "--hidden (5, 6) (the run has (48, 64))" in error
    assert call("train", "--resume", run_folder, "--out", tmp_path / "other") == 1
    assert "--out" in capsys.readouterr().err
    # as it is: only that the run is finished is refused
    assert call("train", "--resume", run_folder, "--greedy.layer.epochs", 6) == 1
    assert "is finished" in capsys.readouterr().err


def test_a_resumed_run_may_find_its_data_elsewhere(
    run_folder: Path, capsys: pytest.CaptureFixture[str], digits, tmp_path: Path
) -> None:
    assert parsed("train", "--resume", run_folder, "--data", tmp_path).data == str(tmp_path)


@pytest.mark.parametrize(
    "stages",
    [
        (),
        "pretrain",
        ("updown", "pretrain"),
        ("pretrain", "pretrain"),
        ("pretrain", "dream"),
        ("random", "backprop", "pretrain"),
    ],
    ids=str,
)
def test_stages_that_cannot_be_gone_through_are_refused_before_anything(stages) -> None:
    with pytest.raises(ConfigError, match="stages"):
        small_config(stages=stages)


@pytest.mark.parametrize(
    "stages",
    [("random", "pretrain"), ("updown",), ("pretrain", "hybrid", "updown", "backprop")],
    ids=str,
)
def test_other_orders_of_stages_are_taken(stages) -> None:
    assert small_config(stages=stages).stages == stages


@pytest.mark.parametrize("threads", [-1, 1025, 10**9])
@pytest.mark.parametrize(
    "command", ["train", "finetune RUN", "likelihood RUN", "advise", "reproduce", "serve"]
)
def test_numbers_of_threads_that_cannot_be_had_are_refused(
    command: str,
    threads: int,
    run_folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    words = [str(run_folder) if word == "RUN" else word for word in command.split()]
    assert call(*words, "--threads", threads) == 1
    assert f"--threads {threads}" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_more_threads_than_this_process_may_use_are_told_of(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(os, "cpu_count", lambda: 64)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {1, 5}, raising=False)
    machine.check_threads(2)
    assert not capsys.readouterr().err
    machine.check_threads(3)
    assert "this process may use 2" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("command", "output"),
    [
        ("dream RUN --every 9 --steps 1 --count 1", "--every has no effect without --movie"),
        ("dream RUN --movie m.gif --out x.png --steps 1", "--out has no effect with --movie"),
        (
            "dream RUN --brain --columns 3 --steps 1 --count 1",
            "--columns has no effect with --brain",
        ),
        ("evaluate RUN --seed 3", "--seed has no effect without --up-passes"),
        ("evaluate RUN --average log-probs", "--average has no effect on one run"),
        ("recognize RUN digit.png --steps 3", "--steps has no effect without --imagine"),
        ("plot RUN --what fields --out here --cases 20", "--cases has no effect without the map"),
        (
            "finetune RUN --method backprop --updown.epochs 3 --backprop.epochs 0 --out new",
            "--updown.epochs has no effect",
        ),
        (
            "finetune RUN --backprop.cg-top-epochs 3 --backprop.epochs 0 --out new",
            "--backprop.cg-top-epochs has no effect",
        ),
    ],
)
def test_an_option_without_effect_is_said_to_have_none(
    command: str,
    output: str,
    run_folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    from PIL import Image

    monkeypatch.chdir(tmp_path)
    Image.new("L", (20, 20), 30).save("digit.png")
    assert call(*(str(run_folder) if word == "RUN" else word for word in command.split())) in (0, 1)
    assert output in capsys.readouterr().err


def test_the_overview_has_a_line_for_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert call("--help") == 0
    text = capsys.readouterr().out
    lines = text.splitlines()
    for name in cli.COMMANDS:
        assert sum(line.startswith(f"  {name} ") for line in lines) == 1
    assert max(map(len, lines)) <= 80
    helpers = {"__init__", "shared", "options", "machine", "driver", "senses", "tables", "deep"}
    files = {path.stem for path in Path(cli.__file__).parent.glob("*.py")} - helpers
    assert set(cli.COMMANDS) == files


def test_a_command_that_does_not_exist_is_answered_with_the_nearest(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert call("trian") == 1
    assert "did you mean train" in capsys.readouterr().err
    assert call("bench", "--smoke") == 1
    assert "python -m benchmarks.bench" in capsys.readouterr().err
    assert call("--version") == 0
    assert capsys.readouterr().out.startswith("wakesleep ")


def test_help_and_errors_in_a_call_need_no_torch(tmp_path: Path) -> None:
    calls = [
        ["--help"],
        ["fly"],
        *([name, "--help"] for name in cli.COMMANDS),
        ["dream", "--bogus"],
        ["train", "--hidden", "x"],
    ]
    code = (
        "import json, sys, contextlib, io\nfrom wakesleep import cli\n"
        "for words in json.loads(sys.argv[1]):\n"
        "    with contextlib.redirect_stdout(io.StringIO()), "
        "contextlib.redirect_stderr(io.StringIO()), contextlib.suppress(SystemExit):\n"
        "        cli.main(words)\n"
        "    loaded = [m for m in ('torch', 'matplotlib', 'sklearn', 'scipy', 'numpy') if m in "
        "sys.modules]\n"
        "    assert not loaded, (words, loaded)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, json.dumps(calls)],
        capture_output=True,
        text=True,
        check=False,
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stderr


def test_a_set_is_described_without_torch(tmp_path: Path, digits) -> None:
    from PIL import Image

    cases = digits.train.images[:20].numpy()
    np.savez(tmp_path / "own.npz", images=cases, labels=digits.train.labels[:20].numpy())
    for number, case in enumerate(cases):
        (tmp_path / "own" / str(number % 2)).mkdir(parents=True, exist_ok=True)
        Image.fromarray((case.reshape(8, 8) * 255).astype("uint8")).save(
            tmp_path / "own" / str(number % 2) / f"{number}.png"
        )
    calls = [
        ["data"],
        ["data", str(tmp_path / "own.npz"), "--json"],
        ["data", str(tmp_path / "own")],
        ["data", str(tmp_path / "none")],
    ]
    code = (
        "import json, sys\nfrom wakesleep import cli\n"
        "codes = [cli.main(words) for words in json.loads(sys.argv[1])]\n"
        "assert codes == [0, 0, 0, 1], codes\n"
        "loaded = [m for m in ('torch', 'matplotlib', 'sklearn', 'scipy') if m in sys.modules]\n"
        "assert not loaded, loaded\n"
    )
    subprocess.run([sys.executable, "-c", code, json.dumps(calls)], check=True, capture_output=True)


@pytest.mark.parametrize("name", sorted(set(cli.COMMANDS) - {"data", "page"}))
def test_whatever_computes_takes_a_backend(name: str) -> None:
    module = import_module(f"wakesleep.cli.{name}")
    options = dataclasses.fields(getattr(module, f"{name.capitalize()}Options"))
    assert "backend" in {option.name for option in options}
