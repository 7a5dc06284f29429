"""Several senses on the command line: train, go on after a stop, recall as pictures and sounds."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.io import wavfile

import wakesleep as ws
from helpers import save_digits_and_words
from wakesleep.cli import main
from wakesleep.data.warp import warped
from wakesleep.foundation.errors import CheckpointError, ConfigError, DataError
from wakesleep.runs import senses

FAST = ["--hidden", "20", "30", "--greedy.layer.epochs", "1", "--greedy.memory.epochs", "2"]
FAST += ["--updown.epochs", "1", "--threads", "1"]


def tone(digit: int, number: int) -> np.ndarray:
    time = np.arange(2400) / 8000
    pitch = 200 * 1.3**digit + 5 * number
    return 0.5 * np.sin(2 * np.pi * pitch * time * (1 + time)) * np.hanning(len(time))


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with words.zip's like, a folder of recordings of ten digits, and digits as .npz."""
    folder = tmp_path_factory.mktemp("data")
    save_digits_and_words(folder, tone)
    return folder


def arguments(data: Path, run: Path) -> list[str]:
    pairs = ["--sense", f"image={data / 'digits.npz'}", "--sense", f"sound={data / 'words'}"]
    return ["train", *pairs, "--out", str(run), *FAST]


@pytest.fixture(scope="module")
def run(data: Path) -> Path:
    assert main(arguments(data, data / "run")) == 0
    return data / "run"


def test_a_run_of_two_senses_can_be_used(run: Path, data: Path) -> None:
    several = senses.load(run)
    assert several.net.sizes == {"image": (64, 20), "sound": (576, 20)}
    assert several.classes == tuple("0123456789")
    assert isinstance(several.senses["sound"], ws.sound.LogMel)
    rows = json.loads((run / "evaluation.json").read_text())["rows"]
    assert [row["given"] for row in rows] == ["image", "sound", "together"]
    assert {row["n"] for row in rows} == {10}
    lines = (run / "metrics.jsonl").read_text().splitlines()
    stages = [json.loads(line)["stage"] for line in lines]
    assert stages == ["image layer 1", "sound layer 1", "memory", "memory", "updown"]
    assert not list(run.glob("*-stage*"))


def test_a_run_that_was_stopped_goes_on_to_the_same_weights(
    run: Path, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    append, lines = senses.files.append, []

    def stop(path: Path, line: str) -> None:
        lines.append(line)
        append(path, line)
        if len(lines) == 3:
            raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(senses.files, "append", stop)
        assert main(arguments(data, tmp_path / "run")) == 130
    assert main(arguments(data, tmp_path / "run")) == 0
    whole, resumed = senses.load(run).net, senses.load(tmp_path / "run").net
    for one, other in zip(whole.parameters(), resumed.parameters(), strict=True):
        assert torch.equal(one, other)


def test_a_folder_of_another_run_is_left_as_it_is(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def stop(path: Path, line: str) -> None:
        raise KeyboardInterrupt

    folder = tmp_path / "run"
    with monkeypatch.context() as patched:
        patched.setattr(senses.files, "append", stop)
        assert main(arguments(data, folder)) == 130
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    other = [word if word != "30" else "31" for word in arguments(data, folder)]
    for call, word in (
        (other, "hidden"),
        ([*arguments(data, folder), "--updown.epochs", "7"], "updown"),
        ([word.replace("words", "digits.npz") for word in arguments(data, folder)], "senses"),
    ):
        assert main(call) == 1
        message = capsys.readouterr().err
        assert "other settings or data" in message
        assert word in message
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").write_text("mine")
    assert main(arguments(data, tmp_path / "mine")) == 1
    assert "is no run" in capsys.readouterr().err


def test_a_sound_is_recalled_as_a_picture_and_a_label(
    run: Path, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = ["--sound", str(data / "words/3_ann_0.wav"), "--steps", "4"]
    call = ["recall", str(run), *given, "--out", str(tmp_path / "a"), "--json"]
    assert main(call) == 0
    answer = json.loads(capsys.readouterr().out)
    assert answer["paths"] == [str(tmp_path / "a/image.png")]
    with Image.open(tmp_path / "a/image.png") as picture:
        assert picture.size == (168, 168)
    assert sum(answer["probabilities"].values()) == pytest.approx(1, abs=1e-4)
    assert main(call) == 1
    assert "--overwrite" in capsys.readouterr().err


def test_a_label_is_recalled_as_a_sound(run: Path, tmp_path: Path) -> None:
    out = tmp_path / "b"
    given = ["--label", "3", "--want", "sound", "--method", "mean-field", "--steps", "3"]
    assert main(["recall", str(run), *given, "--out", str(out)]) == 0
    rate, samples = wavfile.read(out / "sound.wav")
    assert rate == 8000
    assert 0.2 < len(samples) / rate < 0.4
    assert {path.name for path in out.iterdir()} == {"sound.wav", "sound.png"}


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ([], "some of --image, --sound, --label, e.g. --label 0"),
        (["--label", "ten"], "the net knows 0, 1"),
        (["--label", "3", "--want", "smell"], "want = smell"),
        (["--sound", "absent.wav"], "absent.wav cannot be read"),
        (["--label", "3", "--steps", "1"], "steps = 1: Gibbs sampling needs at least 2\n"),
    ],
)
def test_recall_refuses_in_words(
    run: Path, given: list[str], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["recall", str(run), *given]) == 1
    assert words in capsys.readouterr().err


def test_train_refuses_senses_in_words(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["train", "--sense", "image", "--out", str(tmp_path / "a")]) == 1
    assert "NAME=DATA" in capsys.readouterr().err
    sets = {"image": ws.load_data(data / "digits.npz")}
    with pytest.raises(ConfigError, match="at least two"):
        next(senses.train(tmp_path / "b", sets, senses.TrainConfig(), provenance={}))
    np.save(tmp_path / "c.npy", sets["image"].train.images[:50].reshape(-1, 8, 8))
    other = ws.load_data(tmp_path / "c.npy")
    with pytest.raises(DataError, match="no labels"):
        senses.split({**sets, "other": other})
    dbn = ws.DBN((4, 3), rng=ws.generator(0))
    ws.save(dbn, tmp_path / "one.safetensors")
    with pytest.raises(CheckpointError, match="no net of several senses"):
        senses.load(tmp_path / "one.safetensors")


def test_bent_pictures_stay_standardised_and_alike() -> None:
    rng = ws.generator(0)
    how = ws.sound.LogMel()
    pictures = torch.from_numpy(np.stack([how.picture(tone(digit, 0)).ravel() for digit in (2, 8)]))
    bent = warped(pictures, how.shape, rng=rng)
    assert torch.allclose(bent.mean(1), torch.zeros(2), atol=1e-5)
    assert torch.allclose(bent.std(1, correction=0), torch.ones(2), atol=1e-4)
    alike = torch.nn.functional.cosine_similarity(bent, pictures)
    assert (alike > 0.7).all()
    assert (alike < 0.999).all()
    still = warped(pictures, how.shape, rng=rng, frames=0, bands=0)
    assert torch.allclose(still, pictures, atol=1e-4)
    with pytest.raises(DataError, match="24 bands x 24 frames"):
        warped(pictures[:, :100], how.shape, rng=rng)
    with pytest.raises(ConfigError, match="0 or more"):
        warped(pictures, how.shape, rng=rng, bands=-1)
