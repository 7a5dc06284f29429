import contextlib
import http.server
import threading
import time

import pytest
from idx_writer import packed, small_set, sums

from helpers import real_folder
from wakesleep.data import fetch as fetching

CONTENT = packed(small_set())
OTHER = packed(small_set(seed=1))


@pytest.fixture
def real_data(request):
    """The folder of real data; the set needed is the fixture's parameter."""
    return real_folder(getattr(request, "param", "mnist"))


class Mirror(http.server.BaseHTTPRequestHandler):
    """A server whose behaviour is the first part of the path: /good/file, /stall/file, ..."""

    def do_GET(self):
        _, how, file = self.path.split("/")
        self.server.asked.append(self.path)
        with contextlib.suppress(ConnectionError):
            getattr(self, how)(CONTENT[file], file)

    def send(self, body, *, status=200, length=None):
        self.send_response(status)
        self.send_header("Content-Length", str(len(body) if length is None else length))
        self.end_headers()
        self.wfile.write(body)

    def good(self, body, file):
        self.send(body)

    def broken(self, body, file):
        self.send(b"out of order", status=500)

    def gone(self, body, file):
        self.send(b"", status=404)

    def portal(self, body, file):
        self.send(b"<html>please log in</html>")

    def truncated(self, body, file):
        self.send(body[:-9], length=len(body))

    def half(self, body, file):
        self.send(body[: len(body) // 2])

    def lies(self, body, file):
        self.send(OTHER[file])

    def announces(self, body, file):
        self.send(body, length=1 << 40)

    def endless(self, body, file):
        self.send_response(200)
        self.end_headers()
        while not self.server.over.is_set():
            self.wfile.write(bytes(1 << 16))

    def stall(self, body, file):
        self.send(body[:5], length=len(body))
        self.server.over.wait(10)

    def trickle(self, body, file):
        self.send(b"", length=len(body))
        for byte in body:
            if self.server.over.is_set():
                break
            self.wfile.write(bytes((byte,)))
            time.sleep(0.1)

    def log_message(self, *_):
        pass


@pytest.fixture
def mirror(monkeypatch, tmp_path):
    """A function: behaviours -> mnist comes from those mirrors, in that order; the cache is an
    empty folder.
    """
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Mirror)
    server.asked, server.over = [], threading.Event()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    monkeypatch.setenv("NO_PROXY", "*")
    monkeypatch.delenv("WAKESLEEP_DATA", raising=False)
    monkeypatch.setattr(fetching, "cache_folder", lambda: tmp_path / "cache")
    monkeypatch.setattr(fetching, "LARGEST", 1 << 20)
    base = f"http://127.0.0.1:{server.server_port}/"

    def offer(*behaviours):
        urls = tuple(
            "http://127.0.0.1:9/" if how == "refused" else f"{base}{how}/" for how in behaviours
        )
        monkeypatch.setitem(
            fetching.SOURCES, "mnist", fetching.Source(urls, sums(small_set()), tuple("0123456789"))
        )
        return server

    yield offer
    server.over.set()
    server.shutdown()
    server.server_close()
    thread.join()
