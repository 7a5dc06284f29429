"""The page hears, recalls and says what the library does: its modules run under node, and a net of
several senses is served and written as a folder.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from fastapi.testclient import TestClient

import wakesleep as ws
from helpers import shaken_in_half
from tests.app.test_app_engine import node
from wakesleep.app import loaded_senses, site
from wakesleep.app.loaded_senses import LoadedSenses, open_shown
from wakesleep.app.server import create_app
from wakesleep.app.service import Service
from wakesleep.cli import main
from wakesleep.data.preparation import before
from wakesleep.data.sound import LogMel, to_wave
from wakesleep.foundation.errors import CheckpointError, ConfigError
from wakesleep.runs.senses import Several

needs_node = pytest.mark.skipif(shutil.which("node") is None, reason="node is not installed")
HOW = LogMel(bands=6, frames=4, seconds=0.1)
HEAD = 'const sound = await import("./sound.js"), senses = await import("./senses.js");\n'
GIVEN = "const wave = Float32Array.from(given.wave ?? []), how = given.how;\n"


def tone(seconds: float = 0.4, rate: int = 8000) -> np.ndarray:
    """A tone that rises, swells and fades."""
    time = np.arange(int(seconds * rate)) / rate
    wave = 0.5 * np.sin(2 * np.pi * 300 * time * (1 + time)) * np.hanning(len(time))
    return wave.astype(np.float32)


def toy(untied: bool = True, seed: int = 1) -> Any:
    """A net of pictures and sounds whose weights half precision holds exactly."""
    rng = torch.Generator().manual_seed(seed)
    senses = {"image": (12, 7, 5), "sound": (ws.units.Gaussian(HOW.bands * HOW.frames), 6)}
    net = ws.DBN(senses=senses, labels=3, top=9, rng=rng, weight_std=0.5)
    if untied:
        net.untie()
    shaken_in_half(net, rng)
    return net


def shown(net: Any) -> LoadedSenses:
    shape = (3, 4)
    return LoadedSenses(Several(net, {"image": before(shape, 0.7), "sound": HOW}, ("a", "b", "c")))


@needs_node
@pytest.mark.parametrize("seconds", [0.02, 0.4, 1.3])
def test_recordings_are_heard_as_in_python(tmp_path: Path, seconds: float) -> None:
    how, noise = LogMel(), np.random.default_rng(1).normal(0, 0.003, int(seconds * 8000))
    for wave in (tone(seconds), (tone(seconds) + noise).astype(np.float32)):
        heard = node(
            tmp_path,
            HEAD + GIVEN + "console.log(JSON.stringify([...sound.picture(wave, how)]))",
            {"wave": wave.tolist(), "how": how.as_json()},
        )
        np.testing.assert_allclose(heard, how.picture(wave).ravel(), rtol=0, atol=1e-3)


@needs_node
@pytest.mark.parametrize("how", [LogMel(), LogMel(window=255, step=100, bands=20, frames=15)])
def test_pictures_are_said_as_in_python(tmp_path: Path, how: LogMel) -> None:
    picture = how.picture(tone()).ravel()
    said = node(
        tmp_path,
        HEAD + "const values = Float32Array.from(given.picture);\n"
        "console.log(JSON.stringify([...sound.toWave(values, given.how)]))",
        {"picture": picture.tolist(), "how": how.as_json()},
    )
    expected = to_wave(picture, how)
    assert len(said) == len(expected)
    assert np.corrcoef(said, expected)[0, 1] > 0.999
    again = how.picture(np.float32(said)).ravel()
    assert np.corrcoef(again, picture)[0, 1] > 0.9


@needs_node
def test_a_saved_sound_is_read_back(tmp_path: Path) -> None:
    wave = tone()
    bytes_of = node(
        tmp_path,
        HEAD + GIVEN + "const file = new Uint8Array(await sound.wavFile(wave, 8000).arrayBuffer());"
        "console.log(JSON.stringify([...file]))",
        {"wave": wave.tolist()},
    )
    (tmp_path / "a.wav").write_bytes(bytes(bytes_of))
    np.testing.assert_allclose(ws.sound.read_wave(tmp_path / "a.wav", 8000), wave, atol=1e-4)
    ws.sound.save_wav(tmp_path / "b.wav", wave, 8000)
    assert bytes(bytes_of[:44]) == (tmp_path / "b.wav").read_bytes()[:44]  # rates and sizes


@needs_node
def test_a_word_is_found_in_the_sound_of_a_room(tmp_path: Path) -> None:
    rng, word = np.random.default_rng(1), tone()
    quiet = [rng.normal(0, 0.002, 8000), rng.normal(0, 0.002, 6000)]
    quiet[0][1000:1040] += 0.1  # a click
    paused = [quiet[0], word, quiet[1][:800], word, quiet[1]]
    noisy = [rng.normal(0, 0.02, 8000), word, rng.normal(0, 0.02, 6000)]
    answer = node(
        tmp_path,
        HEAD
        + GIVEN
        + """
        const room = Float32Array.from(given.room);
        let refusal = "";
        try { sound.wordIn(room, how); } catch (error) { refusal = error.message; }
        const word = sound.wordIn(wave, how), seconds = (one) => sound.wordIn(Float32Array.from(one), how).length / 8000;
        console.log(JSON.stringify({
          refusal, seconds: word.length / 8000, picture: [...sound.picture(word, how)],
          paused: seconds(given.paused), noisy: seconds(given.noisy),
        }));
        """,  # noqa: E501
        {
            "wave": np.concatenate([quiet[0], word, quiet[1]]).tolist(),
            "room": quiet[1].tolist(),
            "paused": np.concatenate(paused).tolist(),
            "noisy": np.concatenate(noisy).tolist(),
            "how": LogMel().as_json(),
        },
    )
    assert "Nothing was heard" in answer["refusal"]
    assert 0.3 < answer["seconds"] < 0.5
    assert 0.8 < answer["paused"] < 1.0  # both parts, with the tenth of a second between
    assert 0.2 < answer["noisy"] < 0.5
    loud = LogMel(floor=30).picture(word).ravel()
    assert np.corrcoef(answer["picture"], loud)[0, 1] > 0.8


@needs_node
def test_what_is_no_recording_is_refused_in_words(tmp_path: Path) -> None:
    answer = node(
        tmp_path,
        HEAD
        + """
        const attempt = (wave) => {
          try { return sound.picture(wave, given.how); } catch (error) { return error.message; }
        };
        console.log(JSON.stringify({
          silent: attempt(new Float32Array(4000)), empty: attempt(new Float32Array(0)),
          broken: attempt(new Float32Array(4000).fill(NaN)),
        }));
        """,
        {"how": LogMel().as_json()},
    )
    assert "silent" in answer["silent"]
    assert "empty" in answer["empty"]
    assert "silent" in answer["broken"]


SETTLE = (
    HEAD
    + """
