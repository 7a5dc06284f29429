"""What the server holds while it runs: the network on show, the thread that thinks, the pages
connected.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

from wakesleep.app import examples, watch
from wakesleep.app.limits import Limits
from wakesleep.app.mind import Mind, load_mind
from wakesleep.app.worker import Worker
from wakesleep.foundation.errors import WakesleepError

log = logging.getLogger(__name__)
LOOK_EVERY = 1.0
"""Seconds between two looks at a run folder."""


class Service:
    """The network, its worker, its pages; `run` is the run folder that is followed, if any."""

    def __init__(
        self, mind: Mind, *, run: Path | None = None, limits: Limits | None = None, threads: int = 1
    ) -> None:
        self.mind, self.run, self.limits = mind, run, limits or Limits()
        self.worker = Worker(threads=threads, most_waiting=self.limits.waiting)
        self.pages: dict[object, Callable[[dict[str, Any]], None]] = {}
        """What each connected page is told by."""
        self._examples: examples.Examples | None = None
        self._finding = asyncio.Lock()

    async def examples(self) -> examples.Examples:
        """Return pictures to try; looked for when first asked, for it takes a second."""
        async with self._finding:
            if self._examples is None:
                self._examples = await asyncio.to_thread(examples.find, self.mind)
        return self._examples

    async def follow(self) -> None:
        """Take over each new network of the run folder, for as long as the server runs."""
        assert self.run is not None
        seen = watch.stamp(self.run)
        while True:
            await asyncio.sleep(LOOK_EVERY)
            found = watch.stamp(self.run)
            if found == seen:
                continue
            try:
                before, self.mind = (
                    self.mind,
                    await asyncio.to_thread(load_mind, self.run, self.mind.version + 1),
                )
                seen = found
                if (before.data, before.shape, before.classes) != (
                    self.mind.data,
                    self.mind.shape,
                    self.mind.classes,
                ):
                    self._examples = None  # another run took the folder: its pictures are others
            except (WakesleepError, OSError) as error:
                # caught between two files; the next look will do
                log.debug("%s: %s", self.run, error)
                continue
            for tell in list(self.pages.values()):
                tell({"type": "model", "version": self.mind.version})
