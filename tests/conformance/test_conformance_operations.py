"""Every backend computes what `reference.py` says, for tensors of every shape, layout and type, and
touches nothing else.
"""

from __future__ import annotations

import itertools

import pytest
import torch
from backends import (
    FLOATS,
    LAYOUTS,
    Backend,
    around,
    is_untouched_around,
    laid,
    layouts,
    some,
    terms_as,
)
from torch import Tensor

from wakesleep.compute import cpu
from wakesleep.compute.ops import Dense, Product, RowSum
from wakesleep.compute.reference import Reference, gradient
from wakesleep.foundation.rng import generator

EXACT = Reference("cpu")
SHAPES = [
    (100, 80, 50),
    (7, 33, 45),
    (1, 5, 3),
    (33, 64, 17),
    (16, 32, 32),
    (17, 1, 33),
    (64, 1, 1),
]
"""Cases, units below, units above: whole tiles, tiles that end early on any side, one row, one
unit.
"""


def shapes(backend: Backend) -> list[tuple[int, int, int]]:
    return SHAPES if backend.name != "cuda, interpreted" else [(7, 12, 9), (1, 3, 1), (33, 50, 35)]


def types(backend: Backend) -> tuple[torch.dtype, ...]:
    return FLOATS if backend.name != "cuda, interpreted" else (torch.float32,)


def held(
    actual: Tensor, expected: Tensor, backend: Backend, dtype: torch.dtype, sums: int, what: object
) -> None:
    """Hold the result to that in float64."""
    assert not actual.isnan().any(), what
    close = backend.tolerance(dtype, sums)
    torch.testing.assert_close(
        actual.double().cpu(), expected.cpu(), **close, msg=lambda output: f"{what}: {output}"
    )


def layer_inputs(
    backend: Backend, shape: tuple[int, int, int], dtype: torch.dtype, how: tuple[str, str]
) -> tuple[Tensor, Tensor, Tensor]:
    cases, below, above = shape
    device = backend.device
    states = some(cases, below, seed=1, dtype=dtype, layout=how[0], device=device)
    weight = some(below, above, seed=2, dtype=dtype, layout=how[1], device=device, scale=0.3)
    return states, weight, some(above, seed=3, dtype=dtype, device=device)


def test_affine(backend: Backend) -> None:
    for shape, dtype, how in itertools.product(shapes(backend), types(backend), layouts(backend)):
        states, weight, bias = layer_inputs(backend, shape, dtype, how)
        expected = EXACT.affine(states.double(), weight.double(), bias.double())
        out = some(shape[0], shape[2], dtype=dtype, layout=how[0], device=backend.device)
        for actual in (
            backend.ops.affine(states, weight, bias),
            backend.ops.affine(states, weight, bias, out),
        ):
            held(actual, expected, backend, dtype, shape[1], (shape, dtype, how))
        assert actual.data_ptr() == out.data_ptr()
        assert is_untouched_around(out), (shape, dtype, how)


def test_rows_of_a_larger_matrix(backend: Backend) -> None:
    weight, states, bias = (
        some(*shape, device=backend.device, seed=len(shape) + 5)
        for shape in ((90, 50), (100, 90), (50,))
    )
    actual = backend.ops.affine(states[:, :80], weight[:80], bias)
    held(
        actual,
        states[:, :80].double() @ weight[:80].double() + bias.double(),
        backend,
        torch.float32,
        80,
        "rows",
    )


def test_gram(backend: Backend) -> None:
    for (cases, below, above), dtype, how in itertools.product(
        shapes(backend), types(backend), layouts(backend)
    ):
        left = some(cases, below, seed=1, dtype=dtype, layout=how[0], device=backend.device)
        right = some(cases, above, seed=2, dtype=dtype, layout=how[1], device=backend.device)
        actual = backend.ops.gram(left, right)
        held(
            actual,
            EXACT.gram(left.double(), right.double()),
            backend,
            dtype,
            2 * cases,
            (cases, below, above, dtype, how),
        )


