"""Every loop, and everything that looks at cases, takes and refuses the same cases and labels,
before the first epoch.
"""

import numpy as np
import pytest
import torch

import wakesleep as ws
from wakesleep.evaluation import ais, bound, exact, interpretation, likelihood, meanfield, pseudo
from wakesleep.foundation.errors import DataError
from wakesleep.foundation.rng import generator
from wakesleep.learning import backprop, cd, greedy, hybrid, robust, strategies, up_down, wake_sleep
from wakesleep.learning.configs import CDConfig, GreedyConfig, HybridConfig, UpDownConfig
from wakesleep.learning.net_configs import BackpropConfig
from wakesleep.learning.robust import RobustConfig
from wakesleep.learning.state import State
from wakesleep.learning.strategies import AutoencoderConfig, EvolutionConfig
from wakesleep.learning.wake_sleep import WakeSleepConfig
from wakesleep.samplers import dreams, missing
from wakesleep.sources.arrays import UNLABELLED

CASES = torch.rand(12, 6, generator=generator(3))
LABELS = torch.arange(12) % 3
ONE = CDConfig(epochs=1, batch_size=5)
UPDOWN = UpDownConfig(epochs=1, batch_size=5, gibbs_steps=(1,))


def dbn():
    return ws.DBN((6, 5, 4), labels=3, rng=generator(0))


def net():
    return backprop.random_classifier((6, 5, 3), rng=generator(0))


def rng():
    return generator(1)


LABELLED = {
    "greedy": lambda cases, labels: greedy.epochs(
        dbn(), cases, labels, config=GreedyConfig(ONE, ONE), rng=rng()
    ),
    "greedy chunk": lambda cases, labels: iter(
        [greedy.chunk(dbn(), cases, labels, config=GreedyConfig(ONE, ONE), rng=rng())]
    ),
    "up-down": lambda cases, labels: up_down.epochs(dbn(), cases, labels, config=UPDOWN, rng=rng()),
    "hybrid": lambda cases, labels: hybrid.epochs(
        dbn(), cases, labels, config=HybridConfig(UPDOWN), rng=rng()
    ),
}
FULLY_LABELLED = {
    "backprop": lambda cases, labels: backprop.epochs(
        net(), cases, labels, config=BackpropConfig(epochs=1), rng=rng()
    ),
    "conjugate gradient": lambda cases, labels: backprop.epochs(
        net(),
        cases,
        labels,
        config=BackpropConfig(epochs=1, method="cg", sample_pixels=False),
        rng=rng(),
    ),
    "robust": lambda cases, labels: robust.epochs(
        net(), cases, labels, config=RobustConfig(epochs=1), rng=rng()
    ),
    "evolution": lambda cases, labels: strategies.evolve(
        net(), cases, labels, config=EvolutionConfig(epochs=1), rng=rng()
    ),
    "cd": lambda cases, labels: cd.epochs(
        ws.RBM(6, 4, rng=rng()), cases, classes=labels, config=ONE, rng=rng()
    ),
}
LOOPS = {**LABELLED, **FULLY_LABELLED}
WITHOUT_LABELS = {
    "wake-sleep": lambda cases: wake_sleep.epochs(
        ws.Helmholtz((6, 4), rng=rng()), cases, config=WakeSleepConfig(epochs=1), rng=rng()
    ),
    "autoencoder": lambda cases: strategies.autoencode(
        net(), cases, config=AutoencoderConfig(epochs=1), rng=rng()
    ),
    "robust, unlabelled": lambda cases: robust.epochs(
        net(),
        CASES,
        LABELS,
        unlabelled=cases,
        config=RobustConfig(epochs=1, vat_epsilon=1.0),
        rng=rng(),
    ),
}
EYES = {
    "predict": lambda cases: ws.classify.predict(dbn(), cases),
    "log_probs": lambda cases: ws.classify.log_probs(dbn(), cases),
    "up_passes": lambda cases: ws.ensemble.up_passes(dbn(), cases, count=2, rng=rng()),
    "backprop.log_probs": lambda cases: backprop.log_probs(net(), cases),
    "meanfield": lambda cases: meanfield.score(dbn(), cases),
    "codes": lambda cases: interpretation.codes(dbn(), cases),
    "reconstruct": lambda cases: dreams.reconstruct(dbn(), cases),
    "through": lambda cases: dreams.reconstruct_per_layer(dbn(), cases)[0],
    "imagine": lambda cases: dreams.imagine(
        dbn(), cases, torch.zeros(12, dtype=torch.int64), rng=rng(), steps=1
    ),
    "base rates": lambda cases: ais.base_rates(ws.RBM(6, 4, rng=rng()), cases),
    "model samples": lambda cases: likelihood.model_samples(
        ws.RBM(6, 4, rng=rng()), cases, 3, steps=1, rng=rng()
    ),
    "lower bound": lambda cases: bound.lower_bound(dbn(), cases, 0.0, rng=rng()),
    "exact": lambda cases: exact.log_likelihood(ws.RBM(6, 4, rng=rng()), cases),
    "gradient": lambda cases: exact.gradient(ws.RBM(6, 4, rng=rng()), cases),
    "pseudo": lambda cases: pseudo.pseudo_log_likelihood(ws.RBM(6, 4, rng=rng()), cases),
}
EVERYBODY = {
    **{name: lambda cases, run=run: next(run(cases, LABELS)) for name, run in LOOPS.items()},
    **{name: lambda cases, run=run: next(run(cases)) for name, run in WITHOUT_LABELS.items()},
    **EYES,
}


