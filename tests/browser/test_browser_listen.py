"""The screen Listen in a real browser: files, a microphone that plays a file, drawings, labels."""

from __future__ import annotations

import base64
import io
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from scipy.io import wavfile

pytest.importorskip(
    "playwright", reason="no browser tests: Playwright's Python package is not installed"
)

from benchmarks import browser as browsing
from helpers import save_digits_and_words
from tests.browser.test_browser_page import PHONE
from wakesleep.cli import main
from wakesleep.data.sound import LogMel
from wakesleep.data.sound_files import read_wave

pytestmark = pytest.mark.slow

until = browsing.until
SETTLED = "document.querySelector('#listen-status').textContent.startsWith('It has settled')"
TROUBLE = "#trouble:not([hidden])"
FAST = ["--hidden", "20", "30", "--greedy.layer.epochs", "1", "--greedy.memory.epochs", "2"]
FAST += ["--updown.epochs", "1", "--threads", "1"]


def tone(digit: int, number: int = 0, rate: int = 8000) -> np.ndarray:
    time = np.arange(int(0.3 * rate)) / rate
    pitch = 200 * 1.2**digit + 5 * number
    return 0.5 * np.sin(2 * np.pi * pitch * time * (1 + time)) * np.hanning(len(time))


def wav(samples: np.ndarray, rate: int = 8000) -> bytes:
    packed = io.BytesIO()
    wavfile.write(packed, rate, samples)
    return packed.getvalue()


def int16(wave: np.ndarray) -> np.ndarray:
    return np.round(wave * 32767).astype(np.int16)


def as_file(content: bytes, name: str = "seven.wav") -> dict[str, object]:
    return {"name": name, "mimeType": "audio/wav", "buffer": content}


@pytest.fixture(scope="module")
def listener(browser, tmp_path_factory: pytest.TempPathFactory) -> Iterator[object]:
    """The page on a net of the digits that come with scikit-learn, and of tones."""
    folder = tmp_path_factory.mktemp("senses")
    pairs = save_digits_and_words(folder, tone)
    assert main(["train", *pairs, "--out", str(folder / "run"), *FAST]) == 0
    with browsing.serving(str(folder / "run")) as server:
        yield server


@pytest.fixture
def page(context, listener) -> Iterator[object]:
    """The page; whatever it says on the console or asks of others fails the test."""
    wrong = browsing.complaints(context, own=listener.url)
    yield browsing.open_page(context, listener.url, "")
    assert not wrong


def test_it_opens_at_listen_and_shows_what_suits_it(page) -> None:
    assert page.is_visible("#listen")
    tabs = page.locator("[role=tab]:visible").all_text_contents()
    assert tabs == ["Listen", "Race"]
    assert page.is_hidden("#open-tour")
    page.goto(page.url.split("#")[0] + "#draw")
    assert page.is_visible("#listen")


def heard(page, content: bytes) -> np.ndarray:
    """What the browser makes of a sound file: it decodes it, and the page makes a picture of it."""
    values = page.evaluate(
        """async ([content, how]) => {
            const own = (name) => import(new URL(name, document.baseURI).href);
            const [listen, sound] = await Promise.all([own("listen.js"), own("sound.js")]);
            const bytes = Uint8Array.from(atob(content), (one) => one.charCodeAt(0));
            const wave = await listen.decoded(new File([bytes], "seven.wav"), how.rate);
            return [...sound.picture(wave, how)];
        }""",
        [base64.b64encode(content).decode(), LogMel().as_json()],
    )
    return np.array(values)


@pytest.mark.parametrize("kind", ["16 bits", "float32", "stereo"])
def test_a_file_is_heard_as_python_hears_it(page, kind: str) -> None:
    wave, other = tone(7) + 0.01 * np.sin(np.arange(2400)), tone(3)
    stored = {
        "16 bits": int16(wave),
        "float32": wave.astype(np.float32),
        "stereo": np.stack([int16((wave + other) / 2), int16((wave - other) / 2)], 1),
    }[kind]
    content = wav(stored)
    expected = LogMel().read(io.BytesIO(content))[0]
    np.testing.assert_allclose(heard(page, content), expected, rtol=0, atol=1e-3)


