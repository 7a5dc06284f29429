"""The command that measures a GPU runs end to end at smoke size, saves as it goes, and says where
it cannot run.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from benchmarks import bench_measure as bench
from benchmarks import bench_worker, gpu
from benchmarks.bench_measure import Cell
from helpers import real_folder
from wakesleep.compute import cuda_graphs
from wakesleep.foundation.errors import ConfigError

FIELDS = (
    "table row metric value low high seeds reported command device threads minutes date commit"
).split()


@pytest.mark.slow
def test_the_smoke_sized_command_measures_everything(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "speed.json"
    gpu.main(["--smoke", "--out", str(out), "--seeds", "3", "4", "--peers", sys.executable])
    output, rows = capsys.readouterr().out, json.loads(out.read_text())
    actual = {(row["row"], row["metric"]): row for row in rows}
    ways = [
        f"gpu-cd1-{dtype}-{way}"
        for dtype in ("float32", "bfloat16")
        for way in ("plain", "captured")
    ]
    stages = ["gpu-recipe-greedy", "gpu-recipe-updown-50k", "gpu-recipe-updown"]
    assert set(actual) == {
        *((name, "cases_per_second") for name in (*ways, "gpu-cd1")),
        *((name, metric) for name in stages for metric in ("minutes", "test_error_percent")),
    }
    for row in rows:
        assert list(row)[: len(FIELDS)] == FIELDS
        assert row["table"] == "speed"
        # rounded: three milliseconds are no minutes
        assert row["value"] > 0 or (row["metric"] == "minutes" and row["value"] == 0)
        assert row["command"].startswith("python -m benchmarks.gpu --smoke")
        assert row["seeds"] == [3]
    assert actual["gpu-cd1", "cases_per_second"]["value"] == max(
        actual[name, "cases_per_second"]["value"] for name in ways if "captured" in name
    )
    assert list(actual["gpu-recipe-updown", "minutes"]["stages"]) == [
        "greedy",
        "updown-50k",
        "updown",
    ]
    minutes = [actual[name, "minutes"]["stages"] for name in stages]
    assert sum(minutes[-1].values()) == pytest.approx(
        actual["gpu-recipe-updown", "minutes"]["value"], abs=2e-3
    )
    assert "skipped: PackageNotFoundError" in output
    assert cuda_graphs.MIN_MINIBATCHES == 20


def test_the_recipe_is_that_of_2006(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked, out = [], tmp_path / "speed.json"
    minutes = iter(range(100))
    monkeypatch.setattr(gpu, "time", SimpleNamespace(perf_counter=lambda: 60.0 * next(minutes)))

    def epochs(dbn, images, labels, *, config, rng, dtype):
        asked.append((len(images), config))
        return iter(())

    monkeypatch.setattr(gpu.greedy, "epochs", epochs)
    monkeypatch.setattr(gpu.up_down, "epochs", epochs)
    gpu.main(["--smoke", "--parts", "recipe", "--out", str(out)])
    assert [row["value"] for row in json.loads(out.read_text()) if row["metric"] == "minutes"] == [
        1,
        2,
        3,
    ]
    assert [cases for cases, _ in asked] == [200, 200, 300]
    plan = gpu.GpuPlan()
    assert (plan.sizes, plan.greedy, plan.updown, plan.more, plan.held_out) == (
        (784, 500, 500, 2000),
        50,
        300,
        59,
        10_000,
    )
    (_, layers), (_, long), (_, more) = asked
    assert (layers.layer.epochs, layers.memory.epochs, long.epochs, more.epochs) == (1, 1, 2, 1)
    assert (long.gibbs_steps, more.gibbs_steps, long.persistent) == ((3, 6, 10), (10,), 0)
    assert more.learning_rate < long.learning_rate


def test_captures_are_off_for_the_plain_figures_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    seen, real = [], gpu.cd.epochs

    def epochs(*given: object, **options: object) -> object:
        seen.append((cuda_graphs.MIN_MINIBATCHES == 20, options["dtype"]))
        return real(*given, **options)

    monkeypatch.setattr(gpu.cd, "epochs", epochs)
    gpu.main(["--smoke", "--parts", "cd1"])
    assert seen == [
        (on, dtype) for dtype in (torch.float32, torch.bfloat16) for on in (False, True)
    ]


def test_captures_are_on_again_whatever_happens(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*given: object, **options: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(gpu.cd, "epochs", fail)
    with pytest.raises(KeyboardInterrupt):
        gpu.main(["--smoke", "--parts", "cd1"])
    assert cuda_graphs.MIN_MINIBATCHES == 20


def test_the_fastest_rival_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def take_turns(who, requests, rounds, tell):
        asked.extend(requests)
        took = {
            "wakesleep float32": [2.0, 2.0],
            "wakesleep bfloat16": [1.0, 1.0],
            "rbms float32": [6.0, 8.0],
            "learnergy float32": [9.0, 30.0],
        }
        return [Cell("cd1", 100, one, 300, took[f"{one.name} {one.dtype}"], 0.1) for one in who], {}

    monkeypatch.setattr(bench, "take_turns", take_turns)
    out = tmp_path / "speed.json"
    gpu.main(["--smoke", "--parts", "peers", "--peers", "python", "--out", str(out)])
    rows = {row["row"]: row for row in json.loads(out.read_text())}
    assert {name: row["value"] for name, row in rows.items()} == {
        "gpu-against-rbms": 7,
        "gpu-against-learnergy": 19.5,
        "gpu-against-peers": 7,
    }
    assert rows["gpu-against-peers"]["compared"] == "rbms"
    assert {row["precision"] for row in rows.values()} == {"bfloat16"}
    assert asked[0]["device"] in ("cpu", "cuda")
    assert bench_worker.device_of({**asked[0], "device": "cuda:1"}) == torch.device("cuda:1")


def test_what_was_measured_is_saved_when_a_later_part_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(work: gpu.Work) -> None:
        work.save("gpu-recipe-greedy", "minutes", [1.0])
        raise KeyboardInterrupt

    monkeypatch.setitem(gpu.DO, "recipe", fail)
    out = tmp_path / "speed.json"
    with pytest.raises(KeyboardInterrupt):
        gpu.main(["--smoke", "--parts", "cd1", "recipe", "peers", "--out", str(out)])
    assert [row["row"] for row in json.loads(out.read_text())][-2:] == [
        "gpu-cd1",
        "gpu-recipe-greedy",
    ]


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_without_a_gpu_it_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpu, "cases", lambda args, device: pytest.fail("it went on"))
    with pytest.raises(ConfigError, match=r"the device is cpu.*--smoke"):
        gpu.main([])


def test_it_needs_neither_the_command_line_nor_the_page(tmp_path: Path) -> None:
    absent = (
        "tyro pooch safetensors sklearn scipy matplotlib tqdm threadpoolctl requests fastapi"
    ).split()
    code = (
        f"import sys; sys.modules.update(dict.fromkeys({absent}));from benchmarks import "
        "gpu;gpu.main(['--smoke'])"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert "gpu-recipe-updown" in done.stdout
    assert "no --peers" in done.stdout
    assert not list(tmp_path.iterdir()), "smoke-sized figures go nowhere unless asked to"


def test_the_real_cases_are_mnists() -> None:
    folder = real_folder("mnist")
    train, test = gpu.cases(gpu.options(["--data-folder", str(folder)]), torch.device("cpu"))
    assert (train.images.shape, train.images.dtype, len(test)) == (
        (60_000, 784),
        torch.uint8,
        10_000,
    )
