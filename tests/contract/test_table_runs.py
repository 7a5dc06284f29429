"""The command line on tables of one's own: a run, what it says, makes and draws."""

from __future__ import annotations

import io
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import wakesleep as ws
from wakesleep import cli
from wakesleep.data.table_units import TableUnits
from wakesleep.runs import table_figures


def table(rows: int = 200, seed: int = 0) -> pd.DataFrame:
    """Return words, levels, numbers and holes that all follow one column."""
    rng = np.random.RandomState(seed)
    ill = rng.rand(rows) < 0.5
    frame = pd.DataFrame(
        {
            "ill": np.where(ill, "yes", "no"),
            "colour": np.where(ill, "r", np.where(rng.rand(rows) < 0.5, "g", "b")),
            "grade": np.where(ill, rng.randint(3, 6, rows), rng.randint(0, 3, rows)).astype(float),
            "heat": np.where(ill, 39.0, 36.6) + 0.2 * rng.randn(rows),
        }
    )
    frame.loc[rng.rand(rows) < 0.1, "grade"] = np.nan
    frame.loc[:2, "ill"] = None
    return frame


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with a table and a run that learned it."""
    path = tmp_path_factory.mktemp("tables")
    table().to_csv(path / "t.csv", index=False)
    words = ["train", "--data", str(path / "t.csv"), "--label", "ill", "--hidden", "8", "9"]
    assert cli.main([*words, "--out", str(path / "run"), "--units", "grade=real"]) == 0
    return path


def said(capsys: pytest.CaptureFixture[str], *words: object) -> str:
    """Return what a command prints, once it has succeeded."""
    assert cli.main([str(word) for word in words]) == 0
    return capsys.readouterr().out


def test_a_run_records_what_it_took_the_table_for(folder: Path) -> None:
    run = folder / "run"
    assert {path.name for path in run.iterdir()} == {
        "config.json",
        "evaluation.json",
        "figures",
        "model.safetensors",
        "provenance.json",
    }
    assert {path.name for path in (run / "figures").iterdir()} == {
        "columns.png",
        "correlations.png",
    }
    net = ws.DBNClassifier.load(run / "model.safetensors")
    assert [str(column).split(",")[0] for column in net.units_.columns] == [
        "colour: categories",
        "grade: real",
        "heat: real",
    ]
    provenance = json.loads((run / "provenance.json").read_text())
    assert provenance["data_path"] == str((folder / "t.csv").resolve())


def test_evaluate_counts_errors_on_the_rows_held_out(folder: Path, capsys) -> None:
    result = json.loads(said(capsys, "evaluate", folder / "run", "--json"))
    recorded = json.loads((folder / "run" / "evaluation.json").read_text())["rows"][0]
    assert result == recorded
    assert (result["n"], result["part"]) == (40, "validation")
    assert result["error_percent"] < 10
    new = folder / "new.csv"
    table(50, seed=1).to_csv(new, index=False)
    told = said(capsys, "evaluate", folder / "run", "--data", new)
    assert told.startswith("new, 47 rows: ")


def test_recognize_gives_the_rows_back_with_answers(folder: Path, capsys) -> None:
    new = table(20, seed=2)
    new.drop(columns="ill").to_csv(folder / "unknown.csv", index=False)
    printed = said(capsys, "recognize", folder / "run", folder / "unknown.csv")
    rows = pd.read_csv(io.StringIO(printed))
    assert list(rows) == ["colour", "grade", "heat", "ill", "p(no)", "p(yes)"]
    assert (rows["ill"] == new["ill"])[3:].mean() > 0.9
    assert np.allclose(rows["p(no)"] + rows["p(yes)"], 1, atol=1e-5)
    as_json = said(capsys, "recognize", folder / "run", folder / "unknown.csv", "--json")
    assert len(json.loads(as_json)) == 20


def test_dream_makes_rows(folder: Path, capsys) -> None:
    words = ["dream", folder / "run", "--count", 5, "--steps", 20]
    rows = pd.read_csv(io.StringIO(said(capsys, *words, "--label", "yes")))
    assert (rows["ill"] == "yes").all()
    assert list(rows) == ["colour", "grade", "heat", "ill"]
    for name in ("rows.csv", "rows.tsv", "rows.parquet"):
        said(capsys, *words, "--out", folder / name)
        assert (folder / name).stat().st_size > 0
    assert cli.main([str(word) for word in (*words, "--out", folder / "rows.csv")]) == 1


def test_plot_draws_columns_and_correlations(folder: Path, capsys) -> None:
    words = ["plot", folder / "run", "--out", folder / "pictures"]
    drawn = said(capsys, *words).split()
    assert [Path(path).name for path in drawn] == ["columns.png", "correlations.png"]
    assert all(Path(path).stat().st_size > 5000 for path in drawn)
    assert cli.main([str(word) for word in words]) == 1
    assert "exists" in capsys.readouterr().err


@pytest.mark.parametrize(
    "hidden", [("--hidden", 8, 9), pytest.param((), marks=pytest.mark.slow, id="by default")]
)
def test_numbers_are_labels_too(folder: Path, tmp_path: Path, hidden: tuple, capsys) -> None:
    words = ("train", "--data", folder / "t.csv", "--label", "heat", "--out", tmp_path / "heat")
    said(capsys, *words, *hidden)
    told = said(capsys, "evaluate", tmp_path / "heat")
    assert "root mean square" in told
    result = json.loads(said(capsys, "evaluate", tmp_path / "heat", "--json"))
    assert result["root_mean_squared_error"] < 0.6 * result["standard_deviation"]


def test_no_label_is_needed(folder: Path, capsys) -> None:
    data = folder / "t.csv"
    words = ("train", "--data", data, "--out", folder / "rows", "--hidden", 6)
    assert cli.main([str(word) for word in words]) == 0
    told = capsys.readouterr().err
    assert "TableRBM, " in told
    # no bar in a pipe, which a file would keep a hundred times
    assert "\r" not in told
    assert "%|" not in told
    assert "nats in the mean" in said(capsys, "evaluate", folder / "rows")
    rows = pd.read_csv(io.StringIO(said(capsys, "recognize", folder / "rows", data)))
    assert rows["log_p"].notna().all()
    made = pd.read_csv(io.StringIO(said(capsys, "dream", folder / "rows", "--steps", 20)))
    assert list(made) == list(table())
    again = ws.TableRBM.load(folder / "rows" / "model.safetensors")
    assert not again.impute(table(), random_state=0).isna().any().any()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["train", "--data", "t.csv", "--label", "nothing"], "no such column; it has ill, colour"),
        (["train", "--data", "t.csv", "--label", "ill", "--units", "grade"], "expected auto, or"),
        (["train", "--data", "t.csv", "--label", "ill", "--units", "x=real"], "does not have"),
        (["train", "--data", "t.csv", "--hidden", "5", "5"], "one hidden layer"),
        (["train", "--data", "t.csv", "--label", "ill", "--out", "run"], "exists"),
        (["train", "--data", "gone.csv"], "there is no file"),
        (["dream", "run", "--label", "maybe"], "expected one of no, yes"),
        (["dream", "run", "--movie", "m.gif"], "for pictures"),
        (["dream", "run", "--out", "rows.png"], "name a .csv"),
        (["recognize", "run", "picture.png"], "is no table"),
        (["recognize", "run", "unseen.csv"], "column 'colour': 1 values that fit did not see"),
        (["evaluate", "run", "run"], "one by one"),
        (["evaluate", "run", "--data", "unlabelled.csv"], "no column 'ill'"),
    ],
)
def test_wrong_calls_are_refused_in_words(
    folder: Path, capsys, monkeypatch, words: list[str], message: str
) -> None:
    monkeypatch.chdir(folder)
    pd.DataFrame({"colour": ["mauve"], "grade": [1.0], "heat": [37.0]}).to_csv(
        "unseen.csv", index=False
    )
    table(5).drop(columns="ill").to_csv("unlabelled.csv", index=False)
    assert cli.main(words) == 1
    assert message in " ".join(capsys.readouterr().err.split())


def test_correlations_are_those_of_pandas() -> None:
    frame = pd.DataFrame(
        np.random.RandomState(0).randn(40, 3) @ np.array([[1, 1, 0], [0, 1, 1], [0, 0, 1]])
    )
    frame.iloc[::5, 1] = np.nan
    actual = table_figures.correlations(TableUnits(frame), frame)
    whole = frame.dropna(subset=[0, 2])
    assert np.isclose(actual[0, 2], whole.corr().iloc[0, 2])
    assert np.allclose(np.diag(actual), 1)
    both = frame.dropna()
    assert abs(actual[0, 1] - both.corr().iloc[0, 1]) < 0.1


def test_columns_are_left_out_everywhere(folder: Path, capsys) -> None:
    rows = table(120).assign(number=range(120), name=[f"n{row}" for row in range(120)])
    rows.to_csv(folder / "named.csv", index=False)
    words = ["train", "--data", folder / "named.csv", "--label", "ill", "--hidden", "5", "5"]
    said(capsys, *words, "--out", folder / "named", "--without", "number", "name")
    net = ws.DBNClassifier.load(folder / "named" / "model.safetensors")
    assert [column.name for column in net.units_.columns] == ["colour", "grade", "heat"]
    assert "rows held out" in said(capsys, "evaluate", folder / "named")
    new = rows.head(5).drop(columns="ill")
    new.to_csv(folder / "five.csv", index=False)
    printed = said(capsys, "recognize", folder / "named", folder / "five.csv")
    assert list(pd.read_csv(io.StringIO(printed)))[3:6] == ["number", "name", "ill"]
    assert (
        cli.main([str(word) for word in (*words, "--out", folder / "nix", "--without", "nix")]) == 1
    )
    assert "--without nix: the table has no such column" in capsys.readouterr().err
