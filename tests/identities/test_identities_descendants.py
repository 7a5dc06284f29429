"""The methods of the table of what came later: their formulas against plain arithmetic."""

import math
from pathlib import Path

import pytest
import torch
from torch.distributions import Normal, kl_divergence
from torch.nn.functional import binary_cross_entropy, cross_entropy

from wakesleep.data import load
from wakesleep.foundation.rng import generator
from wakesleep.paper.descendants import (
    adversarial,
    autoencoders,
    common,
    contrastive,
    diffusion,
    forward_forward,
    ladder,
    vae,
)
from wakesleep.paper.descendants.common import Minibatches
from wakesleep.paper.runs import TableSetup
from wakesleep.runs.settings import preset

IMAGES = torch.rand(6, 12, generator=generator(0))


def test_kl_to_the_standard_normal() -> None:
    mean, log_variance = torch.randn(2, 5, 3, generator=generator(1))
    exact = kl_divergence(Normal(mean, (log_variance / 2).exp()), Normal(0.0, 1.0)).sum(1)
    assert torch.allclose(vae.kl_to_standard(mean, log_variance), exact, atol=1e-5)


@pytest.mark.parametrize("spread", [0.0, 0.5])
def test_the_bound_of_the_autoencoder_is_below_its_likelihood(spread: float) -> None:
    net = vae.VAE((12, 5, 8), generator(1))
    torch.nn.init.normal_(net.code.weight, 0, spread, generator=generator(2))
    pixels = torch.bernoulli(IMAGES, generator=generator(3))
    with torch.no_grad():
        bound = torch.stack([net.bound(pixels, generator(seed)) for seed in range(2000)])
        logits = net.decoder(torch.randn(20_000, vae.CODE, generator=generator(4)))
        signed = logits[None] * (1 - 2 * pixels[:, None])
        log_p = -torch.nn.functional.softplus(signed).sum(2)
    assert (log_p.logsumexp(1) - math.log(20_000) - bound.mean(0) > 0).all()
    if not spread:  # q is the prior: the bound is the mean log p(x | z) over it
        assert torch.allclose(bound.mean(0), log_p.mean(1), rtol=0.05)


def test_the_bound_of_codes_and_labels_is_exact_where_nothing_depends_on_the_top() -> None:
    net = vae.M2(vae.VAE((12, 5, 8), generator(1)), 3, generator(2))
    for parameter in (*net.recognise[-1].parameters(), *net.generate[-1].parameters()):
        parameter.data.zero_()  # q(a | z, y) = p(a) and p(z | a, y) = N(0, 1)
    code = torch.randn(4, vae.CODE, generator=generator(3))
    with torch.no_grad():
        bound = net.bound(code, torch.tensor([0, 1, 2, 0]), generator(4))
    assert torch.allclose(bound, Normal(0.0, 1.0).log_prob(code).sum(1) - math.log(3), atol=1e-4)
    assert not any(p.requires_grad for p in net.below.parameters())


def test_the_contrastive_loss_is_that_of_its_formula() -> None:
    net = contrastive.Contrastive((12, 8), generator(1))
    rng = generator(5)
    both = torch.cat([contrastive.spoilt(IMAGES, rng), contrastive.spoilt(IMAGES, rng)])
    codes = net.head(net.features(both)).detach()
    codes = codes / codes.norm(dim=1, keepdim=True)
    total, n = 0.0, len(IMAGES)
    for i in range(2 * n):
        alike = {k: float(codes[i] @ codes[k]) / contrastive.TEMPERATURE for k in range(2 * n)}
        others = sum(math.exp(value) for k, value in alike.items() if k != i)
        total -= alike[(i + n) % (2 * n)] - math.log(others)
    loss = contrastive.loss(net, IMAGES, rng=generator(5)).detach()
    assert float(loss) == pytest.approx(total / (2 * n), rel=1e-4)


def test_the_masked_loss_is_of_hidden_pixels_alone() -> None:
    net = autoencoders.Autoencoder((12, 8, 6), generator(1))
    share = autoencoders.HIDDEN["masked"]
    known = torch.empty_like(IMAGES).bernoulli_(1 - share, generator=generator(7))
    assert 0.5 < float(1 - known.mean()) < 0.95
    with torch.no_grad():
        made = torch.sigmoid(net.decoder(net.encode(IMAGES, known)))
    expected = binary_cross_entropy(made[known == 0], IMAGES[known == 0])
    actual = autoencoders.masked_loss(net, IMAGES, rng=generator(7)).detach()
    assert float(actual) == pytest.approx(float(expected), rel=1e-5)


