"""The shipped model says of a house that it never saw the like, and not of a digit."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from benchmarks import drawings
from benchmarks.recognition import cases, grey_of
from wakesleep import cli
from wakesleep.app import answers, loaded_model
from wakesleep.app.questions import Recognized

PLAIN = drawings.CONDITIONS["plain"]
HAND = np.random.default_rng(3)
HOUSE = drawings.by_hand(drawings.ICONS["house"], PLAIN, HAND)
DIGITS = [drawings.by_hand(drawings.DIGITS[digit][0], PLAIN, HAND) for digit in "0123456789"]


@pytest.fixture(scope="module")
def shipped() -> loaded_model.LoadedModel:
    return loaded_model.open_model()


def test_the_api_answers_how_surprising_a_picture_is(shipped: loaded_model.LoadedModel) -> None:
    house, *digits = (
        answers.recognize(shipped, picture[None]) for picture in cases(shipped, [HOUSE, *DIGITS])
    )
    Recognized.model_validate(house, strict=True)
    assert house["unfamiliar"]
    assert house["surprise"] > house["usual_surprise"]
    assert max(house["probs"]) > 0.5  # and yet it is sure
    assert not any(digit["unfamiliar"] for digit in digits)
    assert [digit["name"] for digit in digits] == list("0123456789")


def test_recognize_says_so_in_words_and_as_json(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    torch.manual_seed(0)
    for name, strokes in (("house", HOUSE), ("three", DIGITS[3])):
        Image.fromarray((255 * (1 - grey_of(strokes))).astype(np.uint8)).save(
            tmp_path / f"{name}.png"
        )
    words = ["recognize", str(loaded_model.SHIPPED)]
    assert cli.main([*words, str(tmp_path / "house.png")]) == 0
    assert "unlike what the run learned from" in capsys.readouterr().out
    assert cli.main([*words, str(tmp_path / "three.png"), "--json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert answer["label"] == "3"
    assert not answer["unfamiliar"]
    assert cli.main([*words, str(tmp_path), "--json"]) == 0
    both = json.loads(capsys.readouterr().out)["pictures"]
    assert [picture["unfamiliar"] for picture in both] == [True, False]
