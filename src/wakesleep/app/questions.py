"""The JSON API: the same operations as the page, documented under /api.html and /openapi.json."""

from __future__ import annotations

import asyncio
import json
from typing import Annotated, Any

import torch
from fastapi import APIRouter, Path, Query, Request, Response
from pydantic import BaseModel, ConfigDict, Field

from wakesleep.app import answers, loaded_model, watch
from wakesleep.app.service import Service
from wakesleep.foundation.errors import ConfigError, DataError


class Refusal(BaseModel):
    """Why a request is refused: what came, what was expected, what to do."""

    error: str


REFUSALS: dict[int | str, dict[str, Any]] = {
    400: {"model": Refusal, "description": "addressed to another server, or malformed"},
    403: {"model": Refusal, "description": "from another page"},
    408: {"model": Refusal, "description": "the body did not come in time"},
    413: {"model": Refusal, "description": "too large"},
    422: {"model": Refusal, "description": "a question that cannot be answered"},
    503: {"model": Refusal, "description": "too many questions wait"},
}
OCTETS: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "bytes",
        "content": {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}},
    }
}
router = APIRouter(prefix="/api", responses=REFUSALS)
Temperature = Annotated[float, Field(ge=0.05, le=10)]
Pixels = Annotated[list[Annotated[int, Field(ge=0, le=255)]], Field(max_length=100_000)]
Held = (
    None
    | int
    | Annotated[dict[int, Annotated[float, Field(ge=0, le=1)]], Field(min_length=1, max_length=100)]
)
Seed = Annotated[int, Field(ge=0, lt=2**53)]


class Picture(BaseModel):
    """A picture: a file in base64 (or a data URL) of any size, or pixels 0..255 of the network's
    own size, row by row.
    """

    model_config = ConfigDict(extra="forbid")
    image: (
        Annotated[
            str,
            Field(
                description="a PNG, JPEG, GIF, BMP, TIFF, WEBP or PPM file in base64, or a data URL"
            ),
        ]
        | None
    ) = None
    pixels: Pixels | None = None
    centre: Annotated[
        bool | None,
        Field(
            description="centre and scale the ink; null: as the network's own pictures "
            "were prepared"
        ),
    ] = None
    drawing: Annotated[
        bool,
        Field(
            description="light ink on black, drawn by hand: centred, with ink as large as "
            "the network's"
        ),
    ] = False


class Dreamed(BaseModel):
    """Pictures, 0..255 row by row, and the labels the memory held."""

    pictures: list[list[int]]
    labels: list[int] | None


class Recognized(BaseModel):
    """What the network says and sees."""

    picture: Annotated[list[int], Field(description="the picture as the network gets it, 0..255")]
    label: int | None = None
    name: str | None = None
    probs: Annotated[list[float] | None, Field(description="of each label")] = None
    runner_up: int | None = None
    log_odds: Annotated[
        float | None, Field(description="log p(label) - log p(runner-up), nats")
    ] = None
    evidence: Annotated[
        list[float] | None,
        Field(description="what each top unit says for the label against the runner-up, nats"),
    ] = None
    surprise: Annotated[
        float | None,
        Field(
            description="how far the picture's score lies below what is usual for its label and "
            "contour, nats; null where the model records nothing of it"
        ),
    ] = None
    usual_surprise: Annotated[
        float | None, Field(description="95 % of the held-out cases are less surprising, nats")
    ] = None
    unfamiliar: Annotated[
        bool | None,
        Field(description="whether it is unlike what the network learned from, whatever the label"),
    ] = None
    seen: Annotated[
        list[list[int]],
        Field(
            description="the picture up to each layer and down again; the last went "
            "through the memory"
        ),
    ]
    activities: Annotated[list[list[int]], Field(description="each layer above the pixels, 0..255")]


class Ask(BaseModel):
    """What all dreams share."""

    model_config = ConfigDict(extra="forbid")
    held: Annotated[
        Held,
        Field(
            description="the label: null is free, a number holds one, {'4': 0.5, '9': 0.5} two "
            "half and half"
        ),
    ] = None
    count: Annotated[int, Field(ge=1, description="how many")] = 1
    seed: Seed = 0
    temperature: Temperature = 1.0


class AskDream(Ask):
    """A dream from random top states."""

    steps: Annotated[int, Field(ge=1, description="Gibbs steps of the memory")] = 300


class AskImagine(Ask):
    """A dream that starts from a picture."""

    picture: Picture
    steps: Annotated[
        int, Field(ge=1, description="Gibbs steps of the memory: few stay near the picture")
    ] = 30


class AskFill(Ask):
    """A picture of which only a part is known."""

    picture: Picture
    known: Annotated[
        Pixels,
        Field(description="0 where a pixel is to be filled in, anything else where it is known"),
    ]
    sweeps: Annotated[int, Field(ge=1, description="up, a Gibbs step, and down again")] = 50


def _service(request: Request) -> Service:
    service: Service = request.app.state.service
    return service


def _answer(answer: Any) -> Response:
    """Return plain values as JSON; what the models above promise is checked by the tests, not at
    every stroke.
    """
    return Response(json.dumps(answer, separators=(",", ":")), media_type="application/json")


def _case(service: Service, asked: Picture) -> torch.Tensor:
    """Return the picture that came; unpacked where questions are answered, one at a time, so that
    memory stays bounded.
    """
    limit = service.limits.picture_pixels
    return answers.picture_from(
        service.model,
        asked.image,
        asked.pixels,
        centre=asked.centre,
        drawing=asked.drawing,
        most_pixels=limit,
    )


