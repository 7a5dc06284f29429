import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from idx_writer import FILES, idx_bytes, packed, small_set, sums

from wakesleep.data import DataError, FetchError, load
from wakesleep.data import fetch as fetching

BAD = [
    "broken",
    "gone",
    "portal",
    "refused",
    "stall",
    "trickle",
    "truncated",
    "half",
    "lies",
    "announces",
    "endless",
]


def quick(home):
    fetching.fetch("mnist", home, timeout=(0.5, 0.5), deadline=1.0)


def lay(folder, files):
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        (folder / name).write_bytes(content)


@pytest.mark.parametrize("how", BAD)
def test_a_good_mirror_wins_after_a_bad_one(mirror, tmp_path, how, caplog):
    home = tmp_path / "cache" / "mnist"
    files = dict(list(packed(small_set()).items())[1:])
    lay(home, files)  # one file is missing: enough to see, and slow servers are slow once
    mirror(how, "good")
    quick(home)
    assert (home / FILES["train-images"]).read_bytes() == packed(small_set())[FILES["train-images"]]
    assert sorted(path.name for path in home.iterdir()) == sorted(FILES.values())
    assert "trying the next mirror" in caplog.text


def test_all_mirrors_bad_says_what_was_tried_and_the_cure(mirror, tmp_path):
    home = tmp_path / "cache" / "mnist"
    mirror("broken", "refused", "lies", "half")
    with pytest.raises(FetchError) as caught:
        quick(home)
    message = str(caught.value)
    for word in (
        "/broken/",
        "500",
        "127.0.0.1:9",
        "/lies/",
        "sha256",
        "/half/",
        "WAKESLEEP_DATA",
        "folder",
        "digits",
    ):
        assert word in message
    assert not home.exists() or not list(home.iterdir())


@pytest.mark.parametrize(
    ("how", "reason", "deadline"),
    [
        ("announces", "it announces", 9),
        ("endless", "it sends more than", 9),
        ("stall", "timed out", 9),
        ("trickle", "not finished after", 0.5),
    ],
)
def test_limits_say_so(mirror, tmp_path, how, reason, deadline):
    mirror(how)
    with pytest.raises(FetchError, match=reason):
        fetching.fetch("mnist", tmp_path / "home", timeout=(0.5, 0.5), deadline=deadline)


def test_load_downloads_once_and_then_reads_the_cache(mirror):
    server = mirror("good")
    first = load("mnist")
    assert len(server.asked) == 4
    again = load("mnist", download=False)
    assert len(server.asked) == 4
    assert first.checksum == again.checksum
    assert (first.train.images.reshape(-1, 4, 3).numpy() == small_set()["train-images"]).all()
    assert first.test.labels.tolist() == [0, 1, 2, 3, 4]
    assert first.shape == (4, 3)


def test_download_false_asks_nobody(mirror):
    server = mirror("good")
    with pytest.raises(FetchError, match="WAKESLEEP_DATA"):
        load("mnist", download=False)
    assert not server.asked


def test_folder_comes_before_variable_before_cache(mirror, tmp_path, monkeypatch):
    mirror()
    arrays = small_set()
    bad = packed(small_set(seed=2))
    lay(tmp_path / "cache" / "mnist", bad)
    with pytest.raises(DataError, match=r"cache.*not the published file.*Delete"):
        load("mnist")
    lay(tmp_path / "variable" / "mnist", packed(arrays))
    monkeypatch.setenv("WAKESLEEP_DATA", str(tmp_path / "variable"))
    assert load("mnist").shape == (4, 3)
    lay(tmp_path / "option" / "mnist", bad)
    with pytest.raises(DataError, match=r"option.*sha256"):
        load("mnist", folder=tmp_path / "option")


def test_files_right_in_the_folder_plain_and_with_dots(mirror, tmp_path):
    mirror()
    plain = {
        FILES[part].replace("-idx", ".idx").removesuffix(".gz"): idx_bytes(array)
        for part, array in small_set().items()
    }
    lay(tmp_path / "flat", plain)
    assert len(load("mnist", folder=tmp_path / "flat").train) == 12


def test_where_the_cache_is_matters_only_if_the_set_lies_nowhere_else(
    mirror, tmp_path, monkeypatch
):
    mirror("broken")
    lay(tmp_path / "flat", packed(small_set()))
    monkeypatch.setattr(fetching, "cache_folder", lambda: pytest.fail("asked for the cache"))
    assert len(load("mnist", folder=tmp_path / "flat").train) == 12
    assert len(load("mnist", folder=str(tmp_path / "flat")).train) == 12


def test_another_set_right_in_the_folder_is_passed_over(mirror, tmp_path):
    server = mirror("good")
    lay(tmp_path / "flat", packed(small_set(seed=2)))
    assert (
        load("mnist", folder=tmp_path / "flat").train.images.reshape(-1, 4, 3).numpy()
        == small_set()["train-images"]
    ).all()
    assert len(server.asked) == 4


