"""C kernels: exact where they can be, for any number of threads, built safely and only when
needed.
"""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pooch
import pytest
import torch
from backends import STEP, made, some
from torch import Tensor

from wakesleep.compute import cpu, cpu_kernels, ops, random_bits
from wakesleep.compute.cpu import CPU
from wakesleep.compute.ops import Product, RowSum
from wakesleep.foundation.rng import generator
from wakesleep.learning import cd
from wakesleep.learning.cd import CDConfig
from wakesleep.models.rbm import RBM

there = pytest.mark.skipif(not cpu_kernels.are_built(), reason="no C compiler that knows OpenMP")
amx = pytest.mark.skipif(
    not cpu_kernels.are_built() or not cpu_kernels.amx_is_there(), reason="no AMX"
)
TYPES = [torch.float32, torch.bfloat16]


# -------------------------------------------------------------------------------------------------
# exactly


@there
@pytest.mark.parametrize("dtype", TYPES, ids=str)
def test_a_number_that_meets_its_threshold_is_not_below_it(dtype: torch.dtype) -> None:
    mean = (torch.arange(256).repeat(40) / 256).to(dtype)
    begin, states, met = torch.tensor(-5), torch.empty_like(mean), 0
    numbers = random_bits.hashed(begin, 2560).view(torch.int16).double()
    for shift in range(256):
        cpu_kernels.bernoulli(mean, states, begin, torch.tensor(-32768.0 + shift))
        thresholds = 65536 * mean.double() - 32768 + shift
        assert torch.equal(states.bool(), numbers < thresholds)
        met += int((numbers == thresholds).sum())
    assert met > 0


@there
def test_a_copy_is_rounded_as_pytorch_rounds() -> None:
    bits = torch.arange(2**16, dtype=torch.int32) << 16
    weight = torch.cat(
        [(bits | low).view(torch.float32) for low in (0, 1, 0x7FFF, 0x8000, 0x8001, 0xFFFF)]
    )
    copy = torch.zeros_like(weight, dtype=torch.bfloat16)
    cpu_kernels.weight_update(
        weight, torch.zeros_like(weight), copy.clone(), copy, momentum=0.0, factor=0.0, decayed=0.0
    )
    torch.testing.assert_close(copy, weight.bfloat16(), rtol=0, atol=0, equal_nan=True)


@there
@pytest.mark.parametrize("dtype", TYPES, ids=str)
def test_pixels_are_those_without_the_kernel(dtype: torch.dtype, monkeypatch) -> None:
    pixels = torch.randint(256, (90, 256), generator=generator(4), dtype=torch.uint8)
    pixels[0] = torch.arange(256)
    index = torch.randint(90, (40,), generator=generator(5))
    index[:3] = torch.tensor([0, 89, 0])
    ours, plain = made("cpu, kernels", monkeypatch), CPU(kernels=False)
    actual = [
        each.gather(pixels, index, torch.full((40, 256), 9.0, dtype=dtype))
        for each in (ours.ops, plain)
    ]
    assert ours.asked["gather"] == 1
    assert torch.equal(*actual)
    assert torch.equal(actual[0], (pixels[index].double() / 255).float().to(dtype))


@there
@pytest.mark.parametrize("row", [-1, 90, 2**40])
def test_a_row_that_is_not_there_is_refused(row: int, monkeypatch) -> None:
    pixels, out = torch.zeros(90, 256, dtype=torch.uint8), torch.full((2, 256), 9.0)
    with pytest.raises(IndexError, match="of 90 cases"):
        made("cpu, kernels", monkeypatch).ops.gather(pixels, torch.tensor([row, 3]), out)
    assert out[0].unique().tolist() == [9.0]