@pytest.mark.parametrize("share", [1.0, 0.6, 0.0], ids=["all", "some", "none"])
def test_bernoulli_layer(share: float, backend: Backend) -> None:
    for shape, dtype, how in itertools.product(shapes(backend), types(backend), layouts(backend)):
        what = (shape, dtype, how)
        inputs = layer_inputs(backend, shape, dtype, how)
        (cases, _, above), n = shape, round(share * shape[2])
        expected = torch.empty(cases, above, dtype=torch.float64)
        EXACT.bernoulli_layer(*(each.double().cpu() for each in inputs), n, mean=expected)
        mean, sample, alone, again = (
            some(cases, above, dtype=dtype, layout=how[0], device=backend.device) for _ in range(4)
        )
        backend.ops.bernoulli_layer(
            *inputs, n, mean=mean, sample=sample, rng=generator(4, backend.device)
        )
        held(mean, expected, backend, dtype, shape[1], what)
        held(sample[:, n:], expected[:, n:], backend, dtype, shape[1], what)
        assert bool(((sample[:, :n] == 0) | (sample[:, :n] == 1)).all()), what
        backend.ops.bernoulli_layer(*inputs, n, mean=alone)
        backend.ops.bernoulli_layer(*inputs, n, sample=again, rng=generator(4, backend.device))
        assert torch.equal(alone, mean), what
        held(again[:, n:], expected[:, n:], backend, dtype, shape[1], what)
        # a mean that is laid out otherwise may be rounded otherwise
        apart = (again[:, :n] != sample[:, :n]).double().mean() if n else 0.0
        assert float(apart) <= (0.0 if how[0] == "rows" else 0.02), what
        assert all(is_untouched_around(each) for each in (mean, sample, alone, again)), what


@pytest.mark.filterwarnings(
    "ignore:overflow encountered in exp:RuntimeWarning"
)  # the interpreter's: sigmoid(-1000) is 0
def test_states_of_sure_units_are_their_means(backend: Backend) -> None:
    for dtype in types(backend):
        states, weight = (
            (some(40, 64, dtype=dtype, device=backend.device) > 0).to(dtype),
            some(64, 45, dtype=dtype, device=backend.device),
        )
        weight, bias = (
            weight.sign() * 80,
            torch.full((45,), 40.0, dtype=dtype, device=backend.device),
        )
        mean, sample = torch.empty(2, 40, 45, dtype=dtype, device=backend.device)
        backend.ops.bernoulli_layer(
            states, weight, bias, 45, mean=mean, sample=sample, rng=generator(0, backend.device)
        )
        torch.testing.assert_close(mean, mean.round(), rtol=0, atol=1e-6)
        assert torch.equal(sample, mean.round())
        assert 0 < float(sample.mean()) < 1


@pytest.mark.parametrize("scale", [0.2, 3.0, 60.0])
def test_log_partition_delta(scale: float, backend: Backend) -> None:
    rows_types = (torch.float32, torch.bfloat16)
    for dtype, (cases, units, count) in itertools.product(
        rows_types, [(6, 5, 3), (7, 700, 10), (1, 64, 1), (5, 45, 4)]
    ):
        total_input = some(cases, units, scale=5.0, layout="slice", device=backend.device)
        rows = some(
            count,
            units,
            scale=scale,
            dtype=dtype,
            seed=1,
            layout="gaps" if count == 4 else "rows",
            device=backend.device,
        )
        actual = backend.ops.log_partition_delta(total_input, rows)
        expected = EXACT.log_partition_delta(total_input.double(), rows.double())
        torch.testing.assert_close(actual.double(), expected, rtol=1e-5, atol=2e-3)
        if backend.name != "cuda, interpreted":
            actual = backend.ops.log_partition_delta(total_input.double(), rows.double())
            torch.testing.assert_close(actual, expected, rtol=1e-10, atol=1e-9)


