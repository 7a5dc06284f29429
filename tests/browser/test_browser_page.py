"""The page as a person meets it, in a real browser, on the model that ships."""

from __future__ import annotations

import base64
import io
import json
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw

pytest.importorskip(
    "playwright", reason="no browser tests: Playwright's Python package is not installed"
)

from benchmarks import browser as browsing
from wakesleep.app.loaded_model import open_model
from wakesleep.evaluation import classify

pytestmark = pytest.mark.slow


until = browsing.until
PHONE = {"width": 390, "height": 844}


def answer(page) -> str:
    until(page, "document.querySelector('#answer small')")
    page.wait_for_timeout(400)
    return page.evaluate("document.querySelector('#answer').firstChild.textContent")


def shown(page, selector: str, background: int | None = None) -> torch.Tensor:
    """What a picture's canvas shows, as a case (1, 784) of ink in [0, 1]."""
    url = page.evaluate("(selector) => document.querySelector(selector).toDataURL()", selector)
    grey = np.asarray(
        Image.open(io.BytesIO(base64.b64decode(url.partition(",")[2]))).convert("L"), np.float32
    )
    small = grey.reshape(28, grey.shape[0] // 28, 28, grey.shape[1] // 28).mean((1, 3))
    low, high = (
        (253, 25) if page.evaluate("document.documentElement.dataset.theme") == "day" else (10, 243)
    )
    return torch.from_numpy((small - low) / (high - low)).clamp(0, 1).reshape(1, -1)


@pytest.mark.parametrize("digit", ["7", "1", "0"])
def test_a_digit_drawn_with_the_mouse_is_read(page, digit: str) -> None:
    browsing.draw(page, digit)
    assert answer(page) == digit
    assert page.locator(".bar.best span").first.text_content() == digit
    assert float(shown(page, "#sees").sum()) > 15, "it sees something"
    page.wait_for_selector("#spoke button")
    page.click("#pad-clear")
    until(page, "document.querySelector('#answer').textContent === 'Draw something'")


def test_a_drawing_is_shared_as_a_square_picture_that_moves(page) -> None:
    browsing.draw(page, "7")
    answer(page)
    with page.expect_download() as download:
        page.click("#share")
    with Image.open(download.value.path()) as saved:
        assert saved.size == (400, 400)
        assert saved.n_frames > 10


def test_a_drawing_in_svg_is_read(page) -> None:
    seven = (
        '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 100 120"><path fill="none" '
        'stroke="black" stroke-width="9" d="M25 25H75L45 100"/></svg>'
    )
    page.set_input_files(
        "#pad-file", {"name": "7.svg", "mimeType": "image/svg+xml", "buffer": seven.encode()}
    )
    assert answer(page) == "7"


def test_words_are_explained_with_pointer_and_keyboard(page) -> None:
    page.hover("#draw [data-term=memory]")
    page.wait_for_selector("#meaning:not([hidden])")
    assert "settles" in page.text_content("#meaning")
    page.keyboard.press("Escape")
    assert page.is_hidden("#meaning")
    page.focus("#draw [data-term=label]")
    until(page, "document.querySelector('#meaning').textContent.startsWith('The name of')")
    terms = "[...document.querySelectorAll('[data-term]')]"
    page.evaluate(f"{terms}.forEach((term) => term.dispatchEvent(new FocusEvent('focus')))")


def test_the_strongest_features_are_shown_and_joined(page) -> None:
    browsing.draw(page, "7")
    page.wait_for_selector("#draw-machine .features button:not([disabled])")
    assert page.locator("#draw-machine .features button:not([disabled])").count() == 24
    assert page.locator("#draw-machine .wires path").count() > 30
    title = page.get_attribute("#draw-machine .features button >> nth=0", "title")
    page.locator("#draw-machine .features button").first.click()
    until(page, "document.querySelector('#unit-title').textContent.endsWith('of the memory')")
    assert title.split()[1] == page.text_content("#unit-title").split()[1]


def test_while_it_loads_and_without_scripts_it_says_so(browser, server) -> None:
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(server.url)
    assert page.is_visible("noscript p")
    assert page.is_hidden("main")
    assert page.is_hidden("#loading")
    context.close()
    context = browser.new_context()
    page = context.new_page()
    page.route("**/model.safetensors", lambda route: None)
    page.goto(server.url)
    page.wait_for_selector("#loading:visible")
    assert page.is_hidden("main")
    page.unroute_all(behavior="ignoreErrors")
    context.close()


def test_undo_takes_a_stroke_back(page) -> None:
    browsing.draw(page, "7")
    before = answer(page)
    page.click("#pad-undo")
    until(page, f"document.querySelector('#answer').textContent !== '{before}'")
    page.keyboard.press("Control+z")
    until(page, "document.querySelector('#answer').textContent === 'Draw something'")


def test_a_picture_dropped_on_the_pad_is_read(page) -> None:
    drawn = Image.new("L", (600, 800), 240)
    ImageDraw.Draw(drawn).ellipse((180, 200, 420, 560), outline=20, width=50)
    file = io.BytesIO()
    drawn.save(file, "PNG")
    page.evaluate(
        """(content) => {
            const bytes = Uint8Array.from(atob(content), (one) => one.charCodeAt(0));
            const data = new DataTransfer();
            data.items.add(new File([bytes], "digit.png", { type: "image/png" }));
            const how = { dataTransfer: data, bubbles: true, cancelable: true };
            document.querySelector("#pad").dispatchEvent(new DragEvent("drop", how));
        }""",
        base64.b64encode(file.getvalue()).decode(),
    )
    assert answer(page) == "0"


def test_a_file_that_is_no_picture_is_refused_in_words(page) -> None:
    page.set_input_files(
        "#pad-file", {"name": "notes.txt", "mimeType": "text/plain", "buffer": b"not a picture"}
    )
    page.wait_for_selector("#trouble:not([hidden])")
    assert "notes.txt is no picture" in page.text_content("#trouble")


def test_an_example_is_a_click_away(page) -> None:
    page.wait_for_selector("#examples button")
    page.locator("#examples button").first.click()
    assert answer(page) in "0123456789"


def test_a_dream_of_a_three_is_a_three(page) -> None:
    """Twelve moments of a dream, judged by the network's own recognition: most are threes."""
    model = open_model()
    page.click("#tab-dream")
    page.locator("#dream-labels input").nth(4).check()
    page.locator("#dream-speed").fill("10")
    page.wait_for_selector("#dream-pictures canvas")
    pictures = []
    for _ in range(12):
        page.wait_for_timeout(250)
        pictures.append(shown(page, "#dream-pictures canvas"))
    judged = classify.predict(model.dbn, torch.cat(pictures))
    assert int((judged == 3).sum()) >= 7, judged.tolist()
    assert "A dream of 3" in page.text_content("#dream-title")


def test_ten_labels_side_by_side_and_one_in_focus(page) -> None:
    page.click("#tab-dream")
    page.locator("#dream-labels input").last.check()
    page.wait_for_selector("#dream-pictures button:nth-child(10)")
    page.click("#dream-pictures button:nth-child(8)")
    page.wait_for_selector("#dream-pictures button:nth-child(8)[aria-pressed=true]")
    page.wait_for_selector("#dream-machine .names span:nth-child(8).on")


def test_pause_step_and_save(page) -> None:
    page.click("#tab-dream")
    until(page, "document.querySelector('#dream-title').textContent.includes('after')")
    page.click("#dream-play")
    page.wait_for_timeout(300)
    page.click("#dream-step")
    page.wait_for_timeout(300)
    before = page.text_content("#dream-title")
    page.wait_for_timeout(300)
    assert page.text_content("#dream-title") == before, "it moved while it paused"
    page.click("#dream-step")
    until(page, f"document.querySelector('#dream-title').textContent !== '{before}'")
    for button, kind in (("#dream-png", "PNG"), ("#dream-gif", "GIF")):
        with page.expect_download() as download:
            page.click(button)
        with Image.open(download.value.path()) as saved:
            assert saved.format == kind


def test_half_a_picture_is_filled_in_and_the_other_half_stays(page) -> None:
    browsing.draw(page, "0")
    answer(page)
    drawn = shown(page, "#gets").reshape(28, 28)
    page.click("#tab-mix")
    page.locator("[name=mix-way][value=fill]").check()
    page.wait_for_timeout(2500)
    filled = shown(page, "#mix-pictures canvas").reshape(28, 28)
    torch.testing.assert_close(filled[:13], drawn[:13], rtol=0, atol=0.08)
    assert float(filled[15:].sum()) > 10, "nothing was filled in"


def test_what_the_pointer_rubs_out_is_filled_in(page) -> None:
    browsing.draw(page, "0")
    answer(page)
    drawn = shown(page, "#gets").reshape(28, 28)
    page.click("#tab-mix")
    page.locator("[name=mix-way][value=fill]").check()
    page.click("[data-half=none]")
    box = page.locator("#rub").bounding_box()
    page.mouse.move(box["x"] + 0.1 * box["width"], box["y"] + 0.25 * box["height"])
    page.mouse.down()
    page.mouse.move(box["x"] + 0.9 * box["width"], box["y"] + 0.25 * box["height"], steps=12)
    page.mouse.up()
    page.wait_for_timeout(2500)
    rubbed, filled = (
        shown(page, "#rub").reshape(28, 28),
        shown(page, "#mix-pictures canvas").reshape(28, 28),
    )
    torch.testing.assert_close(filled[14:], drawn[14:], rtol=0, atol=0.08)
    assert float((rubbed - drawn)[4:10].abs().sum()) > 10, "nothing was rubbed out"
    assert float(filled[3:11].sum()) > 5, "nothing was filled in"


def test_a_drawing_let_go_and_two_labels_half_and_half(page) -> None:
    browsing.draw(page, "7")
    answer(page)
    page.click("#tab-mix")
    until(page, "document.querySelector('#mix-status').textContent.includes('steps')")
    page.locator("[name=mix-way][value=half]").check()
    page.wait_for_selector("#mix-labels:not([hidden])")
    until(
        page,
        "[4, 9].every((label) => document.querySelectorAll('#mix-bars "
        ".bar')[label].lastChild.textContent === '50%')",
    )


def test_a_unit_tells_what_it_is_for(page) -> None:
    browsing.draw(page, "7")
    page.wait_for_selector("#spoke button")
    page.locator("#spoke button").first.click()
    until(page, "document.querySelector('#unit-title').textContent.includes('of the memory')")
    page.wait_for_selector("#unit-ties:not([hidden])")
    page.select_option("#inside-layer", "1")
    until(page, "document.querySelector('#unit-title').textContent.endsWith('of layer 1')")
    before = page.text_content("#unit-title")
    page.focus("#fields")
    page.keyboard.press("ArrowRight")
    until(page, f"document.querySelector('#unit-title').textContent !== '{before}'")
    page.keyboard.press("ArrowLeft")
    until(page, f"document.querySelector('#unit-title').textContent === '{before}'")
    assert page.is_hidden("#unit-ties")


def test_a_click_on_any_layer_tells_of_a_unit(page) -> None:
    browsing.draw(page, "7")
    answer(page)
    for place, name in ((0, "the memory"), (1, "layer 2"), (2, "layer 1")):
        page.click("#tab-draw")
        page.locator("#draw-machine .layer:not(.base) > canvas").nth(place).click(
            position={"x": 40, "y": 20}
        )
        until(page, f"document.querySelector('#unit-title').textContent.endsWith('of {name}')")
        until(page, f"document.querySelector('#inside-layer').value === '{3 - place}'")
        assert page.input_value("#inside-unit") != "0"
        assert float((shown(page, "#unit-prefers") > 0).sum()) > 0


@pytest.mark.parametrize("width", [390, 320, 768])
def test_nothing_sticks_out_on_a_phone(page, width: int) -> None:
    page.set_viewport_size({"width": width, "height": 844})
    for screen in ("draw", "dream", "mix", "inside"):
        page.click(f"#tab-{screen}")
        page.wait_for_timeout(300)
        assert page.evaluate("document.documentElement.scrollWidth") <= width, screen
    page.click("#tab-draw")
    browsing.draw(page, "7")
    assert answer(page) == "7"


def test_a_finger_draws_too(browser, server) -> None:
    """On a phone, and the page keeps still beneath it."""
    context = browser.new_context(viewport=PHONE, has_touch=True, is_mobile=True)
    page = browsing.open_page(context, server.url)
    devices, box = context.new_cdp_session(page), page.locator("#pad canvas").bounding_box()
    for stroke in browsing.DIGITS["7"]:
        places = [
            {"x": box["x"] + across * box["width"], "y": box["y"] + down * box["height"]}
            for across, down in stroke
        ]
        for kind, place in zip(
            ["touchStart", *["touchMove"] * (len(places) - 1)], places, strict=True
        ):
            devices.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": [place]})
        devices.send("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})
    assert answer(page) == "7"
    assert page.evaluate("scrollY") == 0
    context.close()


def test_a_pen_draws_too(context, page) -> None:
    devices, box = context.new_cdp_session(page), page.locator("#pad canvas").bounding_box()
    page.evaluate(
        "document.querySelector('#pad').addEventListener('pointerdown', ({ pointerType }) => "
        "(window.drawnWith = pointerType))"
    )
    for stroke in browsing.DIGITS["7"]:
        kinds = ["mousePressed", *["mouseMoved"] * (len(stroke) - 1), "mouseReleased"]
        for kind, (across, down) in zip(kinds, [*stroke, stroke[-1]], strict=True):
            place = {"x": box["x"] + across * box["width"], "y": box["y"] + down * box["height"]}
            pen = {"button": "left", "buttons": 1, "clickCount": 1, "pointerType": "pen"}
            devices.send("Input.dispatchMouseEvent", {"type": kind, **place, **pen})
    assert answer(page) == "7"
    assert page.evaluate("window.drawnWith") == "pen"


def test_the_page_goes_on_without_the_server(context) -> None:
    server = browsing.start()
    page = browsing.open_page(context, server.url)
    server.stop()
    browsing.draw(page, "7")
    assert answer(page) == "7"
    page.click("#tab-dream")
    until(page, "document.querySelector('#dream-title').textContent.includes('after')")


def tab_to(page, condition: str) -> None:
    for _ in range(6):
        page.keyboard.press("Tab")
        if page.evaluate(condition):
            return
    raise AssertionError(condition)


def test_keyboard_only(page) -> None:
    """Tab to the pad and draw a one; arrow to Dream; choose a label; pause: no pointer at all."""
    for _ in range(20):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.closest('#pad') !== null"):
            break
    for _ in range(8):
        page.keyboard.press("ArrowUp")
    page.keyboard.press(" ")
    for _ in range(13):
        page.keyboard.press("ArrowDown")
    page.keyboard.press(" ")
    assert answer(page) == "1"
    page.focus("#tab-draw")
    page.keyboard.press("ArrowRight")
    assert page.evaluate("document.activeElement.id") == "tab-dream"
    assert page.is_visible("#dream")
    tab_to(page, "document.activeElement.name === 'dream-label'")
    page.keyboard.press("ArrowRight")
    until(page, "document.querySelector('#dream-title').textContent.includes('A dream of 4')")
    tab_to(page, "document.activeElement.id === 'dream-play'")
    page.keyboard.press("Enter")
    until(page, "document.querySelector('#dream-play').textContent === 'Play'")
    page.click("#tab-mix")
    page.locator("[name=mix-way][value=fill]").check()
    page.click("[data-half=none]")
    page.focus("#rub")
    before = page.evaluate("document.querySelector('#rub').toDataURL()")
    page.keyboard.press("Shift+ArrowUp")
    page.keyboard.press(" ")
    until(page, f"document.querySelector('#rub').toDataURL() !== {json.dumps(before)}")


def test_the_tour_opens_once_and_is_dismissed_with_escape(context, server) -> None:
    page = context.new_page()
    page.goto(server.url)
    page.wait_for_selector("#tour[open]")
    for step in range(1, 6):
        assert page.text_content("#tour-count") == f"{step} of 5"
        page.wait_for_selector("#tour-live canvas, #tour-live .tour-bar")
        if step == 2:
            browsing.draw(page, "7", "#tour-live .pad canvas")
            until(page, "document.querySelector('.tour-word').textContent === '7'")
        if step < 5:
            page.click("#tour-next")
    page.keyboard.press("Escape")
    page.wait_for_selector("#tour:not([open])", state="attached")
    until(page, "localStorage.getItem('wakesleep-toured') === 'yes'")
    page.goto(server.url)
    page.wait_for_selector("html[data-ready]")
    page.wait_for_timeout(300)
    assert not page.evaluate("document.querySelector('#tour').open")


def test_day_and_night(page) -> None:
    before = page.evaluate("getComputedStyle(document.body).backgroundColor")
    page.click("#theme")
    until(page, f"getComputedStyle(document.body).backgroundColor !== '{before}'")
    page.reload()
    page.wait_for_selector("html[data-ready]")
    until(page, f"getComputedStyle(document.body).backgroundColor !== '{before}'")


def test_less_motion_waits_to_be_asked(browser, server) -> None:
    context = browser.new_context(reduced_motion="reduce")
    page = browsing.open_page(context, server.url, "dream")
    until(page, "document.querySelector('#dream-title').textContent.includes('after 600 steps')")
    page.wait_for_timeout(500)
    assert "after 600 steps" in page.text_content("#dream-title")
    assert page.text_content("#dream-play") == "Play"
    context.close()


def test_no_serious_violation_of_accessibility(page) -> None:
    pytest.importorskip("axe_playwright_python")
    browsing.draw(page, "7")
    actual = []
    for _ in range(2):
        for screen in ("draw", "dream", "mix", "inside"):
            page.click(f"#tab-{screen}")
            page.wait_for_timeout(500)
            actual += browsing.audit(page)
        page.click("#theme")
    page.click("#open-tour")
    page.wait_for_timeout(500)
    actual += browsing.audit(page)
    page.goto(page.url.split("#")[0] + "api.html")
    page.wait_for_selector("#operations article")
    actual += browsing.audit(page)
    assert not actual


def test_a_run_is_watched(browser, run_folder) -> None:
    context = browser.new_context(viewport={"width": 1280, "height": 900})
    with browsing.serving(str(run_folder)) as server:
        page = browsing.open_page(context, server.url, "training")
        page.wait_for_selector("#curves svg")
        page.wait_for_selector("#run-dreams canvas")
        assert "It is finished" in page.text_content("#run-state")
        page.click("#tab-draw")
        browsing.draw(page, "0")
        until(page, "document.querySelector('#answer small')")
    context.close()


def test_a_run_is_watched_while_it_learns(browser, tmp_path: Path) -> None:
    """Another process trains; curves grow, filters form, dreams go on, and the page says so when it
    is finished.
    """
    run = tmp_path / "run"
    words = (
        f"--stages pretrain --hidden 80 --greedy.memory.epochs 250 --threads 1 --out {run}"
    ).split()
    trainer = subprocess.Popen(
        [sys.executable, "-m", "wakesleep", "train", *words], stdout=subprocess.DEVNULL
    )
    context = browser.new_context(viewport={"width": 1280, "height": 900})
    try:
        while not (run / "checkpoint.safetensors").exists():
            assert trainer.poll() is None
            time.sleep(0.05)
        with browsing.serving(str(run)) as server:
            page = browsing.open_page(context, server.url, "training")
            until(
                page,
                "document.querySelector('#run-state').textContent.startsWith('It is learning: ')",
            )
            page.wait_for_selector("#curves svg")
            page.wait_for_selector("#run-dreams canvas")
            epochs = (
                "Math.max(0, ...[...document.querySelectorAll('#curves svg "
                "text:last-of-type')].map((text) => Number(text.textContent)))"
            )
            before, filters = (
                page.evaluate(epochs),
                page.evaluate("document.querySelector('#run-fields').toDataURL()"),
            )
            state = page.text_content("#run-state")
            until(page, f"{epochs} > {before + 5}", timeout=30_000)
            assert trainer.poll() is None, "it had ended before the page was looked at"
            until(
                page, f"document.querySelector('#run-state').textContent != {json.dumps(state)}"
            )  # words and curves come one after the other
            until(
                page, f"document.querySelector('#run-fields').toDataURL() != {json.dumps(filters)}"
            )
            until(
                page,
                "document.querySelector('#run-state').textContent.startsWith('It is finished')",
                timeout=240_000,
            )
    finally:
        trainer.kill()
        trainer.wait()
        context.close()