@there
@pytest.mark.parametrize("name", ["cpu, kernels", "cpu, AMX"])
def test_the_number_of_threads_changes_nothing(name: str, monkeypatch) -> None:
    backend = made(name, monkeypatch)
    pair = (
        some(300, 784, seed=1, dtype=torch.bfloat16),
        some(300, 500, seed=2, dtype=torch.bfloat16),
    )
    weight, bias, pixels = (
        some(784, 500, seed=3),
        some(500, seed=4),
        torch.randint(256, (90, 256), generator=generator(5), dtype=torch.uint8),
    )
    actual: list[list[Tensor]] = []
    for threads in (1, 2, 3, 8):
        torch.set_num_threads(threads)
        try:
            moved, velocity, mean = (
                weight.clone(),
                torch.ones_like(weight),
                torch.empty(300, 500, dtype=torch.bfloat16),
            )
            low, biases, still = weight.bfloat16(), bias.clone(), torch.ones_like(bias)
            if name == "cpu, AMX":
                backend.ops.bernoulli_layer(pair[0], low.clone(), bias.bfloat16(), 300, mean=mean)
            else:
                mean.fill_(0.5)
            if name == "cpu, AMX":
                backend.ops.momentum_step(
                    moved,
                    velocity,
                    [Product(*pair, 0.01)],
                    rate=1.0,
                    momentum=0.9,
                    decay=0.1,
                    copy=low,
                )
            else:
                cpu_kernels.weight_update(
                    moved,
                    velocity,
                    weight.bfloat16(),
                    low,
                    momentum=0.9,
                    factor=0.01,
                    decayed=0.001,
                )
            backend.ops.momentum_step(
                biases, still, [RowSum(pair[1], 0.01)], rate=1.0, momentum=0.9
            )
            states = backend.ops.sample_bernoulli(mean, generator(6))
            gathered = backend.ops.gather(pixels, torch.arange(90), torch.empty(90, 256))
        finally:
            torch.set_num_threads(1)
        actual.append([mean, moved, velocity, low, biases, still, states, gathered])
    assert all(
        torch.equal(one, other)
        for others in actual[1:]
        for one, other in zip(actual[0], others, strict=True)
    )


AT_THE_EDGE = """
import ctypes, mmap, torch
from wakesleep.compute import cpu_kernels as k
page, kept = mmap.PAGESIZE, []

# a matrix whose last number is the last of its page, nothing readable behind it
def edge(*shape, dtype=torch.bfloat16, turned=False):
    if turned:
        return edge(*shape[::-1], dtype=dtype).t()
    count = torch.Size(shape).numel()
    length = -(-count * dtype.itemsize // page) * page
    memory = mmap.mmap(-1, length + page)
    begin = ctypes.addressof(ctypes.c_char.from_buffer(memory))
    assert ctypes.CDLL(None, use_errno=True).mprotect(ctypes.c_void_p(begin + length), page, 0) == 0
    kept.append(memory)
    offset = length - count * dtype.itemsize
    return torch.frombuffer(memory, dtype=dtype, count=count, offset=offset).view(shape).fill_(1)

step = dict(momentum=0.5, factor=0.1)
for rows, inner, columns in ((100, 784, 500), (7, 33, 45), (1, 5, 3), (16, 32, 32), (17, 1, 33)):
    fine = edge(inner, columns, dtype=torch.float32), edge(inner, columns, dtype=torch.float32)
    k.weight_update(*fine, edge(inner, columns), edge(inner, columns), decayed=0.0, **step)
    for dtype in (torch.float32, torch.bfloat16):
        biases = edge(columns, dtype=torch.float32), edge(columns, dtype=torch.float32)
        k.bias_update(*biases, edge(columns), edge(rows, columns, dtype=dtype), **step)
        states = edge(rows, columns, dtype=dtype), edge(rows, columns, dtype=dtype)
        k.bernoulli(*states, torch.tensor(5), torch.tensor(-32768.5))
        index = edge(3, dtype=torch.int64).zero_()
        k.gather(edge(rows, columns, dtype=torch.uint8), index, edge(3, columns, dtype=dtype))
    if k.amx_is_there():
        for turned in ((False, False), (False, True), (True, False), (True, True)):
            states = edge(rows, inner, turned=turned[0])
            weight = edge(inner, columns, turned=turned[1])
            k.amx_layer(states, weight, edge(columns), columns // 2, edge(rows, columns))
        k.amx_update(*fine, edge(inner, columns), edge(rows, inner), edge(rows, columns),
                     decayed=0.0, **step)
print("nothing else was touched")
"""


@there
@pytest.mark.skipif(sys.platform != "linux", reason="it asks Linux to guard a page")
def test_only_what_is_there_is_touched() -> None:
    done = subprocess.run(
        [sys.executable, "-c", AT_THE_EDGE], capture_output=True, text=True, check=False
    )
    assert done.stdout == "nothing else was touched\n", (done.returncode, done.stderr)


# -------------------------------------------------------------------------------------------------
# AMX


@amx
def test_probabilities_are_as_exact_as_bfloat16_can_say() -> None:
    bias = torch.linspace(-100, 100, 20_001).bfloat16()
    bias[:4] = torch.tensor([float("inf"), -float("inf"), float("nan"), 0.0]).bfloat16()
    actual = torch.empty(2, len(bias), dtype=torch.bfloat16)
    cpu_kernels.amx_layer(
        torch.zeros(2, 3).bfloat16(), torch.ones(3, len(bias)).bfloat16(), bias, len(bias), actual
    )
    assert actual[0, 0] == 1.0
    assert 0 <= actual[0, 1] < 1e-36
    assert actual[0, 2].isnan()
    assert actual[0, 3] == 0.5
    torch.testing.assert_close(
        actual[0, 3:].double(), torch.sigmoid(bias[3:].double()), rtol=STEP + 1e-5, atol=1e-36
    )
    assert torch.equal(actual[0, 3:], actual[1, 3:])


