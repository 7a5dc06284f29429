"""The JSON API answers as the library does, and refuses in words."""

from __future__ import annotations

import base64
import io

import numpy as np
import pytest
import torch
from fastapi.testclient import TestClient
from PIL import Image

from helpers import small_config
from wakesleep.app import questions
from wakesleep.app.loaded_model import LoadedModel, open_model
from wakesleep.app.server import create_app
from wakesleep.app.service import Service
from wakesleep.data import Dataset, load, read_picture
from wakesleep.evaluation import classify, interpretation
from wakesleep.foundation.options import PictureOptions
from wakesleep.runs import training
from wakesleep.samplers import dreams


def pixels_of(digits: Dataset, number: int = 0) -> list[int]:
    return (digits.test.images[number] * 255).round().int().tolist()


def png(array: np.ndarray) -> str:
    file = io.BytesIO()
    Image.fromarray(array).save(file, "PNG")
    return base64.b64encode(file.getvalue()).decode()


def test_the_model_says_what_it_is(client: TestClient, model: LoadedModel) -> None:
    about = client.get("/api/model").json()
    assert about["sizes"] == list(model.dbn.sizes)
    assert about["classes"] == list("0123456789")
    assert about["shape"] == [8, 8]
    assert about["run"] == "digits"


def test_recognize_answers_as_the_library_does(
    client: TestClient, model: LoadedModel, digits: Dataset
) -> None:
    answer = client.post("/api/recognize", json={"pixels": pixels_of(digits)}).json()
    questions.Recognized.model_validate(answer, strict=True)
    picture = torch.tensor([pixels_of(digits)]) / 255
    expected = classify.log_probs(model.dbn, picture)
    torch.testing.assert_close(torch.tensor([answer["probs"]]), expected.exp(), rtol=0, atol=1e-5)
    assert answer["label"] == int(expected.argmax())
    assert answer["name"] == model.classes[answer["label"]]
    seen = torch.stack([row[0] for row in dreams.reconstruct_per_layer(model.dbn, picture)])
    torch.testing.assert_close(torch.tensor(answer["seen"]) / 255, seen, rtol=0, atol=0.003)
    answers = interpretation.evidence(
        model.dbn, model.dbn.up(picture)[-1], answer["label"], answer["runner_up"]
    )[0]
    torch.testing.assert_close(torch.tensor(answer["evidence"]), answers, rtol=0, atol=6e-4)
    assert [len(layer) for layer in answer["activities"]] == list(model.dbn.sizes[1:])


def test_a_picture_file_is_centred_as_the_network_learned(
    client: TestClient, model: LoadedModel
) -> None:
    drawn = np.full((300, 200), 255, np.uint8)
    drawn[50:250, 20:45] = 0
    answer = client.post(
        "/api/recognize", json={"image": "data:image/png;base64," + png(drawn)}
    ).json()
    file = io.BytesIO(base64.b64decode(png(drawn)))
    expected = read_picture(file, model.shape, field=model.preparation.field)[0]
    torch.testing.assert_close(torch.tensor(answer["picture"]) / 255, expected, rtol=0, atol=0.003)


def test_dreams_answer_with_the_label_that_was_held_and_repeat_with_the_seed(
    client: TestClient,
) -> None:
    asked = {"held": 3, "count": 2, "steps": 25, "seed": 5}
    first, again, other = (
        client.post("/api/dream", json={**asked, "seed": seed}).json() for seed in (5, 5, 6)
    )
    questions.Dreamed.model_validate(first, strict=True)
    assert first["labels"] == [3, 3]
    assert first == again
    assert first != other
    assert (
        client.post("/api/dream", json={"held": {"4": 0.5, "9": 0.5}, "steps": 5}).status_code
        == 200
    )


def test_fill_keeps_what_is_known(client: TestClient, digits: Dataset) -> None:
    pixels, known = pixels_of(digits), [1] * 32 + [0] * 32
    filled = client.post(
        "/api/fill", json={"picture": {"pixels": pixels}, "known": known, "sweeps": 8, "count": 2}
    ).json()
    for picture in filled["pictures"]:
        assert picture[:32] == pixels[:32]
        assert picture[32:] != pixels[32:]


