"""The socket: frames as asked, never more than a page can take, and nothing left of a page that is
gone.
"""

from __future__ import annotations

import asyncio
import dataclasses
import gc
import threading
import time
import weakref
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from conftest_app import connect, frame
from fastapi.testclient import TestClient

from wakesleep.app import frames, sessions
from wakesleep.app import socket as app_socket
from wakesleep.app.limits import Limits
from wakesleep.app.mind import Mind, load_mind
from wakesleep.app.server import create_app
from wakesleep.app.service import Service
from wakesleep.data import Dataset
from wakesleep.foundation.rng import generator
from wakesleep.samplers import gibbs


def limited(mind: Mind, **limits: float) -> TestClient:
    service = Service(mind, limits=dataclasses.replace(Limits(), **limits))
    return TestClient(create_app(service), base_url="http://localhost")


def test_a_dream_streams_with_its_label_held(client: TestClient, mind: Mind) -> None:
    with connect(client) as socket:
        socket.send_json({"type": "start", "held": 3, "speed": None})
        for number in range(1, 8):
            found = frame(socket)
            assert found.number == number
            assert found.step == number
            assert [layer.shape[1] for layer in found.layers] == [*mind.dbn.sizes, 10]
            assert found.layers[-1][0].argmax() == 3


def test_the_stream_is_the_librarys_own_chain(client: TestClient, mind: Mind) -> None:
    with connect(client) as socket:
        socket.send_json(
            {"type": "start", "held": None, "seed": 9, "speed": None, "temperature": 1.5}
        )
        shown = [frame(socket) for _ in range(5)]
    rng = generator(9)
    hidden = gibbs.random_hidden(mind.dbn.memory, 1, rng)
    for found in shown:
        chains = gibbs.run(mind.dbn.memory, hidden, 1, rng, None, 1.5)
        pixels = mind.dbn.down(chains.visible[:, : mind.dbn.sizes[-2]], rng)[0]
        torch.testing.assert_close(torch.from_numpy(found.layers[0]), pixels, rtol=0, atol=0.003)
        assert torch.equal(torch.from_numpy(found.layers[-2]), chains.hidden)
        hidden = chains.hidden


def test_all_labels_side_by_side_and_one_in_focus(client: TestClient) -> None:
    with connect(client) as socket:
        socket.send_json({"type": "start", "held": "all", "playing": False})
        found = frame(socket)
        assert found.layers[0].shape[0] == 10
        assert found.layers[-1].argmax(1).tolist() == list(range(10))
        assert found.layers[1].shape[0] == 1
        socket.send_json({"type": "change", "focus": 7})
        socket.send_json({"type": "step"})
        assert frame(socket).focus == 7


def test_pause_step_and_a_change_of_label_on_the_way(client: TestClient) -> None:
    with connect(client) as socket:
        socket.send_json({"type": "start", "held": 3, "playing": False})
        assert frame(socket).step == 1
        socket.send_json({"type": "step"})
        assert frame(socket).step == 2
        socket.send_json({"type": "change", "held": {"1": 0.25, "8": 0.75}})
        socket.send_json({"type": "step"})
        labels = frame(socket).layers[-1][0]
        assert labels[1] == pytest.approx(0.25, abs=0.01)
        assert labels[8] == pytest.approx(0.75, abs=0.01)


def test_filling_in_keeps_what_is_known(client: TestClient, digits: Dataset) -> None:
    pixels = (digits.test.images[0] * 255).round().int().tolist()
    with connect(client) as socket:
        socket.send_json(
            {"type": "start", "picture": pixels, "known": [1] * 32 + [0] * 32, "speed": None}
        )
        for _ in range(4):
            found = frame(socket)
            assert (found.layers[0][0][:32] * 255).round().astype(int).tolist() == pixels[:32]


def test_a_page_that_does_not_draw_gets_no_queue(client: TestClient) -> None:
    with connect(client) as socket:
        socket.send_json({"type": "start", "speed": None})
        for _ in range(sessions.IN_FLIGHT):
            socket.receive_bytes()
        time.sleep(0.3)
        socket.send_json({"type": "change", "playing": False})
        socket.send_json({"type": "nonsense"})
        assert "error" in socket.receive_json(), "a frame came that nobody had room for"


@pytest.fixture
def stopped_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """Time stands still for sessions: when a frame is due depends on nothing but the speed."""
    monkeypatch.setattr(sessions, "time", SimpleNamespace(perf_counter=lambda: 7.0))


@pytest.mark.parametrize(
    ("speed", "frames_a_second", "steps"),
    [(300, 60, 5), (60, 60, 1), (20, 20, 1), (0.5, 0.5, 1), (None, 200, 1)],
)
def test_speed_is_steps_a_second(
    speed: float | None, frames_a_second: float, steps: int, mind: Mind, stopped_clock: None
) -> None:
    sent: list[bytes] = []
    page = sessions.Session(lambda: mind, sent.append)
    page.handle(sessions.Start(type="start", speed=speed))
    assert page.due() == 7.0
    for turn in (1, 2):
        page.turn()
        assert page.due() == pytest.approx(7.0 + turn / frames_a_second)
        assert frames.unpack(sent[-1]).step == turn * steps


def test_nobody_has_a_turn_before_it_is_due() -> None:
    from wakesleep.app.worker import Worker

    turns: list[str] = []
    enough = threading.Event()

    def turn(name: str) -> None:
        turns.append(name)
        if len(turns) == 20:
            enough.set()

    worker = Worker()
    for name, due in (("in years", 1e9), ("now", 0.0), ("never", None)):
        worker.add(SimpleNamespace(due=lambda due=due: due, turn=lambda name=name: turn(name)))
    worker.start()
    assert enough.wait(60)
    worker.stop()
    assert set(turns) == {"now"}


