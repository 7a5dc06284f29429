"""Several nets at once: nets of one shape, from seeds of their own, learn side by side in batched products.

A minibatch of one net of the paper's size leaves most of a GPU idle. Here the weights of S nets are stacked, (S, visible, hidden), and so
are their minibatches, (S, N, visible); a kernel that served one net serves all. Nothing passes between nets: each sees the cases in an order
of its own and does what it would do alone, which is `cd.py` and `backprop.py` with one more dimension in front.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor, nn

from wakesleep.foundation import cases as rows
from wakesleep.foundation import devices, distributed, graphs
from wakesleep.foundation.precision import fine
from wakesleep.learning import backprop, cd, greedy, inputs
from wakesleep.learning.backprop import BackpropConfig
from wakesleep.learning.cd import CDConfig
from wakesleep.learning.configs import require
from wakesleep.learning.greedy import GreedyConfig
from wakesleep.learning.records import Pass, State, check_finite
from wakesleep.model.dbn import DBN
from wakesleep.model.rbm import RBM
from wakesleep.model.units import Bernoulli, Units, pick, softmax_columns


class Machines(NamedTuple):
    """S machines of one shape: `weight` (S, visible, hidden), `visible_bias` (S, 1, visible), `hidden_bias` (S, 1, hidden)."""

    visible: Units
    hidden: Units
    weight: Tensor
    visible_bias: Tensor
    hidden_bias: Tensor

    def hidden_probs(self, visible: Tensor) -> Tensor:
        """Return E[h | v], (S, N, hidden)."""
        return self.hidden.mean(torch.baddbmm(self.hidden_bias, visible, self.weight))

    def visible_probs(self, hidden: Tensor) -> Tensor:
        """Return E[v | h], (S, N, visible)."""
        return self.visible.mean(torch.baddbmm(self.visible_bias, hidden, self.weight.mT))


def pretrain(
    nets: Sequence[DBN],
    images: Tensor,
    labels: Tensor | None = None,
    *,
    config: GreedyConfig,
    rng: torch.Generator,
    state: State | None = None,
) -> Iterator[Pass]:
    """Pretrain `nets` of one shape on `images` (N, pixels) and labels (N,), from the pixels up, in place: `greedy.epochs` for all at once.

    What lower layers make of the cases is kept for each net: S N units float32.

    Yields:
        A `Pass` after each pass of each layer, its stage "layer 1", ... or "memory", with the metrics of `cd.epochs`, means over the nets.

    Raises:
        ConfigError: nets of several shapes, several ranks, or a config with chains that persist, centring or a sparsity cost.
        DataError: a label group without labels, or labels out of range.
        DivergedError: NaN or infinite weights.
    """
    _require_alike(nets)
    require(
        not (nets[0].labels and greedy.chained_passes(config)),
        "several nets at once learn by CD-k alone; expected GreedyConfig(..., chains=ChainsConfig(share=0.0))",
    )
    for each in (config.layer, config.memory):
        plain = not (each.persistent or each.centred or each.sparsity_cost)
        require(plain, "several nets at once learn by CD-k alone; expected persistent=False, centred=False and sparsity_cost=0")
    images, labels, _ = inputs.for_stack(nets[0], images, labels, None, rng=rng)
    first, inner = (0, None) if state is None else (int(state["layer"]), state["inner"])
    for layer in range(first, nets[0].depth):
        work = [greedy.work(net, images, labels, None, layer) for net in nets]
        if inner is None:
            for rbm, cases, _, _ in work:
                cd.set_base_rates(rbm, cases)
        shared = all(cases is images for _, cases, _, _ in work)
        cases = images if shared else torch.stack([cases for _, cases, _, _ in work])
        top = layer == nets[0].depth - 1
        each, stage = (config.memory, "memory") if top else (config.layer, f"layer {layer + 1}")
        for record in _epochs([rbm for rbm, *_ in work], cases, work[0][2], each, rng, inner, stage):
            yield record._replace(state={"layer": layer, "inner": record.state})
        inner = None


def _epochs(
    rbms: Sequence[RBM], cases: Tensor, classes: Tensor | None, config: CDConfig, rng: torch.Generator, state: State | None, stage: str
) -> Iterator[Pass]:
    """Train machines of one shape by CD-k on `cases`, (N, visible) for all or (S, N, visible), in place: `cd.epochs` for all at once."""
    machines = _stacked(rbms)
    moving = {name: getattr(machines, name) for name in ("weight", "visible_bias", "hidden_bias")}
    if state is None:
        state = {"epoch": 0} | {f"increment.{name}": torch.zeros_like(parameter) for name, parameter in moving.items()}
    n, error = cases.shape[-2], torch.zeros((), device=machines.weight.device)
    for epoch in range(int(state["epoch"]), config.passes):
        error.zero_()
        plain = partial(_step, machines, cases, config, epoch, state, rng, error)
        step = graphs.replayed(plain, rng, n // config.batch_size)
        with devices.at_work(rng.device):
            for index in _minibatches(len(rbms), classes, n, config.batch_size, rng):
                step(index)
        check_finite(moving, config.rate(epoch))
        for number, rbm in enumerate(rbms):
            for name, parameter in moving.items():
                getattr(rbm, name).copy_(parameter[number].view_as(getattr(rbm, name)))
        state = {**state, "epoch": epoch + 1}
        wrong = float(error) / (len(rbms) * n * machines.visible.size)
        yield Pass(stage, epoch + 1, config.passes, n, {"learning_rate": config.rate(epoch), "reconstruction_error": wrong}, state)


def _stacked(rbms: Sequence[RBM]) -> Machines:
    """Return the machines with copies of their weights, one above the other."""
    weight = torch.stack([rbm.weight for rbm in rbms])
    visible_bias, hidden_bias = torch.stack([rbm.visible_bias for rbm in rbms]), torch.stack([rbm.hidden_bias for rbm in rbms])
    return Machines(rbms[0].visible, rbms[0].hidden, weight, visible_bias[:, None], hidden_bias[:, None])


def _step(
    machines: Machines, cases: Tensor, config: CDConfig, epoch: int, state: State, rng: torch.Generator, error: Tensor, index: Tensor
) -> None:
    """Learn from the cases `index` (S, n), a minibatch for each machine, in place, and add what was reconstructed wrongly to `error`."""
    data = _gather(cases, index)
    heard = torch.baddbmm(machines.hidden_bias, data, machines.weight)
    positive = machines.hidden.mean(heard)
    groups = softmax_columns(machines.visible) if config.label_first else []
    negative = machines.hidden.mean(_draw_labels(machines, groups, data, heard, rng)) if groups else positive
    for _ in range(config.gibbs_steps):
        states = machines.hidden.sample(negative, rng)
        model = machines.visible_probs(states)
        if config.sample_visible:
            model = machines.visible.sample(model, rng)
        negative = machines.hidden_probs(model)
    difference = data - model
    error += difference.square().sum()
    rate, momentum, size = config.rate(epoch), config.momentum_at(epoch), index.shape[1]
    visible, hidden = torch.cat([data, model], 1), torch.cat([positive, -negative], 1)
    increment = state["increment.weight"].baddbmm_(visible.mT, hidden, beta=momentum, alpha=rate / size)
    machines.weight.add_(increment.add_(machines.weight, alpha=-rate * config.weight_decay))
    for bias, name, change in ((machines.visible_bias, "visible_bias", difference), (machines.hidden_bias, "hidden_bias", hidden)):
        bias.add_(state[f"increment.{name}"].mul_(momentum).add_(change.sum(1, keepdim=True), alpha=rate / size))


def _draw_labels(machines: Machines, groups: Sequence[slice], data: Tensor, total_input: Tensor, rng: torch.Generator) -> Tensor:
    """Return the hidden units' input (S, N, hidden) with each softmax group redrawn given all other visible units."""
    for columns in groups:
        weight = machines.weight[:, columns]
        total_input = torch.baddbmm(total_input, data[..., columns], weight, alpha=-1.0)
        scores = machines.hidden.log_partition_shifts(total_input, weight) + machines.visible_bias[..., columns]
        drawn = rows.one_hot(pick(torch.softmax(scores, -1), rng), weight.shape[1], weight.dtype)
        total_input = torch.baddbmm(total_input, drawn, weight)
    return total_input