def _with(value):
    cases = CASES.clone()
    cases[2, 3] = value
    return cases


REFUSED = {
    "uint8 0/1": (CASES.round().to(torch.uint8), "uint8 but run from 0 to 1"),
    "0 to 255 as floats": (_with(255.0), "divide by 255"),
    "0 to 255 as integers": ((CASES * 255).long(), "divide by 255"),
    "below 0": (_with(-0.5), r"run from -0.5 to .*; expected \[0, 1\]"),
    "above 1": (_with(1.5), r"to 1.5; expected \[0, 1\]"),
    "NaN": (_with(float("nan")), "1 of 72 values of the cases are NaN or infinite"),
    "infinite": (_with(float("inf")), "1 of 72 values of the cases are NaN or infinite"),
    "complex": (CASES.to(torch.complex64), "complex64 came; expected a dense tensor"),
    "too wide": (
        torch.rand(12, 7),
        r"cases of shape \(12, 7\) came to a model of 6 visible units; "
        r"expected \(N, 6\)",
    ),
    "too narrow": (torch.rand(12, 5), r"cases of shape \(12, 5\)"),
    "pictures": (CASES.view(12, 2, 3), r"cases of shape \(12, 2, 3\).*reshape\(-1, 6\)"),
    "in a list": (CASES[None], r"cases of shape \(1, 12, 6\).*reshape\(-1, 6\)"),
    "one row": (CASES[0], r"cases of shape \(6,\).*reshape\(-1, 6\)"),
    "a number": (torch.tensor(0.5), r"cases of shape \(\)"),
    "none": (CASES[:0], r"cases of shape \(0, 6\)"),
    "elsewhere": (
        CASES.to("meta"),
        r"cases on meta came to a model on cpu; move them: "
        r"cases.to\('cpu'\)",
    ),
    "words": (
        np.full((12, 6), "0"),
        "ndarray hold <U1; expected a dense tensor or array of real numbers",
    ),
    "ragged": ([[0.0], [0.0, 1.0]], "cannot be read as an array"),
    "NumPy, wide": (np.zeros((12, 7)), r"cases of shape \(12, 7\)"),
    "NumPy, uint8 0/1": (CASES.round().to(torch.uint8).numpy(), "uint8 but run from 0 to 1"),
}


@pytest.mark.parametrize("bad", REFUSED)
@pytest.mark.parametrize("name", EVERYBODY)
def test_bad_cases_are_refused_in_our_words(name, bad):
    cases, message = REFUSED[bad]
    with pytest.raises(DataError, match=message):
        EVERYBODY[name](cases)


BINARY = CASES.round()
TAKEN = {
    "bool": BINARY.bool(),
    "int64": BINARY.long(),
    "float64": BINARY.double(),
    "float16": BINARY.half(),
    "uint8": (BINARY * 255).to(torch.uint8),
    "NumPy": BINARY.numpy(),
    "NumPy float64": BINARY.double().numpy(),
    "NumPy bool": BINARY.bool().numpy(),
    "NumPy uint8, read only, turned": np.asarray(
        np.frombuffer((BINARY * 255).byte().numpy().tobytes(), np.uint8).reshape(12, 6)
    )[:, ::-1][:, ::-1],
    "lists": BINARY.tolist(),
}


def _outcome(name, cases):
    found = EVERYBODY[name](cases)
    return list(_tensors(found))


def _tensors(value):
    if isinstance(value, torch.Tensor):
        yield value
    elif isinstance(value, float):
        yield torch.tensor(value)
    elif isinstance(value, State):
        yield from _tensors(value.to_tensors())
    elif isinstance(value, dict):
        for inner in value.values():
            yield from _tensors(inner)
    elif isinstance(value, tuple | list):
        for inner in value:
            yield from _tensors(inner)


