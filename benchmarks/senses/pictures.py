"""Pictures, sounds and the movie of the page on several senses, from the net of `pairs`.

    python -m benchmarks.senses.pictures

`docs/senses/log-mel.png`: a test recording of each digit as a log-mel picture, and the same after
it was made a sound and heard again. `docs/senses/recalled.png`: what is heard, and the image that
the memory recalls of it; what is seen, and the sound. `docs/senses/digits.wav`: ten labels, each
recalled as a sound. `docs/senses/dreams.gif`: ten recordings are heard, and the memory settles into
images of them. `docs/senses/listen.png`: the page that hears one of them, in a browser.
`FOLDER/model.safetensors` is the net as `wakesleep recall`, `serve` and `page` read it.
"""

from __future__ import annotations

import io
import os
import sys
import zipfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import tyro
from numpy.typing import NDArray
from torch import Tensor

from benchmarks import browser as browsing
from benchmarks.senses.pairs import PairsOptions, Part, parts, trained
from benchmarks.senses.spoken import recordings
from wakesleep.app.loaded_model import SHIPPED
from wakesleep.data import from_header
from wakesleep.data.sound import LogMel, save_wav, to_wave
from wakesleep.foundation.rng import generator
from wakesleep.models.multimodal import MultimodalDBN
from wakesleep.runs import checkpoint, grids
from wakesleep.samplers.recalling import recall

FRAMES = (*range(2, 12), *range(12, 30, 3), *range(30, 100, 7), *range(100, 201, 20))
"""After how many Gibbs steps the movie shows the memory."""
GREYS, STAYS, A_SECOND = 32, 10, 7
"""Grey levels of the movie, for its size; how often its last frame is shown; frames a second."""
SIDE = 28
"""Rows and columns of a cell: those of MNIST; log-mel pictures get a border."""
HEARD = "7_jackson_0.wav"
"""The test recording that the page hears."""
FALLS_SILENT = 0.12
"""Seconds between two sounds in one file."""


@dataclass(frozen=True)
class SensesPicturesOptions:
    """Draw, sound and move."""

    data: Path = Path(os.environ.get("WAKESLEEP_DATA", "data"))
    """Folder with spoken-digits/recordings.zip and mnist/."""
    folder: Path = Path("runs/senses")
    """Where the net lies."""
    steps: int = 200
    """Gibbs steps of what is recalled."""
    seed: int = 1
    """Of what is recalled, and which test cases are shown."""
    out: Path = Path("docs")
    """Where the files go."""


def shown(sounds: Tensor, how: LogMel) -> NDArray[np.float32]:
    """Return log-mel pictures (N, bands * frames) as grey cells (N, SIDE * SIDE), the lowest band
    at the bottom.
    """
    cells = np.zeros((len(sounds), SIDE, SIDE), np.float32)
    top, left = (SIDE - how.bands) // 2, (SIDE - how.frames) // 2
    pictures = sounds.numpy().reshape(-1, *how.shape)[:, ::-1]
    inside = slice(top, top + how.bands), slice(left, left + how.frames)
    cells[:, inside[0], inside[1]] = np.clip((pictures + 2.5) / 5, 0, 1)
    return cells.reshape(len(sounds), -1)


def one_of_each(labels: Tensor, seed: int) -> Tensor:
    """Return the place of a case of each digit, (10,)."""
    rng = generator(seed)
    places = []
    for label in range(10):
        among = torch.nonzero(labels == label).squeeze(1)
        places.append(among[torch.randint(len(among), (), generator=rng)])
    return torch.stack(places)


def again(sounds: Tensor, how: LogMel) -> Tensor:
    """Return log-mel pictures after they were made sounds and heard."""
    return torch.from_numpy(np.stack([how.picture(to_wave(each, how)).ravel() for each in sounds]))


def side_by_side(sounds: Tensor, how: LogMel) -> NDArray[np.float32]:
    """Return sounds one after the other, as one."""
    silence = np.zeros(int(FALLS_SILENT * how.rate), np.float32)
    return np.concatenate([part for each in sounds for part in (to_wave(each, how), silence)])