@amx
@pytest.mark.parametrize("layout", ["rows", "columns"])
def test_what_is_no_number_stays_in_its_row(layout: str) -> None:
    states, weight = (
        some(40, 70, seed=1, dtype=torch.bfloat16),
        some(70, 50, seed=2, dtype=torch.bfloat16, layout=layout),
    )
    states[33, 69] = float("nan")
    means = torch.empty(40, 50, dtype=torch.bfloat16)
    cpu_kernels.amx_layer(states, weight, some(50, seed=3, dtype=torch.bfloat16), 50, means)
    assert means.isnan().any(1).nonzero().flatten().tolist() == [33]
    assert bool(means[33].isnan().all())


def test_amx_serves_nothing_else(monkeypatch) -> None:
    for name, value in (("are_built", lambda: True), ("amx_is_there", lambda: True)):
        monkeypatch.setattr(cpu_kernels, name, value)
    monkeypatch.setattr(cpu, "MIN_PRODUCT", 1)
    serves, low = CPU(kernels=True)._amx_supports, {"dtype": torch.bfloat16}
    left, right, bias = some(30, 40, **low), some(40, 70, **low), some(70, **low)
    assert serves(left, right, bias, None)
    assert serves(left.t().contiguous().t(), right.t().contiguous().t())
    assert not serves(left.float(), right.float())
    assert not serves(left, right.float())
    assert not serves(left, right, bias.float())
    assert not serves(left, right, some(70, 30, **low).t())
    assert not serves(some(30, 80, **low)[:, ::2], right)
    assert not serves(left, some(40, 140, **low)[:, ::2])
    assert not serves(left[None], right)
    assert not serves(left, right, bias.clone().requires_grad_())
    with torch.no_grad():
        assert serves(left, right, bias.clone().requires_grad_())
    assert not CPU(kernels=False)._amx_supports(left, right, bias)
    for owner, name, value in (
        (cpu, "MIN_PRODUCT", 30 * 40 * 70 + 1),
        (cpu_kernels, "amx_is_there", lambda: False),
        (cpu_kernels, "are_built", lambda: False),
    ):
        with monkeypatch.context() as patch:
            patch.setattr(owner, name, value)
            assert not serves(left, right, bias), name


def test_only_large_float32_products_that_nobody_differentiates_go_to_onednn(monkeypatch) -> None:
    monkeypatch.setattr(cpu, "onednn_pays", lambda: True)
    supports = cpu.onednn_supports
    states, weight = some(100, 160), some(160, 120)
    assert supports(states, weight)
    assert supports(states, weight, some(120))
    for dtype in (torch.float64, torch.bfloat16):
        assert not supports(states.to(dtype), weight.to(dtype))
    assert not supports(states[:10], weight)
    assert not supports(states.expand(2, 100, 160), weight)
    assert not supports(states.to("meta"), weight.to("meta"))
    wanted = weight.clone().requires_grad_()
    assert not supports(states, wanted)
    assert not supports(states, weight, some(120).requires_grad_())
    with torch.no_grad():
        assert supports(states, wanted)
    monkeypatch.setattr(cpu, "onednn_pays", lambda: False)
    assert not supports(states, weight)


def test_free_energy_can_be_differentiated_whichever_library_multiplies(monkeypatch) -> None:
    for faster in (True, False):
        monkeypatch.setattr(cpu, "onednn_pays", lambda faster=faster: faster)
        rbm = RBM(160, 120, rng=generator(0))
        visible = torch.rand(100, 160, generator=generator(1)).requires_grad_()
        rbm.free_energy(visible).sum().backward()
        expected = -rbm.visible_bias - rbm.hidden_probs(visible.detach()) @ rbm.weight.t()
        torch.testing.assert_close(visible.grad, expected, rtol=1e-4, atol=1e-4)


# -------------------------------------------------------------------------------------------------
# never without need


def learn_a_little() -> Tensor:
    rbm, rng = RBM(200, 120, rng=generator(0)), generator(1)
    pixels = torch.randint(256, (300, 200), generator=rng, dtype=torch.uint8)
    list(
        cd.epochs(
            rbm, pixels, config=CDConfig(epochs=1, batch_size=150), rng=rng, dtype=torch.bfloat16
        )
    )
    return rbm.weight