def test_a_page_that_takes_all_it_can_get_stays_within_its_rate() -> None:
    assert 0.9 * Limits().messages_per_second >= sessions.FASTEST


MALFORMED = [
    "not json",
    "[]",
    '{"type": "start", "held": 99}',
    '{"type": "start", "held": {"1": 0.9}}',
    '{"type": "start", "temperature": 0}',
    '{"type": "start", "temperature": NaN}',
    '{"type": "start", "speed": 1e9}',
    '{"type": "start", "picture": [1, 2]}',
    '{"type": "start", "known": [1]}',
    '{"type": "start", "extra": 1}',
    '{"type": "step"}',
    '{"type": "change", "held": 1}',
    '{"type": "ack", "number": -1}',
]


@pytest.mark.parametrize("text", MALFORMED)
def test_malformed_messages_are_refused_in_words_and_the_page_goes_on(
    client: TestClient, text: str
) -> None:
    with connect(client) as socket:
        socket.send_text(text)
        answer = socket.receive_json()
        assert answer["type"] == "error"
        assert len(answer["error"].split()) > 2
        socket.send_json({"type": "start", "playing": False})
        assert frame(socket).step == 1


def test_bytes_are_no_message(client: TestClient) -> None:
    with connect(client) as socket:
        socket.send_bytes(b"\x00\xff" * 50)
        assert socket.receive_json()["type"] == "error"


def refused(socket) -> dict:
    """What the server closes with, past what it said before."""
    for _ in range(2000):
        message = socket.receive()
        if message["type"] == "websocket.close":
            return message
    raise AssertionError("the socket stayed open")


def test_too_many_mistakes_end_it(mind: Mind) -> None:
    with limited(mind, mistakes=3) as client, connect(client) as socket:
        for _ in range(5):
            socket.send_text("?")
        assert refused(socket)["code"] == 1008


def test_too_many_messages_end_it(mind: Mind) -> None:
    with limited(mind, messages_per_second=5, burst=10) as client, connect(client) as socket:
        for _ in range(30):
            socket.send_json({"type": "ack", "number": 0})
        closed = refused(socket)
        assert closed["code"] == 1008
        assert "messages a second" in closed["reason"]


def test_a_page_that_takes_nothing_of_what_it_asks_for_is_let_go(
    mind: Mind, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def stuck(*words: object) -> None:
        await asyncio.Event().wait()

    monkeypatch.setattr(app_socket, "_send", stuck)
    with limited(mind, unread=10) as client, connect(client) as socket:
        socket.send_json({"type": "start", "playing": False})
        for _ in range(40):
            socket.send_json({"type": "step"})
        assert "does not take" in refused(socket)["reason"]


def test_a_quiet_page_and_an_old_one_are_let_go(mind: Mind) -> None:
    with limited(mind, idle_seconds=0.2) as client, connect(client) as socket:
        assert "quiet" in refused(socket)["reason"]
    with limited(mind, lifetime_seconds=0.4) as client, connect(client) as socket:
        socket.send_json({"type": "start", "speed": 30})
        assert "time is up" in refused(socket)["reason"]


def test_one_page_too_many_is_told_so(mind: Mind) -> None:
    with (
        limited(mind, sessions=2) as client,
        connect(client),
        connect(client),
        connect(client) as third,
    ):
        closed = refused(third)
        assert closed["code"] == 1013
        assert "2 pages" in closed["reason"]


def test_nothing_is_left_of_a_page_that_is_gone(client: TestClient, service: Service) -> None:
    with connect(client) as socket:
        socket.send_json({"type": "start", "held": "all", "speed": None})
        frame(socket)
        session = next(iter(service.pages))
        chains = weakref.ref(session._dream)
        gone = weakref.ref(session)
        del session
    deadline = time.perf_counter() + 5
    while (gone() is not None or chains() is not None) and time.perf_counter() < deadline:
        time.sleep(0.05)
        gc.collect()
    assert gone() is None
    assert chains() is None
    assert not service.pages


def test_twenty_pages_share_alike(mind: Mind) -> None:
    """The worker itself, without sockets: of twenty dreamers as fast as they can, none gets less
    than half of another's turns.
    """
    from wakesleep.app.worker import Worker

    worker, counts, enough = Worker(), [0] * 20, threading.Event()
    pages = []
    for place in range(20):

        def send(content: bytes, place: int = place) -> None:
            counts[place] += 1
            if sum(counts) == 200:
                enough.set()
            pages[place].acknowledge(10**9)

        pages.append(sessions.Session(lambda: mind, send))
        pages[-1].handle(sessions.Start(type="start", held="all", speed=None))
    worker.start()
    for page in pages:
        worker.add(page)
    assert enough.wait(60)
    worker.stop()
    assert max(counts) - min(counts) <= 2


def test_a_crowd_shares_the_frames_and_keeps_its_speed(mind: Mind, stopped_clock: None) -> None:
    """Twenty pages get a twentieth of all frames each, and the more Gibbs steps in each frame."""
    sent: list[bytes] = []
    page = sessions.Session(lambda: mind, sent.append, crowd=lambda: 20)
    page.handle(sessions.Start(type="start", speed=60))
    first = page.due()
    page.turn()
    assert page.due() - first == pytest.approx(20 / sessions.ALL_TOGETHER)
    assert frames.unpack(sent[0]).step == 60 * 20 / sessions.ALL_TOGETHER


def test_another_network_takes_over_and_the_dream_goes_on(
    client: TestClient, service: Service, run_folder: Path
) -> None:
    with connect(client) as socket:
        socket.send_json({"type": "start", "playing": False})
        frame(socket)
        service.mind = load_mind(run_folder, 2)
        socket.send_json({"type": "step"})
        assert frame(socket).step == 2