@pytest.mark.parametrize("name", EVERYBODY)
def test_the_same_cases_in_any_type_give_the_same_result(name):
    expected = _outcome(name, BINARY)
    assert expected
    for cases in TAKEN.values():
        for one, other in zip(_outcome(name, cases), expected, strict=True):
            assert torch.equal(one, other)


LABEL_TYPES = [torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64]


@pytest.mark.parametrize("name", LOOPS)
def test_labels_of_every_whole_type_give_the_same_result(name):
    def result(labels):
        return list(_tensors(list(LOOPS[name](CASES, labels))))

    expected = result(LABELS)
    numpys = [LABELS.numpy().astype(kind) for kind in ("uint8", "uint16", "int32", "uint64", ">i4")]
    for labels in [*(LABELS.to(kind) for kind in LABEL_TYPES), *numpys, LABELS.tolist()]:
        for one, other in zip(result(labels), expected, strict=True):
            assert torch.equal(one, other)


@pytest.mark.parametrize("name", LOOPS)
def test_bad_labels_are_refused_before_the_first_pass(name):
    beyond = torch.where(LABELS == 2, -5 if name == "cd" else 3, LABELS)
    below = LABELS - (1 if name in FULLY_LABELLED else 2)
    for labels in (
        beyond,
        below,
        LABELS[:-1],
        LABELS.float(),
        LABELS[:, None],
        np.array(["a"] * 12),
        LABELS.to(torch.complex64),
    ):
        with pytest.raises(DataError, match=r"labels|targets"):
            next(LOOPS[name](CASES, labels))


@pytest.mark.parametrize("name", LABELLED)
def test_some_labels_may_be_unknown_but_not_all(name):
    some = torch.where(LABELS == 1, UNLABELLED, LABELS)
    assert list(LABELLED[name](CASES, some))
    if name != "up-down":  # it learns without labels
        with pytest.raises(DataError, match=r"labels|has one"):
            next(LABELLED[name](CASES, torch.full((12,), UNLABELLED)))


@pytest.mark.parametrize(
    "weights",
    [
        torch.ones(11),
        torch.ones(12, 1),
        -torch.ones(12),
        torch.zeros(12),
        torch.full((12,), float("nan")),
    ],
)
def test_weights_that_are_none_are_refused(weights):
    loops = [
        lambda: cd.epochs(ws.RBM(6, 4, rng=rng()), CASES, weights=weights, config=ONE, rng=rng()),
        lambda: greedy.epochs(
            dbn(), CASES, LABELS, weights=weights, config=GreedyConfig(ONE, ONE), rng=rng()
        ),
        lambda: up_down.epochs(dbn(), CASES, LABELS, weights=weights, config=UPDOWN, rng=rng()),
        lambda: hybrid.epochs(
            dbn(), CASES, LABELS, weights=weights, config=HybridConfig(UPDOWN), rng=rng()
        ),
        lambda: backprop.epochs(
            net(), CASES, LABELS, weights=weights, config=BackpropConfig(epochs=1), rng=rng()
        ),
    ]
    for loop in loops:
        with pytest.raises(DataError, match="weights of"):
            next(loop())


def test_a_generator_elsewhere_is_told():
    class Elsewhere(torch.Generator):
        device = torch.device("cuda")

    with pytest.raises(DataError, match="a generator on cuda came to a model on cpu"):
        next(cd.epochs(ws.RBM(6, 4, rng=rng()), CASES, config=ONE, rng=Elsewhere()))


def test_what_the_caller_checked_is_not_checked_again():
    """Estimators let values beyond [0, 1] pass where they were asked to, and layers above the first
    hold probabilities.
    """
    beyond = CASES * 3
    assert list(cd.epochs(ws.RBM(6, 4, rng=rng()), beyond, config=ONE, rng=rng(), checked=True))
    assert list(
        greedy.epochs(dbn(), beyond, LABELS, config=GreedyConfig(ONE, ONE), rng=rng(), checked=True)
    )
    assert list(up_down.epochs(dbn(), beyond, LABELS, config=UPDOWN, rng=rng(), checked=True))


def test_targets_that_are_not_finite_are_refused():
    targets = torch.zeros(12, 3)
    targets[1, 1] = float("nan")
    with pytest.raises(DataError, match="1 of 36 targets are NaN or infinite"):
        next(backprop.epochs(net(), CASES, targets, config=BackpropConfig(epochs=1), rng=rng()))


