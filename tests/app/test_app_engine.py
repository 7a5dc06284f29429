"""The network in JavaScript says what it says in Python: its modules run under node, on toy nets of
several shapes. The shipped model in a real browser is in tests/browser.
"""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from benchmarks import wasm
from helpers import shaken_in_half
from wakesleep.app import site
from wakesleep.app.loaded_model import LoadedModel
from wakesleep.data.preparation import Preparation, before
from wakesleep.evaluation import classify, interpretation
from wakesleep.foundation.errors import ConfigError
from wakesleep.learning import backprop
from wakesleep.models.dbn import DBN
from wakesleep.samplers import dreams, gibbs

NODE = shutil.which("node")
needs_node = pytest.mark.skipif(NODE is None, reason="node is not installed")
HEAD = """
import { readFileSync } from "node:fs";
import * as engine from "./engine.js";
import * as looks from "./fields.js";
import * as model from "./model.js";
import { prepare } from "./prepare.js";
const open = (name) => {
  const file = readFileSync(name);
  const read = model.readModel(file.buffer.slice(file.byteOffset, file.byteOffset + file.length));
  return { ...read, net: engine.network(read.spec, read.tensors, read.netTensors) };
};
const given = JSON.parse(readFileSync("given.json", "utf8"));
"""


def node(folder: Path, script: str, given: Any = None) -> Any:
    """Run a script beside the page's modules; return what it prints, read as JSON."""
    for path in site.STATIC.glob("*.js"):
        shutil.copy(path, folder)
    (folder / "package.json").write_text('{"type": "module"}')
    (folder / "given.json").write_text(json.dumps(given))
    (folder / "script.js").write_text(HEAD + script)
    done = subprocess.run(
        [str(NODE), "script.js"], cwd=folder, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def toy(sizes: tuple[int, ...], labels: int, *, untied: bool, seed: int = 1) -> DBN:
    """A net whose weights half precision holds exactly."""
    rng = torch.Generator().manual_seed(seed)
    dbn = DBN(sizes, labels=labels, rng=rng, weight_std=0.5)
    if untied:
        dbn.untie()
    shaken_in_half(dbn, rng)
    return dbn


def shown(dbn: DBN, net: torch.nn.Sequential | None = None) -> LoadedModel:
    shape = (2, dbn.sizes[0] // 2)
    classes = tuple("abcdefghij"[: dbn.labels])
    return LoadedModel(
        dbn, net, classes, shape, before(shape, 0.7), before(shape, 0.7), "", {}, None
    )


NETS = [((12, 7, 6, 15), 3, True), ((12, 7, 9), 4, False), ((10, 8), 3, False), ((12, 7, 9), 0, 1)]


@needs_node
@pytest.mark.parametrize(("sizes", "labels", "untied"), NETS)
def test_answers_are_those_of_python(tmp_path: Path, sizes, labels: int, untied: bool) -> None:
    dbn = toy(sizes, labels, untied=untied)
    site.write_model(tmp_path, shown(dbn))
    pictures = torch.rand(20, sizes[0], generator=torch.Generator().manual_seed(2))
    pictures[3] = 0
    answer = node(
        tmp_path,
        """
        const { net } = open("model.safetensors");
        console.log(JSON.stringify(given.map((row) => {
          const picture = Float32Array.from(row), way = engine.up(net, picture);
          const { total } = way, log = engine.logProbs(net, picture);
          return {
            log: log && [...log], seen: engine.reconstructions(net, way).map((one) => [...one]),
            evidence: net.labels ? [...engine.evidence(net, total, 1, 2)] : null,
          };
        })));
        """,
        pictures.tolist(),
    )
    for height, expected in enumerate(dreams.reconstruct_per_layer(dbn, pictures)):
        seen = torch.tensor([one["seen"][height] for one in answer])
        torch.testing.assert_close(seen, expected, rtol=0, atol=1e-5)
    if not labels:
        assert answer[0]["log"] is None
        return
    log = torch.tensor([one["log"] for one in answer])
    torch.testing.assert_close(log, classify.log_probs(dbn, pictures), rtol=0, atol=1e-5)
    features = dbn.up(pictures)[-1]
    torch.testing.assert_close(
        torch.tensor([one["evidence"] for one in answer]),
        interpretation.evidence(dbn, features, 1, 2),
        rtol=0,
        atol=1e-5,
    )


@needs_node
@pytest.mark.parametrize(("sizes", "labels", "untied"), NETS)
def test_fields_are_those_of_python(tmp_path: Path, sizes, labels: int, untied: bool) -> None:
    dbn = toy(sizes, labels, untied=untied)
    site.write_model(tmp_path, shown(dbn))
    answer = node(
        tmp_path,
        """
        const { net } = open("model.safetensors");
        const about = (layer, unit) => ({
          looks: [...looks.receptiveField(net, layer, unit)],
          adds: [...looks.projectiveField(net, layer, unit)],
        });
        const layers = net.sizes.slice(1).map((units, at) =>
          Array.from({ length: units }, (_, unit) => about(at + 1, unit)));
        const all = (finding) => { for (;;) { const { done, value } = finding.next(); if (done) return [...value]; } };
        const together = net.sizes.slice(1).map((_, at) => all(looks.receptiveFields(net, at + 1)));
        console.log(JSON.stringify({ layers, together, tied: looks.labelWeights(net, 4) }));
        """,  # noqa: E501
    )
    for layer, units in enumerate(answer["layers"], start=1):
        looks = torch.tensor([unit["looks"] for unit in units]).t()
        expected = interpretation.receptive_fields(dbn, layer)
        torch.testing.assert_close(looks, expected, rtol=1e-4, atol=1e-4)
        together = torch.tensor(answer["together"][layer - 1]).reshape(-1, sizes[0]).t()
        torch.testing.assert_close(together, expected, rtol=1e-4, atol=1e-4)
        for number, unit in enumerate(units):
            torch.testing.assert_close(
                torch.tensor(unit["adds"]),
                interpretation.projective_field(dbn, layer, number),
                rtol=0,
                atol=1e-5,
            )
    expected_ties = interpretation.label_weights(dbn, 4).tolist() if labels else []
    assert answer["tied"] == pytest.approx(expected_ties)


SETTLE = """
const { net } = open("model.safetensors");
const { how, chains, steps } = given;
if (how.picture) how.picture = Float32Array.from(how.picture);
const dream = engine.begin(net, { ...how, count: chains });
engine.advance(net, dream, steps);
const frame = engine.look(net, dream), mean = (values, units) => {
  const sums = new Array(units).fill(0);
  values.forEach((value, at) => (sums[at % units] += value / 255 / chains));
  return sums;
};
console.log(JSON.stringify({
  pixels: mean(frame.layers[0].values, net.sizes[0]),
  labels: net.labels ? mean(frame.layers.at(-1).values, net.labels) : [],
  layers: frame.layers.map((layer) => [layer.chains, layer.units]), step: frame.step,
}));
"""


@needs_node
@pytest.mark.parametrize(
    ("sizes", "labels", "untied", "held"),
    [(*NETS[0], 2), (*NETS[1], {"0": 0.5, "2": 0.5}), (*NETS[2], None), (*NETS[3], None)],
)
def test_dreams_have_the_means_of_python(
    tmp_path: Path, sizes, labels: int, untied: bool, held: Any
) -> None:
    """Means of pixels over 3,000 chains after 12 steps at temperature 1.3 agree with the library's
    within five standard errors.
    """
    dbn, chains, steps = toy(sizes, labels, untied=untied), 3000, 12
    site.write_model(tmp_path, shown(dbn))
    answer = node(
        tmp_path,
        SETTLE,
        {"how": {"held": held, "seed": 5, "temperature": 1.3}, "chains": chains, "steps": steps},
    )
    rng = torch.Generator().manual_seed(9)
    clamp = None
    if held is not None:
        share = {int(k): v for k, v in held.items()} if isinstance(held, dict) else {held: 1.0}
        row = torch.tensor([share.get(label, 0.0) for label in range(labels)])
        clamp = dreams.label_mixture(dbn, row.repeat(chains, 1))
    hidden = gibbs.random_hidden(dbn.memory, chains, rng)
    moved = gibbs.run(dbn.memory, hidden, steps, rng, clamp, 1.3)
    pixels = dreams.decode(dbn, moved, rng).pixels
    error = pixels.std(0) * (2 / chains) ** 0.5 + 1e-4
    assert float(((torch.tensor(answer["pixels"]) - pixels.mean(0)) / error).abs().max()) < 5
    assert answer["step"] == steps
    assert answer["layers"][0] == [chains, sizes[0]]
    assert answer["layers"][1:] == [[1, size] for size in sizes[1:]] + [[chains, labels]] * (
        labels > 0
    )
    if labels:
        expected = (
            torch.softmax(
                (moved.hidden @ dbn.memory.weight.t() + dbn.memory.visible_bias)[:, -labels:] / 1.3,
                1,
            )
            if clamp is None
            else clamp.values[:, -labels:]
        ).mean(0)
        torch.testing.assert_close(torch.tensor(answer["labels"]), expected, rtol=0, atol=0.03)


@needs_node
def test_filling_in_keeps_what_is_known_and_dreams_the_rest_as_python(tmp_path: Path) -> None:
    dbn, chains = toy((12, 7, 9), 3, untied=True), 3000
    site.write_model(tmp_path, shown(dbn))
    picture = torch.rand(12, generator=torch.Generator().manual_seed(3)).round()
    known = torch.arange(12) < 6
    how = {"picture": picture.tolist(), "known": known.int().tolist(), "seed": 2}
    answer = node(tmp_path, SETTLE, {"how": how, "chains": chains, "steps": 8})
    rng = torch.Generator().manual_seed(4)
    many, labels = picture.repeat(chains, 1), dreams.uniform_labels(dbn, chains)
    canvas = torch.where(known, many, torch.rand(many.shape, generator=rng))
    for _ in range(8):
        moved = dreams.fill_step(dbn, canvas, labels, rng=rng)
        labels = moved.visible[:, dbn.label_columns]
        canvas = torch.where(known, many, dreams.decode(dbn, moved, rng).pixels)
    actual = torch.tensor(answer["pixels"])
    torch.testing.assert_close(actual[:6], picture[:6], rtol=0, atol=1e-6)
    error = canvas.std(0) * (2 / chains) ** 0.5 + 1e-4
    assert float(((actual - canvas.mean(0)) / error)[6:].abs().max()) < 5


@needs_node
def test_a_dream_from_a_picture_starts_there(tmp_path: Path) -> None:
    dbn, chains = toy((12, 7, 9), 3, untied=True), 3000
    site.write_model(tmp_path, shown(dbn))
    picture = torch.rand(1, 12, generator=torch.Generator().manual_seed(3))
    how = {"picture": picture[0].tolist(), "seed": 2}
    answer = node(tmp_path, SETTLE, {"how": how, "chains": chains, "steps": 1})
    rng = torch.Generator().manual_seed(4)
    first = classify.log_probs(dbn, picture).exp().repeat(chains, 1)
    hidden = dreams.top_states(dbn, picture.repeat(chains, 1), first, rng)
    pixels = dreams.decode(dbn, gibbs.run(dbn.memory, hidden, 1, rng), rng).pixels
    error = pixels.std(0) * (2 / chains) ** 0.5 + 1e-4
    assert float(((torch.tensor(answer["pixels"]) - pixels.mean(0)) / error).abs().max()) < 5


@needs_node
def test_each_layer_fills_in_what_is_not_known(tmp_path: Path) -> None:
    dbn = toy((12, 7, 6, 9), 3, untied=True)
    site.write_model(tmp_path, shown(dbn))
    picture = torch.rand(12, generator=torch.Generator().manual_seed(3))
    answer = node(
        tmp_path,
        """
        const { net } = open("model.safetensors"), known = new Uint8Array(12).fill(1, 0, 6);
        const filled = engine.completions(net, Float32Array.from(given), known, 4, 1);
        console.log(JSON.stringify(filled.map((one) => [...one])));
        """,
        picture.tolist(),
    )
    found, known = torch.tensor(answer), torch.arange(12) < 6
    torch.testing.assert_close(found[:, :6], picture[:6].repeat(3, 1))
    for height in range(2):
        canvas = torch.where(known, picture, torch.zeros(12))
        for _ in range(4):
            seen = dreams.reconstruct_per_layer(dbn, canvas.unsqueeze(0))[height][0]
            canvas = torch.where(known, picture, seen)
        torch.testing.assert_close(found[height], canvas, rtol=0, atol=1e-5)


@needs_node
def test_strokes_have_more_structure_than_noise(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    stroke = np.zeros((28, 28))
    stroke[4:24, 12:15] = 1
    noise = rng.normal(size=(28, 28))
    answer = node(
        tmp_path,
        """
        console.log(JSON.stringify([...looks.structure(Float32Array.from(given), [28, 28])]));
        """,
        np.concatenate([stroke.ravel(), noise.ravel()]).tolist(),
    )
    assert answer[0] > 0.8
    assert abs(answer[1]) < 0.1


@needs_node
def test_the_seed_repeats_and_numbers_are_even(tmp_path: Path) -> None:
    answer = node(
        tmp_path,
        """
        const many = (seed, count) => Array.from({ length: count }, engine.random(seed));
        const rows = many(1, 100000), counts = new Array(10).fill(0);
        let together = 0;
        rows.forEach((one, at) => {
          counts[Math.floor(10 * one)]++;
          if (at) together += (one - 0.5) * (rows[at - 1] - 0.5);
        });
        console.log(JSON.stringify({
          counts, together: 12 * together / rows.length, same: many(1, 50), again: many(1, 50),
          other: many(2, 50), large: many(2 ** 40 + 1, 50),
        }));
        """,
    )
    assert answer["same"] == answer["again"]
    assert len({tuple(answer[name]) for name in ("same", "other", "large")}) == 3
    assert np.square(np.array(answer["counts"]) - 10_000).sum() / 10_000 < 40
    assert abs(answer["together"]) < 0.02


@needs_node
def test_a_net_without_labels_is_named_by_the_one_fine_tuned_from_it(tmp_path: Path) -> None:
    dbn = toy((12, 7, 9), 0, untied=True)
    rng = torch.Generator().manual_seed(3)
    net = backprop.classifier(dbn, 3, rng=rng, start="small", weight_std=1.0)
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.copy_(parameter.half())
    site.write_model(tmp_path, shown(dbn, net))
    pictures = torch.rand(5, 12, generator=rng)
    answer = node(
        tmp_path,
        """
        const { net } = open("model.safetensors");
        const rows = given.map((row) => [...engine.logProbs(net, Float32Array.from(row))]);
        console.log(JSON.stringify(rows));
        """,
        pictures.tolist(),
    )
    torch.testing.assert_close(
        torch.tensor(answer), backprop.log_probs(net, pictures), rtol=0, atol=1e-5
    )


@needs_node
def test_products_in_webassembly_are_those_of_the_loops(tmp_path: Path) -> None:
    """In single precision, for one case and more than go into one call, fewer states than inputs
    and none that is on.
    """
    site.write_model(tmp_path, shown(toy((12, 7, 6, 15), 3, untied=True)))
    shutil.copy(site.STATIC / "products.wasm", tmp_path)
    answer = node(
        tmp_path,
        """
        const { place, totalInputs } = await import("./products.js");
        const { net } = open("model.safetensors"), uniform = engine.random(1);
        const cases = net.layers.map(({ inputs }) => Array.from({ length: 37 }, (_, at) =>
          Float32Array.from({ length: at === 5 ? inputs - 2 : inputs }, () =>
            at === 6 ? 0 : at % 2 ? uniform() - 0.5 : +(uniform() < 0.5))));
        const all = () => net.layers.map((layer, at) => totalInputs(layer, cases[at]).map((one) => [...one]));
        const loops = all();
        await place(net.layers, readFileSync("products.wasm"));
        console.log(JSON.stringify({ loops, fast: all(), there: net.layers.every(({ add }) => add) }));
        """,  # noqa: E501
    )
    assert answer["there"]
    for loops, fast in zip(answer["loops"], answer["fast"], strict=True):
        torch.testing.assert_close(torch.tensor(fast), torch.tensor(loops), rtol=0, atol=2e-6)


def test_the_webassembly_is_its_source() -> None:
    pytest.importorskip("wasmtime", reason="wasmtime is not installed")
    assert wasm.assemble() == (site.STATIC / "products.wasm").read_bytes()


def blot(rows: int, columns: int, seed: int) -> np.ndarray:
    """Strokes of several widths on black, grey levels 0..255."""
    from PIL import Image, ImageDraw

    rng = np.random.default_rng(seed)
    sheet = Image.new("L", (columns, rows), 0)
    pen = ImageDraw.Draw(sheet)
    for _ in range(3):
        ends = [int(one) for one in rng.uniform(0.1, 0.9, 4) * [columns, rows, columns, rows]]
        pen.line(ends, fill=int(rng.integers(120, 256)), width=int(rng.integers(1, 2 + rows // 8)))
    return np.asarray(sheet)


PREPARATIONS = [
    before((28, 28), 20 / 28),
    before((8, 8), 1.0),
    Preparation((28, 28), "light", True, False, "others", 0.7),
    Preparation((20, 28), "light", False, True, "all", 0.8),
    Preparation((16, 16), None, True, False, "none", 0.7, (32, 32)),
    Preparation((28, 28), "dark", False, False, "none", 0.7, (40, 30)),
]


@needs_node
@pytest.mark.parametrize("how", PREPARATIONS)
def test_pictures_are_prepared_as_in_python(tmp_path: Path, how: Preparation) -> None:
    sizes = [(280, 280), (28, 28), (8, 8), (40, 30), (32, 32), (61, 37), (5, 90)]
    pictures = [blot(*size, seed) for seed, size in enumerate(sizes)]
    pictures += [255 - one for one in pictures]
    options = [{}, {"drawing": True}, {"centre": True}, {"centre": False}]
    reply = node(
        tmp_path,
        """
        const grey = ({ rows, columns, values }) =>
          ({ rows, columns, values: Float32Array.from(values, (value) => value / 255) });
        console.log(JSON.stringify(given.pictures.map((one) =>
          given.options.map((option) => [...prepare(grey(one), given.how, option)]))));
        """,
        {
            "pictures": [
                {"rows": len(one), "columns": one.shape[1], "values": one.reshape(-1).tolist()}
                for one in pictures
            ],
            "options": options,
            "how": how.as_json(),
        },
    )
    for picture, answers in zip(pictures, reply, strict=True):
        grey = picture.astype(np.float32) / np.float32(255)
        for option, answer in zip(options, answers, strict=True):
            drawn = "drawing" in option and how.paper is not None
            expected = (
                how.picture(grey, own="dark", centre=True)
                if drawn
                else how.picture(grey, centre=option.get("centre"))
            )
            apart = np.abs(np.array(answer) - expected.reshape(-1))
            # a level between two of the 256 may be rounded either way
            assert apart.max() < 1.01 / 255
            assert (apart > 1e-5).mean() < 0.01


def test_what_the_page_cannot_show_is_refused_in_words(tmp_path: Path, monkeypatch) -> None:
    dbn = toy((12, 7, 9), 3, untied=True)
    spec = dbn.spec()
    monkeypatch.setattr(dbn, "spec", lambda: {**spec, "units": "Gaussian"})
    with pytest.raises(ConfigError, match="Gaussian"):
        site.check(shown(dbn))
    monkeypatch.setattr(site, "MOST_WEIGHTS", 100)
    monkeypatch.setattr(dbn, "spec", lambda: spec)
    with pytest.raises(ConfigError, match="smaller one"):
        site.check(shown(dbn))


@needs_node
def test_the_page_itself_refuses_in_words_too(tmp_path: Path) -> None:
    answer = node(
        tmp_path,
        """
        const attempt = (buffer) => {
          try { return model.readModel(buffer); } catch (error) { return error.message; }
        };
        const spec = { class: "DBN", sizes: [784, 500, 2000], labels: 10, tied: false };
        console.log(JSON.stringify({
          fine: model.cannotShow(spec),
          units: model.cannotShow({ ...spec, units: "Gaussian" }),
          other: model.cannotShow({ class: "RBM" }),
          large: model.cannotShow({ ...spec, sizes: [784, 5000, 5000] }),
          short: attempt(new ArrayBuffer(4)), cut: attempt(new Uint8Array(64).fill(255).buffer),
          most: model.MOST_WEIGHTS,
        }));
        """,
    )
    assert answer["fine"] == ""
    assert "Gaussian" in answer["units"]
    assert "RBM" in answer["other"]
    assert "smaller one" in answer["large"]
    assert "damaged" in answer["short"]
    assert "damaged" in answer["cut"]
    assert answer["most"] == site.MOST_WEIGHTS


def test_a_folder_with_something_else_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("mine")
    with pytest.raises(ConfigError, match="something else"):
        site.write(tmp_path, shown(toy((12, 7, 9), 3, untied=True)))
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]
