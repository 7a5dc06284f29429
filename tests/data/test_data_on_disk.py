"""Sets that stay on the disk: what is trained on, what is held out, what is in memory, and what is
refused.
"""

import numpy as np
import pytest
import torch

from wakesleep.data import DataError, describe, load, on_disk, stays_on_disk

RNG = np.random.default_rng(0)
SIZES = (12, 7, 5)
IMAGES = RNG.integers(0, 256, (24, 3, 4), np.uint8)
LABELS = np.arange(24) % 4


def saved(folder, labels=LABELS):
    start = 0
    for number, size in enumerate(SIZES):
        np.save(folder / f"images-{number}.npy", IMAGES[start : start + size])
        if labels is not None:
            np.save(folder / f"labels-{number}.npy", labels[start : start + size])
        start += size
    return folder


def test_a_sixth_at_the_end_is_held_out_and_the_first_cases_of_each_file_are_in_memory(
    tmp_path, monkeypatch
):
    own = load(saved(tmp_path))
    assert own.name == tmp_path.name
    assert own.files.spare == 4
    assert torch.equal(own.train.images, torch.from_numpy(IMAGES[:20].reshape(20, 12)))
    assert torch.equal(own.test.images, torch.from_numpy(IMAGES[20:].reshape(4, 12)))
    assert own.train.labels.tolist() == LABELS[:20].tolist()
    assert own.test.labels.tolist() == LABELS[20:].tolist()
    assert own.shape == (3, 4)
    assert own.classes == ("0", "1", "2", "3")
    monkeypatch.setattr(on_disk, "SAMPLE", 15)
    monkeypatch.setattr(on_disk, "HELD_OUT", 3)
    own = load(tmp_path)
    assert own.train.labels.tolist() == LABELS[[*range(5), *range(12, 17), *range(19, 21)]].tolist()
    assert own.test.labels.tolist() == LABELS[21:].tolist()


def test_held_out_cases_may_take_more_than_the_last_file(tmp_path):
    for number, part in enumerate((slice(21), slice(21, 23), slice(23, 24))):
        np.save(tmp_path / f"images-{number}.npy", IMAGES[part])
    own = load(tmp_path)
    assert own.train.labels is None
    assert own.classes == ()
    assert torch.equal(own.test.images, torch.from_numpy(IMAGES[20:].reshape(4, 12)))
    assert len(own.train) == 20


def test_description_counts_all_cases_and_not_those_in_memory(tmp_path, monkeypatch):
    monkeypatch.setattr(on_disk, "SAMPLE", 3)
    output = describe(load(saved(tmp_path)))
    assert (output["n_train"], output["n_test"]) == (20, 4)
    assert output["train_counts"] == [5, 5, 5, 5]
    assert output["test_counts"] == [1, 1, 1, 1]


def test_labels_are_counted_a_piece_at_a_time(tmp_path):
    files = load(saved(tmp_path, np.array([5] * 3 + [0] * 21))).files
    for size in (1, 5, 100):
        assert on_disk.count_labels(files, size).tolist() == [21, 0, 0, 0, 0, 3]


def test_a_large_npy_stays_on_the_disk_and_a_small_one_does_not(tmp_path, monkeypatch):
    np.save(tmp_path / "own.npy", IMAGES)
    assert not stays_on_disk(str(tmp_path / "own.npy"))
    assert load(tmp_path / "own.npy").files is None
    monkeypatch.setattr(on_disk, "LARGEST", 200)
    assert stays_on_disk(str(tmp_path / "own.npy"))
    own = load(tmp_path / "own.npy")
    assert own.files.spare == 4
    assert (len(own.train), len(own.test)) == (20, 4)
    assert own.test.labels is None


def test_only_such_sets_stay_on_the_disk(tmp_path):
    assert not stays_on_disk(str(tmp_path))
    assert not stays_on_disk("digits")
    assert not stays_on_disk("x" * 5000)
    assert stays_on_disk(str(saved(tmp_path)))