def test_imagine_starts_from_the_picture(client: TestClient, digits: Dataset) -> None:
    answer = client.post(
        "/api/imagine",
        json={"picture": {"pixels": pixels_of(digits)}, "steps": 1, "count": 20, "held": None},
    ).json()
    near = (torch.tensor(answer["pictures"]) / 255).mean(0)
    far = torch.rand(64)
    picture = torch.tensor(pixels_of(digits)) / 255
    assert float((near - picture).square().mean()) < float((far - picture).square().mean()) / 2


def test_fields_and_units_tell_of_the_weights(client: TestClient, model: LoadedModel) -> None:
    content = client.get("/api/fields/1?start=3&count=2").content
    rows = torch.frombuffer(bytearray(content), dtype=torch.uint8).reshape(2, 64).float() - 128
    weight = (
        model.dbn.recognition[0].weight[:, 3:5].t()
        if model.dbn.recognition
        else model.dbn.memory.weight[:64, 3:5].t()
    )
    torch.testing.assert_close(
        rows / 127, weight / weight.abs().amax(1, keepdim=True), rtol=0, atol=0.006
    )
    top = len(model.dbn.sizes) - 1
    unit = client.get(f"/api/units/{top}/1").json()
    torch.testing.assert_close(
        torch.tensor(unit["labels"]), interpretation.label_weights(model.dbn, 1), rtol=0, atol=6e-4
    )
    assert client.get("/api/units/1/0").json()["labels"] is None


def test_examples_are_test_cases_of_what_was_learned(client: TestClient, digits: Dataset) -> None:
    actual = client.get("/examples.json").json()
    assert actual["source"] == "digits, test cases; it never learned from these"
    known = {
        tuple(pixels_of(digits, number)): int(digits.test.labels[number])
        for number in range(len(digits.test))
    }
    pixels = np.frombuffer(base64.b64decode(actual["pixels"]), np.uint8).reshape(-1, 64)
    assert [known[tuple(row.tolist())] for row in pixels] == actual["labels"]


def test_the_run_tells_its_passes(client: TestClient) -> None:
    run = client.get("/api/run").json()
    assert run["finished"] is True
    assert run["metrics"][0]["stage"] == "layer 1"
    assert run["evaluation"]


BAD = [
    ("recognize", {}, "no picture came"),
    ("recognize", {"pixels": [0] * 63}, "63 pixels"),
    ("recognize", {"pixels": [256] * 64}, "255"),
    ("recognize", {"image": "%%%"}, "base64"),
    ("recognize", {"image": base64.b64encode(b"no picture").decode()}, "cannot be read"),
    ("recognize", {"image": png(np.zeros((40, 40), np.uint8))}, "blank"),
    ("recognize", {"pixels": [0] * 64, "other": 1}, "other"),
    ("dream", {"held": 10}, "labels"),
    ("dream", {"held": {"4": 0.5, "9": 0.6}}, "sum to 1"),
    ("dream", {"steps": 0}, "steps is 0; expected it to be greater than"),
    ("dream", {"steps": "many"}, "steps is 'many'; expected it to be a valid integer"),
    ("dream", {"seed": "x" * 1000}, "seed is"),
    ("imagine", {"picture": [1]}, "picture: expected it to be a valid dictionary"),
    ("fill", {"picture": {"pixels": [0] * 64}}, "known: Field required"),
    ("dream", {"steps": 10**6}, "at most"),
    ("dream", {"count": 10**6}, "at most"),
    ("dream", {"temperature": 0}, "temperature"),
    ("dream", {"seed": -1}, "seed is -1; expected it to be greater than"),
    ("fill", {"picture": {"pixels": [0] * 64}, "known": [1] * 63}, "63"),
    ("recognize", {"pixels": [0] * 64}, "blank"),
    ("recognize", {"pixels": [255] * 64}, "blank"),
    ("recognize", {"pixels": [9] * 64, "image": "AAAA"}, "one of them"),
    ("imagine", {"picture": {"pixels": [9] * 64, "image": "AAAA"}}, "one of them"),
    ("recognize", [1], "the body"),
]


@pytest.mark.parametrize(("path", "asked", "word"), BAD)
def test_refusals_say_what_came_and_what_was_expected(
    client: TestClient, path: str, asked: dict, word: str
) -> None:
    reply = client.post(f"/api/{path}", json=asked)
    assert reply.status_code == 422
    assert word in reply.json()["error"]
    assert len(reply.json()["error"]) < 300
    assert "BytesIO" not in reply.text


