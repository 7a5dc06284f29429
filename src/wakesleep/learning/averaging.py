"""Averaging of weights: the noise of sampling is in the last steps, not in their mean.

A running mean of the weights follows the learning at a distance. Between passes the net holds the mean, which is what anyone should look
at, test or save; while it learns, the weights that learn are put back. Source: Polyak & Juditsky (1992), "Acceleration of stochastic
approximation by averaging".
"""

from __future__ import annotations

from torch import nn

from wakesleep.learning.records import State

EVERY = 5
"""Updates between two steps of the running mean: weights hardly move meanwhile, and reading them all costs."""


def start(net: nn.Module) -> State:
    """Return the state of averaging before the first update: the mean is where the weights are."""
    return {f"mean.{name}": parameter.detach().clone() for name, parameter in net.named_parameters()}


def accumulate(net: nn.Module, state: State, weight: float) -> None:
    """Move the means by `weight` of the way towards the weights."""
    for name, parameter in net.named_parameters():
        state[f"mean.{name}"].lerp_(parameter, weight)


def after_update(net: nn.Module, state: State, horizon: float) -> None:
    """Count an update, and let the means take in the last `EVERY` once there are that many."""
    state["updates"] = state.get("updates", 0) + 1
    if state["updates"] - state.get("averaged", 0) == EVERY:
        catch_up(net, state, horizon)


def catch_up(net: nn.Module, state: State, horizon: float) -> None:
    """Let the means take in the updates since they last did, if any; they look back over `horizon` updates (see `share`)."""
    waiting = state["updates"] - state.get("averaged", 0)
    if waiting:
        accumulate(net, state, share(waiting, state["updates"], horizon))
        state["averaged"] = state["updates"]


def share(waiting: int, done: int, horizon: float) -> float:
    """Return how far the means go towards the weights when the last `waiting` of `done` updates are taken in, in (0, 1].

    All updates weigh alike until there are `horizon` of them, and the weights before the first not at all; then the means look back that far.
    """
    return waiting / min(done, max(horizon, waiting))


def swap(net: nn.Module, state: State) -> None:
    """Exchange weights and means, in place."""
    for name, parameter in net.named_parameters():
        kept = parameter.detach().clone()
        parameter.copy_(state[f"mean.{name}"])
        state[f"mean.{name}"].copy_(kept)
