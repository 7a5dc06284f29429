"""A deep Boltzmann machine on the page and in the JSON API says what it says in Python: toys of
several shapes, their chains against enumeration.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from fastapi.testclient import TestClient
from test_app_engine import needs_node, node

from helpers import shaken_in_half
from wakesleep.app import deep_answers, site
from wakesleep.app.loaded_model import LoadedModel
from wakesleep.app.server import create_app
from wakesleep.app.service import Service
from wakesleep.data.preparation import before
from wakesleep.evaluation import classify
from wakesleep.foundation.errors import ConfigError
from wakesleep.learning import deep_boltzmann
from wakesleep.models.dbm import DBM
from wakesleep.runs import scores
from wakesleep.units import Gaussian

MACHINES = [((6, 5, 4), 3), ((6, 4, 3, 4), 3), ((6, 5, 4), 0), ((6, 3, 3, 3, 4), 2)]
OPEN = """
const deep = await import("./deep.js");
const file = readFileSync("model.safetensors");
const read = model.readModel(file.buffer.slice(file.byteOffset, file.byteOffset + file.length));
const net = deep.network(read.spec, read.tensors, read.netTensors);
"""


def toy(sizes: tuple[int, ...], labels: int, seed: int = 1) -> DBM:
    """A machine whose weights half precision holds exactly."""
    rng = torch.Generator().manual_seed(seed)
    dbm = DBM(sizes, labels=labels, rng=rng, weight_std=0.8)
    with torch.no_grad():
        for bias in (dbm.rbm.visible_bias, dbm.rbm.hidden_bias):
            bias += 0.5 * torch.randn(bias.shape, generator=rng)
        for parameter in dbm.parameters():
            parameter.copy_(parameter.half())
    return dbm


def shown(dbm: DBM, net: torch.nn.Sequential | None = None) -> LoadedModel:
    shape = (2, dbm.sizes[0] // 2)
    names = tuple("abcdefghij"[: dbm.labels])
    how = before(shape, 0.7)
    return LoadedModel(dbm, net, names, shape, how, how, "", {}, None)


def enumerated(
    dbm: DBM,
    *,
    held: int | None = None,
    known: dict[int, float] | None = None,
    temperature: float = 1.0,
) -> tuple[torch.Tensor, torch.Tensor]:
    """What is shown, E[v | odd layers], and the probabilities of the labels, with a label and
    pixels held, by enumeration.
    """
    even, odd = dbm.even.states().double(), dbm.odd.states().double()
    machine = dbm.rbm.double()
    log_p = -torch.stack([machine.energy(even, one.expand(len(even), -1)) for one in odd], 1)
    log_p /= temperature
    for pixel, value in (known or {}).items():
        log_p[even[:, pixel] != value] = -torch.inf
    on_even = "label" in dbm.even.names
    states = (
        (even if on_even else odd)[:, (dbm.even if on_even else dbm.odd).columns("label")]
        if dbm.labels
        else None
    )
    if held is not None and states is not None:
        (log_p if on_even else log_p.t())[states[:, held] != 1] = -torch.inf
    p = torch.softmax(log_p.flatten(), 0).view_as(log_p)
    pixels = p.sum(0) @ dbm.visible_means(odd)
    for pixel, value in (known or {}).items():
        pixels[pixel] = value
    labels = p.sum(1 if on_even else 0) @ states if states is not None else torch.zeros(0)
    return pixels, labels


@needs_node
@pytest.mark.parametrize(("sizes", "labels"), MACHINES)
@pytest.mark.parametrize("tuned", [False, True])
def test_answers_are_those_of_python(tmp_path: Path, sizes, labels: int, tuned: bool) -> None:
    dbm, rng = toy(sizes, labels), torch.Generator().manual_seed(2)
    net = deep_boltzmann.classifier(dbm, rng=rng, classes=labels or 3) if tuned else None
    if net is not None:
        shaken_in_half(net, rng, scale=1.0)
    site.write_model(tmp_path, shown(dbm, net))
    pictures = torch.rand(8, sizes[0], generator=rng)
    answers = node(
        tmp_path,
        OPEN
        + """
        console.log(JSON.stringify(given.map((row) => {
          const picture = Float32Array.from(row), { states, labels } = deep.meanField(net, picture, null, 200);
          const { seen, logProbs, evidence, label, runner_up: other } = deep.recognize(net, picture);
          return { states: states.map((one) => [...one]), labels: [...labels], seen: [...seen[0]],
            log: logProbs && [...logProbs], evidence: evidence ? [...evidence] : null, label, other };
        })));
        """,  # noqa: E501
        pictures.tolist(),
    )
    means = dbm.mean_field(pictures, steps=300)
    layers = deep_answers.activities(dbm, means._replace(even=means.even[:1], odd=means.odd[:1]))
    for layer, expected in zip(answers[0]["states"][1:], layers, strict=True):
        torch.testing.assert_close(torch.tensor(layer), expected, rtol=0, atol=1e-3)
    seen = torch.tensor([one["seen"] for one in answers]) / 255
    torch.testing.assert_close(seen, dbm.visible_means(means.odd), rtol=0, atol=4e-3)
    if not labels and net is None:
        assert answers[0]["log"] is None
        return
    log = torch.tensor([one["log"] for one in answers])
    torch.testing.assert_close(log, scores.log_probs(dbm, net, pictures), rtol=0, atol=1e-2)
    if labels:
        shares = torch.tensor([one["labels"] for one in answers])
        own = classify.mean_field_log_probs(dbm, pictures).exp()
        torch.testing.assert_close(shares, own, rtol=0, atol=2e-3)
        first = answers[0]
        single = means._replace(even=means.even[:1], odd=means.odd[:1])
        expected = deep_answers.evidence(dbm, single, first["label"], first["other"])
        torch.testing.assert_close(torch.tensor(first["evidence"]), expected, rtol=0, atol=2e-3)


@needs_node
@pytest.mark.parametrize(
    ("sizes", "labels", "how"),
    [
        (sizes, labels, how)
        for sizes, labels in MACHINES
        for how in ("free", "held", "known")
        if labels or how != "held"
    ]
    + [(*MACHINES[0], "warm")],
)
def test_chains_keep_to_the_distribution(tmp_path: Path, sizes, labels: int, how: str) -> None:
    """Means over 3,000 chains, in JavaScript and of the API, against enumeration."""
    dbm, chains = toy(sizes, labels), 3000
    site.write_model(tmp_path, shown(dbm))
    temperature = 2.0 if how == "warm" else 1.0
    asked: dict[str, Any] = {"seed": 5, "count": chains, "temperature": temperature}
    held, known = (1 if how == "held" else None), None
    if how == "held":
        asked["held"] = held
    if how == "known":
        asked |= {"picture": [1, 0, 1, 0, 0, 0], "known": [1, 1, 1, 0, 0, 0]}
        known = {0: 1.0, 1: 0.0, 2: 1.0}
    answer = node(
        tmp_path,
        OPEN
        + """
        if (given.picture) given.picture = Float32Array.from(given.picture);
        const dream = deep.begin(net, given);
        deep.advance(net, dream, 60);
        const frame = deep.look(net, dream), mean = ({ values, units }) => {
          const sums = new Array(units).fill(0);
          values.forEach((value, at) => (sums[at % units] += value / 255 / given.count));
          return sums;
        };
        console.log(JSON.stringify({
          pixels: mean(frame.layers[0]), labels: net.labels ? mean(frame.layers.at(-1)) : [],
          layers: frame.layers.map((layer) => [layer.chains, layer.units]), step: frame.step,
        }));
        """,
        asked,
    )
    assert answer["step"] == 60
    ends = [[chains, labels]] if labels else []
    assert answer["layers"] == [[chains, sizes[0]], *([1, size] for size in sizes[1:]), *ends]
    shares = None if held is None else torch.eye(labels)[[held] * chains]
    given = torch.tensor([[1.0, 0, 1, 0, 0, 0]]) if known else None
    pixels, states = deep_answers.settle(
        dbm,
        given,
        shares,
        count=chains,
        steps=60,
        rng=torch.Generator().manual_seed(3),
        temperature=temperature,
        known=torch.arange(6) < 3 if known else None,
    )
    expected, probs = enumerated(dbm, held=held, known=known, temperature=temperature)
    for means in (torch.tensor(answer["pixels"]), pixels.mean(0)):
        torch.testing.assert_close(means.double(), expected, rtol=0, atol=0.045)
    if labels:
        counted = torch.bincount(states, minlength=labels) / chains
        for means in (torch.tensor(answer["labels"]), counted):
            torch.testing.assert_close(means.double(), probs, rtol=0, atol=0.045)


@needs_node
def test_half_a_picture_is_filled_in_two_ways(tmp_path: Path) -> None:
    dbm = toy((6, 5, 4), 3)
    site.write_model(tmp_path, shown(dbm))
    picture, known = torch.tensor([1.0, 0, 1, 1, 1, 1]), torch.arange(6) < 3
    answer = node(
        tmp_path,
        OPEN
        + """
        const found = deep.completions(net, Float32Array.from(given), [1, 1, 1, 0, 0, 0], 8000, 1);
        console.log(JSON.stringify(found.map((one) => [...one])));
        """,
        picture.tolist(),
    )
    base = dbm.even["visible"].mean(dbm.bias("visible")[None])
    up = dbm.mean_field(torch.where(known, picture, base), steps=0)
    expected = torch.where(known, picture, dbm.visible_means(up.odd))[0]
    torch.testing.assert_close(torch.tensor(answer[0]), expected, rtol=0, atol=1e-4)
    together = enumerated(dbm, known={0: 1.0, 1: 0.0, 2: 1.0})[0].float()
    torch.testing.assert_close(torch.tensor(answer[1]), together, rtol=0, atol=0.03)


@needs_node
def test_what_units_look_for_is_read_from_the_machine(tmp_path: Path) -> None:
    dbm = toy((6, 5, 4), 3)
    site.write_model(tmp_path, shown(dbm))
    answer = node(
        tmp_path,
        OPEN
        + """
        console.log(JSON.stringify({
          first: [...looks.receptiveField(net, 1, 2)], second: [...looks.receptiveField(net, 2, 3)],
          tied: looks.labelWeights(net, 3), adds: [...looks.projectiveField(net, 1, 2)],
        }));
        """,
    )
    first, second = dbm.block("visible", "layer1"), dbm.block("layer1", "layer2")
    torch.testing.assert_close(torch.tensor(answer["first"]), first[:, 2], rtol=0, atol=1e-6)
    chained = (first @ second)[:, 3]
    torch.testing.assert_close(torch.tensor(answer["second"]), chained, rtol=0, atol=1e-5)
    assert answer["tied"] == pytest.approx(dbm.block("label", "layer2")[:, 3].tolist())
    rates = torch.sigmoid(dbm.bias("layer1")).repeat(2, 1)
    rates[:, 2] = torch.tensor([1.0, 0.0])
    on, off = torch.sigmoid(rates @ first.t() + dbm.bias("visible"))
    torch.testing.assert_close(torch.tensor(answer["adds"]), on - off, rtol=0, atol=1e-5)


def test_the_api_answers_and_refuses_what_is_of_belief_nets(tmp_path: Path) -> None:
    dbm = toy((6, 5, 4), 3)
    service = Service(shown(dbm), tmp_path / "page")
    picture = {"pixels": [255, 0, 255, 0, 0, 128]}
    with TestClient(create_app(service), base_url="http://localhost") as client:

        def ask(path: str, **asked: Any) -> dict[str, Any]:
            reply = client.post(path, json=asked, headers={"origin": "http://localhost"})
            assert reply.status_code == 200, reply.text
            return dict(reply.json())

        model = client.get("/api/model").json()
        assert model["deep"]
        assert model["sizes"] == [6, 5, 4]
        answer = ask("/api/recognize", **picture)
        case = torch.tensor([picture["pixels"]]) / 255
        own = classify.mean_field_log_probs(dbm, case).exp()[0]
        assert answer["probs"] == pytest.approx(own.tolist(), abs=1e-4)
        assert [len(layer) for layer in answer["activities"]] == [5, 4]
        assert len(answer["evidence"]) == 4
        dreamt = ask("/api/dream", held=2, count=3, steps=5, seed=1)
        assert dreamt == ask("/api/dream", held=2, count=3, steps=5, seed=1)
        assert dreamt["labels"] == [2, 2, 2]
        assert len(ask("/api/imagine", picture=picture, steps=2)["pictures"][0]) == 6
        filled = ask("/api/fill", picture=picture, known=[1, 1, 1, 0, 0, 0], sweeps=5)
        assert filled["pictures"][0][:3] == [255, 0, 255]
        for path in ("/api/fields/1", "/api/units/1/0"):
            reply = client.get(path)
            assert reply.status_code == 422
            assert "deep Boltzmann machine" in reply.json()["error"]


def test_other_units_are_refused_in_words() -> None:
    dbm = DBM((Gaussian(6), 5, 4), rng=torch.Generator())
    with pytest.raises(ConfigError, match="Gaussian"):
        site.check(shown(dbm))