# -------------------------------------------------------------------------------------------------
# gradients and updates


def weight_terms(
    cases: int, below: int, above: int, how: tuple[str, str], device: str
) -> dict[str, list]:
    """Return sums of terms for the gradient of a weight."""

    def product(seed: int, scale: float, dtype: torch.dtype = torch.float32) -> Product:
        left = some(cases, below, seed=seed, dtype=dtype, layout=how[0], device=device)
        return Product(
            left,
            some(cases, above, seed=seed + 1, dtype=dtype, layout=how[1], device=device),
            scale,
        )

    dense = Dense(some(below, above, seed=9, layout=how[0], device=device), 0.7)
    return {
        "product": [product(1, 1 / cases)],
        "low precision": [product(1, 1 / cases, torch.bfloat16)],
        "dense": [dense],
        "two products": [product(1, 1 / cases), product(3, -2 / cases)],
        "two of low precision": [
            product(1, 1 / cases, torch.bfloat16),
            product(3, 0.5 / cases, torch.bfloat16),
        ],
        "a product and more": [
            product(1, 1 / cases, torch.bfloat16),
            dense,
            product(3, 0.5 / cases),
        ],
        "nothing of a product": [product(1, 0.0)],
        "nothing of a gradient": [dense._replace(scale=0.0)],
    }


def bias_terms(cases: int, units: int, how: tuple[str, str], device: str) -> dict[str, list]:
    """Return sums of terms for the gradient of a bias."""
    rows, other = (
        some(cases, units, seed=1, layout=how[0], device=device),
        some(2 * cases, units, seed=2, layout=how[1], device=device),
    )
    return {
        "rows": [RowSum(rows, 1 / cases)],
        "rows of low precision": [RowSum(rows.bfloat16(), 1 / cases)],
        "gaps of low precision": [RowSum(laid(rows.bfloat16(), how[0]), 1 / cases)],
        "two sums": [RowSum(rows, 1 / cases), RowSum(other, -0.5 / cases)],
        "a sum and more": [
            RowSum(other.bfloat16(), 1 / cases),
            Dense(some(units, seed=9, device=device), 2.0),
        ],
        "dense": [Dense(some(units, seed=9, device=device), 2.0)],
        "nothing of a sum": [RowSum(rows, 0.0)],
    }


STEPS = [
    {"rate": 0.2, "momentum": 0.9, "decay": 0.0},
    {"rate": 0.2, "momentum": 0.9, "decay": 0.3},
    {"rate": 0.05, "momentum": 0.0, "decay": 0.3},
    {"rate": 0.05, "momentum": 0.0, "decay": 0.0},
]
COPIES = (None, torch.bfloat16, torch.float32)


def step(
    backend: Backend,
    terms: list,
    shape: tuple[int, ...],
    how: tuple[str, str, str],
    settings: dict,
    copy: torch.dtype | None,
    what: object,
) -> None:
    """Take one step with and one without a velocity, and hold all that moves to the reference in
    float64.
    """
    low = any(
        isinstance(value, Tensor) and value.dtype == torch.bfloat16
        for term in terms
        for value in term
    )
    single = low or backend.name == "cuda, interpreted"
    for dtype, still in itertools.product(
        (torch.float32,) if single else FLOATS[:2], (False, True)
    ):
        _step(
            backend,
            terms if dtype == torch.float32 else terms_as(terms, dtype),
            shape,
            how,
            settings,
            copy,
            (what, still),
            dtype,
            still,
            low,
        )