def finetune(
    nets: Sequence[nn.Sequential],
    images: Tensor,
    labels: Tensor,
    *,
    config: BackpropConfig,
    rng: torch.Generator,
    state: State | None = None,
    stage: str = "backprop",
    dtype: torch.dtype | None = None,
) -> Iterator[Pass]:
    """Fine-tune feed-forward `nets` of one shape on `images` (N, pixels) with `labels` (N,), in place: `backprop.epochs` for all at once.

    Yields:
        Pass, with the metrics of `backprop.epochs`, means over the nets.

    Raises:
        ConfigError: nets of several shapes, several ranks, or conjugate gradient.
        DataError: as `backprop.epochs`.
        DivergedError: NaN or infinite weights.
    """
    _require_alike(nets)
    require(config.method == "sgd", f"method = {config.method!r}: several nets at once learn by SGD alone; expected method='sgd'")
    images, targets = backprop.checked_cases(nets[0], images, labels, config, rng=rng)
    classes = None if targets.is_floating_point() else targets
    stacked = {name: torch.stack([dict(net.named_parameters())[name].detach() for net in nets]) for name, _ in nets[0].named_parameters()}
    moving = {name: nn.Parameter(value if value.ndim == 3 else value[:, None]) for name, value in stacked.items()}
    if state is None:
        state = {"epoch": 0} | {f"momentum.{name}": torch.zeros_like(parameter) for name, parameter in moving.items()}
    for epoch in range(int(state["epoch"]), config.passes):
        loss, errors = _sgd_pass(moving, len(nets), images, targets, config, epoch, state, rng, dtype)
        check_finite(moving, config.rate(epoch))
        with torch.no_grad():
            for number, net in enumerate(nets):
                for name, parameter in net.named_parameters():
                    parameter.copy_(moving[name][number].view_as(parameter))
        state = {**state, "epoch": epoch + 1}
        each = len(nets) * len(images)
        metrics = {"squared_error": loss / each}
        if classes is not None:
            metrics = {"cross_entropy": loss / each, "train_error_percent": 100 * errors / each}
        yield Pass(stage, epoch + 1, config.passes, len(images), {**metrics, "learning_rate": config.rate(epoch)}, state)


