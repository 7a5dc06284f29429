"""Any model goes to a file and back; files of version 0.1, made by that version, still load for
use.
"""

from __future__ import annotations

import json
import os
import stat
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.datasets import load_iris

import wakesleep as ws
from wakesleep.data import load
from wakesleep.data.preparation import from_header
from wakesleep.data.sets import Dataset
from wakesleep.foundation import files
from wakesleep.foundation.errors import CheckpointError, ConfigError
from wakesleep.runs import checkpoint, tensor_files
from wakesleep.units import Bernoulli, Categorical, Groups, Units, register

OLD = Path(__file__).parents[1] / "data_files"
EXPECTED = json.loads((OLD / "expected-0.1.json").read_text())


def models():
    rng = ws.generator(0)
    untied = ws.DBN((6, 5, 4), labels=3, rng=rng)
    untied.untie()
    untied.generative[0].weight += 1
    return {
        "rbm": ws.RBM(
            Groups(image=Bernoulli(5), label=Categorical(3)), Groups(a=2, b=Categorical(2)), rng=rng
        ),
        "rbm in float64": ws.RBM(5, 4, rng=rng).double(),
        "dbn": ws.DBN((6, 5, 4), labels=3, rng=rng),
        "untied dbn": untied,
        "one layer": ws.DBN((6, 4), rng=rng),
        "dbm": ws.DBM((6, 5, 4), labels=3, rng=rng),
        "helmholtz": ws.Helmholtz((6, 5, 4), rng=rng),
        "classifier": ws.backprop.random_classifier((6, 5, 3), rng=rng),
    }


MODELS = models()


@pytest.mark.parametrize("name", MODELS)
def test_any_model_goes_to_a_file_and_back(name, tmp_path):
    model, path = MODELS[name], tmp_path / "m.safetensors"
    ws.save(model, path, classes=["a", "b", "c"], learned_from="nothing")
    again = ws.load(path)
    assert type(again) is type(model)
    assert checkpoint.model_spec(again) == checkpoint.model_spec(model)
    ours, theirs = model.state_dict(), again.state_dict()
    assert list(ours) == list(theirs)
    assert all(
        torch.equal(ours[key], theirs[key]) and ours[key].dtype == theirs[key].dtype for key in ours
    )
    _, header = checkpoint.read(path)
    assert header["classes"] == ["a", "b", "c"]
    assert header["learned_from"] == "nothing"
    assert stat.S_IMODE(path.stat().st_mode) == 0o666 & ~_umask()
    assert os.listdir(tmp_path) == ["m.safetensors"]


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def test_a_net_that_was_saved_tied_is_tied_again(tmp_path):
    ws.save(MODELS["dbn"], tmp_path / "m")
    assert ws.load(tmp_path / "m").tied
    ws.save(MODELS["untied dbn"], tmp_path / "m")
    assert not ws.load(tmp_path / "m").tied


def test_groups_keep_their_names(tmp_path):
    ws.save(MODELS["rbm"], tmp_path / "m")
    again = ws.load(tmp_path / "m")
    assert again.visible.columns("label") == slice(5, 8)
    assert again.hidden.names == ("a", "b")


def test_what_was_done_to_pictures_is_kept_and_read(tmp_path, digits: Dataset):
    how = from_header(checkpoint.load_model(OLD / "run-0.1.safetensors").header)
    ws.save(MODELS["dbn"], tmp_path / "m", preparation=how)
    model = ws.load_model(tmp_path / "m")
    assert from_header(model.header) == how
    assert model.header["shape"] == [8, 8]
    assert ws.load_model(tmp_path / "m").dbn.sizes == (6, 5, 4)


def test_a_model_of_another_class_is_refused(tmp_path):
    for other in (
        torch.nn.Linear(2, 2),
        torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.GELU(), torch.nn.Linear(2, 2)),
    ):
        with pytest.raises(
            ConfigError, match=r"RBM, DBN, MultimodalDBN, DBM, Helmholtz.*state_dict"
        ):
            ws.save(other, tmp_path / "m")
    with pytest.raises(ConfigError, match="JSON"):
        ws.save(MODELS["rbm"], tmp_path / "m", note={1, 2})
    assert not os.listdir(tmp_path)


def test_what_was_there_survives_a_failure(tmp_path, monkeypatch: pytest.MonkeyPatch):
    path = tmp_path / "m.safetensors"
    ws.save(MODELS["dbn"], path)
    before = path.read_bytes()

    def full(*given, **more):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("safetensors.torch.save_file", full)
    with pytest.raises(CheckpointError, match="free some space"):
        ws.save(MODELS["rbm"], path)
    assert path.read_bytes() == before
    assert os.listdir(tmp_path) == ["m.safetensors"]


def _with_header(path: Path, change) -> None:
    """Write the file again with another header."""
    tensors, header = tensor_files.load_tensors(path, "model")
    note = {"wakesleep": json.dumps(change(header))}
    from safetensors.torch import save_file

    save_file(tensors, path, metadata=note)


def _set_class(name):
    return lambda header: {
        **header,
        "models": {"model": {**header["models"]["model"], "class": name}},
    }


