"""The command: where it listens, what it refuses, how it ends."""

from __future__ import annotations

import contextlib
import json
import signal
import socket
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest

from benchmarks import browser as browsing
from helpers import heeds_ctrl_c
from wakesleep.cli import main, serve


def test_a_run_is_served_on_loopback_and_ctrl_c_ends_it(run_folder: Path) -> None:
    command = [
        sys.executable,
        "-m",
        "wakesleep",
        "serve",
        str(run_folder),
        "--no-open",
        "--port",
        "0",
    ]
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, preexec_fn=heeds_ctrl_c
    )
    line = process.stdout.readline()
    url = next(word for word in line.split() if word.startswith("http://localhost:"))
    with urllib.request.urlopen(f"{url}api/model") as reply:
        assert json.loads(reply.read())["run"] == "digits"
    process.send_signal(signal.SIGINT)
    _, wrong = process.communicate(timeout=30)
    assert process.returncode == 130
    assert wrong.strip() == "wakesleep: stopped"


def test_the_port_that_is_taken_is_named_with_the_cure(capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        assert main(["serve", "--no-open", "--port", str(taken.getsockname()[1])]) == 1
    assert "--port 0" in capsys.readouterr().err


@pytest.mark.parametrize(
    "words", [["--port", "70000"], ["--host", "not.a.host.invalid"], ["/nowhere"]]
)
def test_what_cannot_be_served_is_refused_in_words(
    words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    port = [] if "--port" in words else ["--port", "0"]
    assert main(["serve", *words, "--no-open", *port]) == 1
    assert len(capsys.readouterr().err.split()) > 6


def test_without_its_packages_it_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    assert main(["serve", "--no-open", "--port", "0"]) == 1
    assert "pip install fastapi pydantic uvicorn" in capsys.readouterr().err


def test_beyond_this_machine_it_warns(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    class Nothing:
        def run(self, sockets: list[socket.socket]) -> None:
            for one in sockets:
                one.close()

    monkeypatch.setattr(serve, "_server", lambda *words: Nothing())
    assert main(["serve", "--no-open", "--port", "0", "--host", "0.0.0.0"]) == 0
    assert "no password" in capsys.readouterr().err
    assert main(["serve", "--no-open", "--port", "0"]) == 0
    assert not capsys.readouterr().err


def test_by_default_only_this_machine_reaches_it() -> None:
    assert serve.ServeOptions().host == "127.0.0.1"
    with contextlib.closing(serve.listen("127.0.0.1", 0)) as listening:
        assert listening.getsockname()[0] == "127.0.0.1"
        assert listening.proto == socket.IPPROTO_TCP, (
            "or asyncio leaves Nagle's algorithm on, and each answer waits 40 ms"
        )


def test_a_server_that_does_not_start_says_so() -> None:
    from wakesleep.foundation.errors import ConfigError

    with pytest.raises(ConfigError, match="did not start"):
        browsing.start("/nowhere")


def test_the_address_that_is_printed_can_be_opened() -> None:
    assert serve.addresses("127.0.0.1", 80) == ["http://localhost:80/"]
    assert serve.addresses("::1", 80) == ["http://[::1]:80/"]
    assert serve.addresses("192.168.1.7", 80) == ["http://192.168.1.7:80/"]
    everywhere = serve.addresses("0.0.0.0", 80)
    assert everywhere[0] == "http://localhost:80/"
    assert not [address for address in everywhere if "0.0.0.0" in address]


@pytest.mark.slow
def test_connections_that_say_nothing_are_closed_and_others_are_served(
    run_folder: Path,
) -> None:
    """Idle half-requests, more than the server takes at once, do not lock anybody out."""
    with browsing.serving(str(run_folder)) as server:
        port = int(server.url.rstrip("/").rpartition(":")[2])
        with contextlib.ExitStack() as opened:
            idle = [
                opened.enter_context(socket.create_connection(("127.0.0.1", port)))
                for _ in range(510)
            ]
            for connection in idle:
                connection.sendall(b"GET / HTTP/1.1\r\nHost: local")
            for connection in idle:
                connection.settimeout(30)
                assert connection.recv(1) == b"", "it is closed without an answer"
            with urllib.request.urlopen(f"{server.url}api/model") as reply:
                assert reply.status == 200
