"""The folder that `wakesleep page` writes, served by `python -m http.server` under a path:
it works there, asks nothing of anybody else, and says what Python says.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch

pytest.importorskip(
    "playwright", reason="no browser tests: Playwright's Python package is not installed"
)

from benchmarks import browser as browsing
from benchmarks import page as figures
from helpers import small_config
from wakesleep.app.loaded_model import open_model
from wakesleep.cli import main
from wakesleep.data import Dataset
from wakesleep.learning.configs import DBMConfig
from wakesleep.runs import training
from wakesleep.samplers import dreams, gibbs

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def folder(browser, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of the shipped model's page under a path."""
    root = tmp_path_factory.mktemp("host")
    assert main(["page", "--out", str(root / "some" / "path")]) == 0
    with browsing.hosting(root) as url:
        yield f"{url}some/path/"


@pytest.fixture
def page(context, folder: str) -> Iterator[object]:
    """The page, whose console and requests must stay clean."""
    wrong = browsing.complaints(context, own=folder)
    yield browsing.open_page(context, folder)
    assert not wrong


def until(page, condition: str, timeout: float = 20_000) -> None:
    browsing.until(page, condition, timeout)


def test_the_browser_says_what_python_says(page, real_mnist: Dataset) -> None:
    assert figures.largest_difference(page, real_mnist.test.images[:1000]) < 1e-3


def test_dreams_have_the_means_of_python(page) -> None:
    """Of 200 chains with each of two labels held, 60 steps from random states, the mean pictures
    differ by no more than sampling does: most pixels within two standard errors.
    """
    dbn, chains, steps = open_model().dbn, 200, 60
    for label in (3, 8):
        options = {"held": label, "seed": 5, "count": chains}
        actual = torch.tensor(figures.mean_dream(page, options, steps))
        rng = torch.Generator().manual_seed(1)
        clamp = dreams.label_clamp(dbn, torch.full((chains,), label), chains)
        hidden = gibbs.random_hidden(dbn.memory, chains, rng)
        pixels = dreams.decode(dbn, gibbs.run(dbn.memory, hidden, steps, rng, clamp), rng).pixels
        error = pixels.std(0) * (2 / chains) ** 0.5 + 0.005
        apart = ((actual - pixels.mean(0)) / error).abs()
        assert float((apart < 2).float().mean()) > 0.9
        assert float(apart.max()) < 6


def test_an_address_makes_the_same_dream_and_back_works(context, folder: str, page) -> None:
    page.goto(f"{folder}#dream?label=8&seed=7&temperature=1.2")
    until(page, "document.querySelector('#dream-title').textContent.includes('A dream of 8')")
    assert page.input_value("#dream-seed") == "7"
    assert page.input_value("#dream-temperature") == "1.2"
    page.click("#dream-play")
    page.click("#tab-inside")
    page.click("#tab-draw")
    page.go_back()
    until(page, "!document.querySelector('#inside').hidden")
    page.go_back()
    until(page, "!document.querySelector('#dream').hidden")
    assert page.url.endswith("#dream?label=8&seed=7&temperature=1.2")
    page.locator("#dream-labels input").nth(1).check()
    until(page, "location.hash === '#dream?label=0&seed=7&temperature=1.2'")
    page.evaluate("location.hash = '#dream?label=none&seed=nonsense&temperature=99'")
    until(page, "location.hash === '#dream?label=none&seed=7&temperature=1.2'")


def test_the_seed_repeats_a_dream(context, folder: str) -> None:
    shots = []
    for seed in (4, 4, 5):
        page = context.new_page()
        page.goto(f"{folder}#dream?label=3&seed={seed}")
        page.wait_for_selector("html[data-ready]")
        page.click("#dream-play")
        page.evaluate("document.querySelector('#dream-seed').dispatchEvent(new Event('change'))")
        until(page, "document.querySelector('#dream-title').textContent.includes('after 1 step')")
        shots.append(page.evaluate("document.querySelector('#dream-pictures canvas').toDataURL()"))
        page.close()
    assert shots[0] == shots[1] != shots[2]


def test_a_dream_survives_a_visit_to_another_screen(page) -> None:
    page.click("#tab-dream")
    until(page, "document.querySelector('#dream-title').textContent.includes('after')")
    page.click("#dream-play")
    page.wait_for_timeout(500)
    before = page.text_content("#dream-title")
    picture = page.evaluate("document.querySelector('#dream-pictures canvas').toDataURL()")
    page.click("#tab-draw")
    page.wait_for_timeout(300)
    page.click("#tab-dream")
    page.wait_for_timeout(300)
    assert page.text_content("#dream-title") == before
    assert page.evaluate("document.querySelector('#dream-pictures canvas').toDataURL()") == picture
    page.click("#dream-step")
    until(page, f"document.querySelector('#dream-title').textContent !== '{before}'")