def _set_family(name):
    return lambda header: {
        **header,
        "models": {"model": {**header["models"]["model"], "hidden": {"family": name, "size": 4}}},
    }


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda header: {**header, "format": 99}, r"format 99.*install a newer one"),
        (
            _set_class("Boltzmann"),
            r"'Boltzmann'.*RBM, DBN, MultimodalDBN, DBM, Helmholtz.*install a newer one",
        ),
        (_set_class("DBN"), "damaged"),
        (_set_family("Gamma"), r"'Gamma'.*register"),
        (_set_family("Categorical"), "damaged|levels"),
        (lambda header: {**header, "models": {}}, "describes no model"),
        (lambda header: {**header, "models": {"model": 5}}, "damaged"),
        (
            lambda header: {name: value for name, value in header.items() if name != "models"},
            "describes no model",
        ),
    ],
    ids=[
        "newer",
        "unknown class",
        "another class",
        "unknown family",
        "another family",
        "none",
        "no spec",
        "no models",
    ],
)
def test_specs_that_cannot_be_read_say_what_to_do(change, message, tmp_path):
    ws.save(ws.RBM(5, 3, rng=ws.generator(0)), tmp_path / "m")
    _with_header(tmp_path / "m", change)
    with pytest.raises(CheckpointError, match=message):
        ws.load(tmp_path / "m")


def test_a_family_that_is_registered_later_is_read_then(tmp_path):
    class Bold(Bernoulli):
        pass

    rbm = ws.RBM(register(Bold)(3), 2, rng=ws.generator(0))
    ws.save(rbm, tmp_path / "m")
    from wakesleep.units.registry import FAMILIES

    del FAMILIES["Bold"]
    with pytest.raises(CheckpointError, match="register"):
        ws.load(tmp_path / "m")
    register(Bold)
    assert isinstance(ws.load(tmp_path / "m").visible, Bold)
    assert isinstance(ws.load(tmp_path / "m").visible, Units)
    del FAMILIES["Bold"]


def test_a_subclass_that_is_not_registered_is_not_saved_as_its_parent(tmp_path):
    class Steep(Bernoulli):
        pass

    for visible in (Steep(3), Groups(steep=Steep(2), label=Categorical(2))):
        with pytest.raises(ConfigError, match=r"Steep.*Bernoulli.*register\(Steep\)"):
            ws.save(ws.RBM(visible, 2, rng=ws.generator(0)), tmp_path / "m")
    assert not (tmp_path / "m").exists()


def test_other_models_are_no_deep_belief_nets(tmp_path):
    ws.save(MODELS["helmholtz"], tmp_path / "m")
    with pytest.raises(CheckpointError, match=r"Helmholtz.*wakesleep.load"):
        ws.load_model(tmp_path / "m")


def assert_close(found, name):
    np.testing.assert_allclose(np.asarray(found), EXPECTED[name], rtol=0, atol=2e-4)


def test_a_run_of_version_0_1_loads_for_use(digits: Dataset):
    model = ws.load_model(OLD / "run-0.1.safetensors")
    cases = digits.train.images[0:1000:100]
    assert_close(ws.classify.log_probs(model.dbn, cases), "run_label_log_probs")
    assert model.net is not None
    assert_close(ws.backprop.log_probs(model.net, cases), "run_net_log_probs")
    assert model.header["classes"] == list("0123456789")
    assert from_header(model.header).shape == (8, 8)
    assert isinstance(ws.load(OLD / "run-0.1.safetensors"), ws.DBN)


def test_a_shipped_model_of_version_0_1_loads_for_use(digits: Dataset):
    model = ws.load_model(OLD / "shipped-0.1.safetensors")
    assert model.net is None
    assert model.dbn.memory.weight.dtype == torch.float32, (
        "shipped in half precision, used in single"
    )
    assert_close(
        ws.classify.log_probs(model.dbn, digits.train.images[0:1000:100]), "shipped_label_log_probs"
    )
    dream = ws.dreams.dream(model.dbn, labels=torch.tensor([3]), steps=2, rng=ws.generator(0))
    assert dream.pixels.shape == (1, 64)


def test_an_estimator_of_version_0_1_loads_for_use():
    X = load_iris(return_X_y=True)[0][::15]
    estimator = ws.DBNClassifier.load(OLD / "estimator-0.1.safetensors")
    assert_close(estimator.predict_proba(X), "estimator_probs")
    assert estimator.predict(X).tolist() == EXPECTED["estimator_classes"]


def test_old_files_can_be_saved_as_new_ones(tmp_path, digits: Dataset):
    model = ws.load_model(OLD / "run-0.1.safetensors")
    checkpoint.save_models(tmp_path / "m", {"dbn": model.dbn, "net": model.net}, model.header)
    again = ws.load_model(tmp_path / "m")
    assert again.header["preparation"] == model.header["preparation"]
    assert again.header["format"] == files.FORMAT
    assert "dbn" not in again.header
    cases = load("digits").train.images[0:1000:100]
    assert torch.equal(
        ws.backprop.log_probs(again.net, cases), ws.backprop.log_probs(model.net, cases)
    )


def test_tensors_of_any_type_stand_beside_those_of_a_model(tmp_path):
    """As the state of a generator does in a run that was stopped."""
    rbm = ws.RBM(3, 2, rng=ws.generator(0))
    tensors = {f"model/{name}": tensor for name, tensor in checkpoint.model_tensors(rbm).items()}
    tensors |= {"rng": torch.tensor([0, 1, 200], dtype=torch.uint8), "one": torch.ones(2).byte()}
    header = {"models": {"model": rbm.spec()}}
    assert checkpoint.specs(header, tensors, tmp_path) == header["models"]