def test_the_checksum_sees_lengths_labels_and_what_is_in_memory(tmp_path, monkeypatch):
    monkeypatch.setattr(on_disk, "SAMPLE", 3)
    sums = {load(saved(tmp_path)).checksum}
    for change in ("first", "last", "label", "length"):
        images, labels = IMAGES.copy(), LABELS.copy()
        # a case in the middle is not looked at
        images[{"first": 0, "last": 23}.get(change, 5)] ^= 1
        labels[10] = 0 if change == "label" else labels[10]
        with monkeypatch.context() as patch:
            patch.setattr("test_data_on_disk.IMAGES", images)
            patch.setattr("test_data_on_disk.SIZES", (11, 8, 5) if change == "length" else SIZES)
            sums.add(load(saved(tmp_path, labels)).checksum)
    assert len(sums) == 5


def test_the_checksum_sees_where_files_end_though_all_pictures_are_alike(tmp_path, monkeypatch):
    monkeypatch.setattr("test_data_on_disk.IMAGES", np.zeros_like(IMAGES))
    first = load(saved(tmp_path, None)).checksum
    monkeypatch.setattr("test_data_on_disk.SIZES", (11, 8, 5))
    assert load(saved(tmp_path, None)).checksum != first


def test_sets_that_cannot_be_are_refused_in_words(tmp_path):
    saved(tmp_path)
    labels = tmp_path / "labels-1.npy"
    labels.unlink()
    with pytest.raises(DataError, match=r"missing labels-1\.npy; without images none"):
        load(tmp_path)
    np.save(labels, LABELS[:6])
    with pytest.raises(
        DataError,
        match=r"labels-1\.npy holds int64 of shape \(6,\) for the 7 cases of "
        r".*images-1\.npy",
    ):
        load(tmp_path)
    np.save(labels, LABELS[:7] - 1)
    with pytest.raises(DataError, match="from -1"):
        load(tmp_path)
    np.save(labels, LABELS[:7])
    np.save(tmp_path / "labels-9.npy", LABELS[:7])
    with pytest.raises(DataError, match=r"missing none; without images labels-9\.npy"):
        load(tmp_path)
    (tmp_path / "labels-9.npy").unlink()
    np.save(tmp_path / "images-1.npy", IMAGES[:7, :2])
    with pytest.raises(
        DataError,
        match=r"images-1\.npy holds uint8 of shape \(7, 2, "
        r"4\).*save them alike",
    ):
        load(tmp_path)
    np.save(tmp_path / "images-1.npy", IMAGES[:7] // 128)
    np.save(tmp_path / "images-0.npy", IMAGES[:12] // 128)
    np.save(tmp_path / "images-2.npy", IMAGES[:5] // 128)
    with pytest.raises(DataError, match="astype"):
        load(tmp_path)
    for number in (1, 2):
        (tmp_path / f"images-{number}.npy").unlink()
        (tmp_path / f"labels-{number}.npy").unlink()
    np.save(tmp_path / "images-0.npy", IMAGES[:5])
    np.save(tmp_path / "labels-0.npy", LABELS[:5])
    with pytest.raises(DataError, match="at least 6"):
        load(tmp_path)


@pytest.mark.parametrize("ordered", [True, False])
def test_a_sorted_set_is_refused_for_it_would_hold_out_one_class(tmp_path, ordered):
    labels = np.repeat(np.arange(3), 200)
    np.save(tmp_path / "images-0.npy", np.zeros((600, 4), np.uint8))
    np.save(
        tmp_path / "labels-0.npy",
        labels if ordered else np.random.default_rng(0).permutation(labels),
    )
    if ordered:
        with pytest.raises(
            DataError, match="none of them is of the classes 0, 1: the set is sorted"
        ):
            load(tmp_path)
    else:
        assert len(load(tmp_path).test) == 100