def test_a_decoder_that_mends_nothing_gives_the_noisy_value() -> None:
    a = torch.zeros(10, 4)
    a[9] = 1  # v = 1, mu = 0
    noisy, signal = torch.randn(2, 3, 4, generator=generator(1))
    assert torch.equal(ladder.mended(noisy, signal, a), noisy)
    a[9], a[4] = 0, 2.5  # v = 0, mu = 2.5
    assert torch.equal(ladder.mended(noisy, signal, a), torch.full_like(noisy, 2.5))


def test_the_ladder_uses_running_moments_in_use_and_minibatch_moments_in_learning() -> None:
    net = ladder.Ladder((12, 5, 3), generator(1))
    net.train()
    _, inputs, moments = net.encode(IMAGES, 0.0, None)
    assert torch.allclose(inputs[1] * moments[1][1] + moments[1][0], net.up[0](IMAGES), atol=1e-5)
    assert torch.allclose(inputs[1].mean(0), torch.zeros(5), atol=1e-5)
    assert torch.allclose(inputs[1].var(0, unbiased=False), torch.ones(5), atol=1e-3)
    assert not torch.equal(net.mean0, torch.zeros(5))
    net.eval()
    assert torch.allclose(net(IMAGES[:1]), net(IMAGES)[:1], atol=1e-6)


def test_the_worst_direction_is_worse_than_chance() -> None:
    net = common.mlp((12, 20, 4), generator(1))
    images = torch.rand(200, 12, generator=generator(2))
    log_p = torch.log_softmax(net(images), 1).detach()
    worst = adversarial.worst(net, images, log_p, generator(3))
    assert torch.allclose(worst.norm(dim=1), torch.full((200,), adversarial.RADIUS), atol=1e-4)
    random = torch.randn(200, 12, generator=generator(4))
    chance = torch.nn.functional.normalize(random, dim=1) * adversarial.RADIUS

    def change(moved: torch.Tensor) -> float:
        with torch.no_grad():
            answer = torch.log_softmax(net(images + moved), 1)
        return float(adversarial.divergence(log_p, answer))

    assert change(worst) > 1.5 * change(chance)


def test_every_layer_of_the_smooth_net_is_normalised() -> None:
    net = adversarial.normalised_mlp((12, 20, 4), generator(1)).train()
    images = torch.rand(200, 12, generator=generator(2))
    logits = net(images)
    assert torch.allclose(logits.mean(0), torch.zeros(4), atol=1e-4)
    assert torch.allclose(logits.var(0, unbiased=False), torch.ones(4), atol=1e-2)
    hidden = net[1](net[0](images))
    assert torch.allclose(hidden.var(0, unbiased=False), torch.ones(20), atol=1e-2)


def test_noise_takes_the_place_of_the_picture() -> None:
    kept = diffusion.kept(torch.arange(diffusion.STEPS))
    assert (kept.diff() < 0).all()
    assert kept[0] > 0.99
    assert kept[-1] < 1e-3


class Knows(diffusion.Denoiser):
    """A denoiser that knows the picture, whatever the noise."""

    def forward(self, states: torch.Tensor, time: torch.Tensor) -> torch.Tensor:
        return (2 * IMAGES[0] - 1).expand(len(states), -1)


def test_a_denoiser_that_knows_the_picture_has_no_loss_and_ends_at_it() -> None:
    net = Knows((12, 8, 6), generator(1))
    assert float(diffusion.loss(net, IMAGES[:1].expand(20, -1), rng=generator(2))) == 0
    assert torch.allclose(net.sample(3, generator(3)), IMAGES[0].expand(3, -1), atol=1e-6)


def test_steps_back_through_the_noise_keep_the_law_of_a_gaussian_pixel() -> None:
    class Exact(diffusion.Denoiser):
        """E[x | x_t] of pixels N(0.2, 0.3^2), in [-1, 1]."""

        def forward(self, states: torch.Tensor, time: torch.Tensor) -> torch.Tensor:
            kept = diffusion.kept(time)[:, None]
            gain = kept.sqrt() * 0.09 / (kept * 0.09 + 1 - kept)
            return 0.2 + gain * (states - kept.sqrt() * 0.2)

    net = Exact((12, 8, 6), generator(1))
    pixels = 2 * net.sample(2000, generator(3)) - 1
    assert float(pixels.mean()) == pytest.approx(0.2, abs=0.01)
    assert float(pixels.std()) == pytest.approx(0.3, abs=0.015)


