"""Spoken and written digits in one memory: hear a seven and dream a seven.

    python -m benchmarks.senses.pairs

MNIST's training images and the training recordings of spoken-digits, with bent copies, belong
together by class alone and are paired anew in each epoch; test pairs, an image of MNIST's test part
for each test recording, are drawn once, by seed 0. What is asked of the net: the label of a test
pair, of its sound alone and of its image alone; the image it recalls of a sound, judged by a
convolutional net that never saw the model; the sound it recalls of an image, judged by a support
vector machine trained on real sounds. What is recalled is the mean over the second half of the
chain. `--choose` holds out the last 10,000 training images and the training recordings 5 to 9,
judges on those and saves nothing; so the settings were found. (The shipped net, as which the
pathway of images begins, has learned from all training images.)
"""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, cast

import torch
import tyro
from sklearn.svm import SVC
from torch import Tensor, nn

from benchmarks import judge
from benchmarks.estimators import Found, measure
from benchmarks.senses.spoken import SIZES, forward_net, more, recordings
from wakesleep.app.loaded_model import SHIPPED
from wakesleep.data import load
from wakesleep.data.sound_sets import OFFICIAL_TEST
from wakesleep.foundation.rng import generator
from wakesleep.learning.chains import memory_epochs
from wakesleep.learning.configs import CDConfig, ChainsConfig, GreedyConfig
from wakesleep.learning.multimodal import MemoryCases
from wakesleep.learning.records import EpochResult
from wakesleep.models.dbn import DBN
from wakesleep.models.multimodal import MultimodalDBN, Pathway
from wakesleep.runs.checkpoint import load_model
from wakesleep.runs.progress import resumed, run
from wakesleep.samplers.recalling import recall
from wakesleep.sources.arrays import as_probs
from wakesleep.sources.paired import SenseCases, pair_by_class
from wakesleep.units import Gaussian


@dataclass(frozen=True)
class PairsOptions:
    """Train, judge and save the rows."""

    data: Path = Path(os.environ.get("WAKESLEEP_DATA", "data"))
    """Folder with spoken-digits/recordings.zip and mnist/."""
    learned: int = 20_000
    """Training images, the first of MNIST's, that the memory and the pathways learn from: those of
    the shipped net have learned from all.
    """
    images: int = 1000
    """Test images of which sounds are recalled."""
    steps: int = 600
    """Gibbs steps of a recall."""
    seed: int = 0
    """Seed of the net; test pairs are drawn by 0."""
    choose: bool = False
    """Judge on cases held out of the training parts, and save nothing."""
    folder: Path = Path("runs/senses")
    """Where the net stands, so that a stopped call goes on; and the judge."""
    out: Path = Path("results/senses.json")
    """Where the rows go."""


class Part(NamedTuple):
    """Images (N, 784) and pictures of sounds (M, 576), each with labels."""

    images: Tensor
    digits: Tensor
    sounds: Tensor
    spoken: Tensor


COPIES, FRAMES, BANDS = 4, 1.5, 1.0
"""Bent copies of each recording, and by how much."""
JUDGE_IMAGES, JUDGE_EPOCHS = 50_000, 2
"""The judge learns from the first training images, which `--choose` does not judge on."""
GENERATIVE_EPOCHS, GENERATIVE_RATE = 5, 0.05
"""Of the wake rule, before the memory learns."""
MEMORY = CDConfig(epochs=12, gibbs_steps=3)
CHAINS = ChainsConfig(share=1.0, learning_rate=0.03, final_learning_rate=0.002)
"""In all epochs: the memory of images has learned long before, and its labels are what sounds are
to be joined by.
"""


