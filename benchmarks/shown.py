"""What the tables of README and docs show: for each, the files of its rows, and its lines in words,
row, metric and unit.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

STANDARD = (
    ("`LogisticRegression`", "-logistic-regression"),
    ("`SVC`", "-svc"),
    ("`MLPClassifier`", "-mlp"),
)
FEW = (
    ("the 29 alone", "-labelled-only"),
    ("`LogisticRegression` on the 29", "-logistic-regression"),
    ("`LabelSpreading`", "-label-spreading"),
)
CLASSIFIERS = (
    ("`LogisticRegression`", "logistic-regression"),
    ("`SVC`", "svc-rbf"),
    ("`MLPClassifier`", "mlp"),
)
LABELS = "label_accuracy_percent"
TIMED = {"tables", "strategies", "depth", "few-labels", "geometry", "another"}
"""Tables that show the minutes of each row."""
REGRESSORS = (("`Ridge`", "ridge"), ("`SVR`", "svr-rbf"), ("`MLPRegressor`", "mlp"))

STRATEGIES = (
    ("denial: random features", "denial"),
    ("denial: features made by hand, support vector machine", "denial-hand-made"),
    ("evolution", "evolution"),
    ("procrastination: principal components", "procrastination-pca"),
    ("procrastination: clusters", "procrastination-k-means"),
    ("procrastination: autoencoders", "procrastination-autoencoder"),
    ("calculus", "calculus"),
    ("calculus: small random weights", "calculus-small-weights"),
    ("calculus: rectified units, Adam", "calculus-relu-adam"),
    ("generation", "generation"),
)
AGAINST = (
    ("our default against scikit-learn", "against-sklearn", "speedup", "times"),
    ("float32 against scikit-learn", "against-sklearn-float32", "speedup", "times"),
    ("our default against rbms", "against-rbms", "speedup", "times"),
    ("our default against learnergy", "against-learnergy", "speedup", "times"),
)
"""The baselines, on whichever machine."""
LABELLED = {
    "-supervised": "random weights",
    "-pretrained": "pretrained on all pictures",
    "-memory": "label memory, from labels that spread",
    "-memory-drawn": "label memory that draws unknown labels (as it was)",
    "-spread": "labels spread among the codes of all pictures",
    "": "labels that spread, then semi-supervised",
}
"""Ways to learn from few labels, by what the row's name ends with."""


def labels_table(counts: Sequence[int], ways: Sequence[str]) -> list[tuple[str, str, str, str]]:
    """Return the rows of test accuracy for each count of labels and each way to learn from them."""
    return [
        (
            f"{count:,} labels: {LABELLED[way]}",
            f"labels-{count}{way}",
            "test_accuracy_percent",
            "test accuracy, %",
        )
        for count in counts
        for way in ways
    ]