def test_the_divergence_of_the_autoencoder_weighs_more_from_minibatch_to_minibatch() -> None:
    net = vae.VAE((12, 5, 8), generator(1))
    torch.nn.init.normal_(net.code.weight, generator=generator(2))
    pixels = (IMAGES > 0.5).float()  # drawing changes nothing
    with torch.no_grad():
        full = -net.bound(pixels, draws(pixels))
        without = -net.bound(pixels, draws(pixels), 0.0)
        assert float((full - without).min()) > 0
        half = vae.WARM_UP // 2
        for seen, weight in ((0, 1 / vae.WARM_UP), (half - 1, 0.5), (3 * vae.WARM_UP, 1)):
            net.updates.fill_(seen)
            loss = vae.m1_loss(net, pixels, rng=generator(4))
            expected = without + weight * (full - without)
            assert float(loss) == pytest.approx(float(expected.mean()), rel=1e-5)


def draws(pixels: torch.Tensor) -> torch.Generator:
    """Return the generator as it is after pixels are drawn."""
    rng = generator(4)
    torch.bernoulli(pixels, generator=rng)
    return rng


def test_each_layer_of_forward_forward_learns_by_itself() -> None:
    net = forward_forward.ForwardForward((12, 6, 5), 3, generator(1))
    first, second = net.goodness(IMAGES, torch.tensor([0, 1, 2, 0, 1, 2]))
    second.sum().backward(retain_graph=True)
    assert net.layers[0].weight.grad is None
    assert net.layers[2].weight.grad is not None
    first.sum().backward()
    assert net.layers[0].weight.grad is not None


def test_a_ladder_that_mends_all_to_the_clean_input_has_no_error_but_the_labels(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    net = ladder.Ladder((12, 5, 3), generator(1)).train()
    labels = torch.tensor([0, 1, 2, 0, 1, 2])
    others = torch.rand(9, 12, generator=generator(2))
    clean = [others, *(linear_input(net, others))]

    def decode(logits: torch.Tensor, noisy: list[torch.Tensor]) -> list[torch.Tensor]:
        return clean  # the inputs before they are normalised, as the decoder should make them

    monkeypatch.setattr(net, "decode", decode)
    found = ladder.loss(net, IMAGES, labels, others, rng=generator(3)).detach()
    rng = generator(3)
    logits = net.encode(IMAGES, ladder.NOISE, rng)[0].detach()
    assert float(found) == pytest.approx(float(cross_entropy(logits, labels)), rel=1e-4)


def linear_input(net: ladder.Ladder, images: torch.Tensor) -> list[torch.Tensor]:
    """Return the inputs of the two layers of a clean net, not normalised."""
    first = net.up[0](images)
    normal = (first - first.mean(0)) / (first.var(0, unbiased=False) + 1e-6).sqrt()
    return [first, net.up[1](torch.relu(normal + net.shift[0]))]


def test_minibatches_show_labelled_cases_as_often_as_asked() -> None:
    labels = torch.full((6,), -1)
    labels[:2] = torch.tensor([0, 1])
    source = Minibatches(IMAGES, labels, updates=3)
    shown = list(source.minibatches(100, generator(0)))
    assert [len(batch[0]) for batch in shown] == [100, 100, 100]
    assert len(source) == 300
    assert torch.cat([batch[1] for batch in shown]).bincount().tolist() == [150, 150]
    both = Minibatches(IMAGES, labels, updates=2, every=True)
    (images, known, others), _ = both.minibatches(3, generator(0))
    assert len(images) == len(known) == len(others) == 3
    assert {tuple(row) for row in others.tolist()} <= {tuple(row) for row in IMAGES.tolist()}


def test_all_methods_have_the_same_time(tmp_path: Path) -> None:
    setup = TableSetup(
        load("digits"), tmp_path, (1,), preset("mnist"), torch.device("cpu"), "wakesleep"
    )
    for seconds in (common.UNLABELLED_SECONDS, common.LABELLED_SECONDS):
        for milliseconds in (8, 28, 60):
            updates = common.updates_in(setup, seconds, milliseconds) * common.RECORDS
            assert updates * milliseconds / 1000 == pytest.approx(seconds, rel=0.2)