def test_a_body_that_is_no_json_is_refused_in_words(client: TestClient) -> None:
    for content in (b"{", b"", b"nonsense"):
        reply = client.post(
            "/api/dream", content=content, headers={"content-type": "application/json"}
        )
        assert reply.status_code == 422
        assert "JSON" in reply.json()["error"]
        assert "body.1" not in reply.json()["error"]


def test_the_description_says_what_comes(client: TestClient, digits: Dataset) -> None:
    """Every answer of every operation, refusals too, is what openapi.json says of it."""
    described = client.get("/openapi.json").json()
    kept = described["components"]["schemas"]
    assert "HTTPValidationError" not in kept
    for methods in described["paths"].values():
        for operation in methods.values():
            refused = operation["responses"]["422"]["content"]["application/json"]["schema"]
            assert kept[refused["$ref"].split("/")[-1]]["required"] == ["error"]
    octets = described["paths"]["/api/fields/{layer}"]["get"]["responses"]["200"]["content"]
    assert list(octets) == [client.get("/api/fields/1").headers["content-type"]]
    for path, kind in (
        ("/api/model", questions.Model),
        ("/api/units/1/0", questions.Unit),
        ("/api/run", questions.Run),
    ):
        kind.model_validate(client.get(path).json(), strict=True)
        get = described["paths"][path.replace("1/0", "{layer}/{unit}")]["get"]
        answer = get["responses"]["200"]["content"]["application/json"]["schema"]
        assert answer["$ref"].endswith(f"/{kind.__name__}")


def test_a_bomb_is_refused_before_it_is_unpacked(client: TestClient) -> None:
    flat = io.BytesIO()
    Image.new("1", (20_000, 20_000)).save(flat, "PNG", optimize=True)
    assert flat.tell() < 200_000
    reply = client.post(
        "/api/recognize", json={"image": base64.b64encode(flat.getvalue()).decode()}
    )
    assert reply.status_code == 422
    assert "pixels" in reply.json()["error"]


def test_every_operation_is_documented(client: TestClient) -> None:
    paths = client.get("/openapi.json").json()["paths"]
    assert {
        "/api/recognize",
        "/api/dream",
        "/api/imagine",
        "/api/fill",
        "/api/units/{layer}/{unit}",
    } <= set(paths)
    for methods in paths.values():
        for operation in methods.values():
            assert operation["summary"]
            assert operation["description"]
    assert "operations" in client.get("/api.html").text


@pytest.mark.parametrize("polarity", ["auto", "keep"])
def test_files_and_drawings_suit_a_network_that_learned_from_files(
    tmp_path, digits: Dataset, polarity: str
) -> None:
    for label in (0, 1):
        (tmp_path / "pages" / str(label)).mkdir(parents=True)
        for number, image in enumerate(digits.train.images[digits.train.labels == label][:25]):
            grey = np.kron(255 - image.reshape(8, 8).numpy() * 255, np.ones((2, 2))).astype(
                np.uint8
            )
            Image.fromarray(grey).save(tmp_path / "pages" / str(label) / f"{number}.png")
    own = load(tmp_path / "pages", how=PictureOptions(polarity=polarity))
    config = small_config(hidden=(30,), stages=("pretrain",), validation=0)
    list(
        training.train(
            training.new_run(tmp_path / "run", config, own, torch.device("cpu"), "a test")
        )
    )
    learned = open_model(tmp_path / "run")
    with TestClient(
        create_app(Service(learned, tmp_path / "page", run=tmp_path / "run")),
        base_url="http://localhost",
    ) as client:
        right = {"file": 0, "drawing": 0}
        for file in sorted((tmp_path / "pages").rglob("*.png")):
            pixels = np.asarray(Image.open(file))
            answer = client.post("/api/recognize", json={"image": png(pixels)}).json()
            right["file"] += answer["name"] == file.parent.name
            pad = np.zeros((280, 280), np.uint8)  # drawn small and off the middle, bright on black
            pad[20:148, 110:238] = np.kron(255 - pixels, np.ones((8, 8)))
            answer = client.post("/api/recognize", json={"image": png(pad), "drawing": True}).json()
            right["drawing"] += answer["name"] == file.parent.name
            assert (answer["picture"][0] > 128) == (polarity == "keep")
        assert right["file"] >= 48
        assert right["drawing"] >= 45
        assert set(client.get("/examples.json").json()["labels"]) == {0, 1}
