"""What the server holds while it runs: the network on show, the folder of the page, the run that is
followed.
"""

from __future__ import annotations

import asyncio
import logging
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from wakesleep.app import examples, site, watch
from wakesleep.app.limits import Limits
from wakesleep.app.loaded_model import LoadedModel, open_model
from wakesleep.app.loaded_senses import LoadedSenses
from wakesleep.foundation.errors import ConfigError, WakesleepError
from wakesleep.foundation.files import write_json

log = logging.getLogger(__name__)
LOOK_EVERY = 1.0
"""Seconds between two looks at a run folder."""


class BusyError(WakesleepError):
    """Too many questions wait already."""


class Service:
    """The network, and the page in `folder`; `run` is the run folder that is followed, if any."""

    def __init__(
        self,
        model: LoadedModel | LoadedSenses,
        folder: Path,
        *,
        run: Path | None = None,
        limits: Limits | None = None,
    ) -> None:
        self.shown, self.folder, self.limits = model, folder, limits or Limits()
        self.run = run if isinstance(model, LoadedModel) else None
        self._waiting, self._one = 0, asyncio.Lock()
        self._finding = asyncio.Lock()
        self._write()

    @property
    def model(self) -> LoadedModel:
        """The network that the API answers for.

        Raises:
            ConfigError: one of several senses is on show.
        """
        if isinstance(self.shown, LoadedSenses):
            raise ConfigError(
                "a network of several senses is on show, which thinks in the browser alone; ask it "
                "with wakesleep recall, or from Python"
            )
        return self.shown

    def _write(self) -> None:
        """Write the page with the network as it is; pictures to try stay."""
        name = None if self.run is None else self.run.name
        api = isinstance(self.shown, LoadedModel)
        site.write(self.folder, self.shown, api=api, run=name)

    async def answer(self, work: Callable[[], Any]) -> Any:
        """Return the outcome of `work`, done in a thread, one question after the other.

        Raises:
            BusyError: too many questions wait.
        """
        if self._waiting >= self.limits.waiting:
            raise BusyError(f"{self._waiting} questions wait already; try again in a moment")
        self._waiting += 1
        try:
            async with self._one:
                return await asyncio.to_thread(_thought, work)
        finally:
            self._waiting -= 1

    async def examples(self) -> Path:
        """Return the file of pictures to try; looked for when first asked."""
        path = self.folder / site.EXAMPLES
        async with self._finding:
            if not path.exists():
                pictures = await asyncio.to_thread(examples.find, self.model)
                write_json(path, site.as_json(pictures))
        return path

    async def follow(self) -> None:
        """Take over each new network of the run folder, for as long as the server runs."""
        assert self.run is not None
        seen = watch.stamp(self.run)
        while True:
            await asyncio.sleep(LOOK_EVERY)
            stamp = watch.stamp(self.run)
            if stamp == seen:
                continue
            before = self.model
            try:
                self.shown = await asyncio.to_thread(open_model, self.run, before.version + 1)
                await asyncio.to_thread(self._write)
                seen = stamp
            except (WakesleepError, OSError, shutil.Error) as error:
                # caught between two files, or a network the page cannot show; the next may do
                self.shown = before
                log.debug("%s: %s", self.run, error)
                continue
            if (before.data, before.shape, before.classes) != (
                self.model.data,
                self.model.shape,
                self.model.classes,
            ):
                # another run took the folder: its pictures are others
                (self.folder / site.EXAMPLES).unlink(missing_ok=True)


def _thought(work: Callable[[], Any]) -> Any:
    with torch.inference_mode():
        return work()