def _bounded(service: Service, count: int, steps: int) -> None:
    most = service.limits
    if count > most.count or steps > most.steps:
        raise ConfigError(
            f"{count} dreams of {steps} steps: this server makes at most {most.count} of "
            f"{most.steps} at once"
        )


class Model(BaseModel):
    """The network on show."""

    sizes: Annotated[list[int], Field(description="units of each layer, pixels first")]
    labels: Annotated[int, Field(description="labels that the memory holds")]
    classes: Annotated[list[str], Field(description="what they are called")]
    shape: Annotated[list[int], Field(description="rows and columns of its pictures")]
    deep: Annotated[bool, Field(description="a deep Boltzmann machine, not a deep belief net")]
    tied: bool
    parameters: int
    recognises: bool
    version: Annotated[int, Field(description="counts the networks of a run that goes on")]
    card: Annotated[dict[str, Any], Field(description="data, command, seed, test error")]
    run: Annotated[str | None, Field(description="the run folder that is followed")]


class Unit(BaseModel):
    """One unit: pictures as bytes around 128, each to its own largest."""

    layer: int
    unit: int
    prefers: list[int]
    contributes: list[int]
    largest_contribution: Annotated[float, Field(description="of a pixel's probability")]
    labels: Annotated[list[float] | None, Field(description="of a top unit, nats")]


class Run(BaseModel):
    """The run that is followed; empty where the server shows a model file."""

    name: str | None = None
    finished: bool = False
    stages: list[str] = []
    hidden: list[int] = []
    evaluation: list[dict[str, Any]] = []
    metrics: Annotated[list[dict[str, Any]], Field(description="a line an epoch")] = []


@router.get("/model", summary="The network on show", response_model=Model)
async def model(request: Request) -> Response:
    """Sizes of its layers, names of its labels, shape of its pictures, and its card: data, command,
    seed, test error.
    """
    service = _service(request)
    return _answer(
        {**loaded_model.describe(service.model), "run": service.run.name if service.run else None}
    )


@router.post("/recognize", summary="What does this picture show?", response_model=Recognized)
async def recognize(request: Request, asked: Picture) -> Response:
    """The probability of every label by exact label free energies, what the network sees, and which
    units spoke for the answer.
    """
    service = _service(request)
    return _answer(
        await service.answer(lambda: answers.recognize(service.model, _case(service, asked)))
    )


@router.post("/dream", summary="Let the memory settle and look", response_model=Dreamed)
async def dream(request: Request, asked: AskDream) -> Response:
    """Gibbs steps of the memory from random states with a label held or free, then one
    down-pass.
    """
    service = _service(request)
    _bounded(service, asked.count, asked.steps)
    return _answer(await service.answer(lambda: answers.dream(service.model, **asked.model_dump())))


@router.post("/imagine", summary="What does a picture turn into?", response_model=Dreamed)
async def imagine(request: Request, asked: AskImagine) -> Response:
    """Gibbs steps of the memory from where a picture leads, with a label held or free."""
    service = _service(request)
    _bounded(service, asked.count, asked.steps)
    picture = await service.answer(lambda: _case(service, asked.picture))
    options = asked.model_dump(exclude={"picture"})
    return _answer(await service.answer(lambda: answers.imagine(service.model, picture, **options)))


@router.post("/fill", summary="Fill in what is missing", response_model=Dreamed)
async def fill(request: Request, asked: AskFill) -> Response:
    """Known pixels stay; the others are dreamt up to go with them."""
    service = _service(request)
    _bounded(service, asked.count, asked.sweeps)
    picture = await service.answer(lambda: _case(service, asked.picture))
    if len(asked.known) != picture.shape[1]:
        raise DataError(
            f"known has {len(asked.known)} entries; expected one a pixel, {picture.shape[1]}"
        )
    known = torch.tensor(asked.known) > 0
    options = asked.model_dump(exclude={"picture", "known"})
    return _answer(
        await service.answer(lambda: answers.fill(service.model, picture, known, **options))
    )


@router.get(
    "/fields/{layer}",
    summary="What the units of a layer look for",
    response_class=Response,
    responses=OCTETS,
)
async def fields(
    request: Request,
    layer: Annotated[int, Path(ge=1, le=100)],
    start: Annotated[int, Query(ge=0, le=1_000_000)] = 0,
    count: Annotated[int, Query(ge=1, le=500)] = 100,
) -> Response:
    """Bytes, unit by unit, a byte a pixel: 128 is nothing, 255 drives the unit most, 1 holds it
    back most.
    """
    service = _service(request)
    content = await service.answer(lambda: answers.fields(service.model, layer, start, count))
    return Response(content, media_type="application/octet-stream")


@router.get("/units/{layer}/{unit}", summary="One unit", response_model=Unit)
async def unit(
    request: Request,
    layer: Annotated[int, Path(ge=1, le=100)],
    unit: Annotated[int, Path(ge=0, le=10_000_000)],
) -> Response:
    """What it prefers and what it adds to the picture (as bytes around 128), and how a top unit is
    tied to the labels (nats).
    """
    service = _service(request)
    return _answer(await service.answer(lambda: answers.unit(service.model, layer, unit)))


@router.get("/run", summary="The run that is followed", response_model=Run)
async def run(request: Request) -> Response:
    """Its stages, errors, and a line of metrics a pass; empty where the server shows a model
    file.
    """
    service = _service(request)
    return _answer(
        {} if service.run is None else await asyncio.to_thread(watch.describe, service.run)
    )