def refuse(patch: pytest.MonkeyPatch) -> None:
    """Let whoever looks for a compiler or a library fail."""
    patch.setattr(cpu_kernels, "_build", lambda: pytest.fail("a compiler was looked for"))
    patch.setattr(cpu_kernels, "library", lambda: pytest.fail("kernels were asked for"))


def test_large_nets_ask_for_kernels(monkeypatch) -> None:
    """So that the tests below can fail."""
    refuse(monkeypatch)
    with (
        ops.backend("auto"),
        pytest.raises(pytest.fail.Exception, match="a compiler was looked for"),
    ):
        learn_a_little()


@pytest.mark.parametrize("name", ["torch", "reference"])
def test_other_backends_ask_for_no_kernel_and_no_compiler(name: str, monkeypatch) -> None:
    refuse(monkeypatch)
    with ops.backend(name):
        assert torch.isfinite(learn_a_little()).all()


@pytest.mark.parametrize("name", ["torch", "reference"])
def test_the_environment_says_no_as_well(name: str) -> None:
    code = (
        "import torch; from wakesleep.compute import cpu_kernels, ops, select; cpu_kernels._build "
        "= lambda: 1 / 0; found = ops.operations('cpu'); found.sample_bernoulli(torch.full((200, "
        "200), 0.5), torch.Generator()); print(select.backend(), type(found).__name__)"
    )
    environment = {**os.environ, "WAKESLEEP_BACKEND": name}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == [name, {"torch": "CPU", "reference": "Reference"}[name]]


def test_small_nets_ask_for_no_compiler(monkeypatch) -> None:
    refuse(monkeypatch)
    actual = CPU(kernels=True)
    actual.sample_bernoulli(torch.full((32, 511), 0.5), generator(0))
    assert not actual._amx_supports(
        some(100, 100, dtype=torch.bfloat16), some(100, 100, dtype=torch.bfloat16)
    )
    with ops.backend("auto"):
        rbm, rng = RBM(30, 20, rng=generator(0)), generator(1)
        list(
            cd.epochs(
                rbm,
                torch.rand(40, 30, generator=rng),
                config=CDConfig(epochs=1, batch_size=20),
                rng=rng,
                dtype=torch.bfloat16,
            )
        )


# -------------------------------------------------------------------------------------------------
# how they are built


