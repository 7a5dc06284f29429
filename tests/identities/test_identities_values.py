"""Scalars of NumPy and PyTorch are numbers wherever settings or sizes are taken; other types are
refused by the parameter's name.
"""

import dataclasses
import json
import typing

import numpy as np
import pytest
import torch

import wakesleep as ws
from wakesleep.foundation.errors import ConfigError
from wakesleep.foundation.rng import generator
from wakesleep.learning import configs, net_configs, robust, strategies, wake_sleep
from wakesleep.runs import settings

CONFIGS = [
    configs.CDConfig,
    configs.GreedyConfig,
    configs.UpDownConfig,
    configs.HybridConfig,
    net_configs.BackpropConfig,
    robust.RobustConfig,
    strategies.EvolutionConfig,
    strategies.AutoencoderConfig,
    wake_sleep.WakeSleepConfig,
    settings.TrainConfig,
]
FIELDS = [
    (config, field.name, typing.get_type_hints(config)[field.name])
    for config in CONFIGS
    for field in dataclasses.fields(config)
]
PERHAPS = float | None
NUMBERS = [case for case in FIELDS if case[2] in (int, float, PERHAPS)]
SCALARS = {int: [np.int64, np.asarray, torch.tensor], float: [np.float32, np.asarray, torch.tensor]}
SCALARS[PERHAPS] = SCALARS[float]
WRONG = {
    int: ["10", 10.0, None, True, np.float64(10), [1], float("nan")],
    float: ["10", None, True, [0.1], float("nan"), float("inf"), 1j],
    PERHAPS: ["10", True, [0.1], float("nan"), float("inf"), 1j],
    bool: [1, 0.0, None, "yes"],
}


def _name(case):
    return f"{case[0].__name__}.{case[1]}" if isinstance(case, tuple) else None


@pytest.mark.parametrize("case", NUMBERS, ids=_name)
def test_numbers_of_numpy_and_pytorch_are_numbers_and_round_trip(case):
    config, name, kind = case
    default = getattr(config(), name)
    for scalar in SCALARS[kind]:
        given = scalar(0.1 if default is None else default)
        made = config(**{name: given})
        assert type(getattr(made, name)) in (int, float)
        assert getattr(made, name) == given
        assert json.loads(json.dumps(dataclasses.asdict(made)))[name] == getattr(made, name)


@pytest.mark.parametrize("case", [case for case in FIELDS if case[2] in WRONG], ids=_name)
def test_other_types_are_refused_by_name(case):
    config, name, kind = case
    for wrong in WRONG[kind]:
        with pytest.raises(
            ConfigError,
            match=f"^{name} = .*: expected .*; a value of type {type(wrong).__name__} came",
        ):
            config(**{name: wrong})


@pytest.mark.parametrize("case", [case for case in FIELDS if case[2] not in WRONG], ids=_name)
def test_choices_rows_and_settings_are_refused_by_name(case):
    config, name, _ = case
    for wrong in (7, "x", None, {"epochs": 3}, (None,)):
        with pytest.raises(ConfigError, match=rf"^{name}(\[\d\])? = .*: expected "):
            config(**{name: wrong})


def test_rows_of_numbers_become_tuples_of_pythons():
    assert configs.UpDownConfig(gibbs_steps=np.arange(1, 4)).gibbs_steps == (1, 2, 3)
    hidden = settings.TrainConfig(hidden=[np.int64(8), torch.tensor(4)]).hidden
    assert hidden == (8, 4)
    assert {type(size) for size in hidden} == {int}
    made = settings.TrainConfig(
        hidden=np.array([8, 4]), seed=np.uint8(3), validation=np.float32(0.25)
    )
    assert settings.from_json(json.loads(json.dumps(settings.to_json(made)))) == made


@pytest.mark.parametrize(
    "number",
    [np.prod([2, 3]), np.array(6), torch.tensor(6), np.uint8(6)],
    ids=["prod", "array", "tensor", "uint8"],
)
def test_models_take_sizes_from_numpy_and_pytorch(number):
    rng = generator(0)
    assert ws.RBM(number, 4, rng=rng).weight.shape == (6, 4)
    assert ws.RBM(4, number, rng=rng).weight.shape == (4, 6)
    assert ws.DBN((number, 4), labels=number, rng=rng).memory.weight.shape == (12, 4)
    assert ws.DBN(np.array([6, 5, 4]), rng=rng).sizes == (6, 5, 4)
    assert ws.Helmholtz((number, 4), rng=rng).sizes == (6, 4)
    for units in (ws.units.Bernoulli(number), ws.units.Categorical(number)):
        assert type(units.size) is int
        assert json.dumps(units.spec())


@pytest.mark.parametrize("wrong", ["6", 6.0, None, True, [6], np.ones(6), torch.ones(6)], ids=str)
def test_models_refuse_what_is_no_size(wrong):
    rng = generator(0)
    makers = [
        lambda: ws.RBM(wrong, 4, rng=rng),
        lambda: ws.RBM(4, wrong, rng=rng),
        lambda: ws.DBN((4, wrong), rng=rng),
        lambda: ws.DBN((4, 3), labels=wrong, rng=rng),
        lambda: ws.Helmholtz((4, wrong), rng=rng),
        lambda: ws.units.Bernoulli(wrong),
        lambda: ws.units.Categorical(wrong),
    ]
    for make in makers:
        with pytest.raises(ConfigError, match="expected"):
            make()


def test_a_seed_is_no_generator_and_a_spread_is_not_below_zero():
    with pytest.raises(
        ConfigError,
        match=r"rng = 0: expected a torch.Generator, e.g. wakesleep.generator\(0\); a value of "
        r"type int came",
    ):
        ws.RBM(3, 2, rng=0)
    for make in (
        ws.RBM,
        lambda *sizes, **more: ws.DBN(sizes, **more),
        lambda *sizes, **more: ws.Helmholtz(sizes, **more),
    ):
        with pytest.raises(ConfigError, match="weight_std = -1"):
            make(3, 2, rng=generator(0), weight_std=-1)
    with pytest.raises(
        TypeError,
        match=r"__init__.* missing 1 required keyword-only "
        r"argument: 'rng'",
    ):
        ws.RBM(3, 2)