def _step(backend, terms, shape, how, settings, copy, what, dtype, still, low) -> None:
    device = backend.device
    parameter, velocity = (
        some(*shape, seed=seed, dtype=dtype, layout=one, device=device)
        for seed, one in ((5, how[0]), (6, how[1]))
    )
    second = (
        None if copy is None else some(*shape, seed=7, dtype=copy, layout=how[2], device=device)
    )
    exact = parameter.double(), None if still else velocity.double()
    exact_terms = terms_as(terms, torch.float64)
    EXACT.momentum_step(*exact, exact_terms, **settings)
    backend.ops.momentum_step(
        parameter, None if still else velocity, terms, **settings, copy=second
    )
    empty = torch.empty(shape, dtype=torch.float64, device=device)
    size = sum(
        abs(term.scale) * float(EXACT.sum_terms([term._replace(scale=1.0)], empty).abs().max())
        for term in exact_terms
    )
    near = (
        max(backend.tolerance(torch.float32)["rtol"], 2.0**-7 if low else 0.0)
        if dtype == torch.float32
        else 1e-12
    )
    close = {
        "rtol": 3e-6 if dtype == torch.float32 else 1e-12,
        "atol": near * max(settings["rate"] * size, 0.1),
    }
    torch.testing.assert_close(
        parameter.double(), exact[0], **close, msg=lambda output: f"{what}: {output}"
    )
    if not still:
        torch.testing.assert_close(
            velocity.double(), exact[1], **close, msg=lambda output: f"{what}: {output}"
        )
    if second is not None:
        assert torch.equal(second, parameter.to(copy)), what
    assert all(
        is_untouched_around(each)
        for each in [parameter, velocity, *([] if second is None else [second])]
    ), what


