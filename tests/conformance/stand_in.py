"""A stand-in for CUDA, so that captures can be watched where there is no GPU."""

from __future__ import annotations

from contextlib import contextmanager
from types import SimpleNamespace

import pytest

from wakesleep.compute import cuda_graphs
from wakesleep.compute.reference import Reference


class Machine:
    """CUDA without a GPU: what is ordered during a capture is noted and not done, and a replay does
    it with what the tensors hold by then.
    """

    def __init__(self):
        self.told, self.capturing, self.on, self.graphs = [], None, "main", []
        machine = self

        class Stream:
            def __init__(self, device=None):
                self.name = "main" if device == "main" else "side"

            def wait_stream(self, other):
                machine.told.append(f"{self.name} waits for {other.name}")

        class Graph:
            def __init__(self):
                self.orders, self.rng = [], None
                machine.graphs.append(self)

            def register_generator_state(self, rng):
                self.rng = rng

            def replay(self):
                machine.told.append("replay")
                for step, given in self.orders:
                    step(*given)

        @contextmanager
        def stream(chosen):
            self.on = chosen.name
            yield
            self.on = "main"

        @contextmanager
        def graph(made, stream, capture_error_mode):
            self.told.append(f"capture on {stream.name}")
            self.capturing = made
            yield
            self.capturing = None

        @contextmanager
        def device(chosen):
            yield

        self.cuda = SimpleNamespace(
            Stream=Stream,
            CUDAGraph=Graph,
            stream=stream,
            graph=graph,
            device=device,
            current_stream=lambda device: Stream("main"),
        )

    def noting(self, step):
        def noted(*given):
            if self.capturing is None:
                self.told.append(f"plain on {self.on}")
                step(*given)
            else:
                self.capturing.orders.append((step, given))

        return noted

    @classmethod
    def stands_in(cls, monkeypatch: pytest.MonkeyPatch) -> Machine:
        """Put a machine in CUDA's place, and let every loop that has enough minibatches be captured
        on it.
        """
        machine = cls()
        monkeypatch.setattr(cuda_graphs, "cuda", machine.cuda)
        monkeypatch.setattr(
            cuda_graphs, "captures", lambda rng, minibatches: minibatches > cuda_graphs.WARM_UP
        )
        monkeypatch.setattr(
            Reference,
            "replay",
            lambda self, step, rng, minibatches: cuda_graphs.replayed(
                machine.noting(step), rng, minibatches
            ),
        )
        return machine
