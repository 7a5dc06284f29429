"""What the page does with photographs and with what is no digit is what Python does: its modules
run under node.
"""

from __future__ import annotations

import base64
import io
import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from benchmarks import drawings, photographs
from benchmarks.recognition import cases
from wakesleep.app import site
from wakesleep.app.loaded_model import open_model
from wakesleep.data.pictures import centred, grey_picture
from wakesleep.data.preparation import before
from wakesleep.evaluation import novelty

pytestmark = pytest.mark.skipif(shutil.which("node") is None, reason="node is not installed")
READ = """
import { readFileSync } from "node:fs";
const given = JSON.parse(readFileSync("given.json", "utf8"));
const numbers = (base64) => new Float32Array(new Uint8Array(Buffer.from(base64, "base64")).buffer);
"""


def node(folder: Path, script: str, given: Any) -> Any:
    for path in site.STATIC.glob("*.js"):
        shutil.copy(path, folder)
    (folder / "package.json").write_text('{"type": "module"}')
    (folder / "given.json").write_text(json.dumps(given))
    (folder / "script.js").write_text(READ + script)
    done = subprocess.run(
        ["node", "script.js"], cwd=folder, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def packed(values: np.ndarray) -> str:
    return base64.b64encode(np.ascontiguousarray(values, np.float32).tobytes()).decode()


def test_photographs_and_clean_pictures_are_prepared_alike(tmp_path: Path) -> None:
    down, across = np.mgrid[0:28, 0:28] - 13.5
    ring = (np.abs(np.hypot(across / 0.7, down) - 7.5) < 1.6).astype(np.float32)
    rng = np.random.default_rng(5)
    files = [photographs.photograph(ring, kind, rng) for kind in photographs.KINDS * 3]
    greys = [grey_picture(io.BytesIO(file)) for file in files]
    greys.append(1 - np.kron(ring, np.ones((5, 5), np.float32)))
    chalk = 0.2 + 0.6 * np.kron(ring, np.ones((6, 6)))
    greys.append(chalk * np.linspace(0.5, 1, 168) + rng.normal(0, 0.005, (168, 168)))
    how = before((28, 28), 20 / 28)
    expected = np.stack([how.picture(np.float32(grey)).ravel() for grey in greys])
    actual = node(
        tmp_path,
        """
import { prepare } from "./prepare.js";
const cases = given.greys.map(([rows, columns, values]) =>
  Array.from(prepare({ rows, columns, values: numbers(values) }, given.how)));
console.log(JSON.stringify(cases));
""",
        {"greys": [[*grey.shape, packed(grey)] for grey in greys], "how": how.as_json()},
    )
    np.testing.assert_allclose(np.array(actual), expected, atol=1e-4)
    # the digit, not the table, was prepared
    close = [np.corrcoef(case, centred(ring, (28, 28), 20 / 28).ravel())[0, 1] for case in expected]
    assert min(close) > 0.6


def test_surprise_is_the_same_number(tmp_path: Path) -> None:
    model = open_model()
    assert model.novelty is not None
    site.write_model(tmp_path, model)
    rng = np.random.default_rng(2)
    shown = [
        *(drawings.DIGITS[digit][1] for digit in "2580"),
        *(drawings.ICONS[name] for name in ("house", "sun", "heart")),
    ]
    plain = drawings.CONDITIONS["plain"]
    pictures = cases(model, [drawings.by_hand(template, plain, rng) for template in shown])
    expected = novelty.surprise(model.dbn, pictures, model.novelty)
    actual = node(
        tmp_path,
        """
import { logProbs, network, up } from "./engine.js";
import { readModel } from "./model.js";
import { surprise } from "./novelty.js";
const file = readFileSync("model.safetensors");
const { header, spec, tensors } = readModel(file.buffer.slice(file.byteOffset, file.byteOffset + file.length));
const net = network(spec, tensors);
const label = (picture) => logProbs(net, picture).reduce((best, value, at, all) => (value > all[best] ? at : best), 0);
console.log(JSON.stringify(given.map(numbers).map((picture) => surprise(net, up(net, picture), header.novelty, label(picture)))));
""",  # noqa: E501
        [packed(picture.numpy()) for picture in pictures],
    )
    torch.testing.assert_close(torch.tensor(actual), expected, rtol=0, atol=5e-3)
