"""Generation: let the memory settle, with the label clamped or free, then one generative down-pass.

Source: Hinton, Osindero & Teh (2006), section 7 ("looking into the mind of a neural network").
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import one_hot

from wakesleep.foundation import renamed
from wakesleep.foundation.arguments import check_arguments
from wakesleep.foundation.errors import ConfigError
from wakesleep.foundation.values import whole
from wakesleep.models.dbn import DBN
from wakesleep.samplers.gibbs import Chains, Clamp, Sampler, random_hidden, run
from wakesleep.sources.axes import Labels, PixelMask, Pixels, Rows, Shares
from wakesleep.units import Bernoulli


class Dream(NamedTuple):
    """What came of it: pixel probabilities (N, pixels), the label the memory held (N,) or None, and
    the chains to go on with.
    """

    pixels: Tensor
    labels: Tensor | None
    chains: Chains


@check_arguments
def label_clamp(dbn: DBN, labels: Labels, count: int) -> Clamp:
    """Return the clamp that holds the memory's label units at `labels` (N,), for N = `count`
    chains.

    Raises:
        ConfigError: the memory has no labels, or there are not `count` of them.
        DataError: labels that the memory does not hold.
    """
    if not dbn.labels:
        raise ConfigError(
            "this net's memory holds no labels, so none can be clamped; dream without a label"
        )
    if len(labels) != count:
        raise ConfigError(f"{len(labels)} labels for {count} chains: expected one each")
    return label_mixture(dbn, one_hot(labels, dbn.labels))


@check_arguments
def label_mixture(dbn: DBN, shares: Rows) -> Clamp:
    """Return the clamp that holds the memory's label units at `shares` (N, labels), e.g. a half
    each for a 4 and a 9.

    The energy is linear in the label, so that shares s_y make the top units' input b + penultimate
    W + sum_y s_y W_y: the memory is asked for what two labels agree on, p(v, h) ~ prod_y p(v, h |
    y)^s_y.

    Raises:
        ConfigError: the memory has no labels, or the shares of a chain are not a distribution over
            them.
    """
    if not dbn.labels:
        raise ConfigError(
            "this net's memory holds no labels, so none can be clamped; dream without a label"
        )
    weight = dbn.memory.weight
    shares = shares.to(weight)
    if (
        shares.ndim != 2
        or shares.shape[1] != dbn.labels
        or bool((shares < 0).any())
        or bool(((shares.sum(1) - 1).abs() > 1e-4).any())
    ):
        raise ConfigError(
            f"label shares {shares.tolist()}: expected {dbn.labels} a chain, none below 0, "
            "that sum to 1"
        )
    mask = torch.zeros(dbn.memory.visible.size, dtype=torch.bool, device=weight.device)
    mask[dbn.label_columns] = True
    values = weight.new_zeros(len(shares), dbn.memory.visible.size)
    values[:, dbn.label_columns] = shares
    return Clamp(mask, values)


@check_arguments
def decode(dbn: DBN, chains: Chains, rng: torch.Generator) -> Dream:
    """Return the chains as pictures: one down-pass of the sampled features to pixel
    probabilities.
    """
    labels = chains.visible[:, dbn.label_columns].argmax(1) if dbn.labels else None
    if not dbn.generative:  # the memory stands on the pixels themselves
        return Dream(dbn.memory.visible_probs(chains.hidden)[:, : dbn.sizes[-2]], labels, chains)
    return Dream(dbn.down(chains.visible[:, : dbn.sizes[-2]], rng)[0], labels, chains)


@check_arguments
def dream(
    dbn: DBN,
    *,
    rng: torch.Generator,
    labels: Labels | None = None,
    count: int | None = None,
    steps: int = 1000,
    sampler: Sampler = run,
) -> Dream:
    """Return `count` dreams after `steps` Gibbs steps from random top states, one for each of
    `labels` (N,) where these are given.

    `sampler` moves the memory: plain Gibbs sampling, or a `tempering.Tempered` where that mixes too
    slowly.

    Raises:
        ConfigError: count or steps below 1, or labels for a memory without any.
        DataError: labels that the memory does not hold.
    """
    count = count if count is not None else 1 if labels is None else len(labels)
    if count < 1:
        raise ConfigError(f"{count} dreams: expected at least 1")
    clamp = label_clamp(dbn, labels, count) if labels is not None else None
    return decode(
        dbn, sampler(dbn.memory, random_hidden(dbn.memory, count, rng), steps, rng, clamp), rng
    )


@check_arguments
def frames(
    dbn: DBN,
    *,
    rng: torch.Generator,
    labels: Labels | None = None,
    count: int | None = None,
    steps: int = 300,
    every: int = 3,
    sampler: Sampler = run,
) -> Iterator[Dream]:
    """Yield a dream every `every` Gibbs steps while chains settle from random top states: Hinton's
    movie (300 steps, a frame every 3).

    Raises:
        ConfigError: count, steps or every below 1, or labels for a memory without any.
        DataError: labels that the memory does not hold.
    """
    count = count if count is not None else 1 if labels is None else len(labels)
    if min(count, steps, every) < 1:
        raise ConfigError(
            f"{count} dreams, {steps} steps, a frame every {every}: expected each to be at least 1"
        )
    clamp = label_clamp(dbn, labels, count) if labels is not None else None
    hidden = random_hidden(dbn.memory, count, rng)
    for done in range(0, steps, every):
        chains = sampler(dbn.memory, hidden, min(every, steps - done), rng, clamp)
        hidden = chains.hidden
        yield decode(dbn, chains, rng)


@check_arguments
def activities(dbn: DBN, chains: Chains, rng: torch.Generator) -> list[Tensor]:
    """Return what every layer does in a dream, pixels first: probabilities (N, pixels), states (N,
    units) up to the top, labels last if any.
    """
    penultimate = chains.visible[:, : dbn.sizes[-2]]
    layers = [*dbn.down(penultimate, rng), chains.hidden]
    return [*layers, chains.visible[:, dbn.label_columns]] if dbn.labels else layers


@check_arguments
def reconstruct(dbn: DBN, images: Tensor) -> Tensor:
    """Return what the net sees in `images` (N, pixels in [0, 1]): up, once through the memory, and
    down, all in probabilities.
    """
    penultimate = dbn.up(_pictures(dbn, images))[-1]
    total = dbn.top_input(penultimate)
    if dbn.labels:
        total += dbn.memory.weight[dbn.label_columns].mean(0)
    again = dbn.memory.visible_probs(dbn.memory.hidden.mean(total))[:, : dbn.sizes[-2]]
    return dbn.down(again)[0]


@check_arguments
def imagine(
    dbn: DBN, images: Tensor, labels: Labels, *, rng: torch.Generator, steps: int = 10
) -> Tensor:
    """Return what the net imagines in place of `images` (N, pixels in [0, 1]): a few steps of the
    memory from them, `labels` clamped.
    """
    images = _pictures(dbn, images)
    clamp = label_clamp(dbn, labels, len(images))
    hidden = top_states(dbn, images, clamp.values[:, dbn.label_columns], rng)
    return decode(dbn, run(dbn.memory, hidden, steps, rng, clamp), rng).pixels


def _pictures(dbn: DBN, images: Tensor, *, missing: bool = False) -> Tensor:
    """Return images (N, pixels) as probabilities in the net's type, once they are seen to fit it;
    NaN pass where `missing`.
    """
    return dbn.as_cases(images, missing=missing)


@check_arguments
def top_states(dbn: DBN, images: Pixels, shares: Shares, rng: torch.Generator) -> Tensor:
    """Return top states (N, top) drawn where an up-pass of `images` (N, pixels in [0, 1]) and label
    shares (N, labels) lead.
    """
    visible = torch.cat([dbn.up(images, rng)[-1], shares], 1)
    return dbn.memory.sample_hidden(visible, rng)


@check_arguments
def reconstruct_per_layer(dbn: DBN, images: Tensor) -> list[Tensor]:
    """Return `images` (N, pixels in [0, 1]) as each layer in turn knows them: up to it and down
    again, in probabilities, (N, pixels) each.

    The last of them has gone through the memory, see `reconstruct`.
    """
    images = _pictures(dbn, images)
    up = dbn.up(images)
    seen = []
    for height in range(1, dbn.depth):
        below = up[height]
        for layer in reversed(dbn.generative[:height]):
            below = layer.probs(below)
        seen.append(below)
    return [*seen, reconstruct(dbn, images)]


@check_arguments
def inpaint(
    dbn: DBN,
    images: Tensor,
    known: PixelMask,
    *,
    rng: torch.Generator,
    labels: Labels | None = None,
    sweeps: int = 100,
    steps: int = 1,
    checked: bool = False,
) -> Tensor:
    """Return `images` (N, pixels), in [0, 1] of binary units, with the pixels where `known`
    (pixels,) or (N, pixels) is false filled in.

    Each sweep goes up from the picture as it stands, moves the memory `steps` Gibbs steps and comes
    down again; known pixels are put back every time, and the others are drawn. What is returned of
    them are the means of the last sweep, probabilities of binary units, so that their mean over
    several calls estimates E[v | known], exactly for a net of one layer. NaN counts as unknown;
    `checked` says that the images were looked at already.

    Raises:
        ConfigError: sweeps or steps below 1, or a mask of another shape.
    """
    if sweeps < 1:
        raise ConfigError(f"{sweeps} sweeps: expected at least 1")
    images = images if checked else _pictures(dbn, images, missing=True)
    if known.shape[-1] != images.shape[-1]:
        raise ConfigError(
            f"a mask over {known.shape[-1]} pixels for pictures of {images.shape[-1]}: expected "
            "one entry a pixel"
        )
    known = torch.as_tensor(known, device=images.device).to(torch.bool) & ~images.isnan()
    clamp = label_clamp(dbn, labels, len(images)) if labels is not None else None
    start = torch.rand(images.shape, generator=rng, device=images.device, dtype=images.dtype)
    shares = clamp.values[:, dbn.label_columns] if clamp else uniform_labels(dbn, len(images))
    # the memory stands on the pixels: its own chain, with the known ones clamped
    if not dbn.generative:
        hidden = top_states(dbn, torch.where(known, images, start), shares, rng)
        clamp = _with_pixels(dbn, images, known, clamp)
        return torch.where(
            known,
            images,
            decode(dbn, run(dbn.memory, hidden, sweeps * steps, rng, clamp), rng).pixels,
        )
    pixels, above = start, None
    for _ in range(sweeps):
        picture = torch.where(known, images, _drawn_picture(dbn, pixels, above, rng))
        chains = fill_step(dbn, picture, shares, rng=rng, clamp=clamp, steps=steps)
        shares = chains.visible[:, dbn.label_columns]
        pixels, above = dbn.down(chains.visible[:, : dbn.sizes[-2]], rng)[:2]
    return torch.where(known, images, pixels)


def _drawn_picture(dbn: DBN, means: Tensor, above: Tensor | None, rng: torch.Generator) -> Tensor:
    """Return states of the visible units (N, pixels) drawn from their means (N, pixels), or, of
    units that are not settled by their mean, given the layer `above` (N, units); by their biases
    alone where there is none yet.
    """
    if dbn.visible.settled_by_mean:
        return draw_visible(dbn, means, rng)
    lowest = dbn.generative[0]
    if above is None:
        return lowest.units.sample(lowest.bias.expand(len(means), -1), rng)
    return lowest.sample(above, rng)


@check_arguments
def draw_visible(dbn: DBN, means: Pixels, rng: torch.Generator) -> Tensor:
    """Return states of the visible units of a net drawn from their means (N, D)."""
    if isinstance(dbn.visible, Bernoulli):
        try:
            return torch.bernoulli(means, generator=rng)
        except RuntimeError:
            dbn.visible.validate(means)  # which says in words that these are no means
            raise
    return dbn.visible.sample_from_mean(means, rng)


def _with_pixels(dbn: DBN, images: Tensor, known: Tensor, clamp: Clamp | None) -> Clamp:
    """Return the clamp of the memory of a net without directed layers that also holds the `known`
    of its pixels `images` (N, pixels).
    """
    count, pixels = images.shape
    label = clamp or Clamp(
        known.new_zeros(dbn.memory.visible.size), images.new_zeros(count, dbn.memory.visible.size)
    )
    mask = torch.cat([known.expand(count, pixels), label.mask[pixels:].expand(count, -1)], 1)
    return Clamp(mask, torch.cat([images.nan_to_num(), label.values[:, pixels:]], 1))


@check_arguments
def uniform_labels(dbn: DBN, count: int) -> Tensor:
    """Return label shares of `count` chains that favour no label, (count, labels)."""
    whole("count", count, least=0)
    return dbn.memory.weight.new_full((count, dbn.labels), 1 / max(dbn.labels, 1))


@check_arguments
def fill_step(
    dbn: DBN,
    picture: Pixels,
    shares: Shares,
    *,
    rng: torch.Generator,
    clamp: Clamp | None = None,
    steps: int = 1,
    temperature: float = 1.0,
) -> Chains:
    """Return the memory's chains one sweep on: up from the picture as it stands (N, pixels),
    `steps` Gibbs steps with the label shares.
    """
    return run(dbn.memory, top_states(dbn, picture, shares, rng), steps, rng, clamp, temperature)


if not TYPE_CHECKING:
    __getattr__ = renamed.attributes(
        __name__, show="decode", through="reconstruct_per_layer", undecided="uniform_labels"
    )
