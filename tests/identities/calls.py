"""Every public function and method that takes tensors, models or records, with arguments that are
right: what `test_identities_door` replaces by others, one by one.
"""

from __future__ import annotations

import functools
import inspect
import tempfile
from pathlib import Path
from types import ModuleType

import numpy as np
import torch

import wakesleep as ws
from wakesleep.evaluation import novelty
from wakesleep.learning import chains, loop, strategies
from wakesleep.models.directed import DirectedLayer
from wakesleep.samplers import deep
from wakesleep.sources.minibatches import Resident
from wakesleep.units import Context

N, VISIBLE, HIDDEN, LABELS, TOP = 10, 6, 5, 3, 4
CASES = torch.randint(2, (N, VISIBLE), generator=ws.generator(3)).float()
STATES = torch.randint(2, (N, HIDDEN), generator=ws.generator(4)).float()
CLASSES = torch.arange(N) % LABELS
SHARES = torch.nn.functional.one_hot(CLASSES, LABELS).float()
BETAS = torch.linspace(0, 1, 5)
REPLICAS = torch.randint(2, (3, N, VISIBLE), generator=ws.generator(5)).float()
KNOWN = torch.tensor([1, 1, 0, 1, 0, 1], dtype=torch.bool)
ONE = ws.CDConfig(epochs=1, batch_size=5)
TEMPERED = ws.CDConfig(epochs=1, batch_size=N, persistent=True, temperatures=3)
DEEP = ws.DBMConfig(epochs=1, batch_size=5, mean_field_steps=3)
UPDOWN = ws.UpDownConfig(epochs=1, batch_size=5, gibbs_steps=(1,))


STATES_OF_CHAINS = torch.stack([CASES, CASES.flip(0)])
SERIES = torch.randn(20, 3, generator=ws.generator(6))


def rng():
    return ws.generator(1)


def rbm(visible=VISIBLE, hidden=HIDDEN):
    return ws.RBM(visible, hidden, rng=ws.generator(0))


def grouped():
    units = ws.units.Groups(pixels=ws.units.Bernoulli(3), label=ws.units.Categorical(3))
    return ws.RBM(units, HIDDEN, rng=ws.generator(0))


def dbn(labels=LABELS):
    return ws.DBN((VISIBLE, HIDDEN, TOP), labels=labels, rng=ws.generator(0))


def dbm(labels=LABELS):
    return ws.DBM((VISIBLE, HIDDEN, TOP), labels=labels, rng=ws.generator(0))


def senses():
    return ws.DBN(
        senses={"image": (VISIBLE, HIDDEN), "sound": (4, 3)},
        labels=LABELS,
        top=TOP,
        rng=ws.generator(0),
    )


def even_states():
    """Of the machine's visible layer, its top and the label beside layer 1."""
    return torch.cat([CASES, torch.ones(N, TOP)], 1)


def net():
    return ws.backprop.random_classifier((VISIBLE, HIDDEN, LABELS), rng=ws.generator(0))


def helmholtz():
    return ws.Helmholtz((VISIBLE, HIDDEN), rng=ws.generator(0))


def context():
    return Context(mask=torch.ones(N, VISIBLE, dtype=torch.bool))


def one_context():
    return Context(mask=torch.ones(1, VISIBLE, dtype=torch.bool))


def clamp():
    return ws.gibbs.Clamp(KNOWN.clone(), CASES.clone())


def memory_chains():
    return ws.gibbs.Chains(
        torch.cat([STATES, SHARES], 1), torch.zeros(N, TOP).bernoulli_(0.5, generator=rng())
    )


def annealing(arrived=False):
    begun = ws.ais.init_forward(rbm(), torch.zeros(VISIBLE), BETAS, N, rng())
    if not arrived:
        return begun
    return list(ws.ais.anneal(rbm(), torch.zeros(VISIBLE), begun, rng=rng()))[-1]


def replicas():
    return ws.tempering.Replicas(REPLICAS.clone(), torch.zeros(2), torch.zeros(2))


def path():
    return ws.annealed.Path(rbm(), ws.annealed.Independent(rbm().visible, torch.zeros(VISIBLE)))


def stored():
    return {name: tensor.clone() for name, tensor in ws.checkpoint.model_tensors(rbm()).items()}


def directed():
    layer = dbn().recognition[0]
    return DirectedLayer(layer.units, layer.weight, layer.bias)


def contrast(config=ONE):
    found = ws.cd.Contrast(rbm(), N, config)
    found.data.copy_(CASES)
    found.hidden.zero_()
    found.model.zero_()
    found.states.zero_()
    return found


def log_z():
    return ws.likelihood.log_partition(
        dbn().memory, memory_chains().visible, rng=rng(), chains=5, limit=10, reverse_steps=0
    )


def calibration():
    return novelty.Calibration((2, 3), (0.1, 0.2, 0.3)[:LABELS], 0.5, 1.0, 95.0, 100, 0.5)


TEMPORARY = tempfile.TemporaryDirectory()  # gone when the tests end


@functools.cache
def files():
    """A folder with what the functions read that take the name of a file."""
    folder = Path(TEMPORARY.name)
    for name, model in {"rbm": rbm(), "dbn": dbn(), "dbm": dbm()}.items():
        ws.save(model, folder / name)
    pictures = np.linspace(0, 1, 6 * N).reshape(N, 2, 3)
    np.savez(folder / "set.npz", images=pictures, labels=CLASSES.numpy())
    return folder


