"""An independent judge of dreams: a small convolutional net that never saw the generative model,
trained on the same pictures.

It is told nothing of how dreams are made, and it is better at digits than the model it judges (over
99 % on MNIST). What it can be asked: which label does each dream carry, how far apart are dreams of
one class, and how far is each from the nearest picture the model has seen.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from wakesleep.data import Split
from wakesleep.foundation.rng import generator
from wakesleep.runs import checkpoint, tensor_files
from wakesleep.sources import arrays


def convolutional(shape: tuple[int, int], classes: int) -> nn.Sequential:
    """Return two layers of 5 x 5 convolutions and pooling under a layer of 128 units; pictures come
    as rows (N, pixels).
    """
    side = [(((size + 1) // 2) + 1) // 2 for size in shape]
    return nn.Sequential(
        nn.Unflatten(1, (1, *shape)),
        *(nn.Conv2d(1, 16, 5, padding=2), nn.ReLU(), nn.MaxPool2d(2, ceil_mode=True)),
        *(nn.Conv2d(16, 32, 5, padding=2), nn.ReLU(), nn.MaxPool2d(2, ceil_mode=True)),
        *(
            nn.Flatten(),
            nn.Linear(32 * side[0] * side[1], 128),
            nn.ReLU(),
            nn.Dropout(0.3),
            nn.Linear(128, classes),
        ),
    )


def train(
    net: nn.Sequential,
    images: Tensor,
    labels: Tensor,
    *,
    epochs: int,
    rng: torch.Generator,
    rate: float = 2e-3,
) -> Iterator[int]:
    """Train `net` with Adam on images (N, pixels) and labels (N,), the rate falling to nothing,
    yielding the number of each epoch.
    """
    optimizer = torch.optim.Adam(net.parameters(), lr=rate)
    steps = epochs * -(-len(images) // 100)
    falling = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.0, steps)
    with torch.random.fork_rng(devices=[]):  # dropout draws from the global generator
        torch.manual_seed(int(torch.randint(2**31, (), generator=rng)))
        for number in range(epochs):
            net.train()
            for index in torch.split(arrays.order(labels, len(images), rng), 100):
                loss = nn.functional.cross_entropy(
                    net(arrays.as_probs(images[index])), labels[index]
                )
                optimizer.zero_grad(set_to_none=True)
                loss.backward()  # type: ignore[no-untyped-call]
                optimizer.step()
                falling.step()
            yield number + 1
    net.eval()


def get(
    path: Path,
    images: Tensor,
    labels: Tensor,
    shape: tuple[int, int],
    *,
    epochs: int = 5,
    seed: int = 0,
) -> nn.Sequential:
    """Return the judge saved at `path`, trained first if it is not there."""
    rng = generator(seed)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        net = convolutional(shape, int(labels.max()) + 1)
    if path.exists():
        checkpoint.fill(net, tensor_files.load_tensors(path, "judge")[0], [], path)
    else:
        for number in train(net, images, labels, epochs=epochs, rng=rng):
            print(f"judge {number}/{epochs}", flush=True)
        tensor_files.save_tensors(path, dict(net.state_dict()), {"seed": seed}, "judge")
    return net.eval()


def says(net: nn.Sequential, images: Tensor) -> Tensor:
    """Return the label the judge sees in each image (N, pixels), (N,)."""
    with torch.inference_mode():
        return torch.cat([net(chunk).argmax(1) for chunk in arrays.chunks(images, 1000)])


def spread(images: Tensor, labels: Tensor) -> Tensor:
    """Return the mean Euclidean distance between two images of a class, (classes,), for images (N,
    pixels) in [0, 1].
    """
    distances = []
    for label in range(int(labels.max()) + 1):
        mine = images[labels == label]
        distances.append(torch.cdist(mine, mine).sum() / max(len(mine) * (len(mine) - 1), 1))
    return torch.stack(distances)


def nearest(images: Tensor, seen: Tensor) -> Tensor:
    """Return the Euclidean distance of each image (N, pixels) in [0, 1] to the nearest of `seen`
    (M, pixels), (N,).
    """
    best = torch.full((len(images),), torch.inf)
    for chunk in arrays.chunks(seen, 5000):
        best = torch.minimum(best, torch.cdist(images, chunk).min(1).values)
    return best


def judge_dreams(
    net: nn.Sequential, fantasies: Tensor, clamped: Tensor, train_images: Tensor, test: Split
) -> dict[str, Any]:
    """Return what there is to say of dreams (N, pixels) with the labels `clamped` (N,), beside as
    many real test pictures a class.
    """
    assert test.labels is not None
    test_images, test_labels, classes = test.images, test.labels, range(int(clamped.max()) + 1)
    real = torch.cat(
        [
            torch.nonzero(test_labels == label).flatten()[: int((clamped == label).sum())]
            for label in classes
        ]
    )
    pictures, named = arrays.as_probs(test_images[real]), test_labels[real]
    agree = (says(net, fantasies) == clamped).float()
    return {
        "agreement_percent": round(100 * float(agree.mean()), 2),
        "agreement_by_class": [
            round(100 * float(agree[clamped == label].mean()), 1) for label in classes
        ],
        "spread_over_real_digits": round(
            float(spread(fantasies, clamped).mean() / spread(pictures, named).mean()), 4
        ),
        "spread_by_class": [
            round(float(ratio), 3) for ratio in spread(fantasies, clamped) / spread(pictures, named)
        ],
        "nearest_training_image": round(float(nearest(fantasies, train_images).mean()), 3),
        "nearest_training_image_of_real_digits": round(
            float(nearest(pictures, train_images).mean()), 3
        ),
        "judge_test_error_percent": round(
            100 * float((says(net, test_images) != test_labels).float().mean()), 3
        ),
    }