const file = readFileSync("model.safetensors");
const bytes = file.buffer.slice(file.byteOffset, file.byteOffset + file.length);
const { header, spec, tensors } = model.readModel(bytes);
const net = senses.network(spec, tensors, header.senses), { chains, steps, known, value } = given;
const held = { [known]: known === "label" ? value : Float32Array.from(value) };
const sums = { image: new Array(12).fill(0), sound: new Array(24).fill(0), probs: [0, 0, 0] };
const add = (name, values) => values.forEach((one, at) => (sums[name][at] += one / chains));
for (let chain = 0; chain < chains; chain++) {
  const settling = senses.begin(net, { given: held, seed: chain });
  senses.advance(net, settling, steps);
  const seen = senses.look(net, settling);
  add("image", seen.senses.image);
  add("sound", seen.senses.sound);
  add("probs", seen.probs);
}
console.log(JSON.stringify(sums));
"""
)


@needs_node
@pytest.mark.parametrize("untied", [True, False])
@pytest.mark.parametrize("known", ["sound", "image", "label"])
def test_recall_has_the_means_of_python(tmp_path: Path, untied: bool, known: str) -> None:
    """Means over 3,000 chains after 6 steps are the library's, within five standard errors."""
    net, chains, steps = toy(untied), 3000, 6
    site.write_model(tmp_path, shown(net))
    rng = torch.Generator().manual_seed(3)
    cases: dict[str, Any] = {
        "sound": torch.randn(1, 24, generator=rng),
        "image": torch.rand(1, 12, generator=rng),
        "label": torch.tensor([1]),
    }
    given = cases[known]
    answer = node(
        tmp_path,
        SETTLE,
        {"known": known, "value": given[0].tolist(), "chains": chains, "steps": steps},
    )
    many: dict[str, Any] = {known: given.repeat(chains, *[1] * (given.dim() - 1))}
    seen = ws.recall(net, **many, mean=False, steps=steps, rng=rng)
    for name in ("image", "sound"):
        if name != known:
            error = seen[name].std(0) * (2 / chains) ** 0.5 + 1e-4
            apart = torch.tensor(answer[name]) - seen[name].mean(0)
            assert float((apart / error).abs().max()) < 5
    if known == "label":
        assert answer["probs"] == pytest.approx([0, 1, 0])
    else:
        probs = ws.recall(net, **many, want="label", steps=steps, rng=rng)["label"].mean(0)
        torch.testing.assert_close(torch.tensor(answer["probs"]), probs, rtol=0, atol=1e-4)
        np.testing.assert_allclose(answer[known], given[0], atol=1e-5)