@pytest.mark.parametrize("copy", COPIES, ids=str)
@pytest.mark.parametrize("settings", STEPS, ids=str)
def test_momentum_step_of_a_weight(
    settings: dict, copy: torch.dtype | None, backend: Backend
) -> None:
    layouts = [
        ("rows",) * 3,
        ("columns",) * 3,
        ("rows", "columns", "rows"),
        ("columns", "rows", "columns"),
        ("slice", "gaps", "gaps"),
    ]
    for number, ((cases, below, above), how) in enumerate(
        itertools.product([(100, 80, 50), (7, 33, 45), (1, 5, 3), (64, 1, 1)], layouts)
    ):
        sides = LAYOUTS[number % 4], LAYOUTS[number // 4 % 4]
        if backend.name == "cuda, interpreted" and number % 3:
            continue  # each takes long there
        for name, terms in weight_terms(cases, below, above, sides, backend.device).items():
            step(
                backend,
                terms,
                (below, above),
                how,
                settings,
                copy,
                (name, cases, below, above, how, sides, settings, copy),
            )


@pytest.mark.parametrize("copy", COPIES, ids=str)
@pytest.mark.parametrize("settings", STEPS, ids=str)
def test_momentum_step_of_a_bias(
    settings: dict, copy: torch.dtype | None, backend: Backend
) -> None:
    for number, (cases, units) in enumerate([(200, 500), (33, 65), (1, 64), (7, 1)]):
        sides = LAYOUTS[number], LAYOUTS[3 - number]
        for name, terms in bias_terms(cases, units, sides, backend.device).items():
            for how in (("rows",) * 3, ("gaps", "rows", "slice")):
                step(
                    backend,
                    terms,
                    (units,),
                    how,
                    settings,
                    copy,
                    (name, cases, units, how, sides, settings, copy),
                )


@pytest.mark.parametrize(
    ("rows", "dtype"),
    [
        (cpu.MIN_ROWS - 1, torch.float32),
        (cpu.MIN_ROWS, torch.float32),
        (cpu.MIN_ROWS, torch.bfloat16),
    ],
)
def test_layouts_change_no_step(rows: int, dtype: torch.dtype, backend: Backend) -> None:
    """Weights that lie along the pixels, as the estimators have them, and velocities read from a
    file, which lie the other way.
    """
    term = Product(
        some(rows, 70, seed=1, dtype=dtype, device=backend.device),
        some(rows, 60, seed=2, dtype=dtype, device=backend.device),
        0.05,
    )
    plain = [some(70, 60, seed=seed, device=backend.device) for seed in (3, 4)]
    for how in (("columns", "columns"), ("columns", "rows"), ("rows", "columns")):
        turned = [
            laid(some(70, 60, seed=seed), one).to(backend.device)
            for seed, one in zip((3, 4), how, strict=True)
        ]
        rowwise = [each.clone() for each in plain]
        for momentum in (0.8, 0.0, 0.8):
            for parameter, velocity in (rowwise, turned):
                backend.ops.momentum_step(
                    parameter, velocity, [term], rate=0.1, momentum=momentum, decay=0.02
                )
        for one, other in zip(rowwise, turned, strict=True):
            torch.testing.assert_close(one, other, **backend.tolerance(torch.float32, rows))


def test_sum_terms(backend: Backend) -> None:
    """What stood where the sum goes is not read."""
    for cases, below, above in ((20, 33, 45), (1, 5, 3)):
        every = weight_terms(cases, below, above, ("rows", "columns"), backend.device)
        for (name, terms), layout in itertools.product(every.items(), LAYOUTS):
            expected = EXACT.sum_terms(
                terms_as(terms, torch.float64),
                torch.empty(below, above, dtype=torch.float64, device=backend.device),
            )
            out = some(below, above, layout=layout, device=backend.device)
            actual = backend.ops.sum_terms(terms, out.fill_(torch.nan))
            assert actual is out
            low = max(
                3e-2 if "low" in name or "more" in name else 1e-5,
                backend.tolerance(torch.float32)["rtol"],
            )
            torch.testing.assert_close(out.double(), expected, rtol=low, atol=low)
            assert is_untouched_around(out), (name, layout)
        bias = torch.full((above,), torch.nan, device=backend.device)
        for name, terms in bias_terms(cases, above, ("rows", "gaps"), backend.device).items():
            expected = EXACT.sum_terms(terms_as(terms, torch.float64), bias.double())
            near = 2.0**-7 if "low" in name or "more" in name else 1e-5
            actual = backend.ops.sum_terms(terms, bias.fill_(torch.nan))
            torch.testing.assert_close(
                actual.double(), expected, rtol=near, atol=near, msg=lambda output: output
            )


def test_a_sum_is_not_rounded_to_the_type_of_its_terms(backend: Backend) -> None:
    ones = torch.ones(3, 40, dtype=torch.bfloat16, device=backend.device)
    bias, velocity = torch.zeros(2, 40, device=backend.device)
    backend.ops.momentum_step(bias, velocity, [RowSum(ones, 1 / 9)], rate=1.0, momentum=0.0)
    torch.testing.assert_close(bias, torch.full_like(bias, 1 / 3), rtol=1e-6, atol=0)
    backend.ops.sum_terms([Dense(ones, 1 / 3)], out := torch.empty(3, 40, device=backend.device))
    torch.testing.assert_close(out, torch.full_like(out, 1 / 3), rtol=1e-6, atol=0)


# -------------------------------------------------------------------------------------------------
# cases and the rest


def test_gather(backend: Backend) -> None:
    pixels = torch.randint(256, (90, 256), generator=generator(4), dtype=torch.uint8)
    pixels[0] = torch.arange(256)
    index = torch.cat(
        [torch.tensor([0, 89, 0]), torch.randint(90, (40,), generator=generator(5))]
    ).to(backend.device)
    values = torch.rand(90, 256, generator=generator(6))
    for cases, dtype, layout, kind in itertools.product(
        (pixels, values, values.double()), FLOATS, LAYOUTS, (torch.int64, torch.int32)
    ):
        given = laid(cases, layout).to(backend.device)
        out = some(43, 256, dtype=dtype, layout=layout, device=backend.device)
        assert backend.ops.gather(given, index.to(kind), out) is out
        expected = cases[index.cpu()].double() / (255 if cases.dtype == torch.uint8 else 1)
        exact = (
            expected.float().to(dtype)
            if cases.dtype == torch.uint8 or dtype == torch.bfloat16
            else expected.to(dtype)
        )
        near = {
            "rtol": 1e-6
            if backend.name.startswith("cuda") and dtype != torch.bfloat16
            else 2**-7
            if "cuda" in backend.name
            else 0.0
        }
        torch.testing.assert_close(out.cpu(), exact, **near, atol=0)
        assert is_untouched_around(out), (cases.dtype, dtype, layout, kind)


def test_copy_all(backend: Backend) -> None:
    sources = [
        some(5, 7, seed=seed, layout=how, device=backend.device) for seed, how in enumerate(LAYOUTS)
    ]
    for dtype in FLOATS:
        targets = [torch.zeros(5, 7, dtype=dtype, device=backend.device) for _ in sources]
        backend.ops.copy_all(targets, sources)
        assert all(
            torch.equal(target, source.to(dtype))
            for target, source in zip(targets, sources, strict=True)
        )


def test_mixed_precision(backend: Backend) -> None:
    if backend.name == "cuda, interpreted":
        pytest.skip("PyTorch's layers run on a processor here")
    layer = torch.nn.Linear(4, 3, device=backend.device)
    for dtype, expected in (
        (None, torch.float32),
        (torch.float32, torch.float32),
        (torch.bfloat16, torch.bfloat16),
    ):
        with backend.ops.mixed_precision(dtype):
            assert layer(torch.ones(2, 4, device=backend.device)).dtype == expected
    assert layer.weight.dtype == torch.float32


def test_learning_changes_no_result(backend: Backend) -> None:
    states, weight, bias = layer_inputs(backend, (20, 30, 40), torch.float32, ("rows", "rows"))
    before = backend.ops.affine(states, weight, bias)
    with backend.ops.learning():
        held(
            backend.ops.affine(states, weight, bias),
            before.double(),
            backend,
            torch.float32,
            30,
            "learning",
        )
    assert torch.equal(backend.ops.affine(states, weight, bias), before)
    if backend.name != "cuda, interpreted":
        backend.ops.synchronize()


def test_replay_does_each_minibatch_once(backend: Backend) -> None:
    total = torch.zeros((), device=backend.device)
    run = backend.ops.replay(
        lambda values: total.add_(values.sum()), generator(0, backend.device), 30
    )
    for number in range(30):
        run(torch.full((2 if number < 29 else 1,), float(number), device=backend.device))
    assert float(total) == 2 * sum(range(29)) + 29


def test_what_a_device_is_like(backend: Backend) -> None:
    assert backend.ops.synchronous == (not backend.name.startswith("cuda"))
    assert backend.ops.capturable == backend.name.startswith("cuda")


# -------------------------------------------------------------------------------------------------
# what the tests above are about


def test_every_kernel_was_asked_for(backend: Backend) -> None:
    """Otherwise a test above might have held PyTorch to PyTorch."""
    device = backend.device
    low = torch.float32 if backend.name == "cuda, interpreted" else torch.bfloat16
    pair = (
        some(100, 80, seed=1, dtype=low, device=device),
        some(100, 50, seed=2, dtype=low, device=device),
    )
    weight, velocity = (some(80, 50, seed=seed, device=device) for seed in (3, 4))
    bias, still = torch.zeros(2, 50, device=device)
    mean = torch.empty(100, 50, dtype=low, device=device)
    copy = weight.bfloat16()
    rng = generator(0, device)
    backend.ops.bernoulli_layer(
        pair[0], weight.to(low), bias.to(low), 50, mean=mean, sample=torch.empty_like(mean), rng=rng
    )
    backend.ops.gram(*pair)
    backend.ops.momentum_step(
        weight, velocity, [Product(*pair, 1.0)], rate=0.1, momentum=0.5, copy=copy
    )
    backend.ops.momentum_step(bias, still, [RowSum(pair[1], 1.0)], rate=0.1, momentum=0.5)
    backend.ops.gather(
        torch.zeros(5, 50, dtype=torch.uint8, device=device),
        torch.zeros(100, dtype=torch.int64, device=device),
        mean,
    )
    backend.ops.log_partition_delta(mean.float(), bias[None].float())
    assert dict(backend.asked) == {
        "cpu, kernels": {"bernoulli": 1, "weight_update": 1, "bias_update": 1, "gather": 1},
        "cpu, AMX": {
            "amx_layer": 2,
            "bernoulli": 1,
            "amx_update": 1,
            "bias_update": 1,
            "gather": 1,
        },
        "cuda, interpreted": {
            "layer": 1,
            "weight_update": 1,
            "bias_update": 1,
            "gather": 1,
            "log_partition_delta": 1,
        },
        "cuda": {
            "layer": 1,
            "weight_update": 1,
            "bias_update": 1,
            "gather": 1,
            "log_partition_delta": 1,
        },
    }.get(backend.name, {})


def test_the_reference_is_what_the_formulas_say() -> None:
    """Held to autograd and to sums written out, in float64."""
    states, weight, bias, right = (
        some(*shape, seed=len(shape) + shape[0], dtype=torch.float64)
        for shape in ((7, 5), (5, 3), (3,), (7, 3))
    )
    total = torch.einsum("ni,ij->nj", states, weight) + bias
    torch.testing.assert_close(EXACT.affine(states, weight, bias), total)
    torch.testing.assert_close(EXACT.gram(states, right), torch.einsum("ni,nj->ij", states, right))
    mean = torch.empty(7, 3, dtype=torch.float64)
    EXACT.bernoulli_layer(states, weight, bias, 2, mean=mean)
    torch.testing.assert_close(mean[:, :2], 1 / (1 + torch.exp(-total[:, :2])))
    torch.testing.assert_close(mean[:, 2], total[:, 2])
    moves = some(4, 3, seed=1, dtype=torch.float64)
    log = torch.log1p(torch.exp(total[:, None] + moves)) - torch.log1p(torch.exp(total))[:, None]
    torch.testing.assert_close(EXACT.log_partition_delta(total, moves), log.sum(-1))
    weight.requires_grad_()
    bias.requires_grad_()
    (0.3 * ((states @ weight + bias) * right).sum()).backward()
    torch.testing.assert_close(gradient(Product(states, right, 0.3)), weight.grad)
    torch.testing.assert_close(gradient(RowSum(right, 0.3)), bias.grad)
    torch.testing.assert_close(gradient(Dense(right, 0.3)), 0.3 * right)
    parameter, velocity, copy = (
        torch.tensor([2.0]),
        torch.tensor([3.0]),
        torch.tensor([0.0], dtype=torch.bfloat16),
    )
    EXACT.momentum_step(
        parameter,
        velocity,
        [Dense(torch.tensor([5.0]), 2.0)],
        rate=0.1,
        momentum=0.5,
        decay=0.25,
        copy=copy,
    )
    assert velocity.item() == pytest.approx(0.5 * 3 + 0.1 * (2 * 5 - 0.25 * 2))
    assert parameter.item() == pytest.approx(2 + velocity.item())
    assert copy.item() == parameter.bfloat16().item()


def test_the_layouts_are_what_they_say() -> None:
    one = {how: some(3, 5, layout=how) for how in LAYOUTS}
    assert all(torch.equal(one["rows"], other) for other in one.values())
    assert [other.stride() for other in one.values()] == [(5, 1), (1, 3), (19, 1), (19, 2)]
    for values in one.values():
        assert is_untouched_around(values.clone().copy_(values) if values._base is None else values)
    spoiled = some(3, 5)
    around(spoiled)[0] = 1.0
    assert not is_untouched_around(spoiled)