def parts(options: PairsOptions) -> tuple[Part, Part]:
    """Return the training part and that which is judged on."""
    mnist, spoken = load("mnist", folder=options.data), recordings(options.data)
    assert mnist.train.labels is not None
    assert mnist.test is not None
    assert mnist.test.labels is not None
    first = OFFICIAL_TEST * (2 if options.choose else 1)
    held = (spoken.numbers < first) & (spoken.numbers >= first - OFFICIAL_TEST)
    images, digits = as_probs(mnist.train.images), mnist.train.labels
    learned = spoken.some(spoken.numbers >= first)
    if options.choose:
        cut = len(images) - 10_000
        train = Part(images[:cut], digits[:cut], *learned)
        return train, Part(images[cut:], digits[cut:], *spoken.some(held))
    test = Part(as_probs(mnist.test.images), mnist.test.labels, *spoken.some(held))
    return Part(images, digits, *learned), test


def cases(train: Part, count: int) -> SenseCases:
    """Return the training cases, which belong together by class."""
    images, digits = train.images[:count], train.digits[:count]
    sounds = more(
        train.sounds, train.spoken, generator(0), copies=COPIES, frames=FRAMES, bands=BANDS
    )
    return pair_by_class({"image": (images, digits), "sound": sounds})


def trained(options: PairsOptions, train: Part) -> MultimodalDBN:
    """Return the net, trained as far as it is not yet.

    It begins as the net of images that ships with the package and a net that tells spoken digits
    (`spoken`), whose hidden layers are the pathway of sounds. Its code is joined to the memory with
    small weights, and the memory learns.
    """
    pairs, seed = cases(train, options.learned), options.seed
    path = options.folder / f"pairs-{'choose-' if options.choose else ''}{seed}"
    rng = generator(seed)
    net = joined(rng)
    if not path.with_name(f"{path.name}-memory.safetensors").exists():
        hear(net.pathways["sound"], train, pairs.cases["sound"], seed)
    source = MemoryCases(net, pairs)
    settings = GreedyConfig(memory=MEMORY, chains=CHAINS)
    trained_in(
        path, "memory", net, lambda **at: memory_epochs(net.memory, source, settings, **at), seed
    )
    return net


def hear(pathway: Pathway, train: Part, sounds: Tensor, seed: int) -> None:
    """Let a pathway of two layers recognise as a net that tells digits does, and generate, in
    place: its lowest layer by least squares from states of the one above, ridge 1, the other by the
    wake rule.
    """
    linear = [
        module
        for module in forward_net((train.sounds, train.spoken), seed).modules()
        if isinstance(module, nn.Linear)
    ]
    rng, (lower, upper) = generator(seed + 2), pathway.recognition
    with torch.no_grad():
        for layer, learned in zip((lower, upper), linear, strict=False):
            layer.weight.copy_(learned.weight.t())
            layer.bias.copy_(learned.bias)
        made, code = pathway.generative
        code.weight.copy_(upper.weight)
        for _ in range(GENERATIVE_EPOCHS):
            for index in torch.split(torch.randperm(len(sounds), generator=rng), 50):
                states = pathway.up(sounds[index], rng)
                gradient = code.delta_rule(states[2], states[1])
                code.weight.copy_(code.weight + GENERATIVE_RATE * gradient.weight)
                code.bias.copy_(code.bias + GENERATIVE_RATE * gradient.bias)
        above = lower.sample(sounds, rng)
        with_one = torch.cat([above, above.new_ones(len(above), 1)], 1)
        penalty = torch.eye(with_one.shape[1])
        solution = torch.linalg.solve(with_one.t() @ with_one + penalty, with_one.t() @ sounds)
        made.weight.copy_(solution[:-1].t())
        made.bias.copy_(solution[-1])


def trained_in(
    path: Path, stage: str, net: Any, epochs: Callable[..., Iterator[EpochResult]], seed: int
) -> None:
    """Go through the epochs of a stage, in place, each kept, so that a stopped call goes on."""
    path.parent.mkdir(parents=True, exist_ok=True)
    progress = resumed(
        path.with_name(f"{path.name}-{stage}.safetensors"), generator(seed + 1), {"net": net}
    )
    for record in run(progress, epochs(rng=progress.rng, state=progress.state), {"net": net}, net):
        print(f"{path.name} {stage} {record.epoch} of {record.epochs}", flush=True)


