"""Following a run that another process fills, and shipping one that is finished."""

from __future__ import annotations

import json
import shutil
import time
from pathlib import Path

import pytest
import torch
from fastapi.testclient import TestClient

from benchmarks import ship
from helpers import small_config
from wakesleep.app import loaded_model, watch
from wakesleep.app.server import create_app
from wakesleep.app.service import Service
from wakesleep.data import Dataset
from wakesleep.evaluation import classify
from wakesleep.foundation.errors import CheckpointError
from wakesleep.runs import tensor_files, training


def test_the_page_follows_a_run_that_learns(tmp_path: Path, digits: Dataset) -> None:
    job = training.new_run(
        tmp_path / "run", small_config(stages=("pretrain",)), digits, torch.device("cpu"), "a test"
    )
    service = Service(
        loaded_model.open_model(tmp_path / "run"), tmp_path / "page", run=tmp_path / "run"
    )
    before = service.model.dbn.recognition[0].weight.clone()  # the first layer learns first
    with TestClient(create_app(service), base_url="http://localhost") as client:
        assert client.get("/page.json").json() == {"version": 1, "api": True, "run": "run"}
        assert client.get("/api/run").json()["finished"] is False
        model = client.get("/model.safetensors").content
        records = training.train(job)
        for _ in range(8):
            next(records)
        while client.get("/page.json").json()["version"] < 2:
            time.sleep(0.1)
        assert client.get("/page.json").json()["version"] >= 2
        assert client.get("/api/model").json()["version"] >= 2
        assert client.get("/model.safetensors").content != model
        assert not torch.equal(service.model.dbn.recognition[0].weight, before)
        assert len(client.get("/api/run").json()["metrics"]) == 8
        list(records)
        while not client.get("/api/run").json()["finished"]:
            time.sleep(0.1)
        assert client.get("/api/run").json()["evaluation"]


def test_a_line_half_written_is_left_for_the_next_look(run_folder: Path, tmp_path: Path) -> None:
    shutil.copytree(run_folder, tmp_path / "run")
    whole = watch.describe(tmp_path / "run")["metrics"]
    with (tmp_path / "run/metrics.jsonl").open("a") as file:
        file.write('{"stage": "ba')
    assert watch.describe(tmp_path / "run")["metrics"] == whole
    shutil.rmtree(tmp_path / "run")
    assert watch.describe(tmp_path / "run")["metrics"] == []
    assert watch.stamp(tmp_path / "run") is None


def test_a_shipped_model_is_half_as_large_and_answers_alike(
    run_folder: Path, digits: Dataset, tmp_path: Path
) -> None:
    out = tmp_path / "model.safetensors"
    card = ship.ship(ship.ShipMeasureOptions(run_folder, out), "a command")
    loaded = loaded_model.open_model(out)
    tensors, header = tensor_files.load_tensors(out, "model")
    assert all(tensor.dtype == torch.float16 for tensor in tensors.values())
    assert loaded.dbn.memory.weight.dtype == torch.float32
    assert header["card"] == loaded.card == card
    assert {"data", "command", "seed", "test_error_percent"} <= set(card)
    errors = classify.count_errors(
        classify.predict(loaded.dbn, digits.test.images), digits.test.labels
    )
    rows = json.loads((run_folder / "evaluation.json").read_text())["rows"]
    assert errors == card["test_errors"]
    assert (
        abs(errors - next(row["test_errors"] for row in rows if row["method"] == "free-energy"))
        <= 1
    )
    assert str(card["seed"]) in (tmp_path / "MODEL.md").read_text()
    assert not [word for word in json.dumps(header).split() if word.startswith('"/')]


def test_what_would_be_too_large_is_not_shipped(
    run_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ship, "MOST_BYTES", 1000)
    with pytest.raises(CheckpointError, match="smaller net"):
        ship.ship(ship.ShipMeasureOptions(run_folder, tmp_path / "model.safetensors"), "a command")
    assert not list(tmp_path.iterdir())


def test_the_model_that_ships_is_small_and_says_where_it_comes_from() -> None:
    assert loaded_model.SHIPPED.stat().st_size <= 5_100_000
    shipped = loaded_model.open_model()
    assert {"data", "data_checksum", "command", "seed", "test_error_percent", "test_cases"} <= set(
        shipped.card
    )
    assert (
        loaded_model.SHIPPED.with_name("MODEL.md")
        .read_text()
        .count(shipped.card["command"].partition(" --")[2])
        == 1
    )


def test_the_shipped_model_reaches_the_error_on_its_card(real_mnist: Dataset) -> None:
    shipped = loaded_model.open_model()
    errors = classify.count_errors(
        classify.predict(shipped.dbn, real_mnist.test.images), real_mnist.test.labels
    )
    assert abs(errors - shipped.card["test_errors"]) <= 2