def movie(net: MultimodalDBN, sounds: Tensor, how: LogMel, seed: int) -> list[grids.Array]:
    """Return the frames: what is heard above, the image as the memory settles below; each chain
    begins anew with the same seed, so that longer ones go on where shorter ones ended.
    """
    left, digits = ("heard", "seen"), tuple("0123456789")
    frames = []
    for steps in FRAMES:
        seen = recall(net, sound=sounds, want="image", steps=steps, mean=False, rng=generator(seed))
        cells = np.concatenate([shown(sounds, how), seen["image"].numpy()])
        below = ("",) * 10 + digits
        title = f"Ten spoken digits, and what the memory sees after {steps} Gibbs steps"
        frames.append(grids.captioned(cells, (SIDE, SIDE), 10, below=below, left=left, title=title))
    few = [np.round(frame * (GREYS - 1)) / (GREYS - 1) for frame in frames]
    return few + few[-1:] * STAYS


def draw(options: SensesPicturesOptions, net: MultimodalDBN, test: Part, how: LogMel) -> None:
    """Write all files."""
    folder, seed = options.out / "senses", options.seed
    folder.mkdir(parents=True, exist_ok=True)
    sounds = test.sounds[one_of_each(test.spoken, seed)]
    seen = test.images[one_of_each(test.digits, seed)]
    cells = np.concatenate([shown(sounds, how), shown(again(sounds, how), how)])
    sheet = grids.captioned(cells, (SIDE, SIDE), 10, left=("recording", "heard again"))
    grids.save_picture(folder / "log-mel.png", sheet, 1)
    settings = {"steps": options.steps, "mean": False, "rng": generator(seed)}
    images = recall(net, sound=sounds, want="image", **settings)["image"]  # type: ignore[arg-type]
    recalled = recall(net, image=seen, want="sound", **settings)["sound"]  # type: ignore[arg-type]
    rows = [shown(sounds, how), images.numpy(), seen.numpy(), shown(recalled, how)]
    left = ("heard", "recalled", "seen", "recalled")
    sheet = grids.captioned(np.concatenate(rows), (SIDE, SIDE), 10, left=left)
    grids.save_picture(folder / "recalled.png", sheet, 1)
    spoken = recall(net, label=torch.arange(10), want="sound", **settings)["sound"]  # type: ignore[arg-type]
    save_wav(folder / "digits.wav", side_by_side(spoken, how), how.rate)
    grids.save_movie(folder / "dreams.gif", movie(net, sounds, how, seed), 1, A_SECOND)


def save(net: MultimodalDBN, how: LogMel, path: Path) -> None:
    """Write the net with all that is needed to use it."""
    image = from_header(checkpoint.load_model(SHIPPED).header)
    senses = {
        name: {"preparation": of.as_json()} for name, of in (("image", image), ("sound", how))
    }
    checkpoint.save(net, path, classes=tuple("0123456789"), senses=senses)


def listening(model: Path, recording: Path, out: Path) -> None:
    """Write a picture of the page once it has heard a recording and settled."""
    from PIL import Image
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright, browsing.serving(str(model)) as server:
        browser = browsing.launch(playwright)
        context = browser.new_context(viewport={"width": 1280, "height": 860})
        page = browsing.open_page(context, server.url, "listen")
        page.set_input_files("#listen-file", recording)
        state = "document.querySelector('#listen-status').textContent"
        browsing.until(page, f"{state}.startsWith('It has settled')", timeout=60_000)
        shot = Image.open(io.BytesIO(page.screenshot())).convert("RGB")
        shot.quantize(256, dither=Image.Dither.NONE).save(out, optimize=True)
        browser.close()


def main(argv: list[str]) -> None:
    """Draw what was asked for."""
    options = tyro.cli(SensesPicturesOptions, description=__doc__, args=argv)
    of_pairs = PairsOptions(data=options.data, folder=options.folder)
    train, test = parts(of_pairs)
    how = recordings(options.data).how
    net = trained(of_pairs, train)
    draw(options, net, test, how)
    save(net, how, options.folder / "model.safetensors")
    with zipfile.ZipFile(options.data / "spoken-digits" / "recordings.zip") as archive:
        name = next(name for name in archive.namelist() if name.endswith(HEARD))
        recording = Path(archive.extract(name, options.folder))
    listening(options.folder / "model.safetensors", recording, options.out / "senses/listen.png")


if __name__ == "__main__":
    main(sys.argv[1:])
