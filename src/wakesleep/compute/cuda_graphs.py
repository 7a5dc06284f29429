"""CUDA graphs: on a GPU the kernels of a minibatch are written down once, and then all started by
one call.

A kernel of a minibatch takes a GPU some microseconds, and asking for it from Python takes longer,
so that the GPU would wait for its orders most of the time. A graph holds the orders: the kernels,
where each reads and writes, and the numbers it was given. So what a step touches must stay where it
is, numbers from Python are those of the moment of capture, and nothing may wait for a value from
the GPU. Random numbers go on as they would without: the generator tells each replay where it
stands.

Source: https://docs.pytorch.org/docs/stable/notes/cuda.html#cuda-graphs
"""

from __future__ import annotations

import torch
from torch import Tensor, cuda

from wakesleep.compute import distributed
from wakesleep.compute.ops import Step

WARM_UP = 3
"""Minibatches before a capture: libraries set themselves up and buffers are made when first used,
which a graph cannot hold.
"""
MIN_MINIBATCHES = 20
"""Minibatches from which on a capture is worth what it costs, about as much as some minibatches."""


def replayed(step: Step, rng: torch.Generator, minibatches: int) -> Step:
    """Return what does the same as `step`, captured where `captures` says so; `minibatches` is how
    many of the full size will come.

    The first minibatches run plainly on the capture's own stream: they are real ones, so nothing
    has to be undone. Then `step` is captured for tensors of their shapes and replayed. Tensors of
    another shape, as the last minibatch of an epoch may have, run plainly. All that the step draws
    comes from `rng`.
    """
    if not captures(rng, minibatches):
        return step
    stream, plain = cuda.Stream(rng.device), 0  # type: ignore[no-untyped-call]
    static: list[Tensor] = []
    graph: cuda.CUDAGraph | None = None

    def run(*given: Tensor) -> None:
        nonlocal static, plain, graph
        static = static or [tensor.clone() for tensor in given]
        if [tensor.shape for tensor in given] != [tensor.shape for tensor in static]:
            step(*given)
        elif plain < WARM_UP:
            plain += 1
            stream.wait_stream(cuda.current_stream(rng.device))
            with cuda.stream(stream):
                step(*given)
            cuda.current_stream(rng.device).wait_stream(stream)
        else:
            graph = graph or _captured(step, static, rng, stream)
            for held, tensor in zip(static, given, strict=True):
                held.copy_(tensor)
            graph.replay()

    return run


def captures(rng: torch.Generator, minibatches: int) -> bool:
    """Return whether that many minibatches are captured: on a GPU, by one rank (several meet in
    each), and where there are enough.
    """
    return rng.device.type == "cuda" and distributed.ranks() == 1 and minibatches >= MIN_MINIBATCHES


def _captured(
    step: Step, static: list[Tensor], rng: torch.Generator, stream: cuda.Stream
) -> cuda.CUDAGraph:
    """Return the graph of `step` on the tensors `static`; nothing is done yet. Other threads, a
    server's for one, may go on meanwhile.
    """
    graph = cuda.CUDAGraph()
    graph.register_generator_state(rng)
    with (
        cuda.device(rng.device),
        cuda.graph(graph, stream=stream, capture_error_mode="thread_local"),
    ):
        step(*static)
    return graph