def _sgd_pass(
    moving: dict[str, nn.Parameter],
    count: int,
    images: Tensor,
    targets: Tensor,
    config: BackpropConfig,
    epoch: int,
    state: State,
    rng: torch.Generator,
    dtype: torch.dtype | None,
) -> tuple[float, int]:
    """Return the loss and the number of errors of a pass of SGD, summed over cases and nets; velocities of `state` move in place."""
    weights = [parameter for name, parameter in moving.items() if name.endswith("weight")]
    biases = [parameter for name, parameter in moving.items() if not name.endswith("weight")]
    optimizer = backprop.sgd(moving, config, epoch, state)
    loss_sum, errors = torch.zeros((), device=images.device), torch.zeros((), device=images.device)
    pixels = Bernoulli(images.shape[1])

    def learn(index: Tensor) -> None:
        batch, target = _gather(images, index), targets[index].flatten(0, 1)
        if config.sample_pixels:
            batch = pixels.sample(batch, rng)
        with torch.autocast(images.device.type, dtype=dtype, enabled=dtype not in (None, torch.float32)):
            for depth, (weight, bias) in enumerate(zip(weights, biases, strict=True)):
                batch = torch.baddbmm(bias, torch.sigmoid(batch) if depth else batch, weight.mT)
        outputs = batch.to(fine(batch.dtype)).flatten(0, 1)
        loss = backprop.mean_loss(outputs, target)
        optimizer.zero_grad(set_to_none=True)
        (count * loss).backward()  # type: ignore[no-untyped-call]  # a mean over the cases of each net, not of all
        optimizer.step()
        loss_sum.add_(loss.detach() * len(target))
        errors.add_(backprop.count_errors(outputs.detach(), target))

    classes = None if targets.is_floating_point() else targets
    step = graphs.replayed(learn, rng, len(images) // config.batch_size)
    with devices.at_work(rng.device):
        for index in _minibatches(count, classes, len(images), config.batch_size, rng):
            step(index)
    return float(loss_sum), int(errors)


def _minibatches(count: int, classes: Tensor | None, n: int, size: int, rng: torch.Generator) -> Sequence[Tensor]:
    """Return the minibatches of a pass, (S, size) numbers of cases each: an order of its own for every net."""
    return torch.split(torch.stack([rows.order(classes, n, rng) for _ in range(count)]), size, 1)


def _gather(cases: Tensor, index: Tensor) -> Tensor:
    """Return the cases `index` (S, n) of all nets' `cases` (N, D), or of each net's own (S, N, D), as probabilities (S, n, D)."""
    if cases.ndim == 3:
        index = index + torch.arange(len(cases), device=index.device)[:, None] * cases.shape[1]
        cases = cases.flatten(0, 1)
    return rows.as_probs(rows.take(cases, index.flatten())).view(*index.shape, -1)


def _require_alike(nets: Sequence[nn.Module]) -> None:
    shapes = {tuple((name, tuple(value.shape)) for name, value in net.state_dict().items()) for net in nets}
    require(len(shapes) == 1, f"{len(nets)} nets of {len(shapes)} shapes came; expected one or more nets, all of one shape")
    require(distributed.ranks() == 1, f"{distributed.ranks()} ranks: several nets at once learn in one process; give each rank nets of its own")