@pytest.fixture
def fresh(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> SimpleNamespace:
    """A cache with nothing in it, and functions that have not been asked before."""
    monkeypatch.setattr(pooch, "os_cache", lambda name: str(tmp_path / name))
    return SimpleNamespace(
        build=cpu_kernels._build.__wrapped__, folder=tmp_path / "wakesleep" / "kernels"
    )


@pytest.mark.parametrize("compiler", ["false", "/nowhere/cc", "true", "true --not 'quoted"])
def test_without_a_compiler_pytorch_does_the_work(compiler: str, fresh, monkeypatch) -> None:
    monkeypatch.setenv("CC", compiler)
    assert fresh.build() is None
    monkeypatch.setattr(cpu_kernels, "_build", lambda: None)
    assert not cpu_kernels.are_built()
    with ops.backend("auto"):
        assert torch.isfinite(learn_a_little()).all()


def test_no_compiler_at_all(fresh, monkeypatch) -> None:
    monkeypatch.delenv("CC", raising=False)
    monkeypatch.setattr(cpu_kernels.shutil, "which", lambda name: None)
    assert fresh.build() is None


def test_a_cache_that_cannot_be_written_to_is_no_reason_to_stop(fresh) -> None:
    fresh.folder.parent.write_text("a file where a folder should be")
    assert fresh.build() is None


@there
def test_they_are_built_once(fresh, monkeypatch) -> None:
    made = fresh.build()
    assert [path.name for path in fresh.folder.iterdir()] == [made.name]
    monkeypatch.setattr(subprocess, "run", lambda *given, **more: pytest.fail("built again"))
    assert fresh.build() == made
    with monkeypatch.context() as patch:
        patch.setattr(cpu_kernels, "_machine", lambda: "another processor")
        with pytest.raises(pytest.fail.Exception, match="built again"):
            fresh.build()
    for number, source in enumerate(cpu_kernels.SOURCES):
        changed = fresh.folder.parent / source.name
        changed.write_text(source.read_text() + "/* changed */")
        with monkeypatch.context() as patch:
            patch.setattr(
                cpu_kernels,
                "SOURCES",
                (*cpu_kernels.SOURCES[:number], changed, *cpu_kernels.SOURCES[number + 1 :]),
            )
            with pytest.raises(pytest.fail.Exception, match="built again"):
                fresh.build()


private = pytest.mark.skipif(
    not hasattr(os, "getuid"), reason="Windows keeps a user's cache to the user"
)


@pytest.fixture
def quick(fresh, monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """A compiler that copies what was built before; `made` is where it wrote."""
    built, fresh.made = (
        cpu_kernels._build().read_bytes()
        if cpu_kernels.are_built()
        else pytest.skip("no C compiler that knows OpenMP"),
        [],
    )

    def compile(call, **more: object) -> None:
        path = Path(call[call.index("-o") + 1])
        path.write_bytes(built)
        path.chmod(0o777)
        fresh.made.append(path)

    monkeypatch.setattr(subprocess, "run", compile)
    return fresh


@private
def test_folder_and_file_are_the_users_alone(quick) -> None:
    before = os.umask(0o000)
    try:
        library = quick.build()
    finally:
        os.umask(before)
    assert (quick.folder.stat().st_mode & 0o777, library.stat().st_mode & 0o777) == (0o700, 0o700)
    (inside,) = quick.made
    assert inside.parent.parent == library.parent, (
        "it is made beside where it goes, so that a move puts all of it there at once"
    )
    assert inside != library
    assert list(quick.folder.iterdir()) == [library]


@private
@pytest.mark.parametrize("mode", [0o770, 0o707, 0o720, 0o777])
@pytest.mark.parametrize("when", ["before", "after"])
def test_nothing_is_built_in_or_loaded_from_a_folder_that_others_can_write_to(
    mode: int, when: str, quick
) -> None:
    if when == "after":
        quick.build()
    quick.folder.mkdir(parents=True, exist_ok=True)
    quick.folder.chmod(mode)
    built = len(quick.made)
    with pytest.warns(UserWarning, match="could have been written by others.*remove"):
        assert quick.build() is None
    assert len(quick.made) == built


@private
def test_no_file_is_loaded_that_others_could_have_written(quick, monkeypatch) -> None:
    library = quick.build()
    monkeypatch.setattr(cpu_kernels.ctypes, "CDLL", lambda path: pytest.fail("it was loaded"))
    library.chmod(0o722)
    with pytest.warns(UserWarning, match="could have been written by others"):
        assert quick.build() is None
    library.rename(library.with_suffix(".elsewhere"))
    library.with_suffix(".elsewhere").chmod(0o700)
    library.symlink_to(library.with_suffix(".elsewhere"))
    with pytest.warns(UserWarning, match="could have been written by others"):
        assert quick.build() is None


@private
@pytest.mark.parametrize("what", ["folder", "file"])
def test_nothing_of_another_user_is_loaded(what: str, quick, monkeypatch) -> None:
    library = quick.build()
    theirs, real = (quick.folder if what == "folder" else library), Path.lstat
    monkeypatch.setattr(cpu_kernels.ctypes, "CDLL", lambda path: pytest.fail("it was loaded"))

    def lstat(path: Path) -> object:
        about = real(path)
        return SimpleNamespace(st_uid=about.st_uid + (path == theirs), st_mode=about.st_mode)

    monkeypatch.setattr(Path, "lstat", lstat)
    with pytest.warns(UserWarning, match="could have been written by others"):
        assert quick.build() is None


@private
def test_a_folder_that_is_a_link_is_not_taken(quick, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir(mode=0o700)
    quick.folder.parent.mkdir()
    quick.folder.symlink_to(tmp_path / "elsewhere")
    with pytest.warns(UserWarning, match="could have been written by others"):
        assert quick.build() is None
    assert not quick.made


@pytest.mark.skipif(
    not cpu_kernels.are_built() or platform.machine() != "x86_64", reason="for compilers of x86-64"
)
def test_a_processor_without_amx_says_so_and_has_the_other_kernels(fresh, monkeypatch) -> None:
    plain = [flag for flag in cpu_kernels.FLAGS if not flag.startswith("-march")]
    monkeypatch.setattr(
        cpu_kernels, "FLAGS", (*plain, "-march=x86-64", "-Wall", "-Wextra", "-Werror")
    )
    built = fresh.build()
    monkeypatch.setattr(cpu_kernels, "_build", lambda: built)
    library = cpu_kernels.library.__wrapped__()
    assert library.amx_ready() == 0
    monkeypatch.setattr(cpu_kernels, "library", lambda: library)
    assert not cpu_kernels.amx_is_there.__wrapped__()
    states = torch.empty(3, 8)
    cpu_kernels.bernoulli(
        torch.ones(3, 8), states, torch.ones((), dtype=torch.int64), torch.tensor(-32768.5)
    )
    assert bool((states == 1).all())
