"""All settings of a run: one frozen dataclass, its presets, and its way to JSON and back."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, get_args

from wakesleep.foundation import files, renamed
from wakesleep.foundation.errors import CheckpointError, ConfigError
from wakesleep.foundation.ranges import require
from wakesleep.foundation.values import check_fields
from wakesleep.learning.configs import (
    CDConfig,
    ChainsConfig,
    DBMConfig,
    GreedyConfig,
    HybridConfig,
    UpDownConfig,
)
from wakesleep.learning.net_configs import BackpropConfig, SemiSupervisedConfig

ModelName = Literal["dbn", "dbm"]
StageName = Literal["pretrain", "updown", "hybrid", "backprop", "semisupervised", "random", "dbm"]
Precision = Literal["auto", "float32", "bfloat16"]


@dataclass(frozen=True)
class TrainConfig:
    """All settings of a run."""

    model: ModelName = "dbn"
    """dbn: a deep belief net; dbm: a deep Boltzmann machine, of two hidden layers or more."""
    hidden: tuple[int, ...] = (500, 500, 2000)
    """Hidden layers from the pixels up; the last one is the top of the associative memory."""
    label_memory: bool = True
    """Let the labels join at the top, as a softmax group of the memory; without them the fine-tuned
    net starts its label layer small.
    """
    stages: tuple[StageName, ...] = ("pretrain", "backprop", "random")
    """What to do, in order: pretrain layer by layer; updown, contrastive wake-sleep from there (a
    better generative model, but each epoch costs several of pretraining); hybrid, contrastive
    wake-sleep and backpropagation at once on the same weights (the best recogniser that still
    dreams); backprop, a feed-forward net by backpropagation from there; semisupervised, that net
    from few labels and what it says of all other cases; random, the same net from random weights to
    compare with. Of a deep Boltzmann machine: pretrain, each pair of layers, which may be left
    out; dbm, all its layers at once; and backprop.
    """
    validation: float = 10_000
    """How many of the last training cases (or, below 1, which part of them) are held out to pick
    the epoch of the fine-tuned net; 0 trains on all and keeps the last epoch. A set that stays on
    the disk holds out its last cases by itself: 0.
    """
    shifted: bool = False
    """Show each training picture in nine places: as it is, and a pixel up, down, to the sides and
    along both diagonals. An epoch is nine times as long then.
    """
    seed: int = 0
    """Seed of every random choice."""
    precision: Precision = "auto"
    """Of matrix products while learning; weights are always float32.
    bfloat16 is about twice as fast where the processor has it, with no loss of accuracy seen; auto
    looks at its instruction sets, and the run keeps to what follows from them.
    """
    chunk: int = 4096
    """Consecutive cases that are read at once from a set that stays on the disk; eight such chunks
    are learned from together while the next eight are read. Several ranks need whole chunks, at
    least one each.
    """
    greedy: GreedyConfig = field(default_factory=GreedyConfig)
    """Greedy pretraining; of a deep Boltzmann machine `layer` is for every pair of layers."""
    updown: UpDownConfig = field(default_factory=UpDownConfig)
    """Contrastive wake-sleep from the pretrained weights."""
    hybrid: HybridConfig = field(default_factory=HybridConfig)
    """Contrastive wake-sleep and backpropagation together."""
    dbm: DBMConfig = field(default_factory=lambda: DBMConfig(centred=True))
    """A deep Boltzmann machine's learning; centred, it needs no pretraining."""
    backprop: BackpropConfig = field(default_factory=BackpropConfig)
    """Backpropagation from the pretrained weights."""
    semisupervised: SemiSupervisedConfig = field(default_factory=SemiSupervisedConfig)
    """Few labels, many cases, after backpropagation."""
    random: BackpropConfig = field(default_factory=lambda: BackpropConfig(learning_rate=0.1))
    """Backpropagation from random weights: half the rate, for at 0.2 they stayed at chance on
    MNIST.
    """

    def __post_init__(self) -> None:
        check_fields(self)
        require(
            len(self.hidden) >= 1 and min(self.hidden) >= 1,
            f"hidden = {self.hidden}: expected at least one layer of at least one unit",
        )
        _check_stages(self.stages)
        require(self.validation >= 0, f"validation = {self.validation}: expected 0 or more cases")
        require(self.chunk >= 1, f"chunk = {self.chunk}: expected at least 1 case")


def _check_stages(stages: tuple[StageName, ...]) -> None:
    """Raise ConfigError unless a run can go through `stages` in their order."""
    known = get_args(StageName)
    prefix = f"stages = {stages!r}: expected"
    require(
        not isinstance(stages, str) and len(stages) > 0,
        f"{prefix} at least one of {', '.join(known)}, as a tuple",
    )
    unknown = [stage for stage in stages if stage not in known]
    require(
        not unknown,
        f"{prefix} {', '.join(known)}; {', '.join(map(repr, unknown))} is none of them",
    )
    require(len(set(stages)) == len(stages), f"{prefix} each at most once")
    require(
        "semisupervised" not in stages or "backprop" in stages[: stages.index("semisupervised")],
        f"{prefix} backprop before semisupervised, whose net goes on learning",
    )
    before = (
        [stage for stage in stages[: stages.index("pretrain")] if stage != "random"]
        if "pretrain" in stages
        else []
    )
    require(
        not before,
        f"{prefix} pretrain before {' and '.join(before)}, which would start from weights that it "
        "then replaces",
    )