CALLS = {
    "RBM.hidden_input": lambda: {"self": rbm(), "visible": CASES, "context": context()},
    "RBM.visible_input": lambda: {"self": rbm(), "hidden": STATES, "out": torch.zeros(N, VISIBLE)},
    "RBM.hidden_probs": lambda: {
        "self": rbm(),
        "visible": CASES,
        "out": torch.zeros(N, HIDDEN),
        "context": context(),
    },
    "RBM.visible_probs": lambda: {
        "self": rbm(),
        "hidden": STATES,
        "out": torch.zeros(N, VISIBLE),
        "context": context(),
    },
    "RBM.sample_hidden": lambda: {
        "self": rbm(),
        "visible": CASES,
        "rng": rng(),
        "probs": torch.zeros(N, HIDDEN),
        "out": torch.zeros(N, HIDDEN),
        "context": context(),
    },
    "RBM.sample_visible": lambda: {
        "self": rbm(),
        "hidden": STATES,
        "rng": rng(),
        "probs": torch.zeros(N, VISIBLE),
        "out": torch.zeros(N, VISIBLE),
        "context": context(),
    },
    "RBM.energy": lambda: {"self": rbm(), "visible": CASES, "hidden": STATES, "context": context()},
    "RBM.free_energy": lambda: {"self": rbm(), "visible": CASES, "context": context()},
    "RBM.hidden_free_energy": lambda: {"self": rbm(), "hidden": STATES, "context": context()},
    "RBM.group_scores": lambda: {"self": grouped(), "total_input": STATES, "group": "label"},
    "RBM.marginal_free_energy": lambda: {
        "self": grouped(),
        "visible": torch.cat([CASES[:, :3], SHARES], 1),
        "group": "label",
    },
    "RBM.score": lambda: {
        "self": grouped(),
        "visible": torch.cat([CASES[:, :3], SHARES], 1),
        "group": "label",
    },
    "RBM.check_cases": lambda: {"self": rbm(), "cases": CASES, "context": context()},
    "RBM.as_cases": lambda: {"self": rbm(), "cases": CASES},
    "RBM.statistics": lambda: {
        "self": rbm(),
        "visible": CASES,
        "hidden": STATES,
        "context": context(),
    },
    "DBN.up": lambda: {"self": dbn(), "visible": CASES, "rng": rng()},
    "DBN.down": lambda: {"self": dbn(), "features": STATES, "rng": rng()},
    "DBN.top_input": lambda: {"self": dbn(), "features": STATES},
    "DBN.memory_free_energy": lambda: {"self": dbn(), "features": STATES},
    "Helmholtz.up": lambda: {"self": helmholtz(), "visible": CASES, "rng": rng()},
    "Helmholtz.log_joint": lambda: {"self": helmholtz(), "layers": [CASES, STATES]},
    "Helmholtz.log_recognition": lambda: {"self": helmholtz(), "layers": [CASES, STATES]},
    "DirectedLayer.total_input": lambda: {"self": directed(), "states": CASES},
    "DirectedLayer.probs": lambda: {"self": directed(), "states": CASES},
    "DirectedLayer.sample": lambda: {"self": directed(), "states": CASES, "rng": rng()},
    "DirectedLayer.delta_rule": lambda: {"self": directed(), "states": CASES, "target": STATES},
    "gibbs.Clamp.put": lambda: {"self": clamp(), "visible": CASES},
    "gibbs.Clamp.of_groups": lambda: {"rbm": grouped(), "known": {"label": SHARES}},
    "gibbs.random_hidden": lambda: {"rbm": rbm(), "count": 3, "rng": rng()},
    "gibbs.restarted": lambda: {"rbm": rbm(), "hidden": STATES, "chance": 0.5, "rng": rng()},
    "gibbs.gibbs_step": lambda: {
        "rbm": rbm(),
        "hidden": STATES,
        "rng": rng(),
        "clamp": clamp(),
        "context": context(),
    },
    "gibbs.check_states": lambda: {"states": STATES, "clamp": clamp()},
    "gibbs.run": lambda: {
        "rbm": rbm(),
        "hidden": STATES,
        "steps": 2,
        "rng": rng(),
        "clamp": clamp(),
        "context": context(),
    },
    "tempering.Tempered": lambda: {"betas": BETAS, "base": torch.zeros(VISIBLE)},
    "tempering.Tempered.__call__": lambda: {
        "self": ws.tempering.Tempered(),
        "rbm": rbm(),
        "hidden": STATES,
        "steps": 2,
        "rng": rng(),
        "clamp": clamp(),
        "context": context(),
    },
    "tempering.divided": lambda: {"rbm": rbm(), "temperature": 2.0},
    "tempering.log_probs": lambda: {
        "rbm": rbm(),
        "base": torch.zeros(VISIBLE),
        "beta": BETAS[:3],
        "visible": REPLICAS,
        "context": context(),
    },
    "tempering.move": lambda: {
        "rbm": rbm(),
        "base": torch.zeros(VISIBLE),
        "betas": BETAS[:3],
        "visible": REPLICAS,
        "rng": rng(),
        "clamp": clamp(),
        "context": context(),
    },
    "tempering.swap": lambda: {
        "rbm": rbm(),
        "base": torch.zeros(VISIBLE),
        "betas": BETAS[:3],
        "visible": REPLICAS.clone(),
        "rng": rng(),
        "parity": 0,
        "context": context(),
    },
    "tempering.step": lambda: {
        "rbm": rbm(),
        "base": torch.zeros(VISIBLE),
        "betas": BETAS[:3],
        "replicas": replicas(),
        "rng": rng(),
        "clamp": clamp(),
        "context": context(),
    },
    "annealed.as_independent": lambda: {"rbm": rbm(), "base": torch.zeros(VISIBLE)},
    "annealed.check_base": lambda: {"rbm": rbm(), "base": torch.zeros(VISIBLE)},
    "annealed.Path.units": lambda: {"self": path(), "beta": 0.5},
    "annealed.Path.log_probs": lambda: {
        "self": path(),
        "visible": CASES,
        "beta": torch.full((N, 1), 0.5),
    },
    "annealed.Path.gibbs_step": lambda: {
        "self": path(),
        "visible": CASES,
        "beta": torch.full((N, 1), 0.5),
        "rng": rng(),
    },
    "annealed.Path.sample_visible": lambda: {
        "self": path(),
        "hidden": STATES.clone(),
        "beta": 0.5,
        "rng": rng(),
        "total": torch.zeros(N, VISIBLE),
    },
    "missing.init_missing": lambda: {
        "cases": torch.where(KNOWN, CASES, torch.nan),
        "rng": rng(),
        "units": rbm().visible,
    },
    "missing.refill": lambda: {
        "rbm": rbm(),
        "cases": CASES.clone(),
        "known": KNOWN.expand(N, -1).clone(),
        "rng": rng(),
        "context": context(),
    },
    "missing.draws": lambda: {
        "rbm": rbm(),
        "cases": CASES,
        "known": KNOWN.expand(N, -1).clone(),
        "rng": rng(),
        "count": 2,
        "burn_in": 1,
        "apart": 1,
    },
    "missing.impute": lambda: {"rbm": rbm(), "cases": CASES, "rng": rng(), "steps": 2},
    "missing.recall": lambda: {
        "rbm": grouped(),
        "known": {"label": SHARES},
        "rng": rng(),
        "steps": 2,
    },
    "dreams.label_clamp": lambda: {"dbn": dbn(), "labels": CLASSES, "count": N},
    "dreams.label_mixture": lambda: {"dbn": dbn(), "shares": SHARES},
    "dreams.decode": lambda: {"dbn": dbn(), "chains": memory_chains(), "rng": rng()},
    "dreams.dream": lambda: {
        "dbn": dbn(),
        "rng": rng(),
        "labels": CLASSES,
        "steps": 2,
        "sampler": ws.gibbs.run,
    },
    "dreams.frames": lambda: {
        "dbn": dbn(),
        "rng": rng(),
        "labels": CLASSES,
        "steps": 2,
        "sampler": ws.gibbs.run,
    },
    "dreams.activities": lambda: {"dbn": dbn(), "chains": memory_chains(), "rng": rng()},
    "dreams.reconstruct": lambda: {"dbn": dbn(), "images": CASES},
    "dreams.imagine": lambda: {
        "dbn": dbn(),
        "images": CASES,
        "labels": CLASSES,
        "rng": rng(),
        "steps": 2,
    },
    "dreams.top_states": lambda: {"dbn": dbn(), "images": CASES, "shares": SHARES, "rng": rng()},
    "dreams.reconstruct_per_layer": lambda: {"dbn": dbn(), "images": CASES},
    "dreams.inpaint": lambda: {
        "dbn": dbn(),
        "images": CASES,
        "known": KNOWN,
        "rng": rng(),
        "labels": CLASSES,
        "sweeps": 2,
    },
    "dreams.uniform_labels": lambda: {"dbn": dbn(), "count": 3},
    "dreams.fill_step": lambda: {
        "dbn": dbn(),
        "picture": CASES,
        "shares": SHARES,
        "rng": rng(),
        "clamp": ws.dreams.label_clamp(dbn(), CLASSES, N),
    },
    "ais.base_model": lambda: {"rbm": rbm(), "cases": CASES, "context": context()},
    "ais.base_rates": lambda: {"rbm": rbm(), "cases": CASES, "context": context()},
    "ais.check_betas": lambda: {"betas": BETAS},
    "ais.init_forward": lambda: {
        "rbm": rbm(),
        "base": torch.zeros(VISIBLE),
        "betas": BETAS,
        "chains": N,
        "rng": rng(),
        "context": one_context(),
    },
    "ais.init_reverse": lambda: {"betas": BETAS, "visible": CASES},
    "ais.anneal": lambda: {
        "rbm": rbm(),
        "base": torch.zeros(VISIBLE),
        "chains": annealing(),
        "rng": rng(),
        "context": one_context(),
    },
    "ais.search": lambda: {
        "rbm": rbm(),
        "base": torch.zeros(VISIBLE),
        "rng": rng(),
        "chains": N,
        "limit": 10,
        "context": one_context(),
    },
    "ais.spread": lambda: {
        "earlier": annealing(arrived=True),
        "chains": N,
        "target_error": 0.1,
        "limit": 10,
    },
    "ais.estimate": lambda: {
        "rbm": rbm(),
        "base": torch.zeros(VISIBLE),
        "chains": annealing(arrived=True),
        "context": one_context(),
    },
    "bound.lower_bound": lambda: {
        "dbn": dbn(),
        "cases": CASES,
        "log_z": 0.0,
        "rng": rng(),
        "labels": CLASSES,
        "samples": 2,
    },
    "bound.given_label": lambda: {"dbn": dbn(), "label": 1},
    "bound.label_bounds": lambda: {
        "dbn": dbn(),
        "cases": CASES,
        "labels": CLASSES,
        "log_z": torch.ones(LABELS),
        "rng": rng(),
        "samples": 2,
    },
    "classify.memory_label_scores": lambda: {"dbn": dbn(), "features": STATES},
    "classify.log_probs": lambda: {"dbn": dbn(), "images": CASES, "rng": rng()},
    "classify.mean_field_log_probs": lambda: {"dbm": dbm(), "images": CASES, "steps": 3},
    "classify.predict": lambda: {"dbn": dbn(), "images": CASES},
    "classify.count_errors": lambda: {"predicted": CLASSES, "labels": CLASSES.flip(0)},
    "classify.errors_and_loss": lambda: {
        "log_probs": torch.log_softmax(SHARES, 1),
        "labels": CLASSES,
    },
    "ensemble.average": lambda: {"predictions": [torch.log_softmax(SHARES, 1)] * 2},
    "ensemble.up_passes": lambda: {"dbn": dbn(), "images": CASES, "count": 2, "rng": rng()},
    "exact.count_states": lambda: {"units": rbm().visible, "context": one_context()},
    "exact.halves": lambda: {"units": rbm().visible, "context": one_context()},
    "exact.log_weights": lambda: {"rbm": rbm(), "context": one_context()},
    "exact.log_partition": lambda: {"rbm": rbm(), "context": one_context()},
    "exact.log_likelihood": lambda: {"rbm": rbm(), "cases": CASES, "context": context()},
    "exact.model_statistics": lambda: {"rbm": rbm(), "context": one_context()},
    "exact.gradient": lambda: {"rbm": rbm(), "cases": CASES, "context": context()},
    "exact.sample": lambda: {"rbm": rbm(), "count": N, "rng": rng(), "context": context()},
    "interpretation.field_measures": lambda: {"fields": CASES.numpy(), "shape": (2, 3)},
    "interpretation.sort_fields": lambda: {"fields": CASES.numpy(), "shape": (2, 3)},
    "interpretation.codes": lambda: {"dbn": dbn(), "images": CASES},
    "interpretation.most_confused": lambda: {
        "log_probs": torch.log_softmax(SHARES, 1),
        "labels": CLASSES,
        "count": 2,
    },
    "interpretation.receptive_fields": lambda: {"dbn": dbn(), "layer": 1},
    "interpretation.projective_field": lambda: {"dbn": dbn(), "layer": 1, "unit": 1},
    "interpretation.label_weights": lambda: {"dbn": dbn(), "unit": 1},
    "interpretation.evidence": lambda: {"dbn": dbn(), "features": STATES, "label": 0, "other": 1},
    "likelihood.small_enough": lambda: {"rbm": rbm(), "context": one_context()},
    "likelihood.model_samples": lambda: {
        "rbm": rbm(),
        "cases": CASES,
        "chains": 3,
        "steps": 2,
        "rng": rng(),
        "context": one_context(),
    },
    "likelihood.log_partition": lambda: {
        "rbm": rbm(),
        "cases": CASES,
        "rng": rng(),
        "chains": 5,
        "betas": BETAS,
        "reverse_steps": 2,
        "context": one_context(),
    },
    "likelihood.both_ways": lambda: {
        "rbm": rbm(),
        "base": ws.ais.base_model(rbm(), CASES),
        "cases": CASES,
        "rng": rng(),
        "chains": 5,
        "target_error": 0.1,
        "limit": 10,
        "betas": BETAS,
        "reverse_steps": 2,
        "context": one_context(),
    },
    "likelihood.from_traces": lambda: {
        "rbm": rbm(),
        "base": ws.ais.base_model(rbm(), CASES),
        "traces": ws.likelihood.Traces(annealing(arrived=True)),
        "context": one_context(),
    },
    "likelihood.score": lambda: {
        "dbn": dbn(),
        "cases": CASES,
        "log_z": log_z(),
        "rng": rng(),
        "samples": 2,
        "labels": CLASSES,
    },
    "meanfield.score": lambda: {"dbn": dbn(), "images": CASES},
    "monitor.free_energy_gap": lambda: {
        "rbm": rbm(),
        "training": CASES,
        "validation": CASES.flip(0)[:4],
    },
    "monitor.update_ratio": lambda: {
        "increment": torch.ones(VISIBLE, HIDDEN),
        "weight": torch.ones(VISIBLE, HIDDEN),
    },
    "monitor.activity": lambda: {"hidden_probs": STATES},
    "monitor.pseudo_log_likelihood": lambda: {"rbm": rbm(), "cases": CASES, "rng": rng()},
    "monitor.measure": lambda: {
        "rbm": rbm(),
        "training": CASES,
        "validation": CASES.flip(0),
        "rng": rng(),
        "increment": torch.ones(VISIBLE, HIDDEN),
    },
    "pseudo.pseudo_log_likelihood": lambda: {"rbm": rbm(), "visible": CASES, "context": context()},
    "pseudo.of_random_unit": lambda: {"rbm": rbm(), "visible": CASES, "rng": rng()},
    "pseudo.sites": lambda: {"units": rbm().visible},
    "pseudo.two_states": lambda: {"units": rbm().visible},
    "novelty.contour": lambda: {"images": CASES, "shape": (2, 3)},
    "novelty.surprise": lambda: {"dbn": dbn(), "images": CASES, "calibration": calibration()},
    "novelty.calibrate": lambda: {"dbn": dbn(), "images": CASES.repeat(10, 1), "shape": (2, 3)},
    "cd.start_at_data": lambda: {"contrast": contrast(), "rbm": rbm(), "config": ONE, "rng": rng()},
    "cd.go_on_from_chains": lambda: {
        "contrast": contrast(),
        "rbm": rbm(),
        "config": ONE,
        "rng": rng(),
        "chains": STATES.clone(),
    },
    "cd.go_on_from_replicas": lambda: {
        "contrast": contrast(TEMPERED),
        "rbm": rbm(),
        "config": TEMPERED,
        "rng": rng(),
        "replicas": REPLICAS.clone(),
    },
    "cd.draw_labels": lambda: {
        "contrast": contrast(),
        "rbm": rbm(),
        "total_input": STATES.clone(),
        "rng": rng(),
    },
    "cd.init_visible_bias": lambda: {"rbm": rbm(), "cases": CASES},
    "cd.init_state": lambda: {"rbm": rbm(), "config": ONE, "rng": rng()},
    "cd.expected_state": lambda: {"rbm": rbm(), "config": ONE, "state": ws.cd.CDState()},
    "cd.adapted_state": lambda: {
        "rbm": rbm(),
        "config": ONE,
        "state": ws.cd.CDState(),
        "rng": rng(),
    },
    "cd.update": lambda: {
        "rbm": rbm(),
        "contrast": contrast(),
        "config": ONE,
        "epoch": 0,
        "state": ws.cd.init_state(rbm(), ONE, rng()),
        "rng": rng(),
    },
    "cd.ascend": lambda: {
        "rbm": rbm(),
        "contrast": contrast(),
        "config": ONE,
        "epoch": 0,
        "state": ws.cd.init_state(rbm(), ONE, rng()),
    },
    "hybrid.label_errors": lambda: {"log_probs": torch.log_softmax(SHARES, 1), "labels": CLASSES},
    "hybrid.memory_gradients": lambda: {"dbn": dbn(), "features": STATES, "labels": CLASSES},
    "dreams.draw_visible": lambda: {"dbn": dbn(), "means": CASES, "rng": rng()},
    "exact.is_integral": lambda: {"rbm": rbm(), "context": one_context()},
    "bound.marginal_free_energy": lambda: {"dbn": dbn(), "features": STATES},
    "cd.epochs": lambda: {
        "rbm": rbm(),
        "cases": CASES,
        "config": ONE,
        "rng": rng(),
        "classes": CLASSES,
        "weights": torch.ones(N),
        "context": context(),
    },
    "cd.learn": lambda: {
        "rbm": rbm(),
        "source": Resident(CASES),
        "config": ONE,
        "rng": rng(),
        "state": None,
        "stage": "cd",
        "dtype": None,
    },
    "chains.epochs": lambda: {
        "rbm": dbn().memory,
        "cases": memory_chains().visible,
        "config": chains.ChainsConfig(share=1.0, pool=2),
        "memory": ONE,
        "rng": rng(),
        "classes": CLASSES,
        "weights": torch.ones(N),
        "state": ws.cd.init_state(dbn().memory, ONE, rng()),
    },
    "greedy.features": lambda: {"dbn": dbn(), "images": CASES, "layers": 1},
    "greedy.memory_cases": lambda: {"dbn": dbn(), "images": CASES, "labels": CLASSES},
    "greedy.epochs": lambda: {
        "dbn": dbn(),
        "images": CASES,
        "labels": CLASSES,
        "config": ws.GreedyConfig(ONE, ONE),
        "rng": rng(),
        "weights": torch.ones(N),
    },
    "greedy.memory_epochs": lambda: {
        "memory": dbn().memory,
        "source": Resident(memory_chains().visible, CLASSES),
        "config": ws.GreedyConfig(ONE, ONE),
        "rng": rng(),
    },
    "greedy.chunk": lambda: {
        "dbn": dbn(),
        "images": CASES,
        "labels": CLASSES,
        "config": ws.GreedyConfig(ONE, ONE),
        "rng": rng(),
        "weights": torch.ones(N),
    },
    "greedy.layer_and_source": lambda: {
        "dbn": dbn(),
        "images": CASES,
        "labels": CLASSES,
        "weights": torch.ones(N),
        "layer": 0,
    },
    "hybrid.discriminative": lambda: {"dbn": dbn(), "images": CASES, "labels": CLASSES},
    "hybrid.epochs": lambda: {
        "dbn": dbn(),
        "images": CASES,
        "labels": CLASSES,
        "config": ws.HybridConfig(UPDOWN),
        "rng": rng(),
        "weights": torch.ones(N),
    },
    "up_down.label_states": lambda: {
        "dbn": dbn(),
        "total_input": torch.zeros(N, TOP),
        "labels": CLASSES,
        "rng": rng(),
    },
    "up_down.phases": lambda: {
        "dbn": dbn(),
        "images": CASES,
        "labels": CLASSES,
        "steps": 1,
        "config": UPDOWN,
        "rng": rng(),
        "chains": torch.zeros(2, TOP),
        "chain_labels": torch.tensor([0, 1]),
    },
    "up_down.gradients": lambda: {
        "phases": ws.up_down.phases(dbn(), CASES, CLASSES, steps=1, config=UPDOWN, rng=rng())
    },
    "up_down.init_state": lambda: {"dbn": dbn(), "config": UPDOWN, "rng": rng()},
    "up_down.started": lambda: {
        "dbn": dbn(),
        "config": UPDOWN,
        "state": None,
        "rng": rng(),
        "dtype": None,
    },
    "up_down.reset_chains": lambda: {
        "dbn": dbn(),
        "chains": torch.zeros(N, TOP),
        "config": UPDOWN,
        "rng": rng(),
    },
    "up_down.labels_to_hold": lambda: {
        "labels": CLASSES,
        "count": 3,
        "device": torch.device("cpu"),
    },
    "up_down.epochs": lambda: {
        "dbn": dbn(),
        "images": CASES,
        "labels": CLASSES,
        "config": UPDOWN,
        "rng": rng(),
        "weights": torch.ones(N),
    },
    "wake_sleep.wake_gradients": lambda: {"net": helmholtz(), "images": CASES, "rng": rng()},
    "wake_sleep.sleep_gradients": lambda: {"net": helmholtz(), "count": 3, "rng": rng()},
    "wake_sleep.epochs": lambda: {
        "net": helmholtz(),
        "images": CASES,
        "config": ws.WakeSleepConfig(epochs=1),
        "rng": rng(),
    },
    "backprop.classifier": lambda: {"dbn": dbn(), "classes": LABELS, "rng": rng()},
    "backprop.log_probs": lambda: {"net": net(), "images": CASES},
    "backprop.init_state": lambda: {"net": net()},
    "backprop.checked_cases": lambda: {
        "net": net(),
        "images": CASES,
        "labels": CLASSES,
        "config": ws.BackpropConfig(),
        "rng": rng(),
    },
    "backprop.mean_loss": lambda: {"outputs": SHARES, "target": CLASSES},
    "backprop.count_errors": lambda: {"outputs": SHARES, "target": CLASSES},
    "backprop.epochs": lambda: {
        "net": net(),
        "images": CASES,
        "labels": CLASSES,
        "config": ws.BackpropConfig(epochs=1),
        "rng": rng(),
        "weights": torch.ones(N),
    },
    "robust.init_state": lambda: {"net": net(), "config": ws.RobustConfig()},
    "robust.forward_with_dropout": lambda: {
        "net": net(),
        "images": CASES,
        "visible": 0.2,
        "hidden": 0.5,
        "rng": rng(),
    },
    "robust.limit_norms": lambda: {"net": net().requires_grad_(False), "longest": 1.0},
    "robust.adversarial": lambda: {"net": net(), "images": CASES, "radius": 1.0, "rng": rng()},
    "robust.to_float32": lambda: {"logits": SHARES},
    "robust.divergence": lambda: {"answer": torch.log_softmax(SHARES, 1), "logits": SHARES},
    "robust.epochs": lambda: {
        "net": net(),
        "images": CASES,
        "labels": CLASSES,
        "config": ws.RobustConfig(epochs=1, vat_epsilon=1.0),
        "rng": rng(),
        "unlabelled": CASES,
    },
    "semi_supervised.neighbour_distance": lambda: {"images": CASES},
    "semi_supervised.entropy": lambda: {"log_probs": torch.log_softmax(SHARES, 1)},
    "semi_supervised.own_labels": lambda: {
        "log_probs": torch.log_softmax(SHARES, 1),
        "labels": CLASSES,
        "certainty": 0.5,
    },
    "semi_supervised.suited": lambda: {
        "config": ws.SemiSupervisedConfig(epochs=1),
        "agreement": 0.5,
    },
    "semi_supervised.epochs": lambda: {
        "net": net(),
        "images": CASES,
        "labels": CLASSES,
        "config": ws.SemiSupervisedConfig(epochs=1),
        "rng": rng(),
        "weights": torch.ones(N),
    },
    "spreading.neighbour_graph": lambda: {"codes": STATES, "neighbours": 2},
    "spreading.spread": lambda: {
        "graph": ws.spreading.neighbour_graph(STATES, 2),
        "labels": CLASSES,
    },
    "spreading.agreement": lambda: {
        "graph": ws.spreading.neighbour_graph(STATES, 2),
        "labels": CLASSES,
    },
    "spreading.certainty": lambda: {"probs": SHARES},
    "spreading.most_probable": lambda: {"probs": SHARES, "labels": CLASSES},
    "spreading.spread_labels": lambda: {"codes": STATES, "labels": CLASSES},
    "strategies.perturb": lambda: {
        "net": net(),
        "images": CASES,
        "labels": CLASSES,
        "sigma": 0.1,
        "rng": rng(),
    },
    "strategies.evolve": lambda: {
        "net": net(),
        "images": CASES,
        "labels": CLASSES,
        "config": strategies.EvolutionConfig(epochs=1),
        "rng": rng(),
    },
    "strategies.autoencode": lambda: {
        "net": net(),
        "images": CASES,
        "config": strategies.AutoencoderConfig(epochs=1),
        "rng": rng(),
    },
    "DBM.clear_gaps": lambda: {"self": dbm(), "weight": dbm().rbm.weight.data.clone()},
    "DBM.label": lambda: {"self": dbm(), "labels": CLASSES, "visible": CASES},
    "DBM.mean_field": lambda: {
        "self": dbm(),
        "visible": CASES,
        "labels": CLASSES,
        "steps": 3,
        "known": KNOWN,
    },
    "DBM.free_energy": lambda: {
        "self": dbm(),
        "even": even_states(),
        "label": dbm().label(CLASSES, CASES),
    },
    "DBM.sample_even": lambda: {
        "self": dbm(),
        "means": even_states(),
        "rng": rng(),
        "known": KNOWN,
    },
    "DBM.visible_means": lambda: {
        "self": dbm(),
        "odd": torch.cat([STATES, SHARES], 1),
    },
    "DBM.block": lambda: {"self": dbm(), "lower": "visible", "upper": "layer1"},
    "DBM.bias": lambda: {"self": dbm(), "group": "layer1"},
    "deep_boltzmann.epochs": lambda: {
        "dbm": dbm(),
        "cases": CASES,
        "labels": CLASSES,
        "config": DEEP,
        "rng": rng(),
        "weights": torch.ones(N),
    },
    "cd.init_low_rank": lambda: {"rbm": rbm(), "cases": CASES, "rank": 2, "rng": rng()},
    "deep_boltzmann.init_visible_bias": lambda: {"dbm": dbm(), "cases": CASES},
    "deep_boltzmann.init_state": lambda: {
        "dbm": dbm(),
        "copy": dbm(),
        "config": DEEP,
        "rng": rng(),
    },
    "deep_boltzmann.pretrain": lambda: {
        "dbm": dbm(),
        "cases": CASES,
        "labels": CLASSES,
        "config": ONE,
        "rng": rng(),
    },
    "deep_boltzmann.features": lambda: {"dbm": dbm(), "cases": CASES, "steps": 3},
    "deep_boltzmann.classifier": lambda: {"dbm": dbm(), "rng": rng(), "classes": LABELS},
    "deep_boltzmann.mean_field_classifier": lambda: {
        "dbm": dbm(),
        "rng": rng(),
        "classes": LABELS,
        "steps": 2,
    },
    "deep.dream": lambda: {"dbm": dbm(), "labels": CLASSES, "steps": 2, "rng": rng()},
    "deep.fill_in": lambda: {
        "dbm": dbm(),
        "visible": CASES,
        "known": KNOWN,
        "steps": 2,
        "burn_in": 1,
        "rng": rng(),
    },
    "bound.mean_field_bound": lambda: {
        "dbm": dbm(),
        "cases": CASES,
        "log_z": 0.0,
        "labels": CLASSES,
        "rng": rng(),
        "samples": 2,
    },
    "exact.dbm_log_likelihood": lambda: {"dbm": dbm(), "cases": CASES, "labels": CLASSES},
    "replica_exchange.independent": lambda: {"rbm": rbm(), "base": torch.zeros(VISIBLE)},
    "replica_exchange.choose": lambda: {
        "machines": [rbm()],
        "rng": rng(),
        "base": torch.zeros(VISIBLE),
        "chains": 4,
        "steps": 2,
        "context": one_context(),
    },
    "tempering.choose": lambda: {
        "rbm": rbm(),
        "rng": rng(),
        "base": torch.zeros(VISIBLE),
        "chains": 4,
        "context": one_context(),
    },
    "bennett.log_partition": lambda: {
        "replicas": ws.replica_exchange.choose([rbm()], rng=rng(), chains=4, steps=2),
        "rng": rng(),
        "steps": 2,
        "burn_in": 0,
        "groups": 2,
        "context": one_context(),
    },
    "mixing.principal_projection": lambda: {"cases": CASES, "count": 2},
    "mixing.Projection.__call__": lambda: {
        "self": ws.mixing.principal_projection(CASES, 2),
        "states": STATES_OF_CHAINS,
    },
    "mixing.autocorrelation": lambda: {"series": SERIES},
    "mixing.autocorrelation_time": lambda: {"series": SERIES},
    "mixing.scale_reduction": lambda: {"one": SERIES, "other": SERIES.flip(0)},
    "mixing.measure": lambda: {
        "rbm": rbm(),
        "cases": CASES,
        "rng": rng(),
        "steps": 10,
        "chains": 3,
        "count": 2,
    },
    "checkpoint.model_spec": lambda: {"model": rbm()},
    "checkpoint.model_tensors": lambda: {"model": rbm()},
    "checkpoint.build": lambda: {
        "spec": rbm().spec(),
        "tensors": stored(),
        "path": Path("a.safetensors"),
    },
    "checkpoint.specs": lambda: {
        "header": {"models": {"model": rbm().spec()}},
        "tensors": stored(),
        "path": Path("a.safetensors"),
    },
    "checkpoint.fill": lambda: {
        "module": rbm(),
        "tensors": stored(),
        "missing": [],
        "path": Path("a.safetensors"),
    },
    "checkpoint.save_models": lambda: {
        "path": files() / "written",
        "models": {"model": rbm()},
        "header": {},
    },
    "checkpoint.save": lambda: {"model": rbm(), "path": files() / "written", "shape": (2, 3)},
    "checkpoint.read": lambda: {"path": files() / "rbm"},
    "checkpoint.holds": lambda: {"path": files() / "rbm", "kind": "RBM"},
    "checkpoint.load": lambda: {"path": files() / "rbm"},
    "checkpoint.load_model": lambda: {"path": files() / "dbn"},
    "checkpoint.load_deep": lambda: {"path": files() / "dbm"},
    "load_data": lambda: {"name": files() / "set.npz", "folder": files()},
    "recall": lambda: {
        "net": senses(),
        "image": CASES,
        "label": CLASSES,
        "steps": 4,
        "rng": rng(),
    },
    "sound.save_wav": lambda: {
        "path": files() / "written.wav",
        "wave": np.linspace(-1, 1, 100),
    },
    "distort.shifted": lambda: {"images": CASES, "shape": (2, 3)},
    "distort.distort": lambda: {"images": CASES, "shape": (2, 3), "rng": rng()},
}
INPUT = torch.linspace(-1, 1, 12).view(4, 3)
FAMILIES = {
    "Bernoulli": lambda: (ws.units.Bernoulli(3), INPUT.gt(0).float()),
    "Binomial": lambda: (ws.units.Binomial(3, 4), INPUT.gt(0).float()),
    "Poisson": lambda: (ws.units.Poisson(3), INPUT.gt(0).float()),
    "Gaussian": lambda: (ws.units.Gaussian(3), INPUT),
    "ReLU": lambda: (ws.units.ReLU(3), INPUT.abs()),
    "DReLU": lambda: (ws.units.DReLU(3), INPUT),
    "Spin": lambda: (ws.units.Spin(3), INPUT.sign()),
    "Ordinal": lambda: (ws.units.Ordinal(3, 3), INPUT.gt(0).float()),
    "Categorical": lambda: (ws.units.Categorical(3), torch.eye(3)[[0, 1, 2, 0]]),
    "Thermometer": lambda: (
        ws.units.Thermometer(4),
        torch.ones(3, 3).tril().repeat(2, 1)[:4],
    ),
    "Multinomial": lambda: (ws.units.Multinomial(3), 2 * torch.eye(3)[[0, 1, 2, 0]]),
    "Groups": lambda: (
        ws.units.Groups(a=ws.units.Bernoulli(1), b=ws.units.Gaussian(2)),
        INPUT.gt(0).float(),
    ),
}


