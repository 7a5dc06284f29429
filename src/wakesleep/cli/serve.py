"""wakesleep serve: the page where you watch the network think."""

from __future__ import annotations

import contextlib
import logging
import socket
import sys
import tempfile
import threading
import webbrowser
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tyro.conf import Positional

from wakesleep.cli import machine
from wakesleep.cli.options import Backend
from wakesleep.foundation.errors import ConfigError

LOOPBACK = ("127.0.0.1", "localhost", "::1")


@dataclass(frozen=True)
class ServeOptions:
    """Open the page where you watch the network think: draw, dream, mix, look inside, follow a run
    that trains.
    """

    run: Positional[Path | None] = None
    """A run folder, finished or still training (the page then follows it), or a model file; by
    default the model that ships with wakesleep. Of a net of pictures and sounds the page shows
    what it hears and says.
    """
    host: str = "127.0.0.1"
    """The address to listen on. Only this machine reaches the default; 0.0.0.0 lets the whole
    network in, and is warned about.
    """
    port: int = 8707
    """The port to listen on; 0 takes any that is free."""
    open: bool = True
    """Open the page in the browser once it is ready."""
    allow_host: tuple[str, ...] = ()
    """Further names the server answers to: that of a proxy before it, or of this machine in its
    network. Others are refused, whatever address they lead to.
    """
    backend: Backend = None
    threads: int = 1
    """CPU threads that answer the JSON API; one is quickest for single pictures. The page itself
    thinks in the browser.
    """


def run(args: ServeOptions, command: str) -> int:
    """Do it; return the exit status."""
    machine.check_threads(args.threads)
    if not args.threads:
        raise ConfigError("--threads 0: expected at least 1; one is quickest for single pictures")
    # first, for it fails soonest
    with contextlib.closing(listen(args.host, args.port)) as listening:
        if args.host not in LOOPBACK:
            warning = (
                f"listening on {args.host}: everyone who reaches this machine can use the page; "
                "there is no password"
            )
            print(f"wakesleep: {warning}", file=sys.stderr)
        try:
            import uvicorn

            from wakesleep.app.server import LOOPBACK as OWN
            from wakesleep.app.server import create_app
        except ImportError as error:
            raise ConfigError(
                f"the page needs packages that are not installed ({error}); pip install fastapi "
                "pydantic uvicorn"
            ) from error
        import torch

        from wakesleep.app.loaded_senses import open_shown
        from wakesleep.app.patience import patient_protocol
        from wakesleep.app.service import Service

        torch.set_num_threads(args.threads)
        followed = args.run if args.run is not None and args.run.is_dir() else None
        with tempfile.TemporaryDirectory(prefix="wakesleep-page-") as folder:
            service = Service(open_shown(args.run), Path(folder), run=followed)
            config = uvicorn.Config(
                create_app(service, hosts=OWN | set(names(args.host, args.allow_host))),
                log_level=logging.CRITICAL,  # the application writes down its own errors, once
                http=patient_protocol(service.limits.head_seconds),
                ws="none",
                limit_concurrency=service.limits.connections,
                timeout_keep_alive=30,
                timeout_graceful_shutdown=2,
                server_header=False,
            )
            places = addresses(args.host, listening.getsockname()[1])
            _server(uvicorn, config, places, args.open).run(sockets=[listening])
    return 0


def names(host: str, allowed: Sequence[str]) -> list[str]:
    """Return the names that a server on `host` answers to besides the loopback ones; "*" stands for
    any address in numbers.
    """
    own = [] if host in LOOPBACK else ["*", host, socket.gethostname(), socket.getfqdn()]
    return [name.lower() for name in [*own, *allowed]]


def addresses(host: str, port: int) -> list[str]:
    """Return where a browser finds a server that listens on `host`: on this machine, and in its
    network where it listens on all of its addresses.
    """
    if host in LOOPBACK:
        return [f"http://{'[::1]' if host == '::1' else 'localhost'}:{port}/"]
    if host not in ("0.0.0.0", "::"):
        return [f"http://{f'[{host}]' if ':' in host else host}:{port}/"]
    addresses = [f"http://localhost:{port}/"]
    with contextlib.suppress(OSError), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as outward:
        outward.connect(("192.0.2.1", 9))  # nothing is sent: it tells which address would be used
        addresses.append(f"http://{outward.getsockname()[0]}:{port}/")
    return addresses


def _server(uvicorn: Any, config: Any, places: Sequence[str], show: bool) -> Any:
    """Return a server that says where it is once it answers."""

    class Announcing(uvicorn.Server):  # type: ignore[misc]
        async def startup(self, sockets: list[socket.socket] | None = None) -> None:
            await super().startup(sockets)
            print(f"the page is at {' and '.join(places)}  (Ctrl-C ends it)", flush=True)
            if show:
                threading.Thread(target=webbrowser.open, args=(places[0],), daemon=True).start()

    return Announcing(config)


def listen(host: str, port: int) -> socket.socket:
    """Return a socket that listens there.

    Raises:
        ConfigError: the port is taken, or the address is not this machine's.
    """
    if not 0 <= port < 65536:
        raise ConfigError(f"--port {port}: expected 0 (any free one) to 65535")
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        with contextlib.ExitStack() as undo:
            # The protocol is named because asyncio sends at once (TCP_NODELAY) only where it is;
            # without, every answer waits 40 ms.
            listening = undo.enter_context(
                socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
            )
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listening.bind((host, port))
            undo.pop_all()
    except OSError as error:
        raise ConfigError(
            f"{host} port {port} cannot be listened on ({error}); choose another: --port 0 "
            "takes any free one"
        ) from error
    return listening
