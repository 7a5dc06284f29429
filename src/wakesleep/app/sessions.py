"""One page's chains: what it asked to see, and the frames it is sent, never more than it can
take.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Literal

import torch
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter
from torch import Tensor

from wakesleep.app import frames, mind
from wakesleep.app.mind import Mind
from wakesleep.foundation.errors import ConfigError, DataError
from wakesleep.foundation.rng import generator
from wakesleep.models.dbn import DBN
from wakesleep.samplers import dreams, gibbs

FRAMES_PER_SECOND = 60
FASTEST = 200
"""Frames a second where a page asks for as many as it can take; below the messages a second it may
send, for it answers each.
"""
ALL_TOGETHER = 240
"""Frames a second of all pages together: each gets its share, so that a page more can still be
opened when many dream.
"""
IN_FLIGHT = 3
"""Frames sent and not yet acknowledged; a slow page gets fewer, it never gets a queue."""
MOST_CHAINS = 100
MOST_STEPS = 50
"""Gibbs steps in one turn."""


class _Message(BaseModel):
    model_config = ConfigDict(extra="forbid")


Temperature = Annotated[float, Field(ge=0.05, le=10)]
Speed = Annotated[float, Field(ge=0.5, le=3000)] | None
Pixels = Annotated[list[Annotated[int, Field(ge=0, le=255)]], Field(max_length=100_000)]
Held = (
    None
    | int
    | Annotated[dict[int, Annotated[float, Field(ge=0, le=1)]], Field(min_length=1, max_length=100)]
)


class Start(_Message):
    """Begin anew: from random top states, or from a picture, or filling in where `known` is 0."""

    type: Literal["start"]
    held: Held | Literal["all"] = None
    """The label: none, one, shares of several, or "all": a chain for each."""
    seed: Annotated[int, Field(ge=0, lt=2**53)] = 0
    temperature: Temperature = 1.0
    speed: Speed = 60.0
    """Gibbs steps a second; null: as fast as frames are taken."""
    picture: Pixels | None = None
    known: Pixels | None = None
    playing: bool = True


class Change(_Message):
    """Go on otherwise; what is not named stays."""

    type: Literal["change"]
    held: Held = None
    temperature: Temperature = 1.0
    speed: Speed = 60.0
    playing: bool = True
    focus: Annotated[int, Field(ge=0, le=1000)] = 0


class Step(_Message):
    """One Gibbs step, while it pauses."""

    type: Literal["step"]


class Ack(_Message):
    """Frame `number` is drawn."""

    type: Literal["ack"]
    number: Annotated[int, Field(ge=0)]


class Stop(_Message):
    """Forget the chains."""

    type: Literal["stop"]


Message = Start | Change | Step | Ack | Stop
READER: TypeAdapter[Message] = TypeAdapter(Annotated[Message, Field(discriminator="type")])


@dataclass
class Dream:
    """Chains on their way, and what holds them."""

    rng: torch.Generator
    hidden: Tensor
    """Top states, (chains, top)."""
    labels: Tensor
    """Label shares that the next up-pass takes along, (chains, labels)."""
    held: Tensor | None
    """Label shares that are clamped, (chains, labels)."""
    temperature: float
    classes: tuple[str, ...]
    """What the labels mean: the classes of the network that the dream began with."""
    picture: Tensor | None = None
    """What was drawn, (1, pixels)."""
    known: Tensor | None = None
    """Where it stays, (1, pixels); None where the dream only began with it."""
    canvas: Tensor | None = None
    """The picture as it is filled in so far."""
    step: int = 0


def begin(now: Mind, message: Start) -> Dream:
    """Return the dream that a page asks for.

    Raises:
        ConfigError: a label this network does not have, or a part to keep of no picture.
        DataError: a picture of another size.
    """
    dbn, rng = now.dbn, generator(message.seed)
    if message.held == "all" and not 0 < dbn.labels <= MOST_CHAINS:
        raise ConfigError(
            f"this network's memory holds {dbn.labels} labels; expected 1 to {MOST_CHAINS} to "
            "show side by side"
        )
    held = torch.eye(dbn.labels) if message.held == "all" else mind.shares(now, message.held, 1)
    count = 1 if held is None else len(held)
    mind.clamp_of(now, held)  # refuses what cannot be held
    labels = dreams.uniform_labels(dbn, count) if held is None else held
    if message.picture is None:
        if message.known is not None:
            raise ConfigError("filling in starts from a picture; send one with what is known of it")
        return Dream(
            rng,
            gibbs.random_hidden(dbn.memory, count, rng),
            labels,
            held,
            message.temperature,
            now.classes,
        )
    picture = _case(message.picture, dbn.sizes[0]) / 255
    if message.known is None:
        first = mind.first_shares(now, picture) if held is None else labels
        return Dream(
            rng,
            dreams.top_states(dbn, picture.expand(count, -1), first, rng),
            labels,
            held,
            message.temperature,
            now.classes,
            picture,
        )
    known = _case(message.known, dbn.sizes[0]) > 0
    canvas = torch.where(known, picture, torch.rand(picture.shape, generator=rng)).expand(count, -1)
    return Dream(
        rng,
        dreams.top_states(dbn, canvas, labels, rng),
        labels,
        held,
        message.temperature,
        now.classes,
        picture,
        known,
        canvas,
    )


def _case(pixels: list[int], expected: int) -> Tensor:
    if len(pixels) != expected:
        raise DataError(f"{len(pixels)} pixels came; expected {expected}, row by row")
    return torch.tensor([pixels], dtype=torch.float32)


def advance(now: Mind, dream: Dream, steps: int) -> list[Tensor]:
    """Move a dream on, and return its layers from the pixels to the top, (chains, units), labels
    last if there are any.

    Raises:
        ConfigError: the dream was another network's.
    """
    dbn = now.dbn
    if (
        dream.hidden.shape[1] != dbn.sizes[-1]
        or dream.labels.shape[1] != dbn.labels
        or dream.classes != now.classes
    ):
        raise ConfigError("another network took this one's place; start a new dream")
    clamp = mind.clamp_of(now, dream.held)
    if dream.canvas is None or dream.known is None or dream.picture is None:
        chains = gibbs.run(dbn.memory, dream.hidden, steps, dream.rng, clamp, dream.temperature)
        layers = _down(dbn, chains, dream.rng)
    else:
        for _ in range(steps):
            chains = dreams.fill_step(
                dbn,
                dream.canvas,
                dream.labels,
                rng=dream.rng,
                clamp=clamp,
                temperature=dream.temperature,
            )
            dream.labels = chains.visible[:, dbn.label_columns]
            layers = _down(dbn, chains, dream.rng)
            layers[0] = dream.canvas = torch.where(dream.known, dream.picture, layers[0])
    dream.hidden = chains.hidden
    dream.step += steps
    layers.append(chains.hidden)
    if dbn.labels:
        columns = dbn.label_columns
        heard = torch.addmm(
            dbn.memory.visible_bias[columns], chains.hidden, dbn.memory.weight[columns].t()
        )
        layers.append(
            torch.softmax(heard / dream.temperature, 1) if dream.held is None else dream.held
        )
    return layers


def _down(dbn: DBN, chains: gibbs.Chains, rng: torch.Generator) -> list[Tensor]:
    """Return one down-pass, the pixels as probabilities even where the memory stands on them."""
    layers = dbn.down(chains.visible[:, : dbn.sizes[-2]], rng)
    if not dbn.generative:
        layers[0] = dbn.memory.visible_probs(chains.hidden)[:, : dbn.sizes[-2]]
    return layers


class Session:
    """What one page watches, and how fast. `handle`, `due` and `turn` run in the worker's
    thread.
    """

    def __init__(
        self,
        mind_now: Callable[[], Mind],
        send: Callable[[bytes], None],
        crowd: Callable[[], int] = lambda: 1,
    ) -> None:
        self._mind_now, self._send, self._crowd = mind_now, send, crowd
        self._dream: Dream | None = None
        self._speed: float | None = None
        self._playing, self._focus = False, 0
        self._sent = self._acknowledged = 0
        self._next_at = 0.0

    def handle(self, message: Message) -> None:
        """Do what the page asks.

        Raises:
            ConfigError: a label this network does not have, or nothing to go on with.
            DataError: a picture of another size.
        """
        match message:
            case Start():
                self._dream = begin(self._mind_now(), message)
                self._speed, self._playing, self._focus = message.speed, message.playing, 0
                self._acknowledged, self._next_at = self._sent, time.perf_counter()
                if not message.playing:
                    self._advance(1)
            case Change():
                self._change(message)
            case Step():
                self._advance(1)
            case Ack():
                self.acknowledge(message.number)
            case Stop():
                self._dream = None

    def _change(self, message: Change) -> None:
        dream, given = self._going_on(), message.model_fields_set
        if "held" in given:
            held = mind.shares(self._mind_now(), message.held, len(dream.hidden))
            mind.clamp_of(self._mind_now(), held)
            dream.held = held
        if "temperature" in given:
            dream.temperature = message.temperature
        if "speed" in given:
            self._speed = message.speed
        if "focus" in given:
            self._focus = min(message.focus, len(dream.hidden) - 1)
        if "playing" in given and message.playing != self._playing:
            self._playing, self._next_at = message.playing, time.perf_counter()

    def _going_on(self) -> Dream:
        if self._dream is None:
            raise ConfigError("there is no dream to go on with; start one first")
        return self._dream

    def acknowledge(self, number: int) -> None:
        """Note that frame `number` is drawn; safe from any thread."""
        self._acknowledged = min(max(self._acknowledged, number), self._sent)

    def due(self) -> float | None:
        """Return when the next frame is wanted; None while it pauses or the page has not drawn the
        last ones.
        """
        if not self._playing or self._dream is None or self._sent - self._acknowledged >= IN_FLIGHT:
            return None
        return self._next_at

    def turn(self) -> None:
        """Make the next frame."""
        wanted = FASTEST if self._speed is None else min(self._speed, FRAMES_PER_SECOND)
        a_second = min(wanted, ALL_TOGETHER / max(1, self._crowd()))
        # a late frame is made up for, a pause is not
        self._next_at = max(self._next_at + 1 / a_second, time.perf_counter() - 0.1)
        try:
            self._advance(
                1 if self._speed is None else min(MOST_STEPS, max(1, round(self._speed / a_second)))
            )
        except ConfigError:
            self._dream = None

    def _advance(self, steps: int) -> None:
        dream = self._going_on()
        layers = advance(self._mind_now(), dream, steps)
        one = slice(self._focus, self._focus + 1)
        middle = slice(1, len(layers) - 1 if self._mind_now().dbn.labels else len(layers))
        shown = [layers[0], *(layer[one] > 0.5 for layer in layers[middle]), *layers[middle.stop :]]
        self._sent += 1
        self._send(frames.pack(shown, step=dream.step, number=self._sent, focus=self._focus))
