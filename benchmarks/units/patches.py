"""Patches of photographs: filters of Gaussian x Bernoulli machines, and how probable they find
patches they never saw.

    python -m benchmarks.units.patches

Patches of 12 x 12 pixels come from the two photographs that scikit-learn ships, grey and at half
their size. Their left three quarters train, what is right of them tests. Each patch loses its mean,
and is whitened by the principal components of the training patches that hold 95 % of the variance.
In those coordinates a Gaussian of full covariance, fitted to the training patches, is what the
machine stands beside; log Z is by AIS both ways. Settings were chosen by the likelihood of training
patches and by the look of the filters. Sources: Olshausen & Field (1996), Nature 381; Melchior,
Wang & Wiskott (2017), PLoS ONE 12.
"""

from __future__ import annotations

import shlex
import sys
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
import tyro
from scipy.stats import multivariate_normal
from sklearn.datasets import load_sample_images
from sklearn.decomposition import PCA
from torch import Tensor

from benchmarks.estimators import Found, measure
from benchmarks.units.training import both_ways, log_likelihood, trained
from wakesleep.foundation.rng import generator
from wakesleep.learning import cd
from wakesleep.learning.cd import CDConfig
from wakesleep.models.rbm import RBM
from wakesleep.units import Bernoulli, Gaussian

SIDE = 12
"""Rows and columns of a patch."""
KEPT = 0.95
"""Share of the variance that the principal components hold."""


@dataclass(frozen=True)
class PatchesOptions:
    """Train on patches and save the rows."""

    patches: int = 20_000
    """Training patches; a quarter as many test."""
    hidden: int = 144
    """Binary hidden units."""
    epochs: int = 60
    """Epochs of CD-1."""
    folder: Path = Path("runs/units")
    """Where machines lie once they are trained."""
    out: Path = Path("results/units.json")
    """Where the rows go."""


class Patches(NamedTuple):
    """Whitened patches, and how they are made into pixels again."""

    train: Tensor
    """(N, components)."""
    test: Tensor
    """(N / 4, components)."""
    components: Tensor
    """The principal components, (components, SIDE^2), of length 1."""


def photographs() -> list[np.ndarray]:
    """Return the photographs, grey in [0, 1], at half their size: single pixels hold what JPEG
    leaves behind.
    """
    return [halved(picture.mean(2) / 255) for picture in load_sample_images().images]


def halved(picture: np.ndarray) -> np.ndarray:
    """Return the means of 2 x 2 pixels."""
    rows, columns = (size // 2 for size in picture.shape)
    blocks = picture[: 2 * rows, : 2 * columns].reshape(rows, 2, columns, 2)
    return np.asarray(blocks.mean((1, 3)))


def random_patches(picture: np.ndarray, count: int, rng: np.random.Generator) -> np.ndarray:
    """Return patches at random places of a picture, less the mean of each, (count, SIDE^2)."""
    windows = np.lib.stride_tricks.sliding_window_view(picture, (SIDE, SIDE))
    rows, columns = (rng.integers(size, size=count) for size in windows.shape[:2])
    chosen = windows[rows, columns].reshape(count, -1)
    return np.asarray(chosen - chosen.mean(1, keepdims=True))


def read(count: int) -> Patches:
    """Return whitened patches, half of each photograph."""
    rng = np.random.default_rng(0)
    parts: list[list[np.ndarray]] = [[], []]
    for picture in photographs():
        edge = 3 * picture.shape[1] // 4
        parts[0].append(random_patches(picture[:, :edge], count // 2, rng))
        parts[1].append(random_patches(picture[:, edge:], count // 8, rng))
    train, test = (np.concatenate(part) for part in parts)
    pca = PCA(KEPT, whiten=True, svd_solver="full").fit(train)
    whitened = (pca.transform(train), pca.transform(test), pca.components_)
    return Patches(*(torch.from_numpy(part).float() for part in whitened))


def full_gaussian(train: Tensor, cases: Tensor) -> float:
    """Return the mean log-likelihood of cases under the Gaussian of the training cases' mean and
    covariance, nats a case.
    """
    law = multivariate_normal(train.double().mean(0).numpy(), train.double().t().cov().numpy())
    return float(law.logpdf(cases.double().numpy()).mean())


def machine(train: Tensor, options: PatchesOptions) -> RBM:
    """Return a Gaussian x Bernoulli machine that has learned the patches by CD-1.

    Hidden units begin nearly off and stay rare: most patches are one Gaussian, to which a few units
    add edges (Melchior et al. 2017).
    """
    rbm = RBM(
        Gaussian(train.shape[1]), Bernoulli(options.hidden), rng=generator(0), weight_std=0.05
    )
    cd.init_visible_bias(rbm, train)
    rbm.hidden_bias.fill_(-3.0)
    config = CDConfig(
        epochs=options.epochs,
        learning_rate=0.1,
        final_learning_rate=0.002,
        momentum=0.5,
        weight_decay=1e-3,
        sample_visible=True,
        sparsity_cost=0.3,
        sparsity_target=0.02,
    )
    path = options.folder / f"patches-{len(train)}-{options.hidden}-{options.epochs}"
    return trained(path, rbm, train, [config], seed=1)


def figures(options: PatchesOptions) -> Found:
    """Yield log-likelihoods of whitened test patches, nats a case, beside the Gaussian's."""
    patches = read(options.patches)
    rbm = machine(patches.train, options)
    judged = log_likelihood(
        rbm, patches.train, patches.test, rng=generator(2), chains=200, target_error=0.05
    )
    gaussian = full_gaussian(patches.train, patches.test)
    yield from both_ways("patches", "test_log_likelihood", [judged])
    yield "patches-full-gaussian", "test_log_likelihood", [gaussian], {}
    yield "patches", "over_full_gaussian_nats", [judged.lower - gaussian], {}


def fields(rbm: RBM, patches: Patches) -> np.ndarray:
    """Return the weights of each hidden unit as whitened pixels, (hidden, SIDE^2), largest first:
    the components' pixels without their standard deviations.
    """
    order = rbm.weight.square().sum(0).argsort(descending=True)
    return (rbm.weight.t()[order] @ patches.components).numpy()


def main(argv: list[str]) -> None:
    """Train, and save the rows."""
    options = tyro.cli(PatchesOptions, description=__doc__, args=argv)
    command = shlex.join(["python", "-m", "benchmarks.units.patches", *argv])
    for _ in measure(
        "units", [partial(figures, options)], out=options.out, command=command, threads=1
    ):
        pass


if __name__ == "__main__":
    main(sys.argv[1:])