def test_another_rate_is_resampled_and_eight_bits_are_read(page) -> None:
    """As far as the browser does it alike: of eight bits it divides what is above zero by 127."""
    for content in (
        wav(int16(tone(7, rate=44_100)), 44_100),
        wav(np.round(tone(7) * 127 + 128).astype(np.uint8)),
    ):
        expected = LogMel().read(io.BytesIO(content))[0]
        assert np.corrcoef(heard(page, content), expected)[0, 1] > 0.95


def test_a_word_is_heard_and_seen(page) -> None:
    blank = page.evaluate("document.querySelector('#listen-sees').toDataURL()")
    page.set_input_files("#listen-file", as_file(wav(int16(tone(7)))))
    until(page, "document.querySelector('#listen-status').textContent.includes('is settling')")
    until(page, SETTLED)
    assert "0.3 seconds" in page.get_attribute("#listen-heard", "aria-label")
    assert page.evaluate("document.querySelector('#listen-sees').toDataURL()") != blank
    shares = "[...document.querySelectorAll('#listen-bars .bar')].map((bar) => "
    shares += "parseInt(bar.lastChild.textContent))"
    assert abs(sum(page.evaluate(shares)) - 100) <= 5
    first = page.evaluate("document.querySelector('#listen-sees').toDataURL()")
    page.click("#listen-again")
    until(page, f"!({SETTLED})")
    until(page, SETTLED)
    assert page.evaluate("document.querySelector('#listen-sees').toDataURL()") != first
    page.click("#listen-play")


def test_a_dropped_recording_is_heard(page) -> None:
    page.evaluate(
        """(content) => {
            const bytes = Uint8Array.from(atob(content), (one) => one.charCodeAt(0));
            const data = new DataTransfer();
            data.items.add(new File([bytes], "7.wav", { type: "audio/wav" }));
            const how = { dataTransfer: data, bubbles: true, cancelable: true };
            document.querySelector("#listen-drop").dispatchEvent(new DragEvent("drop", how));
        }""",
        base64.b64encode(wav(int16(tone(7)))).decode(),
    )
    until(page, SETTLED)


def test_a_drawing_is_said(page, tmp_path: Path) -> None:
    browsing.draw(page, "7", "#listen-pad canvas")
    until(page, SETTLED)
    assert page.text_content("#listen-title") == "What it makes of what it saw"
    page.click("#listen-say")
    until(page, "document.querySelector('#listen-status').textContent.startsWith('It says')")
    with page.expect_download() as download:
        page.click("#listen-save")
    download.value.save_as(tmp_path / "said.wav")
    said = read_wave(tmp_path / "said.wav", 8000)
    assert 0.2 < len(said) / 8000 < 0.4
    assert np.abs(said).max() == pytest.approx(0.9, abs=0.01)


def test_a_label_is_told_with_the_keyboard(page) -> None:
    page.focus("#listen-labels input >> nth=0")
    page.keyboard.press("ArrowRight")
    until(page, SETTLED)
    assert page.text_content("#listen-title") == "What it makes of the label 1"
    assert page.get_attribute("#listen-bars", "aria-label") == "1: 100 percent"


BAD = {
    "silence.wav": (wav(np.zeros(4000, np.int16)), "is silent"),
    "empty.wav": (wav(np.zeros(0, np.int16)), "empty"),
    "notes.wav": (b"this is no sound\n" * 20, "notes.wav cannot be read as a sound"),
    "hour.wav": (wav(np.tile(np.uint8([0, 255]), 4000 * 3600)), "lasts 3,600 seconds"),
}


@pytest.mark.parametrize("name", BAD)
def test_what_is_no_word_is_refused_in_words(page, name: str, tmp_path: Path) -> None:
    content, words = BAD[name]
    (tmp_path / name).write_bytes(content)
    page.set_input_files("#listen-file", tmp_path / name)
    page.wait_for_selector(TROUBLE)
    assert words in page.text_content("#trouble")
    page.set_input_files("#listen-file", as_file(wav(int16(tone(7)))))
    until(page, SETTLED)
    assert page.is_hidden("#trouble")