def joined(rng: torch.Generator) -> MultimodalDBN:
    """Return the shipped net of images with a pathway of sounds beside, whose code the memory has
    small weights to.
    """
    shipped = load_model(SHIPPED).dbn
    layers: dict[str, Any] = {"image": shipped.sizes[:-1], "sound": (Gaussian(576), *SIZES)}
    net: Any = DBN(senses=layers, labels=10, top=shipped.sizes[-1], rng=rng, weight_std=0.01)
    net.untie()
    image, memory = net.pathways["image"], net.memory
    for own, theirs in (
        *zip(image.recognition, shipped.recognition, strict=True),
        *zip(image.generative, shipped.generative, strict=True),
    ):
        own.load_state_dict(theirs.state_dict())
    code = shipped.sizes[-2]
    with torch.no_grad():
        for rows, of in (
            (slice(0, code), slice(0, code)),
            (net.label_columns, shipped.label_columns),
        ):
            memory.weight[rows] = shipped.memory.weight[of].float()
            memory.visible_bias[rows] = shipped.memory.visible_bias[of].float()
        memory.hidden_bias.copy_(shipped.memory.hidden_bias)
    return cast(MultimodalDBN, net)


def pairs_to_judge(part: Part) -> Tensor:
    """Return an image's number for each sound, (M,), of the same class, drawn by seed 0."""
    rng = generator(0)
    chosen = torch.empty_like(part.spoken)
    for label in range(10):
        among = torch.nonzero(part.digits == label).squeeze(1)
        wanted = torch.nonzero(part.spoken == label).squeeze(1)
        chosen[wanted] = among[torch.randperm(len(among), generator=rng)[: len(wanted)]]
    return chosen


def percent(predicted: Tensor, labels: Tensor) -> float:
    """Return how many percent agree."""
    return 100 * float((predicted == labels).double().mean())


def agreements(options: PairsOptions, train: Part, part: Part, net: MultimodalDBN) -> Found:
    """Yield accuracy of labels and of what is recalled, percent."""
    rng, labels = generator(0), part.spoken
    seen = part.images[pairs_to_judge(part)]
    given: dict[str, dict[str, Any]] = {
        "sound-and-image": {"image": seen, "sound": part.sounds},
        "sound-of-both": {"sound": part.sounds},
        "image-of-both": {"image": seen},
    }
    settings: dict[str, Any] = {"steps": options.steps, "rng": rng}
    for row, senses in given.items():
        predicted = recall(net, want="label", **senses, **settings)["label"].argmax(1)
        yield row, "label_accuracy_percent", [percent(predicted, labels)], {}
    among = slice(0, JUDGE_IMAGES)
    net_of_judge = judge.get(
        options.folder / "judge.safetensors",
        train.images[among],
        train.digits[among],
        (28, 28),
        epochs=JUDGE_EPOCHS,
    )
    images = recall(net, want="image", sound=part.sounds, **settings)["image"]
    agree = percent(judge.says(net_of_judge, images), labels)
    yield "sound-to-image", "agreement_percent", [agree], {}
    machine = SVC(C=10).fit(train.sounds.numpy(), train.spoken.numpy())
    some: dict[str, Any] = {"image": part.images[: options.images]}
    sounds = recall(net, want="sound", **some, **settings)["sound"]
    predicted = torch.from_numpy(machine.predict(sounds.numpy()))
    agree = percent(predicted, part.digits[: options.images])
    yield "image-to-sound", "agreement_percent", [agree], {}


def main(argv: list[str]) -> None:
    """Train, judge and save the rows, or print what was chosen by."""
    options = tyro.cli(PairsOptions, description=__doc__, args=argv)
    train, part = parts(options)
    net = trained(options, train)
    if options.choose:
        for row, metric, values, _ in agreements(options, train, part, net):
            print(row, metric, round(values[0], 2), flush=True)
        return
    command = shlex.join(["python", "-m", "benchmarks.senses.pairs", *argv])
    part_of = partial(agreements, options, train, part, net)
    for _ in measure("senses", [part_of], out=options.out, command=command, threads=1):
        pass


if __name__ == "__main__":
    main(sys.argv[1:])