def test_holes_to_fill_may_be_nan_and_everything_else_not():
    cases = _with(float("nan"))
    known = torch.ones(6, dtype=torch.bool)
    filled = dreams.inpaint(dbn(), cases, known, rng=rng(), sweeps=2)
    assert bool(filled.isfinite().all())
    assert torch.equal(filled[~cases.isnan()], cases[~cases.isnan()])
    rbm = ws.RBM(6, 4, rng=rng())
    assert bool(missing.impute(rbm, cases, rng(), steps=2).isfinite().all())
    for bad in (cases * 3, cases[:, :5], torch.where(cases.isnan(), cases, float("inf"))):
        with pytest.raises(DataError):
            dreams.inpaint(dbn(), bad, known, rng=rng(), sweeps=2)
        with pytest.raises(DataError):
            missing.impute(rbm, bad, rng(), steps=2)


def machine():
    return ws.RBM(6, 4, rng=rng())


METHODS = {
    "hidden_input": lambda states: machine().hidden_input(states),
    "hidden_probs": lambda states: machine().hidden_probs(states),
    "sample_hidden": lambda states: machine().sample_hidden(states, rng()),
    "visible_input": lambda states: ws.RBM(4, 6, rng=rng()).visible_input(states),
    "visible_probs": lambda states: ws.RBM(4, 6, rng=rng()).visible_probs(states),
    "sample_visible": lambda states: ws.RBM(4, 6, rng=rng()).sample_visible(states, rng()),
    "free_energy": lambda states: machine().free_energy(states),
    "hidden_free_energy": lambda states: ws.RBM(4, 6, rng=rng()).hidden_free_energy(states),
    "energy": lambda states: machine().energy(states, torch.zeros(12, 4)),
    "up": lambda states: dbn().up(states),
    "up, drawn": lambda states: dbn().up(states, rng()),
    "down": lambda states: ws.DBN((3, 6, 2), rng=rng()).down(states),
    "top_input": lambda states: ws.DBN((3, 6, 2), rng=rng()).top_input(states),
    "Gibbs": lambda states: ws.gibbs.run(ws.RBM(4, 6, rng=rng()), states, 2, rng()),
    "tempering": lambda states: ws.tempering.Tempered()(ws.RBM(4, 6, rng=rng()), states, 2, rng()),
    "Helmholtz": lambda states: ws.Helmholtz((6, 4), rng=rng()).up(states, rng()),
}
UNFIT = {
    "too wide": (torch.rand(12, 7), r"of shape \(12, 7\) came; expected \(.*, 6\)"),
    "one row": (CASES[0], r"of shape \(6,\) came; expected .*a row a case"),
    "elsewhere": (CASES.to("meta"), "on meta came to a model on cpu"),
    "NaN": (_with(float("nan")), "1 of 72 values are NaN or infinite"),
    "complex": (CASES.to(torch.complex64), "complex64 came; expected a dense tensor"),
    "pixels": ((CASES * 255).byte(), "uint8 with values above 1 came.*/ 255"),
    "whole numbers too large": (torch.full((12, 6), 2**24 + 1), "float32 does not hold"),
    "words": (np.full((12, 6), "0"), "ndarray hold <U1; expected a dense tensor or array"),
    "ragged": ([[0.0], [0.0, 1.0]], "cannot be read as an array"),
}
STATES = {
    **{k: v for k, v in TAKEN.items() if "uint8" not in k},
    "uint8": BINARY.byte(),
    "uint8, NumPy": BINARY.byte().numpy(),
}


@pytest.mark.parametrize("bad", UNFIT)
@pytest.mark.parametrize("name", METHODS)
def test_states_that_do_not_fit_a_model_are_refused_in_our_words(name, bad):
    states, message = UNFIT[bad]
    with pytest.raises(DataError, match=message):
        METHODS[name](states)


@pytest.mark.parametrize("kind", STATES)
@pytest.mark.parametrize("name", METHODS)
def test_the_same_states_in_any_type_give_the_same_result(name, kind):
    expected = list(_tensors(METHODS[name](BINARY)))
    for one, other in zip(_tensors(METHODS[name](STATES[kind])), expected, strict=True):
        assert torch.equal(one, other)


def test_large_states_that_do_not_fit_are_refused_too():
    rbm = ws.RBM(784, 500, rng=rng())
    for width in (783, 785, 500):
        with pytest.raises(
            DataError,
            match=rf"visible of shape \(2000, {width}\) came; expected \(.*784\)",
        ):
            rbm.hidden_probs(torch.rand(2000, width))


@pytest.mark.parametrize(
    "labels",
    [torch.tensor([0, 2, 1], dtype=torch.uint8), np.array([0, 2, 1], np.uint8), [0, 2, 1]],
    ids=["uint8", "NumPy", "list"],
)
def test_dreams_take_labels_of_any_whole_type(labels):
    expected = dreams.dream(dbn(), rng=rng(), labels=torch.tensor([0, 2, 1]), steps=3)
    assert torch.equal(
        dreams.dream(dbn(), rng=rng(), labels=labels, steps=3).pixels, expected.pixels
    )
