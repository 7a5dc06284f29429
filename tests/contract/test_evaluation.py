"""Likelihood, pictures and advice as a person meets them, and the experiment of likelihoods at
smoke size.
"""

from __future__ import annotations

import json
import math
import shutil
from pathlib import Path

import pytest
import scipy.io
import torch

from benchmarks import likelihood
from helpers import SMALL_ARGUMENTS
from wakesleep.cli import main
from wakesleep.data import load
from wakesleep.evaluation import ais, exact
from wakesleep.evaluation.pseudo import pseudo_log_likelihood
from wakesleep.foundation import files
from wakesleep.foundation.errors import ConfigError, DataError
from wakesleep.foundation.rng import generator
from wakesleep.models.dbn import DBN
from wakesleep.runs import advice, checkpoint, log_likelihood


def call(*words: object) -> int:
    return main([str(word) for word in words])


def answer(capsys: pytest.CaptureFixture[str], *words: object) -> dict:
    assert call(*words) == 0
    return json.loads(capsys.readouterr().out)


@pytest.fixture
def run(tmp_path: Path, run_folder: Path) -> Path:
    """A copy of a finished run that a test may write into."""
    shutil.copytree(run_folder, tmp_path / "run")
    return tmp_path / "run"


FAST = ("--binarise", "sample", "--limit", 1500, "--reverse-steps", 50)