def test_a_file_that_is_too_large_is_not_read(page) -> None:
    message = page.evaluate(
        """async () => {
            const { decoded } = await import(new URL("listen.js", document.baseURI).href);
            return decoded({ name: "a.wav", size: 1e9 }, 8000).catch(({ message }) => message);
        }"""
    )
    assert "a.wav has 954 MiB" in message


def test_without_leave_the_microphone_is_explained(page) -> None:
    page.click("#listen-speak")
    page.wait_for_selector(TROUBLE)
    assert "icrophone" in page.text_content("#trouble")
    assert "open a sound file" in page.text_content("#trouble")
    assert page.text_content("#listen-speak") == "Speak"


@pytest.fixture
def speaking(browser, listener, tmp_path: Path) -> Iterator[Callable[[np.ndarray], object]]:
    """A function to a page whose microphone plays a sound over and over."""
    opened = []

    def play(sound: np.ndarray) -> object:
        (tmp_path / "spoken.wav").write_bytes(wav(int16(sound), 48_000))
        own = browser.browser_type.launch(
            executable_path=browsing.find_browser(),
            args=[
                *browsing.ARGUMENTS,
                "--use-fake-device-for-media-stream",
                "--use-fake-ui-for-media-stream",
                f"--use-file-for-fake-audio-capture={tmp_path / 'spoken.wav'}",
            ],
        )
        opened.append(own)
        return browsing.open_page(own.new_context(), listener.url, "listen")

    yield play
    for own in opened:
        own.close()


def test_a_spoken_word_is_heard(speaking) -> None:
    room = np.random.default_rng(1).normal(0, 1e-3, 120_000)
    room[20_000:34_400] += tone(7, rate=48_000)
    page = speaking(room)
    page.click("#listen-speak")
    until(page, "document.querySelector('#listen-microphone').textContent.startsWith('Listening')")
    until(page, SETTLED)
    assert page.is_hidden("#trouble")
    assert page.text_content("#listen-speak") == "Speak"
    assert page.get_attribute("#listen-heard", "aria-label").startswith("What was heard, 0.3")


def test_a_room_without_a_word_is_refused_in_words(speaking) -> None:
    page = speaking(np.random.default_rng(1).normal(0, 1e-2, 96_000))
    page.click("#listen-speak")
    page.wait_for_selector(TROUBLE)
    assert "Nothing was heard" in page.text_content("#trouble")


def test_less_motion_waits_for_the_end(browser, listener) -> None:
    context = browser.new_context(reduced_motion="reduce")
    page = browsing.open_page(context, listener.url, "listen")
    page.set_input_files("#listen-file", as_file(wav(int16(tone(7)))))
    until(page, "document.querySelector('#listen-status').textContent.includes('after 200 steps')")
    context.close()


def test_it_fits_a_phone_and_the_audit_finds_nothing(page) -> None:
    pytest.importorskip("axe_playwright_python")
    page.set_input_files("#listen-file", as_file(wav(int16(tone(7)))))
    until(page, SETTLED)
    for width in (1280, 768, PHONE["width"], 320):
        page.set_viewport_size({"width": width, "height": 844})
        page.wait_for_timeout(300)
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        assert not browsing.audit(page)
    page.click("#theme")
    page.wait_for_timeout(500)
    assert not browsing.audit(page)


def test_the_page_of_one_sense_has_no_such_screen(context, server) -> None:
    asked: list[str] = []
    context.on("request", lambda request: asked.append(request.url))
    page = browsing.open_page(context, server.url, "listen")
    assert page.is_visible("#draw")
    assert page.is_hidden("#tab-listen")
    others = ("listen.js", "sound.js", "deep.js")
    assert not [url for url in asked if url.endswith(others)]


def test_it_opens_without_a_network(browser, listener, tmp_path: Path) -> None:
    """As a folder on a static host that is then gone."""
    context = browser.new_context()
    page = browsing.open_page(context, listener.url, "listen")
    until(page, "document.documentElement.dataset.kept === 'true'", timeout=20_000)
    context.set_offline(True)
    page.reload()
    page.wait_for_selector("html[data-ready]")
    page.set_input_files("#listen-file", as_file(wav(int16(tone(7)))))
    until(page, SETTLED)
    context.close()