def saved(folder: Path, net: Any, **how: Any) -> Path:
    several = shown(net).several
    senses = {name: {"preparation": each.as_json()} for name, each in several.senses.items()}
    ws.save(net, folder / "m.safetensors", classes=several.classes, senses={**senses, **how})
    return folder / "m.safetensors"


def test_a_net_of_senses_becomes_a_page(tmp_path: Path, capsys) -> None:
    path, out = saved(tmp_path, toy()), tmp_path / "page"
    assert main(["page", str(path), "--out", str(out)]) == 0
    assert not (out / site.EXAMPLES).exists()
    written = ws.load(out / site.MODEL)
    assert written.spec() == toy().spec()
    ws.save(toy(), tmp_path / "nameless.safetensors")
    with pytest.raises(CheckpointError, match="no net of several senses"):
        open_shown(tmp_path / "nameless.safetensors")


def test_the_server_shows_it_and_its_api_says_why_it_does_not_answer(tmp_path: Path) -> None:
    service = Service(open_shown(saved(tmp_path, toy())), tmp_path / "page", run=tmp_path)
    with TestClient(create_app(service), base_url="http://localhost") as client:
        assert client.get("/").status_code == 200
        assert client.get("/page.json").json() == {"version": 1, "api": False, "run": None}
        assert client.get("/model.safetensors").status_code == 200
        for reply in (client.get("/api/model"), client.post("/api/dream", json={})):
            assert reply.status_code == 422
            assert "wakesleep recall" in reply.json()["error"]


def test_senses_that_the_page_cannot_show_are_refused(tmp_path: Path, monkeypatch) -> None:
    rng, image = ws.generator(0), before((3, 4), 0.7)
    two = {"image": (12, 5), "other": (12, 5)}
    net: Any = ws.DBN(senses=two, labels=3, top=9, rng=rng)
    model = LoadedSenses(Several(net, {"image": image, "other": image}, ("a", "b", "c")))
    with pytest.raises(ConfigError, match="image, other: use it with wakesleep recall"):
        loaded_senses.check(model)
    for senses, labels in (
        ({"image": (12, 5), "sound": (24, 5)}, 3),
        ({"image": (12, 5), "sound": (ws.units.Gaussian(24),)}, 3),
        ({"image": (12, 5), "sound": (ws.units.Gaussian(24), 5)}, 0),
    ):
        with pytest.raises(ConfigError, match="pictures and sounds with labels"):
            site.check(shown(ws.DBN(senses=senses, labels=labels, top=9, rng=rng)))
    site.check(shown(toy()))
    monkeypatch.setattr(site, "MOST_WEIGHTS", 100)
    with pytest.raises(ConfigError, match="smaller one"):
        site.check(shown(toy()))


@needs_node
def test_the_page_itself_refuses_them_too(tmp_path: Path) -> None:
    spec = toy().spec()
    how = {name: each.as_json() for name, each in shown(toy()).several.senses.items()}
    answer = node(
        tmp_path,
        HEAD
        + """
        const { spec, how } = given, [image, words] = spec.senses;
        console.log(JSON.stringify({
          fine: model.cannotShow(spec, how), bare: model.cannotShow(spec),
          labels: model.cannotShow({ ...spec, labels: 0 }, how),
          one: model.cannotShow({ ...spec, senses: [words] }, how),
          flat: model.cannotShow({ ...spec, senses: [image, { ...words, layers: words.layers.slice(0, 1) }] }, how),
          large: model.cannotShow({ ...spec, top: { family: "Bernoulli", size: 3e6 } }, how),
          weights: senses.countWeights(spec),
        }));
        """,  # noqa: E501
        {"spec": spec, "how": how},
    )
    assert answer["fine"] == ""
    assert "smaller one" in answer["large"]
    for name in ("bare", "labels", "one", "flat"):
        assert "wakesleep recall" in answer[name], name
    assert answer["weights"] == shown(toy()).weights
    assert json.loads(json.dumps(spec)) == spec