TABLES: dict[str, tuple[tuple[Path, ...], list[tuple[str, str, str, str]]]] = {
    "mnist": (
        (Path("results/mnist.json"), Path("results/costs.json")),
        [
            (
                "greedy pretraining only, label free energies (50k)",
                "greedy",
                "test_error_percent",
                "test error, %",
            ),
            (
                "pretrained, then backpropagation (50k)",
                "backprop-50k",
                "validation_errors",
                "validation errors of 10,000",
            ),
            ("", "backprop-50k", "test_error_percent", "test error, %"),
            ("the same on all 60k", "backprop-60k", "test_error_percent", "test error, %"),
            (
                "the same net from random weights (50k)",
                "backprop-random",
                "validation_errors",
                "validation errors of 10,000",
            ),
            ("", "backprop-random", "test_error_percent", "test error, %"),
            ("three of those together", "combined-3", "test_error_percent", "test error, %"),
            (
                "the same from pictures bent anew in every epoch",
                "distorted",
                "test_error_percent",
                "test error, %",
            ),
            ("100 labels, all pictures", "labels-100", "test_accuracy_percent", "test accuracy, %"),
            ("contrastive wake-sleep (50k)", "updown-50k", "test_error_percent", "test error, %"),
            ("the same, then on all 60k", "updown-60k", "test_error_percent", "test error, %"),
            (
                "hybrid: contrastive wake-sleep and backpropagation (60k)",
                "hybrid",
                "test_error_percent",
                "test error, %",
            ),
            ("", "hybrid", "dream_agreement_percent", "its dreams that carry the clamped label, %"),
            (
                "whole recipe, 30 epochs a layer + 30, on 2 cores",
                "recipe-2-cores",
                "minutes",
                "minutes",
            ),
            ("", "recipe-2-cores", "peak_memory_gb", "peak memory, GB"),
        ],
    ),
    "tables": (
        (Path("results/mnist.json"),),
        [
            (
                "random weights, backpropagation (50k)",
                "backprop-random",
                "validation_errors",
                "validation errors of 10,000",
            ),
            (
                "pretrained, backpropagation (50k)",
                "backprop-50k",
                "validation_errors",
                "validation errors of 10,000",
            ),
            ("", "backprop-50k", "test_error_percent", "test error, %"),
            (
                "pretrained, backpropagation (60k)",
                "backprop-60k",
                "test_error_percent",
                "test error, %",
            ),
            (
                "pretrained, conjugate gradient (50k)",
                "conjugate-50k",
                "validation_errors",
                "validation errors of 10,000",
            ),
            ("", "conjugate-50k", "test_error_percent", "test error, %"),
            ("three of those together", "combined-3", "test_error_percent", "test error, %"),
            (
                "greedy pretraining only, label free energies (50k)",
                "greedy",
                "test_error_percent",
                "test error, %",
            ),
            (
                "the same, 100 epochs a layer instead of 30",
                "greedy-long",
                "test_error_percent",
                "test error, %",
            ),
            (
                "contrastive wake-sleep from there (60k)",
                "updown-60k",
                "test_error_percent",
                "test error, %",
            ),
            ("hybrid (60k)", "hybrid", "test_error_percent", "test error, %"),
            (
                "three of those together",
                "hybrid-combined-3",
                "test_error_percent",
                "test error, %",
            ),
            (
                "pretrained, wider, smoothness and dropout, no pixel's place known (60k)",
                "dropout",
                "test_error_percent",
                "test error, %",
            ),
            (
                "pretrained, pictures bent anew in every epoch (60k)",
                "distorted",
                "test_error_percent",
                "test error, %",
            ),
        ],
    ),
    "strategies": (
        (Path("results/mnist.json"),),
        [
            row
            for words, name in STRATEGIES
            for row in (
                (words, f"strategy-{name}", "validation_errors", "validation errors of 10,000"),
                ("", f"strategy-{name}", "test_error_percent", "test error, %"),
            )
        ],
    ),
    "depth": (
        (Path("results/mnist.json"),),
        [
            row
            for layers in range(1, 5)
            for row in (
                (
                    f"{layers} x 500, pretrained",
                    f"depth-{layers}",
                    "validation_errors",
                    "validation errors of 10,000",
                ),
                ("", f"depth-{layers}", "test_error_percent", "test error, %"),
                (
                    f"{layers} x 500, random weights",
                    f"depth-{layers}-random",
                    "validation_errors",
                    "validation errors of 10,000",
                ),
                ("", f"depth-{layers}-random", "test_error_percent", "test error, %"),
                (
                    f"the stack of {layers} as a model of binary pictures",
                    f"depth-{layers}",
                    "test_bound",
                    "bound, nats",
                ),
            )
        ],
    ),
    "few-labels": (
        (Path("results/mnist.json"),),
        [
            *labels_table((100,), ("",)),
            *labels_table(
                (100, 300, 1000, 3000, 10_000, 60_000),
                ("-supervised", "-pretrained", "-memory", "-memory-drawn", "-spread"),
            ),
        ],
    ),
    "geometry": (
        (Path("results/mnist.json"),),
        [
            (
                "moved by up to two pixels, pretrained",
                "translated",
                "test_error_percent",
                "test error, %",
            ),
            (
                "the same from random weights",
                "translated-random",
                "test_error_percent",
                "test error, %",
            ),
            (
                "moved, turned, stretched and bent, pretrained",
                "distorted",
                "test_error_percent",
                "test error, %",
            ),
            (
                "the same from random weights",
                "distorted-random",
                "test_error_percent",
                "test error, %",
            ),
        ],
    ),
    "costs": (
        (Path("results/mnist.json"),),
        [
            (words if metric == "minutes" else "", f"cost-{part}", metric, unit)
            for words, part in (
                ("greedy pretraining, 30 epochs a layer", "pretrain-50k"),
                ("backpropagation from there, 30 epochs", "backprop-50k"),
                ("backpropagation from random weights, 30 epochs", "random-50k"),
                ("contrastive wake-sleep, 60 epochs", "updown-50k"),
                ("hybrid, 30 epochs over all 60,000", "hybrid-60k"),
            )
            for metric, unit in (
                ("minutes", "minutes"),
                ("cases_per_second", "cases a second, median pass"),
                ("tera_multiplications", "10^12 multiplications"),
            )
        ],
    ),
    "another": (
        (Path("results/fashion-mnist.json"),),
        [
            (
                "greedy pretraining only, label free energies (50k)",
                "greedy",
                "test_error_percent",
                "test error, %",
            ),
            (
                "random weights, backpropagation (50k)",
                "backprop-random",
                "validation_errors",
                "validation errors of 10,000",
            ),
            ("", "backprop-random", "test_error_percent", "test error, %"),
            (
                "pretrained, backpropagation (50k)",
                "backprop-50k",
                "validation_errors",
                "validation errors of 10,000",
            ),
            ("", "backprop-50k", "test_error_percent", "test error, %"),
            (
                "three of those together",
                "backprop-50k-combined-3",
                "test_error_percent",
                "test error, %",
            ),
            (
                "pretrained, backpropagation (60k)",
                "backprop-60k",
                "test_error_percent",
                "test error, %",
            ),
            ("three of those together", "combined-3", "test_error_percent", "test error, %"),
            (
                "pretrained, conjugate gradient (50k)",
                "conjugate-50k",
                "validation_errors",
                "validation errors of 10,000",
            ),
            ("", "conjugate-50k", "test_error_percent", "test error, %"),
            *labels_table(
                (100, 300, 1000, 3000, 10_000, 60_000),
                ("-supervised", "-pretrained", "-memory-drawn", "-spread"),
            ),
        ],
    ),
    "gpu": (
        (Path("results/speed.json"),),
        [
            (
                "CD-1, 784-500, batch 100, captured, our kernels",
                "gpu-cd1-float32-captured",
                "cases_per_second",
                "cases a second",
            ),
            (
                "the same in bfloat16",
                "gpu-cd1-bfloat16-captured",
                "cases_per_second",
                "cases a second",
            ),
            (
                "each kernel asked for from Python",
                "gpu-cd1-float32-plain",
                "cases_per_second",
                "cases a second",
            ),
            ("against rbms", "gpu-against-rbms", "speedup", "times"),
            ("against learnergy", "gpu-against-learnergy", "speedup", "times"),
            ("as in 2006, but 50 epochs a layer", "gpu-recipe-greedy", "minutes", "minutes so far"),
            ("", "gpu-recipe-greedy", "test_error_percent", "test error, %"),
            (
                "then 300 of contrastive wake-sleep on 50,000 cases",
                "gpu-recipe-updown-50k",
                "minutes",
                "minutes so far",
            ),
            ("", "gpu-recipe-updown-50k", "test_error_percent", "test error, %"),
            ("then 59 on all 60,000", "gpu-recipe-updown", "minutes", "minutes so far"),
            ("", "gpu-recipe-updown", "test_error_percent", "test error, %"),
        ],
    ),
    "likelihood": (
        (Path("results/likelihood.json"),),
        [
            (
                "AIS against exact log Z, 50 small RBMs",
                "ais-against-exact",
                "hits_of_50",
                "inside 3 standard errors",
            ),
            ("exact log Z, 20 hidden x 784 visible", "exact-20x784", "seconds", "seconds"),
            (
                "monitors, beside an epoch of CD-1 over 50,000 cases, 784-500",
                "monitors-784-500",
                "percent_of_a_pass",
                "% of its time",
            ),
            ("the same, 500-2000", "monitors-500-2000", "percent_of_a_pass", "% of its time"),
        ],
    ),
    "density": (
        (Path("results/likelihood.json"),),
        [
            (
                "the published 14,501 temperatures, 100 chains, 784-500",
                "ais-published-schedule",
                "seconds",
                "seconds",
            ),
            (
                "RBM of 500, binarised MNIST, log Z at + 3 s.e.",
                "rbm-500",
                "test_log_likelihood",
                "test, nats",
            ),
            (
                "the same, log Z from the reverse direction",
                "rbm-500",
                "test_log_likelihood_reverse",
                "test, nats",
            ),
            ("the same, training columns", "rbm-500", "train_log_likelihood", "training, nats"),
            (
                "DBN 500-2000, variational bound, log Z at + 3 s.e.",
                "dbn-500-2000",
                "test_bound",
                "test, nats",
            ),
            (
                "the same, log Z from the reverse direction",
                "dbn-500-2000",
                "test_bound_reverse",
                "test, nats",
            ),
            (
                "the same, importance-weighted over 20 samples",
                "dbn-500-2000",
                "test_importance_weighted",
                "test, nats",
            ),
        ],
    ),
    "deep": (
        (Path("results/deep.json"),),
        [
            (
                "DBM 500-1000, variational bound, log Z at + 3 s.e.",
                "dbm-500-1000",
                "test_bound",
                "test, nats",
            ),
            (
                "the same, log Z at its estimate",
                "dbm-500-1000",
                "test_bound_at_log_z_estimate",
                "test, nats",
            ),
            (
                "the same, log Z from the reverse direction",
                "dbm-500-1000",
                "test_bound_reverse",
                "test, nats",
            ),
            (
                "the same, importance-weighted over 20 samples, log Z at + 3 s.e.",
                "dbm-500-1000",
                "test_importance_weighted",
                "test, nats",
            ),
            (
                "the same, bound of training digits, log Z at + 3 s.e.",
                "dbm-500-1000",
                "train_bound",
                "training, nats",
            ),
            (
                "another machine, begun at pretrained layers: backpropagation from its mean field",
                "dbm-500-1000",
                "test_error_percent",
                "test, %",
            ),
            (
                "half-hidden digits: squared error of a hidden pixel, deep machine",
                "inpaint-dbm-500-1000",
                "squared_error_a_hidden_pixel",
                "500 test digits",
            ),
            (
                "the same, deep belief net",
                "inpaint-dbn-500-1000",
                "squared_error_a_hidden_pixel",
                "500 test digits",
            ),
            (
                "half-hidden digits: log-likelihood of what is hidden, deep machine",
                "inpaint-dbm-500-1000",
                "log_likelihood_of_hidden_pixels",
                "500 test digits, nats",
            ),
            (
                "the same, deep belief net",
                "inpaint-dbn-500-1000",
                "log_likelihood_of_hidden_pixels",
                "500 test digits, nats",
            ),
            (
                "small machines whose bound and AIS agree with enumeration",
                "exact-checks",
                "hits_of_20",
                "of 20",
            ),
        ],
    ),
    "mixing": (
        (Path("results/deep.json"),),
        [
            (
                "two modes: effective samples a second, replicas along training over Gibbs",
                "trajectory-tempering",
                "independent_samples_over_gibbs",
                "times",
            ),
            (
                "RBM 784 x 500: log Z along training, by AIS and in reverse, largest difference",
                "log-z-three-ways",
                "largest_difference_nats",
                "nats",
            ),
            (
                "the same, largest of their standard errors",
                "log-z-three-ways",
                "largest_standard_error_nats",
                "nats",
            ),
            (
                "RBM 784 x 500 that went on learning with PCD, log Z at + 3 s.e.",
                "rbm-500-pcd",
                "test_log_likelihood",
                "test, nats",
            ),
            (
                "the same, with chains that exchange along its training",
                "rbm-500-trajectory",
                "test_log_likelihood",
                "test, nats",
            ),
            (
                "ten replicas, a matrix each: a step with exchanges over a Gibbs step of as many "
                "chains",
                "exchange-cost",
                "times_gibbs",
                "times",
            ),
            (
                "ten temperatures of one matrix: the same",
                "exchange-cost-temperatures",
                "times_gibbs",
                "times",
            ),
            (
                "DNA, 60 sites: effective samples a second of 100 Gibbs chains",
                "mixing-dna",
                "effective_samples_per_second_of_gibbs",
                "a second",
            ),
            (
                "the same, replicas along training over Gibbs",
                "mixing-dna",
                "trajectory_tempering_over_gibbs",
                "times",
            ),
            (
                "WW domain, 31 sites: effective samples a second of 100 Gibbs chains",
                "mixing-ww-domain",
                "effective_samples_per_second_of_gibbs",
                "a second",
            ),
            (
                "the same, replicas along training over Gibbs",
                "mixing-ww-domain",
                "trajectory_tempering_over_gibbs",
                "times",
            ),
        ],
    ),
    "senses": (
        (Path("results/senses.json"),),
        [
            ("sound alone -> label, a net of sounds", "sound", LABELS, "test, %"),
            ("a support vector machine", "sound-svc", LABELS, "test, %"),
            ("the same, with as many bent copies", "sound-svc-copies", LABELS, "test, %"),
            (
                "one speaker left out, mean of six",
                "speaker-left-out",
                "mean_accuracy_percent",
                "speaker's, %",
            ),
            (
                "a support vector machine",
                "speaker-left-out-svc",
                "mean_accuracy_percent",
                "speaker's, %",
            ),
            ("sound and image -> label, a net of both", "sound-and-image", LABELS, "test pairs, %"),
            ("the sound alone, by the same net", "sound-of-both", LABELS, "test, %"),
            ("the image alone, by the same net", "image-of-both", LABELS, "test, %"),
            (
                "sound -> image: the judge finds the digit",
                "sound-to-image",
                "agreement_percent",
                "test, %",
            ),
            (
                "image -> sound: a support vector machine finds it",
                "image-to-sound",
                "agreement_percent",
                "test, %",
            ),
        ],
    ),
    "joint": (
        (Path("results/senses.json"),),
        [
            (
                "log p(picture, label), importance-weighted over 100 samples",
                "binarized-mnist-labels",
                "joint_bound",
                "test, nats",
            ),
            (
                "the same, variational bound",
                "binarized-mnist-labels",
                "joint_bound_variational",
                "test, nats",
            ),
            (
                "the same, log Z from the reverse direction",
                "binarized-mnist-labels",
                "joint_bound_variational_reverse",
                "test, nats",
            ),
            (
                "the same of training pictures",
                "binarized-mnist-labels",
                "train_joint_bound_variational",
                "training, nats",
            ),
            (
                "label by free energies",
                "binarized-mnist-labels",
                "label_error_percent",
                "test error, %",
            ),
        ],
    ),
    "views": (
        (Path("results/senses.json"),),
        [
            ("all six views", "six-views", "accuracy_percent", "ten folds, %"),
            ("a support vector machine", "six-views", "svc_accuracy_percent", "ten folds, %"),
            (
                "one view missing, the worst of six",
                "six-views-one-missing",
                "worst_accuracy_percent",
                "ten folds, %",
            ),
        ],
    ),
    "layers": (
        (Path("results/likelihood.json"),),
        [
            ("64-100, exact but for log Z", "digits-stack-depth-1", "test_bound", "test, nats"),
            ("64-100-100, variational bound", "digits-stack-depth-2", "test_bound", "test, nats"),
            (
                "the same, importance-weighted over 50 samples",
                "digits-stack-depth-2",
                "test_importance_weighted",
                "test, nats",
            ),
            (
                "64-100-100-100, variational bound",
                "digits-stack-depth-3",
                "test_bound",
                "test, nats",
            ),
            (
                "the same, importance-weighted over 50 samples",
                "digits-stack-depth-3",
                "test_importance_weighted",
                "test, nats",
            ),
        ],
    ),
    "page": (
        (Path("results/page.json"), Path("results/app.json")),
        [
            ("movement of the pen to answer", "drawing-to-answer", "median_ms", "ms, median"),
            ("", "drawing-to-answer", "p99_ms", "ms, 99th percentile"),
            (
                "ten labels side by side, as fast as it goes",
                "dream-ten",
                "steps_per_second",
                "Gibbs steps a second, each",
            ),
            ("first usable, from a static host on loopback", "start", "seconds", "seconds"),
            ("all bytes, with the model", "all-bytes", "megabytes", "MB"),
            (
                "browser against Python, label log-probabilities of 1,000 digits",
                "python-against-browser",
                "largest_difference_nats",
                "largest difference, nats",
            ),
            (
                "digits drawn by mouse, 11 conditions of 40, tiny ones too",
                "drawn-digits",
                "accuracy_percent",
                "named rightly, %",
            ),
            (
                "photographs as if by phone, 60 made from test digits",
                "photographs",
                "accuracy_percent",
                "named rightly, %",
            ),
            (
                "letters, scribbles, icons, garments, 100 of each",
                "unknown-pictures",
                "caught_percent",
                "called unfamiliar, %",
            ),
            (
                "200 drawn digits",
                "unknown-pictures",
                "drawn_digits_refused_percent",
                "called unfamiliar, %",
            ),
            ("the race, 100 labels", "race", "wins_of_20", "races of 20 won by who dreamed first"),
            ("", "race", "seconds", "seconds"),
            ("who dreamed first", "race-dreamed", "test_error_percent", "test error, %"),
            ("who never did", "race-random", "test_error_percent", "test error, %"),
            ("who never did, ReLU units", "race-relu", "test_error_percent", "test error, %"),
            ("audit of every screen, moderate and worse", "audit", "violations", "violations"),
            ("used at random for 15 minutes", "random-use", "console_errors", "console errors"),
            ("random bytes at every endpoint of the server", "fuzz", "requests", "requests"),
            ("", "fuzz", "server_errors", "answered with a server error"),
            ("", "fuzz", "memory_growth_mb", "MB more in the server"),
        ],
    ),
    "updown": (
        (Path("results/mnist.json"), Path("results/dreams.json"), Path("results/costs.json")),
        [
            (
                "greedy pretraining only, 30 epochs a layer (50k)",
                "greedy",
                "test_error_percent",
                "test error, %",
            ),
            (
                "greedy pretraining only, 100 epochs a layer (50k)",
                "greedy-long",
                "validation_errors",
                "validation errors of 10,000",
            ),
            ("", "greedy-long", "test_error_percent", "test error, %"),
            (
                "contrastive wake-sleep from there (50k)",
                "updown-50k",
                "validation_errors",
                "validation errors of 10,000",
            ),
            ("", "updown-50k", "test_error_percent", "test error, %"),
            ("the same, then on all 60k", "updown-60k", "test_error_percent", "test error, %"),
            ("hybrid from there (60k)", "hybrid", "test_error_percent", "test error, %"),
            ("", "hybrid", "dream_agreement_percent", "dreams that carry the clamped label, %"),
            (
                "label-clamped dreams of the net that ships, an earlier one",
                "clamped-label",
                "agreement_percent",
                "carry the label, %",
            ),
            (
                "",
                "clamped-label",
                "spread_over_real_digits",
                "distance between two, over that of real digits",
            ),
            (
                "an epoch over 50,000 cases at K = 3, on 2 cores",
                "updown-k3-50k-2-cores",
                "seconds",
                "seconds",
            ),
        ],
    ),
    "speed": (
        (Path("results/speed.json"), Path("results/ranks.json")),
        [
            (
                "CD-1, 784-500, batch 100, float32",
                "cd1-float32",
                "fraction_of_bound",
                "times PyTorch's products alone",
            ),
            (
                "the same",
                "cd1-float32",
                "fraction_of_onednn",
                "fraction of oneDNN's products alone",
            ),
            (
                "the same in bfloat16, before custom kernels",
                "cd1-reduced-without-kernels",
                "speedup_over_float32",
                "times float32",
            ),
            *AGAINST,
            *[
                (
                    words if how == "" else "the same, as timed",
                    f"against-{baseline}{how}",
                    "log_likelihood_gain_nats",
                    "nats a case that ours is better",
                )
                for words, baseline in (
                    ("PCD against scikit-learn, each at its best rate", "sklearn"),
                    ("CD-1 against rbms, each at its best rate", "rbms"),
                    ("CD-1 against learnergy, each at its best rate", "learnergy"),
                )
                for how in ("", "-as-timed")
            ],
            (
                "contrastive wake-sleep, K = 3, float32",
                "updown-k3",
                "fraction_of_bound",
                "times PyTorch's products alone",
            ),
            ("the same", "updown-k3", "fraction_of_onednn", "fraction of oneDNN's products alone"),
            (
                "the same in bfloat16",
                "updown-k3-reduced",
                "fraction_of_bound",
                "fraction of the bound in bfloat16",
            ),
            (
                "40,000 cases from the disk",
                "streaming",
                "cost_ratio_to_resident",
                "times the cost of cases in memory",
            ),
            (
                "an epoch of CD-1, a thousand to a million cases",
                "growth-cases",
                "largest_departure_from_linear_percent",
                "% off a straight line",
            ),
            (
                "memory when streaming, ten times the cases",
                "streaming-memory",
                "peak_memory_ratio_of_10x_cases",
                "times",
            ),
            ("the whole recipe, 30 epochs a layer + 30", "recipe-2-cores", "minutes", "minutes"),
            ("", "recipe-2-cores", "validation_errors", "validation errors of 10,000"),
            ("", "recipe-2-cores", "test_error_percent", "test error, %"),
            (
                "two ranks of one thread, batch 1000",
                "gloo-2-ranks-batch-1000",
                "ratio_to_one_process",
                "times two threads",
            ),
        ],
    ),
    "speed-amx": (
        (Path("results/speed-amx.json"),),
        [
            (
                "CD-1, 784-500, batch 100, float32",
                "cd1-float32",
                "fraction_of_bound",
                "times PyTorch's products alone",
            ),
            ("the same in bfloat16", "cd1-reduced", "speedup_over_float32", "times float32"),
            (
                "custom kernels against the reference implementation, bfloat16",
                "cd1-by-hand",
                "speedup_over_plain",
                "times the reference implementation",
            ),
            (
                "the same in float32",
                "cd1-float32-by-hand",
                "speedup_over_plain",
                "times the reference implementation",
            ),
            (
                "the same, contrastive wake-sleep, K = 3, bfloat16",
                "updown-k3-by-hand",
                "speedup_over_plain",
                "times the reference implementation",
            ),
            *AGAINST,
            (
                "contrastive wake-sleep, K = 3, float32",
                "updown-k3",
                "fraction_of_bound",
                "times PyTorch's products alone",
            ),
            (
                "the same in bfloat16",
                "updown-k3-reduced",
                "fraction_of_bound",
                "fraction of the bound in bfloat16",
            ),
            (
                "40,000 cases from the disk",
                "streaming",
                "cost_ratio_to_resident",
                "times the cost of cases in memory",
            ),
        ],
    ),
    "units": (
        (Path("results/units.json"),),
        [
            (
                "Ising model, 8 x 8 torus, T = 2.27, 128 hidden spins",
                "ising-2d",
                "kl_nats",
                "KL(exact, machine), nats",
            ),
            (
                "that and one at T = 3.5: energy and magnetisation of samples",
                "ising-2d",
                "observables_relative_error_percent",
                "largest error, %",
            ),
            ("DNA, 60 sites of four letters", "dna", "test_log_likelihood", "nats a case"),
            (
                "one component a class",
                "dna-component-a-class",
                "test_log_likelihood",
                "nats a case",
            ),
            (
                "independent sites",
                "dna-independent-sites",
                "test_log_likelihood",
                "nats a case",
            ),
            (
                "WW domain, 31 sites of 21 letters, DReLU hidden units",
                "ww-domain",
                "pair_correlation_over_training",
                "of the training sequences' pair correlation",
            ),
            (
                "patches of photographs, Gaussian x Bernoulli",
                "patches",
                "test_log_likelihood",
                "nats a case",
            ),
            (
                "a Gaussian of full covariance",
                "patches-full-gaussian",
                "test_log_likelihood",
                "nats a case",
            ),
            (
                "CD-1 with other than binary visible units",
                "cost-over-bernoulli",
                "times",
                "times the time of binary ones, at most",
            ),
        ],
    ),
    "estimators-speed": (
        (Path("results/estimators.json"),),
        [
            (
                "`BernoulliRBM.fit`, batches of 100, 60,000 x 784, 500 hidden units",
                "fit-batch-100",
                "speedup",
                "times as fast as scikit-learn's",
            ),
            (
                "",
                "fit-batch-100",
                "pseudo_likelihood_gain_nats",
                "score above scikit-learn's, nats a case",
            ),
            (
                'the same with `precision="auto"`',
                "fit-batch-100-auto-precision",
                "speedup",
                "times as fast as scikit-learn's",
            ),
            (
                "on one thread",
                "fit-batch-100-one-thread",
                "speedup",
                "times as fast as scikit-learn's",
            ),
            (
                "batches of 10, the default",
                "fit-batch-10",
                "speedup",
                "times as fast as scikit-learn's",
            ),
            (
                "",
                "fit-batch-10",
                "pseudo_likelihood_gain_nats",
                "score above scikit-learn's, nats a case",
            ),
            ("`fit` beside the core's own loop", "facade-overhead", "percent", "% longer"),
        ],
    ),
    "estimators-digits": (
        (Path("results/estimators.json"),),
        [
            ("`DBNClassifier`", "digits-dbn", "accuracy_percent", "correct, %"),
            ("`SVC`", "digits-svc-rbf", "accuracy_percent", "correct, %"),
            ("`MLPClassifier`", "digits-mlp", "accuracy_percent", "correct, %"),
            (
                "`LogisticRegression`",
                "digits-logistic-regression",
                "accuracy_percent",
                "correct, %",
            ),
        ],
    ),
    **{
        f"estimators-few-{name}": (
            (Path("results/estimators.json"),),
            [
                (
                    "the net, on the labelled tenth alone",
                    f"few-labels-{name}-labelled-only",
                    "accuracy_percent",
                    "correct, %",
                ),
                (
                    "the net, the other cases unlabelled",
                    f"few-labels-{name}-semi-supervised",
                    "accuracy_percent",
                    "correct, %",
                ),
                (
                    "`SelfTrainingClassifier` of the net",
                    f"few-labels-{name}-self-training",
                    "accuracy_percent",
                    "correct, %",
                ),
                (
                    "`SVC`, on the labelled tenth alone",
                    f"few-labels-{name}-svc-labelled-only",
                    "accuracy_percent",
                    "correct, %",
                ),
                (
                    "`LabelSpreading`",
                    f"few-labels-{name}-label-spreading",
                    "accuracy_percent",
                    "correct, %",
                ),
            ],
        )
        for name in ("digits", "mnist")
    },
    "units-predictions": (
        (Path("results/units.json"),),
        [
            ("satellite, 2,000 test rows", "satellite", "test_accuracy_percent", "correct, %"),
            ("", "satellite-fit-seconds-over-mlp", "times", "times `MLPClassifier`'s time"),
            ("letters, 4,000 test rows", "letters", "test_accuracy_percent", "correct, %"),
            ("", "letters-fit-seconds-over-mlp", "times", "times `MLPClassifier`'s time"),
            ("breast cancer", "breast-cancer", "accuracy_percent", "correct, %"),
            ("wine", "wine", "accuracy_percent", "correct, %"),
            ("iris", "iris", "accuracy_percent", "correct, %"),
            ("diabetes", "diabetes", "r2_percent", "100 R^2"),
        ],
    ),
    "units-impute": (
        (Path("results/units.json"),),
        [
            (f"{words}, {name}", f"{name}-impute{which}", "accuracy_percent", "right, %")
            for name in ("votes", "soybean")
            for words, which in (
                ("`TableRBM`", ""),
                ("most frequent value", "-most-frequent"),
                ("`KNNImputer`, rounded", "-knn"),
            )
        ],
    ),
    "estimators-tables": (
        (Path("results/estimators.json"),),
        [
            (f"{words}, {name.replace('-', ' ')}", f"table-{name}-{which}", metric, unit)
            for name, metric, unit, baselines in (
                ("breast-cancer", "accuracy_percent", "correct, %", CLASSIFIERS),
                ("wine", "accuracy_percent", "correct, %", CLASSIFIERS),
                ("iris", "accuracy_percent", "correct, %", CLASSIFIERS),
                ("diabetes", "r2_percent", "100 R^2", REGRESSORS),
            )
            for words, which in (
                ("the net", "dbn"),
                ('the net, `numbers="bins"`', "dbn-bins"),
                *baselines,
            )
        ],
    ),
    "defaults-tables": (
        (Path("results/defaults-tables.json"),),
        [
            (
                f"{words}, {name.replace('-', ' ')}",
                f"{name}{which}",
                "test_accuracy_percent",
                "correct, %",
            )
            for name, baselines in (
                (
                    "make-classification",
                    (*STANDARD, ("`HistGradientBoostingClassifier`", "-gradient-boosting")),
                ),
                ("breast-cancer", STANDARD),
                ("digits", STANDARD),
                ("breast-cancer-29-labels", FEW),
            )
            for words, which in (("`DBNClassifier`", ""), *baselines)
        ],
    ),
    "defaults-times": (
        (Path("results/defaults-tables.json"),),
        [
            line
            for name in ("digits", "six-views-pixels", "satellite", "letters")
            for line in (
                (
                    name.replace("-", " "),
                    f"fit-seconds-over-mlp-{name}",
                    "times",
                    "times `MLPClassifier`'s time",
                ),
                ("", f"fit-{name}-ours", "test_accuracy_percent", "`DBNClassifier`, correct, %"),
                ("", f"fit-{name}-mlp", "test_accuracy_percent", "`MLPClassifier`, correct, %"),
            )
        ]
        + [("median of the four", "fit-seconds-over-mlp", "times", "times `MLPClassifier`'s time")],
    ),
}