SMALL = 10_000
"""Training cases below which a set gets the small net and minibatches of 20: in minibatches of 100
it would see too few updates an epoch.
"""
SHOWN = 86_520
"""Cases that a layer of the small net is shown in all its epochs, 60 of the digits' 1,442: 4,326
updates.
"""
SHIFTED_SIDE = 16
"""Rows and columns from which a picture a pixel aside still shows the same: of 8 x 8 a pixel is an
eighth.
"""


def preset(name: str) -> TrainConfig:
    """Return the settings that suit the data set `name`, as far as its name or its place tell:
    `suited` takes the number of its cases.

    Of a set that stays on the disk, only what streams: contrastive wake-sleep does not, and a net
    from random weights would double the epochs.
    """
    if name == "digits":
        return suited(1442, tested=True)
    from wakesleep.data import KNOWN, stays_on_disk

    if stays_on_disk(name):
        return replace(suited(SMALL), stages=("pretrain", "backprop"), validation=0)
    return replace(suited(SMALL), validation=10_000 if name in KNOWN else 1 / 6)


def suited(cases: int, *, tested: bool = False, shape: tuple[int, int] = (1, 1)) -> TrainConfig:
    """Return the settings that suit a set of so many training cases; where it brings test cases
    (`tested`) and is small, none are held out.

    `shape` is (rows, columns) of its pictures.

    From 10,000 cases on the paper's net. Smaller sets have a smaller net, minibatches of 20 cases,
    and as many more epochs as they are smaller: about as many updates as the digits, which have 60
    epochs of 1,442 cases. Their epochs of fine-tuning follow in proportion.

    Pictures of which nine times as many were still a small set are shown in nine places, in a ninth
    of the epochs, to a net of one layer less: a few hundred do not say by themselves that a letter
    a pixel aside is the same letter, and the net learned them by heart. Of 300 letters at 28 x 28
    (1,000 others to test) it got 5.3 % wrong, so shown 0.5 %. Photographs of three shapes in uneven
    light stay hard.
    """
    stages: tuple[StageName, ...] = ("pretrain", "updown", "backprop", "random")
    if cases >= SMALL:
        falling = CDConfig(final_learning_rate=0.01)
        chains = ChainsConfig(learning_rate=0.03, final_learning_rate=0.002)
        pretraining = GreedyConfig(falling, replace(falling, final_learning_rate=0.005), chains)
        return TrainConfig(stages=stages, greedy=pretraining, validation=1 / 6)
    shifted = min(shape) >= SHIFTED_SIDE and 9 * cases < SMALL
    epochs = round(SHOWN / (9 * cases)) if shifted else max(round(SHOWN / cases), 30)
    epochs = min(epochs, 300)
    layer = CDConfig(epochs=epochs, batch_size=20, final_learning_rate=0.01)
    tune = BackpropConfig(
        epochs=round(epochs * 2 / 3), batch_size=20, learning_rate=0.05, sample_pixels=False
    )
    slow = UpDownConfig(
        batch_size=20,
        learning_rate=0.01,
        final_learning_rate=0.0005,
        gibbs_steps=(1, 3),
        label_weight=20.0,
        persistent=0.5,
    )
    return TrainConfig(
        hidden=(200, 500) if shifted else (200, 200, 500),
        shifted=shifted,
        stages=stages,
        validation=0 if tested else 1 / 6,
        precision="float32",  # products this small gain nothing
        greedy=GreedyConfig(layer, layer),
        updown=replace(slow, epochs=round(epochs / 2)),
        backprop=tune,
        random=tune,
    )


def for_dbm(config: TrainConfig, *, pretrained: bool = True) -> TrainConfig:
    """Return the settings that suit a deep Boltzmann machine where `config` suits a deep belief
    net: two hidden layers, and a fine-tuned net that takes the mean field of a case, which is no
    probability of binary pixels.

    `pretrained` ones learn as those of `DBMClassifier`; others begin at small random weights and
    learn for longer, at three times the rate.
    """
    batch_size = config.greedy.layer.batch_size
    small = batch_size < 100
    pair = CDConfig(epochs=30, batch_size=batch_size, learning_rate=0.05, centred=True)
    how = DBMConfig(
        epochs=20 if pretrained else 150 if small else 100,
        batch_size=batch_size,
        learning_rate=0.01 if pretrained else 0.03,
        final_learning_rate=0.0003,
        momentum=0.0,
        initial_momentum=0.0,
        weight_decay=3e-4,
        gibbs_steps=1,
        mean_field_steps=5,
        centred=True,
    )
    return replace(
        config,
        model="dbm",
        hidden=(200, 200) if small else (500, 1000),
        stages=("pretrain", "dbm", "backprop") if pretrained else ("dbm", "backprop"),
        shifted=False,
        greedy=replace(config.greedy, layer=pair),
        dbm=how,
        backprop=replace(config.backprop, sample_pixels=False),
    )