def test_it_opens_again_without_a_network(context, tmp_path: Path) -> None:
    assert main(["page", "--out", str(tmp_path / "page")]) == 0
    with browsing.hosting(tmp_path) as url:
        page = browsing.open_page(context, f"{url}page/")
        page.wait_for_selector("html[data-kept]", timeout=20_000)
    page.reload()  # the host is gone
    page.wait_for_selector("html[data-ready]")
    browsing.draw(page, "7")
    until(page, "document.querySelector('#answer').firstChild.textContent === '7'")
    page.click("#tab-inside")
    until(page, "document.querySelector('#inside-range').textContent.includes('of 500')")


def test_in_a_frame_it_leaves_the_page_around_it_where_it_is(context, tmp_path: Path) -> None:
    assert main(["page", "--out", str(tmp_path / "page")]) == 0
    frame = '<iframe src="page/index.html#draw" style="width: 100%; height: 860px"></iframe>'
    (tmp_path / "around.html").write_text(f'<div style="height: 700px"></div>{frame}')
    with browsing.hosting(tmp_path) as url:
        page = context.new_page()
        page.goto(f"{url}around.html")
        page.frame_locator("iframe").locator("html[data-ready]").wait_for(state="attached")
        page.wait_for_timeout(500)
        assert page.evaluate("scrollY") == 0


def test_another_shape_and_other_classes_work_the_same(
    browser, tmp_path: Path, digits: Dataset
) -> None:
    """8 x 8, five classes with names, two layers."""
    names = ("zero", "one", "two", "three", "four")
    few = replace(digits, train=_first(digits.train), test=_first(digits.test), classes=names)
    config = small_config(hidden=(40, 60), stages=("pretrain",), validation=0)
    list(training.train(training.new_run(tmp_path / "run", config, few, torch.device("cpu"), "")))
    assert main(["page", str(tmp_path / "run"), "--out", str(tmp_path / "page")]) == 0
    context = browser.new_context(viewport={"width": 390, "height": 844})
    with browsing.hosting(tmp_path) as url:
        wrong = browsing.complaints(context, own=url)
        page = browsing.open_page(context, f"{url}page/")
        browsing.draw(page, "0")
        until(page, "document.querySelector('#answer small') !== null")
        assert page.locator("#bars .bar span:first-child").all_text_contents() == list(names)
        assert page.inner_text("#draw h2 >> nth=0") == "Draw something"
        box = "(({ scrollWidth, clientWidth }) => scrollWidth <= clientWidth)"
        assert page.evaluate(f"{box}(document.querySelector('#answer'))")
        assert page.evaluate(f"{box}(document.documentElement)")
        for screen in ("dream", "mix", "inside"):
            page.click(f"#tab-{screen}")
            page.wait_for_timeout(400)
            assert page.is_hidden("#trouble"), page.text_content("#trouble")
        page.goto(f"{url}page/#dream?label=two")
        until(page, "document.querySelector('#dream-title').textContent.includes('dream of two')")
    context.close()
    assert not wrong


def test_a_deep_machine_fills_in_half_a_picture_two_ways(
    browser, tmp_path: Path, digits: Dataset
) -> None:
    config = small_config(
        model="dbm",
        hidden=(40, 30),
        stages=("dbm", "backprop"),
        dbm=DBMConfig(epochs=5, batch_size=20, centred=True, learning_rate=0.05, gibbs_steps=1),
    )
    run = training.new_run(tmp_path / "run", config, digits, torch.device("cpu"), "")
    list(training.train(run))
    assert main(["page", str(tmp_path / "run"), "--out", str(tmp_path / "page")]) == 0
    context = browser.new_context(viewport={"width": 390, "height": 844})
    with browsing.hosting(tmp_path) as url:
        wrong = browsing.complaints(context, own=url)
        page = browsing.open_page(context, f"{url}page/")
        browsing.draw(page, "7")
        until(page, "document.querySelector('#answer small') !== null")
        assert page.inner_text("#draw .wide h2") == "Up and down at once"
        page.click("#tab-mix")
        assert page.is_hidden("#mix-ways-differ")
        page.check("input[value=fill]")
        until(page, "document.querySelector('#mix-differ').width > 0")
        page.wait_for_timeout(1500)
        pictures = {
            name: page.evaluate(f"document.querySelector('#mix-{name}').toDataURL()")
            for name in ("pass", "together", "differ")
        }
        assert len(set(pictures.values())) == 3
        for screen in ("dream", "inside"):
            page.click(f"#tab-{screen}")
            page.wait_for_timeout(400)
            assert page.is_hidden("#trouble"), page.text_content("#trouble")
            box = "(({ scrollWidth, clientWidth }) => scrollWidth <= clientWidth)"
            assert page.evaluate(f"{box}(document.documentElement)")
    context.close()
    assert not wrong


def _first(part):
    chosen = part.labels < 5
    return replace(part, images=part.images[chosen], labels=part.labels[chosen])
