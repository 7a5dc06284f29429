"""Tables in files: read, described by `wakesleep data`, or refused in words."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest

from wakesleep import cli
from wakesleep.data.table_files import read_table
from wakesleep.foundation.errors import DataError

TABLE = pd.DataFrame(
    {"vote": ["y", None, "n", "y"], "age": [31, 40, None, 52], "height": [1.7, 1.8, 1.62, 1.9]}
)


def written(folder: Path, name: str) -> Path:
    path = folder / name
    if name.endswith(".parquet"):
        TABLE.to_parquet(path)
    else:
        TABLE.to_csv(path, index=False, sep="\t" if ".tsv" in name else ",")
    return path


@pytest.mark.parametrize("name", ["t.csv", "t.csv.gz", "t.tsv", "T.CSV", "t.parquet"])
def test_tables_are_read(tmp_path: Path, name: str) -> None:
    actual = read_table(written(tmp_path, name))
    # what is missing may be None or NaN, by the version of pandas
    actual, expected = (each.astype(object).where(each.notna(), "-") for each in (actual, TABLE))
    pd.testing.assert_frame_equal(actual, expected)


def test_data_says_what_each_column_is_taken_for(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = written(tmp_path, "t.csv")
    assert cli.main(["data", str(path)]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "4 rows, 3 columns, 2 missing values",
        "vote: binary, 'n', 'y'; 1 missing",
        "age: levels, 31, 40, 52; 1 missing",
        "height: real, 1.62 to 1.9, by 2 values",
    ]
    assert cli.main(["data", str(path), "--json"]) == 0
    about = json.loads(capsys.readouterr().out)
    assert about["rows"] == 4
    assert about["columns"][0] == {
        "name": "vote",
        "taken_for": "binary",
        "states": 2,
        "missing": 1,
    }


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("none.csv", None, "there is no file"),
        ("empty.csv", "", "is no table"),
        ("names.csv", "a,b\n", "holds 0 rows of 2 columns"),
        ("ragged.csv", "a,b\n1,2\n1,2,3,4\n", "is no table: Expected 2 fields"),
        ("words.parquet", "no parquet", "is no table"),
    ],
)
def test_what_is_no_table_is_refused(
    tmp_path: Path, name: str, text: str | None, message: str
) -> None:
    if text is not None:
        (tmp_path / name).write_text(text, encoding="utf-8")
    with pytest.raises(DataError, match=message):
        read_table(tmp_path / name)


def test_semicolons_and_decimal_commas_are_read(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("town;price;note\nUlm;2,5;a\nBonn;;b,c\n", encoding="utf-8")
    table = read_table(tmp_path / "t.csv")
    assert list(table) == ["town", "price", "note"]
    assert table["price"].tolist()[0] == 2.5
    assert table["price"].isna().tolist() == [False, True]
    assert table["note"].tolist() == ["a", "b,c"]


def test_text_of_another_encoding_is_refused_in_words(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_bytes("town,x\nK\u00f6ln,1\n".encode("latin-1"))
    with pytest.raises(DataError, match=r"no UTF-8 text \(byte 8 is 0xf6"):
        read_table(tmp_path / "t.csv")


def test_data_says_of_every_column_why_it_cannot_be_taken(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = range(300)
    table = pd.DataFrame({"id": rows, "name": [f"n{row}" for row in rows], "none": None})
    table["x"] = [row % 2 for row in rows]
    table.to_csv(tmp_path / "t.csv", index=False)
    assert cli.main(["data", str(tmp_path / "t.csv")]) == 0
    said = capsys.readouterr().out
    assert "column 'name' holds words of 300 different values" in said
    assert "column 'none' holds no value at all" in said
    assert "x: binary, 0, 1" in said
    assert "wakesleep train --without id name none" in said
    assert cli.main(["data", str(tmp_path / "t.csv"), "--json"]) == 0
    columns = json.loads(capsys.readouterr().out)["columns"]
    assert [column["taken_for"] for column in columns] == ["counts", None, None, "binary"]
    assert "names or texts" in columns[1]["refused"]