def test_likelihood_of_every_depth_with_both_directions(
    run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = answer(capsys, "likelihood", run, "--per-layer", *FAST, "--json")
    assert (found["dataset"], found["part"], found["cases"]) == ("digits", "test", 355)
    assert [depth["kind"] for depth in found["depths"]] == ["exact up to log Z", "lower bound"]
    independent = -float(torch.nn.functional.binary_cross_entropy(*_base_rate_case()) * 64)
    for depth in found["depths"]:
        assert independent < depth["mean"] < 0
        assert depth["conservative"] < depth["mean"]
        assert (
            depth["log_z"]["forward"]["low"]
            < depth["log_z"]["forward"]["log_z"]
            < depth["log_z"]["forward"]["high"]
        )
        assert depth["importance_weighted"] >= depth["mean"] - 1e-6
        assert abs(depth["reverse"] - depth["mean"]) < 1.0
    assert found["depths"][0]["label_log_prob"] is None
    assert -2.0 < found["depths"][1]["label_log_prob"] < 0
    # read, not annealed again
    assert answer(capsys, "likelihood", run, "--per-layer", *FAST, "--json") == found
    assert call("likelihood", run, *FAST) == 0
    assert "forward errs high" in capsys.readouterr().out


def _base_rate_case() -> tuple[torch.Tensor, torch.Tensor]:
    images = log_likelihood.binary(load("digits").test.images, "sample", 0)
    return images.mean(0).clamp(0.01, 0.99).expand_as(images), images


def test_picture_and_label_together_are_less_probable_than_the_picture(
    run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    alone = answer(capsys, "likelihood", run, *FAST, "--json")["depths"][0]
    both = answer(capsys, "likelihood", run, *FAST, "--labels", "--json")["depths"][0]
    assert both["log_z"] == alone["log_z"]
    assert both["mean"] < alone["mean"]


def test_a_stopped_estimate_goes_on_to_the_same_figures(run: Path, tmp_path: Path) -> None:
    dbn, dataset = checkpoint.load(run), load("digits")
    plan = log_likelihood.LikelihoodConfig(
        binarise="sample", limit=300, target_error=1e-3, reverse_steps=20, cases=50
    )
    (tmp_path / "whole").mkdir()
    whole = log_likelihood.score(tmp_path / "whole", dbn, dataset, 2, plan)
    for stop in (3, 60):  # on the way forward, and on the way back

        def interrupt(line: str, left: list[int] = [stop]) -> None:  # noqa: B006 - the count is meant to last
            left[0] -= 1
            if not left[0]:
                raise KeyboardInterrupt

        folder = tmp_path / f"stopped-{stop}"
        folder.mkdir()
        with pytest.raises(KeyboardInterrupt):
            log_likelihood.score(folder, dbn, dataset, 2, plan, say=interrupt)
        assert not list(folder.rglob("*.json"))
        assert log_likelihood.score(folder, dbn, dataset, 2, plan) == whole


def test_what_likelihood_refuses_names_the_cure(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for words, fix in (
        (("likelihood", run), "--binarise sample"),
        (("likelihood", run, "--chains", 1), "at least 2"),
        (("likelihood", run, "--cases", 0), "at least 1"),
        (("likelihood", run, "--target-error", 0, "--binarise", "round"), "above 0"),
    ):
        assert call(*words) == 1
        assert fix in capsys.readouterr().err
    dbn = DBN((64, 5, 4), rng=generator(0))
    dbn.untie()
    header = {"shape": [8, 8], "classes": [], "data_path": "digits"}
    checkpoint.save_models(tmp_path / "model.safetensors", {"dbn": dbn}, header)
    assert call("likelihood", tmp_path / "model.safetensors", "--per-layer", *FAST) == 1
    assert "wakesleep train --stages pretrain" in capsys.readouterr().err
    assert call("likelihood", tmp_path / "model.safetensors", "--labels", *FAST) == 1
    assert "no labels" in capsys.readouterr().err
    assert call("likelihood", tmp_path / "model.safetensors", *FAST) == 0


def test_every_picture_is_drawn_and_none_is_overwritten(
    run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call("likelihood", run, *FAST) == 0
    capsys.readouterr()
    found = answer(capsys, "plot", run, "--cases", 60, "--overwrite", "--json")["paths"]
    names = [
        "fields",
        "activity",
        "histograms",
        "monitors",
        "ais_depth-2",
        "map",
        "dreams",
        "confused",
    ]
    assert [Path(path).stem for path in found] == names
    assert all(Path(path).stat().st_size > 2000 for path in found)
    assert call("plot", run, "--what", "fields") == 1
    assert "--overwrite" in capsys.readouterr().err
    assert call("plot", run, "--what", "fields", "--overwrite") == 0


def test_monitors_are_in_every_pass_of_pretraining(run: Path) -> None:
    lines = [line for line in files.read_metrics(run) if line["stage"] in ("layer 1", "memory")]
    assert len(lines) == 12
    for line in lines:
        assert {
            "hidden_activity",
            "dead_units",
            "saturated_units",
            "free_energy_gap",
            "update_ratio",
            "pseudo_log_likelihood",
        } <= set(line)
        assert 0 < line["update_ratio"] < 1
        assert -math.log(2) * 1.2 < line["pseudo_log_likelihood"] < 0
    pictures = log_likelihood.binary(load("digits").train.images, "sample", 0)
    with torch.no_grad():
        exact_one = float(pseudo_log_likelihood(checkpoint.load(run).rbm(0), pictures).mean()) / 64
    watched = [line["pseudo_log_likelihood"] for line in lines if line["stage"] == "layer 1"]
    # one unit of each of a hundred cases, a standard error of about 0.08
    assert abs(watched[-1] - exact_one) < 0.3
    assert exact_one > -0.37  # base rates alone have -0.425


def test_tensorboard_reads_what_training_wrote(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    events = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    words = ("--out", tmp_path / "run", "--stages", "pretrain", *SMALL_ARGUMENTS, "--tensorboard")
    assert call("train", *words) == 0
    read = events.EventAccumulator(str(tmp_path / "run/tensorboard"))
    read.Reload()
    assert [point.step for point in read.Scalars("memory/free_energy_gap")] == [1, 2, 3, 4, 5, 6]
    assert (
        call(
            "finetune",
            tmp_path / "run",
            "--out",
            tmp_path / "tuned",
            "--backprop.epochs",
            2,
            "--tensorboard",
        )
        == 0
    )
    read = events.EventAccumulator(str(tmp_path / "tuned/tensorboard"))
    read.Reload()
    assert [point.step for point in read.Scalars("backprop/train_error_percent")] == [1, 2]


def test_advice_is_a_table_a_picture_and_a_shape_among_the_candidates(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = (
        "advise",
        "--minutes",
        0.05,
        "--cases",
        300,
        "--shapes",
        "10",
        "20-10",
        "--out",
        tmp_path / "a.png",
    )
    found = answer(capsys, *words, "--json")
    assert [one["hidden"] for one in found["candidates"]] == [[10], [20, 10]] * 2
    assert found["advice"]["hidden"] in ([10], [20, 10])
    assert all(
        one["bound"] < 0 and one["error"] > 0 and 0 <= one["validation_error"] <= 100
        for one in found["candidates"]
    )
    assert (tmp_path / "a.png").stat().st_size > 2000
    assert call(*words) == 1
    assert call(*words, "--overwrite", "--shapes", "ten") == 1
    assert "joined by '-'" in capsys.readouterr().err


def candidate(
    hidden: tuple[int, ...], bound: float, seconds: float, error: float = 0.1
) -> advice.Candidate:
    return advice.Candidate(hidden, 0, bound, error, 5.0, 0.0, seconds, 10)


def test_the_cheapest_shape_that_is_not_clearly_worse_is_advised() -> None:
    close = [
        candidate((10,), -20.3, 1.0),
        candidate((10,), -19.9, 1.0),
        candidate((50,), -20.1, 9.0),
        candidate((50,), -19.8, 9.0),
    ]
    assert advice.recommend(close).hidden == (10,)
    assert advice.recommend(close).best == (50,)
    clear = [one._replace(bound=one.bound - 5) if one.hidden == (10,) else one for one in close]
    assert advice.recommend(clear).hidden == (50,)
    # one seed: own errors
    assert advice.recommend(
        [candidate((10,), -20.0, 1.0, 0.5), candidate((50,), -19.0, 9.0, 0.5)]
    ).hidden == (10,)


def test_a_budget_that_buys_nothing_is_refused() -> None:
    with pytest.raises(ConfigError, match="above 0"):
        advice.Budget(minutes=0)
    with pytest.raises(ConfigError, match="at least one"):
        next(advice.candidates(load("digits"), advice.Budget(), shapes=((),)))


@pytest.fixture
def mat(tmp_path: Path) -> Path:
    """Binarised digits in the layout of the MATLAB file: a digit a column, pixels in column-major
    order.
    """
    images = (
        (load("digits").train.images > 0.5)
        .reshape(-1, 8, 8)
        .transpose(1, 2)
        .reshape(-1, 64)
        .t()
        .numpy()
    )
    scipy.io.savemat(
        tmp_path / "small.mat",
        {"x_trn": images[:, :400].astype("uint8"), "x_tst": images[:, 400:500].astype("uint8")},
    )
    return tmp_path / "small.mat"


def test_the_matlab_file_is_read_in_reading_order(mat: Path, tmp_path: Path) -> None:
    train, test = likelihood.read_mat(mat)
    assert (train.shape, test.shape) == ((400, 64), (100, 64))
    assert torch.equal(train, load("digits").train.images[:400] > 0.5)
    (tmp_path / "bad.mat").write_bytes(b"nothing")
    for name in ("bad.mat", "absent.mat"):
        with pytest.raises(DataError, match="x_trn"):
            likelihood.read_mat(tmp_path / name)


@pytest.mark.slow
def test_experiment_at_smoke_size_trains_scores_and_goes_on(
    mat: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    small = [
        "--hidden",
        "12",
        "--top",
        "80",
        "--rbm.epochs",
        "4",
        "--dbn.epochs",
        "3",
        "--limit",
        "300",
        "--precision",
        "float32",
        "--layer-epochs",
        "2",
    ]
    words = [
        "--mat",
        str(mat),
        "--folder",
        str(tmp_path / "f"),
        *small,
        "--machines",
        "3",
        "--out",
        str(tmp_path / "rows.json"),
    ]
    likelihood.main(words)
    rows = {
        (row["row"], row["metric"]): row for row in json.loads((tmp_path / "rows.json").read_text())
    }
    assert {
        ("ais-against-exact", "hits_of_3"),
        ("exact-20x784", "seconds"),
        ("digits-stack-depth-3", "test_bound"),
        ("rbm-500", "test_log_likelihood"),
        ("rbm-500", "test_log_likelihood_reverse"),
        ("dbn-500-2000", "test_bound"),
        ("dbn-500-2000", "test_importance_weighted"),
        ("ais-published-schedule", "seconds"),
    } <= set(rows)
    model = checkpoint.load(tmp_path / "f/rbm-model.safetensors")
    truth = float(exact.log_likelihood(model.memory, likelihood.read_mat(mat)[1].float()).mean())
    assert rows["rbm-500", "test_log_likelihood"]["value"] == pytest.approx(truth, abs=1e-3)
    printed = capsys.readouterr().out
    assert "rbm 4/4" in printed
    first = (tmp_path / "f/rbm.safetensors").read_bytes()
    likelihood.main([*words, "--parts", "dbn", "--dbn.epochs", "4"])  # only what is missing
    printed = capsys.readouterr().out
    assert "top 4/4" in printed
    assert "top 3/" not in printed
    assert "rbm 4/4" not in printed
    assert (tmp_path / "f/rbm.safetensors").read_bytes() == first


def test_a_mirrored_top_begins_at_the_likelihood_of_the_layer_below() -> None:
    rng = generator(0)
    first = DBN((6, 4), rng=rng, weight_std=1.0).memory
    top = likelihood.mirror(first, 9, rng)
    extra = torch.log(torch.tensor(2.0)) * 3  # three units that hear nothing add a constant
    assert exact.log_partition(top) == pytest.approx(
        exact.log_partition(first) + float(extra), abs=0.1
    )


def test_published_schedule_is_timed_with_what_it_finds() -> None:
    seconds, found = likelihood.published_seconds(
        DBN((6, 4), rng=generator(0)).memory,
        torch.zeros(3, 6),
        0,
        torch.linspace(0, 1, 20).double(),
    )
    assert seconds > 0
    assert found.chains == 100
    assert len(ais.published_betas()) == 14_501