def test_incomplete_folder_is_passed_over(mirror, tmp_path, caplog):
    mirror("good")
    lay(tmp_path / "some" / "mnist", dict(list(packed(small_set()).items())[:3]))
    assert len(load("mnist", folder=tmp_path / "some").train) == 12
    assert "lacks some" in caplog.text


def test_a_folder_that_does_not_exist_is_an_error(mirror, tmp_path):
    mirror("good")
    with pytest.raises(DataError, match="no folder"):
        load("mnist", folder=tmp_path / "typo")
    with pytest.raises(DataError, match="no folder"):
        load("mnist", folder=str(tmp_path / "typo"))


@pytest.mark.parametrize("error", [OSError("disk full"), KeyboardInterrupt()])
def test_an_interrupted_write_leaves_nothing(mirror, tmp_path, monkeypatch, error):
    def fail(*_):
        raise error

    mirror("good")
    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises((FetchError, KeyboardInterrupt)):
        quick(tmp_path / "home")
    assert list((tmp_path / "home").iterdir()) == []


def test_a_cache_that_cannot_be_written_is_a_fetch_error(mirror, tmp_path):
    mirror("good")
    (tmp_path / "home").write_text("a file where the folder should be")
    with pytest.raises(FetchError, match="cannot be written"):
        quick(tmp_path / "home" / "mnist")


def test_a_killed_download_leaves_no_file(mirror, tmp_path):
    server = mirror("trickle")
    code = (
        "import sys; from pathlib import Path; from wakesleep.data import fetch as f\n"
        "f.SOURCES['mnist'] = f.Source((sys.argv[1],), dict.fromkeys(f.PARTS, ''), ())\n"
        "f.fetch('mnist', Path(sys.argv[2]))"
    )
    url = fetching.SOURCES["mnist"].mirrors[0]
    source = Path(fetching.__file__).parents[2]
    child = subprocess.Popen(
        [sys.executable, "-c", code, url, str(tmp_path / "home")],
        env={**os.environ, "PYTHONPATH": str(source)},
    )
    try:
        while not server.asked and child.poll() is None:
            time.sleep(0.02)
        time.sleep(0.3)
    finally:
        child.kill()
        child.wait()
    assert server.asked
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def test_downloads_at_the_same_time_do_no_harm(mirror, tmp_path):
    mirror("good")
    failures = []

    def one():
        try:
            quick(tmp_path / "home")
        except Exception as error:
            failures.append(error)

    threads = [threading.Thread(target=one) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert {path.name: path.read_bytes() for path in (tmp_path / "home").iterdir()} == packed(
        small_set()
    )


def test_a_mirror_that_unpacks_still_gives_a_gz_file(mirror, tmp_path, monkeypatch):
    mirror("good")
    plain = {FILES[part]: idx_bytes(array) for part, array in small_set().items()}
    monkeypatch.setattr(fetching, "_get", lambda url, *_: plain[url.rsplit("/")[-1]])
    quick(tmp_path / "home")
    assert (tmp_path / "home" / FILES["t10k-labels"]).read_bytes()[:2] == b"\x1f\x8b"
    monkeypatch.setattr(fetching, "cache_folder", lambda: tmp_path)
    assert len(load("mnist", folder=tmp_path / "home", download=False).test) == 5


def test_published_sums_are_whole():
    for source in fetching.SOURCES.values():
        assert list(source.sums) == list(FILES)
        assert all(len(bytes.fromhex(value)) == 32 for value in source.sums.values())
        assert len(source.classes) == 10
        assert all(url.endswith("/") for url in source.mirrors)
    assert sums({"a": np.zeros(1)}) != sums({"a": np.ones(1)})


@pytest.mark.real_data
@pytest.mark.parametrize("real_data", ["mnist"], indirect=True)
def test_real_mnist(real_data):
    mnist = load("mnist", folder=real_data, download=False)
    assert (len(mnist.train), len(mnist.test), mnist.shape, len(mnist.classes)) == (
        60000,
        10000,
        (28, 28),
        10,
    )
    assert mnist.train.labels[:10].tolist() == [5, 0, 4, 1, 9, 2, 1, 3, 1, 4]
    assert np.bincount(mnist.test.labels.numpy()).tolist() == [
        980,
        1135,
        1032,
        1010,
        982,
        892,
        958,
        1028,
        974,
        1009,
    ]


@pytest.mark.real_data
@pytest.mark.parametrize("real_data", ["fashion-mnist"], indirect=True)
def test_real_fashion(real_data):
    fashion = load("fashion-mnist", download=False)
    assert fashion.train.labels.bincount().tolist() == [6000] * 10
    assert fashion.classes[fashion.train.labels[0]] == "Ankle boot"
