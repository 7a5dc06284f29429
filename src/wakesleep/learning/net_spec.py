"""Feed-forward nets in words, as JSON can hold them, and built from these."""

from __future__ import annotations

from typing import Any

from torch import nn

from wakesleep.learning.feed_forward import ACTIVATIONS, EncodeSenses, feed_forward


def net_spec(net: nn.Sequential) -> dict[str, Any] | None:
    """Return what is needed to build a net like this one, `net_from_spec`; None of a kind that
    `backprop.classifier` does not make.
    """
    layers = list(net)
    encoder = layers[0] if layers and isinstance(layers[0], EncodeSenses) else None
    upper = net if encoder is None else nn.Sequential(*layers[1:])
    sizes, names = net_sizes(upper), net_activations(upper)
    if sizes is None:
        return None
    spec: dict[str, Any] = {"class": "FeedForward", "sizes": sizes}
    if set(names) - {"Sigmoid"}:
        spec["activations"] = names
    if encoder is not None:
        spec["senses"] = {
            name: {"size": encoder.sizes[name], "layers": _pathway_layers(pathway)}
            for name, pathway in encoder.nets.items()
        }
    return spec


def _pathway_layers(net: nn.Module) -> list[Any]:
    """Return the units and the activation of each layer of a sense's net, (Linear, activation) by
    turns.
    """
    layers = list(net.children())
    return [
        [linear.out_features, type(activation).__name__]
        for linear, activation in zip(layers[::2], layers[1::2], strict=True)
        if isinstance(linear, nn.Linear)
    ]


def net_from_spec(spec: dict[str, Any]) -> nn.Sequential:
    """Return the feed-forward net that `spec` described, its weights yet to be filled."""
    upper = feed_forward(spec["sizes"], activations=spec.get("activations"))
    if "senses" not in spec:
        return upper
    nets = {}
    for name, each in spec["senses"].items():
        sizes = [each["size"], *(size for size, _ in each["layers"])]
        names = [activation for _, activation in each["layers"]]
        nets[name] = feed_forward(sizes, activations=names) if names else nn.Sequential()
    sizes_of = {name: each["size"] for name, each in spec["senses"].items()}
    return nn.Sequential(EncodeSenses(nets, sizes_of), *upper)


def net_sizes(net: nn.Sequential) -> list[int] | None:
    """Return the layer sizes of a net of the kind that `feed_forward` makes, inputs first; None of
    another kind.
    """
    layers = list(net)
    linear = [layer for layer in layers[::2] if isinstance(layer, nn.Linear)]
    if (
        not linear
        or len(linear) < len(layers[::2])
        or len(layers) != 2 * len(linear) - 1
        or set(net_activations(net)) - set(ACTIVATIONS)
    ):
        return None
    return [linear[0].in_features, *(layer.out_features for layer in linear)]


def net_activations(net: nn.Sequential) -> list[str]:
    """Return the names of the layers between the linear ones."""
    return [type(layer).__name__ for layer in list(net)[1::2]]
