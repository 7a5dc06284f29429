"""Pictures a person can read: named, enlarged, and never a strip."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from wakesleep.cli import main, plot
from wakesleep.foundation import files
from wakesleep.foundation.errors import CheckpointError
from wakesleep.foundation.rng import generator
from wakesleep.models.dbn import DBN
from wakesleep.runs import figures, grids, plots


@pytest.mark.parametrize("sizes", [(64, 24, 32), (784, 500, 500, 2000), (12, 3)], ids=str)
@pytest.mark.parametrize("count", [1, 20])
def test_activities_of_many_dreams_are_no_strip(sizes: tuple[int, ...], count: int) -> None:
    shape = {64: (8, 8), 784: (28, 28), 12: (3, 4)}[sizes[0]]
    sheet = grids.brain(
        [np.zeros((count, size)) for size in (*sizes, 10)], shape, left=["7"] * count
    )
    assert sheet.shape[0] <= 1.5 * sheet.shape[1]
    assert sheet.shape[1] <= 12 * sheet.shape[0]
    assert sheet.shape[0] >= 96


def _differs(some: np.ndarray, other: np.ndarray) -> np.ndarray:
    return np.argwhere(some != other)


def test_words_stand_where_they_belong_and_pictures_are_left_as_they_are() -> None:
    pictures = np.random.default_rng(0).random((4, 16))
    plain = grids.captioned(pictures, (4, 4), 2, below=[" "] * 4, left=["  "] * 2, title=" ")
    named = grids.captioned(
        pictures, (4, 4), 2, below=["a", "b", "c", "d"], left=["  "] * 2, title=" "
    )
    places = _differs(plain, named)
    pitch = 84 + 6 + 18
    assert set(((places[:, 0] - 6 - 18) % pitch) // 84) == {1}  # below each picture, never in it
    assert len(set((places[:, 0] - 24) // pitch)) == 2
    picture = plain[24 : 24 + 84, -2 * 90 : -90 - 6][::21, ::21]
    np.testing.assert_allclose(picture, pictures[0].reshape(4, 4), atol=1 / 255)


def test_columns_are_as_wide_as_their_words_and_longer_ones_are_cut() -> None:
    pictures = np.zeros((2, 16))
    short, usual, long, longer = (
        grids.captioned(pictures, (4, 4), 2, below=[name] * 2)
        for name in (
            "x",
            "chrysanthemum",
            "an extraordinarily long name of a class",
            "an extraordinarily long name of a class and more",
        )
    )
    assert short.shape[0] == usual.shape[0] == long.shape[0]
    assert short.shape[1] < usual.shape[1] < long.shape[1]
    np.testing.assert_array_equal(long, longer)  # cut at the same place


def test_curves_of_the_same_values_all_show(tmp_path: Path) -> None:
    lines = [
        {"stage": stage, "epoch": epoch, "validation_errors": 0, "train_error_percent": 1.0}
        for stage in ("memory", "updown", "backprop", "random")
        for epoch in range(1, 6)
    ]
    text = "".join(files.to_json(line) + "\n" for line in lines)
    (tmp_path / "metrics.jsonl").write_text(text)
    (path,) = figures.draw_curves(tmp_path / "metrics.jsonl", tmp_path)
    picture = np.asarray(Image.open(path).convert("RGB")).astype(int)
    drawn = picture[:, : picture.shape[1] * 2 // 3]  # the legend is at the right
    for colour in plots.SERIES[:4]:
        wanted = [int(colour[at : at + 2], 16) for at in (1, 3, 5)]
        assert (abs(drawn - wanted).sum(2) < 60).sum() > 300, colour


@pytest.mark.parametrize("count", [3, 10, 40])
def test_names_on_a_map_lie_apart_and_within_it(count: int) -> None:
    rng = np.random.default_rng(0)
    half = np.stack([rng.uniform(10, 60, count), np.full(count, 9.0)], 1)
    frame = np.array([[0.0, 0.0], [900.0, 760.0]])
    # all on one place, at the edge
    crowded = np.array([450.0, 750.0]) + rng.normal(size=(count, 2))
    moved = plots.apart(crowded, half, frame)
    gaps = np.abs(moved[:, None] - moved[None]) - half[:, None] - half[None]
    assert (gaps.max(2) >= 0)[~np.eye(count, dtype=bool)].all()
    assert (moved - half >= frame[0]).all()
    assert (moved + half <= frame[1]).all()
    far = np.array([[100.0, 100.0], [500.0, 500.0]])
    np.testing.assert_allclose(plots.apart(far, half[:2], frame), far, atol=0.01)


def test_the_most_confused_are_named_in_full(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    classes = ["ankle boot", "chrysanthemum", "rhododendron"]
    shown: list[str] = []
    real = grids.save_tile
    monkeypatch.setattr(
        grids,
        "save_tile",
        lambda *args, **words: shown.extend(words["below"]) or real(*args, **words),
    )
    log_probs = torch.tensor([[0.01, 0.98, 0.01], [0.9, 0.05, 0.05], [0.2, 0.2, 0.6]]).log()
    figures.draw_confused(
        tmp_path / "c.png",
        torch.zeros(3, 784),
        torch.tensor([0, 0, 2]),
        log_probs,
        (28, 28),
        classes,
    )
    assert shown == [
        "ankle boot\nsaid chrysanthemum\n1.0% against 98%",
        "rhododendron\nsaid so\n60%",
        "ankle boot\nsaid so\n90%",
    ]
    font = grids._font()
    assert all(
        grids._shortened(line, font, grids.WORDS) == line
        for caption in shown
        for line in caption.splitlines()
    )


def test_the_closing_picture_is_bounded_however_many_classes_there_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []
    real = figures.dreams.dream
    monkeypatch.setattr(
        figures.dreams,
        "dream",
        lambda *args, **words: (
            asked.append(words["labels"]) or real(*args, **{**words, "steps": 1})
        ),
    )
    dbn = DBN((16, 8), labels=1394, rng=generator(0))
    path = figures.draw_dreams(
        tmp_path / "d.png", dbn, (4, 4), [str(n) for n in range(1394)], rng=generator(0), steps=1000
    )
    assert len(asked[0]) == figures.DREAM_CLASSES * figures.DREAMS_A_LABEL
    assert (int(asked[0].min()), int(asked[0].max())) == (0, 1393)
    with Image.open(path) as picture:
        assert picture.size[0] < picture.size[1] < 3000
    assert torch.equal(figures.spread(10, 20), torch.arange(10))


def test_what_is_imagined_is_named(run_folder: Path, tmp_path: Path) -> None:
    picture = Image.new("L", (30, 30), 0)
    picture.paste(255, (12, 5, 18, 25))
    picture.save(tmp_path / "digit.png")
    words = [
        "recognize",
        str(run_folder),
        str(tmp_path / "digit.png"),
        "--imagine",
        str(tmp_path / "i.png"),
    ]
    assert main(words) == 0
    with Image.open(tmp_path / "i.png") as picture:
        assert picture.size[0] >= 7 * 112
        assert picture.size[1] >= 112 + 2 * 18


def test_captions_have_letters_beyond_ascii() -> None:
    sheets = {
        grids.captioned(np.zeros((1, 16)), (4, 4), 1, below=[letter]).tobytes()
        for letter in "äöüßéñжλ"
    }
    assert len(sheets) == 8  # a typeface that lacks them draws one box for all


@pytest.mark.parametrize("what", ["dreams", "traces"])
def test_plot_overwrites_no_picture_unasked(
    run_folder: Path, tmp_path: Path, what: str, capsys: pytest.CaptureFixture[str]
) -> None:
    names = ("dreams.png", "ais_depth-1.png")
    for name in names:
        (tmp_path / name).write_bytes(b"a picture")
    assert main(["plot", str(run_folder), "--what", what, "--out", str(tmp_path)]) == 1
    assert "exists; choose another name, or say --overwrite" in capsys.readouterr().err
    assert {(tmp_path / name).read_bytes() for name in names} == {b"a picture"}


def test_plot_of_everything_keeps_the_dreams_of_training(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "dreams.png").write_bytes(b"a picture")
    assert plot.asked(plot.PlotOptions(tmp_path), tmp_path) == tuple(
        name for name in plot.ALL if name != "dreams"
    )
    assert "dreams.png exists and is kept" in capsys.readouterr().err
    assert plot.asked(plot.PlotOptions(tmp_path, overwrite=True), tmp_path) == plot.ALL


def test_places_and_pictures_that_cannot_be_are_refused_in_words(
    run_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    digit, lost = tmp_path / "digit.png", tmp_path / "nodir" / "x.png"
    Image.new("L", (30, 30), 0).save(digit)
    (tmp_path / "empty").mkdir()
    for words, output in (
        (["recognize", digit, run_folder], f"{digit} is a picture, and RUN comes first"),
        (
            ["recognize", run_folder, tmp_path / "empty"],
            f"{tmp_path / 'empty'} holds no pictures; expected files that end in",
        ),
        (["recognize", run_folder, lost], f"{lost} cannot be read: it does not exist"),
        (
            ["recognize", run_folder, digit, "--imagine", lost],
            f"the folder {lost.parent} does not exist",
        ),
        (["dream", run_folder, "--out", lost], f"the folder {lost.parent} does not exist"),
    ):
        assert main([str(word) for word in words]) == 1
        reported = capsys.readouterr().err
        assert output in reported
        assert "Errno" not in reported
    with pytest.raises(CheckpointError, match=f"the folder {lost.parent} does not exist") as caught:
        files.write_json(lost, {})
    assert "tmp)" not in str(caught.value)
