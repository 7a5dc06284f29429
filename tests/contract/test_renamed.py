"""Old names of version 0.1 work and warn once: of the package, of settings, on the command line, in
files.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import wakesleep as ws
from wakesleep.cli import parse
from wakesleep.data.distort import Distortion
from wakesleep.foundation import renamed
from wakesleep.learning.configs import ChainsConfig
from wakesleep.learning.strategies import AutoencoderConfig, EvolutionConfig
from wakesleep.runs import settings


@pytest.fixture(autouse=True)
def _nothing_was_warned_of() -> Iterator[None]:
    renamed.warn.cache_clear()
    yield
    renamed.warn.cache_clear()


@pytest.mark.parametrize("old", ["inside", "insight"])
def test_names_of_the_package_warn_once(old: str) -> None:
    with pytest.warns(
        DeprecationWarning,
        match=rf"wakesleep\.{old} is now called "
        r"wakesleep\.interpretation",
    ):
        assert getattr(ws, old) is ws.interpretation
    assert getattr(ws, old) is ws.interpretation  # a second warning would be an error here


@pytest.mark.parametrize(
    ("module", "old", "new"),
    [
        (ws.interpretation, "prefers", "receptive_fields"),
        (ws.interpretation, "contributes", "projective_field"),
        (ws.dreams, "show", "decode"),
        (ws.dreams, "through", "reconstruct_per_layer"),
        (ws.dreams, "undecided", "uniform_labels"),
        (ws.missing, "begin", "init_missing"),
        (ws.ais, "begin", "init_forward"),
        (ws.ais, "begin_reverse", "init_reverse"),
        *(
            (loop, "start", "init_state")
            for loop in (ws.cd, ws.up_down, ws.wake_sleep, ws.backprop, ws.robust)
            if hasattr(loop, "init_state")
        ),
    ],
)
def test_functions_are_found_by_their_old_names(module: Any, old: str, new: str) -> None:
    with pytest.warns(DeprecationWarning, match=f"{old} is now called {new}"):
        assert getattr(module, old) is getattr(module, new)
    with pytest.raises(AttributeError, match="nothing_of_that_name"):
        _ = module.nothing_of_that_name


@pytest.mark.parametrize(
    ("old", "module", "new"),
    [("epochs", ws.greedy, "epochs"), ("fine_tune", ws.backprop, "epochs")],
)
def test_the_functions_of_streaming_have_other_names_now(
    old: str, module: Any, new: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, new, lambda *given, **settings: (given, settings))
    words = rf"streaming\.{old} is now called {module.__name__.rpartition('.')[2]}\.{new}"
    with pytest.warns(DeprecationWarning, match=words) as said:
        assert getattr(ws.streaming, old)(1, 2, rng=3) == ((1, 2), {"rng": 3})
    assert said[0].filename == __file__


CONFIGS: list[tuple[type, dict[str, str]]] = [
    (ws.CDConfig, {"passes": "epochs", "initial_momentum_passes": "initial_momentum_epochs"}),
    (ws.UpDownConfig, {"passes": "epochs"}),
    (ws.BackpropConfig, {"passes": "epochs", "cg_top_passes": "cg_top_epochs"}),
    (
        ws.RobustConfig,
        {"passes": "epochs", "mean_passes": "mean_epochs", "smooth_radius": "vat_epsilon"},
    ),
    (ws.WakeSleepConfig, {"passes": "epochs"}),
    (EvolutionConfig, {"passes": "epochs"}),
    (AutoencoderConfig, {"passes": "epochs"}),
    (Distortion, {"stretch": "scale", "turn": "rotation", "bend": "alpha", "smooth": "sigma"}),
]


@pytest.mark.parametrize(
    ("kind", "old", "new"), [(kind, *pair) for kind, names in CONFIGS for pair in names.items()]
)
def test_settings_are_made_and_read_by_their_old_names(kind: type, old: str, new: str) -> None:
    value = 0.25 if kind is Distortion else 3
    with pytest.warns(
        DeprecationWarning,
        match=rf"{kind.__name__}\({old}=\.\.\.\) is now "
        rf"called {new}=",
    ):
        made = kind(**{old: value})
    assert made == kind(**{new: value})
    with pytest.warns(DeprecationWarning, match=f"{kind.__name__}.{old} is now called {new}"):
        assert getattr(made, old) == value
    assert replace(made, **{old: 2 * value}) == kind(**{new: 2 * value})


def test_methods_of_settings_have_their_old_names() -> None:
    config = ws.CDConfig(final_learning_rate=0.01)
    with pytest.warns(DeprecationWarning, match="rate is now called learning_rate_at"):
        assert config.rate(3) == config.learning_rate_at(3)  # type: ignore[attr-defined]
    with pytest.warns(DeprecationWarning, match="passes is now called epochs"):
        assert ChainsConfig().passes(config) == ChainsConfig().epochs(config)  # type: ignore[attr-defined]


def test_options_of_the_command_line_have_their_old_names(
    capsys: pytest.CaptureFixture[str],
) -> None:
    old = (
        "--greedy.layer.passes 5 --greedy.memory.initial-momentum-passes=2 --hybrid.updown.passes "
        "3 --backprop.cg_top_passes 4"
    )
    new = (
        "--greedy.layer.epochs 5 --greedy.memory.initial-momentum-epochs=2 --hybrid.updown.epochs "
        "3 --backprop.cg-top-epochs 4"
    )
    expected = parse(["train", *new.split()]).args
    assert capsys.readouterr().err == ""
    assert parse(["train", *old.split()]).args == expected
    said = capsys.readouterr().err
    assert "wakesleep: --greedy.layer.passes is now called --greedy.layer.epochs" in said
    assert len(said.splitlines()) == 4
    assert renamed.flags(["RUN", "--up-passes", "3", "passes"]) == [
        "RUN",
        "--up-passes",
        "3",
        "passes",
    ]


def test_settings_of_old_runs_are_read(tmp_path: Path) -> None:
    back = {new: old for old, new in renamed.FIELDS.items()}
    later = ("semisupervised", "units_frozen_epochs")

    def aged(values: Any) -> Any:
        return (
            {
                back.get(name, name): aged(value)
                for name, value in values.items()
                if name not in later
            }
            if isinstance(values, dict)
            else values
        )

    config = settings.preset("mnist")
    old = aged(settings.to_json(config))
    assert old["greedy"]["layer"]["passes"] == config.greedy.layer.epochs
    assert "epochs" not in json.dumps(old)
    (tmp_path / "config.json").write_text(json.dumps({"format": 1, **old}), encoding="utf-8")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert settings.read_config(tmp_path) == config