def for_few_labels(config: TrainConfig, cases: int) -> TrainConfig:
    """Return the settings that suit so many training cases where most have no label: what few there
    are is all learned from.

    Backpropagation makes a tenth of its epochs, at half the rate, from labels that spread; then
    about 3,000 updates or 30 epochs follow.
    """
    tune = replace(
        config.backprop,
        epochs=max(3, config.backprop.epochs // 10),
        learning_rate=config.backprop.learning_rate / 2,
    )
    size = tune.batch_size
    epochs = min(max(30, -(-3000 * size // max(cases, 1))), 100)
    after = replace(config.semisupervised, epochs=epochs, batch_size=size)
    stages: tuple[StageName, ...] = ("pretrain", "backprop", "semisupervised")
    return replace(
        config, stages=stages, validation=0, shifted=False, backprop=tune, semisupervised=after
    )


def for_this_rank(config: TrainConfig) -> TrainConfig:
    """Return the settings by which one of several ranks learns: its part of every minibatch of the
    stages to come.

    Raises:
        ConfigError: a minibatch that the ranks cannot share evenly.
    """
    from wakesleep.compute import distributed

    part, stages = distributed.part_of_batch, config.stages
    if distributed.ranks() == 1:
        return config

    def less(settings: Any) -> Any:
        cg = (
            {"cg_batch_size": part(settings.cg_batch_size)}
            if getattr(settings, "method", "") == "cg"
            else {}
        )
        return replace(settings, batch_size=part(settings.batch_size), **cg)

    changed: dict[str, Any] = {
        name: less(getattr(config, name))
        for name in ("updown", "backprop", "random", "dbm")
        if name in stages
    }
    if "pretrain" in stages:
        changed["greedy"] = replace(
            config.greedy, layer=less(config.greedy.layer), memory=less(config.greedy.memory)
        )
    if "hybrid" in stages:
        changed["hybrid"] = replace(config.hybrid, updown=less(config.hybrid.updown))
    return replace(config, **changed)


def to_json(config: TrainConfig) -> dict[str, Any]:
    """Return the settings as plain values."""
    return dataclasses.asdict(config)


def from_json(values: dict[str, Any]) -> TrainConfig:
    """Return the settings that `to_json` wrote.

    Raises:
        ConfigError: unknown names or values that cannot work.
    """
    try:
        values = renamed.keys(values)
        plain = {**values, "hidden": tuple(values["hidden"]), "stages": tuple(values["stages"])}
        plain["greedy"] = _greedy(values["greedy"])
        plain |= {name: BackpropConfig(**values[name]) for name in ("backprop", "random")}
        if "semisupervised" in values:
            plain["semisupervised"] = SemiSupervisedConfig(**values["semisupervised"])
        if "dbm" in values:
            plain["dbm"] = DBMConfig(**values["dbm"])
        if "updown" in values:
            plain["updown"] = _updown(values["updown"])
        if "hybrid" in values:
            plain["hybrid"] = HybridConfig(
                **{**values["hybrid"], "updown": _updown(values["hybrid"]["updown"])}
            )
        return TrainConfig(**plain)
    except (KeyError, TypeError, AttributeError) as error:
        raise ConfigError(f"these are no settings of this version of wakesleep: {error}") from error


def _greedy(values: dict[str, Any]) -> GreedyConfig:
    """Return greedy pretraining's settings; runs older than the memory's chains went without."""
    layers = {name: CDConfig(**inner) for name, inner in values.items() if name != "chains"}
    return GreedyConfig(**layers, chains=ChainsConfig(**values.get("chains", {"share": 0.0})))


def _updown(values: dict[str, Any]) -> UpDownConfig:
    return UpDownConfig(**{**values, "gibbs_steps": tuple(values["gibbs_steps"])})


def read_config(folder: Path) -> TrainConfig:
    """Return the settings of a run folder.

    Raises:
        CheckpointError: they are missing, damaged, or of a newer format.
    """
    values = files.read_json(folder / "config.json")
    if values.pop("format", None) not in range(files.FORMAT + 1):
        raise CheckpointError(
            f"{folder} was written by a newer wakesleep; install that version or a later one"
        )
    try:
        return from_json(values)
    except ConfigError as error:
        raise CheckpointError(
            f"{folder / 'config.json'} cannot be used: {error}; another version of wakesleep "
            "has written it, or it is damaged"
        ) from error