def own(units, rows=4):
    """The context that the units want of cases of theirs."""
    counts = torch.full((rows,), 2.0) if isinstance(units, ws.units.Multinomial) else None
    return Context(counts, torch.ones(rows, 3, dtype=torch.bool))


def unit_calls(name):
    units, states = FAMILIES[name]()
    match = {
        "self": units,
        "mean": states.mean(0).clamp(0.1, 0.9),
        "variance": torch.full((3,), 0.2),
    }
    slots = torch.full((units.n_slots,), 0.5)
    found = {
        "potential": {"self": units, "states": states, "context": own(units)},
        "log_partition": {"self": units, "total_input": INPUT, "context": own(units)},
        "mean": {
            "self": units,
            "total_input": INPUT,
            "context": own(units),
            "out": torch.zeros(4, 3),
        },
        "variance": {"self": units, "total_input": INPUT, "context": own(units)},
        "sample": {
            "self": units,
            "total_input": INPUT,
            "rng": rng(),
            "context": own(units),
            "out": torch.zeros(4, 3),
        },
        "mean_and_sample": {
            "self": units,
            "total_input": INPUT,
            "rng": rng(),
            "context": own(units),
            "mean": torch.zeros(4, 3),
            "out": torch.zeros(4, 3),
        },
        "statistics": {"self": units, "states": states},
        "moments": {"self": units, "total_input": INPUT, "context": own(units)},
        "parameter_gradients": {"self": units, "data": slots, "model": slots},
        "match": match,
        "validate": {"self": units, "cases": states},
        "validate_present": {"self": units, "cases": states, "context": own(units)},
        "fill": {
            "self": units,
            "cases": states.clone(),
            "known": torch.ones(4, 3, dtype=torch.bool),
            "rng": rng(),
        },
        "interpolate": {"self": units, "base": FAMILIES[name]()[0], "t": 0.5},
        "bias_scale": {"self": units, "context": own(units)},
    }
    if units.settled_by_mean:
        found["sample_from_mean"] = {"self": units, "mean": states.abs(), "rng": rng()}
    if name != "Multinomial":
        found["log_partition_delta"] = {"self": units, "total_input": INPUT, "rows": INPUT[:2]}
    return {f"units.{name}.{method}": arguments for method, arguments in found.items()}


for _family in FAMILIES:
    for _name in unit_calls(_family):
        CALLS[_name] = lambda family=_family, name=_name: unit_calls(family)[name]

OTHER_MODULES = {
    "DirectedLayer": DirectedLayer,
    "novelty": novelty,
    "chains": chains,
    "deep": deep,
    "loop": loop,
}


def function(name):
    """The function, or the method of the argument `self`, of this name."""
    first, *rest = name.split(".")
    found = OTHER_MODULES.get(first) or getattr(ws, first)
    for part in rest:
        found = getattr(found, part)
    return found


def public():
    """The names of all public functions."""
    for name in [name for name in ws.__all__ if not name.startswith("_")]:
        module = getattr(ws, name)
        if inspect.isfunction(module):
            yield name
        if not isinstance(module, ModuleType):
            continue
        for inner, found in vars(module).items():
            if (
                not inner.startswith("_")
                and inspect.isfunction(found)
                and found.__module__ == module.__name__
            ):
                yield f"{name}.{inner}"
