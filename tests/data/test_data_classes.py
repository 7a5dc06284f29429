"""Labels of one set beside the class names of another."""

import numpy as np
import pytest
import torch
from PIL import Image

from wakesleep.data import DataError, Dataset, load, match_classes
from wakesleep.foundation.errors import ConfigError
from wakesleep.runs import training
from wakesleep.runs.settings import TrainConfig

IMAGES = np.arange(6 * 4, dtype=np.uint8).reshape(6, 2, 2)


def own(folder, labels, **more):
    np.savez(folder / "own.npz", images=IMAGES, labels=np.array(labels), **more)
    return load(folder / "own.npz")


def test_labels_are_numbered_by_name(tmp_path):
    named = own(tmp_path, [0, 1, 2, 0, 1, 2], classes=np.array(["seven", "three", "nine"]))
    assert named.classes == ("seven", "three", "nine")
    actual = match_classes(named, ("three", "five", "seven", "nine"))
    assert actual.train.labels.tolist() == [2, 0, 3, 2, 0, 3]
    assert actual.classes == ("three", "five", "seven", "nine")
    assert actual.train.images is named.train.images
    assert actual.origin == named.origin


def test_classes_without_cases_need_no_match(tmp_path):
    from_one = own(tmp_path, [1, 2, 3, 1, 2, 3])
    assert from_one.classes == ("0", "1", "2", "3")
    assert match_classes(from_one, ("1", "2", "3")).train.labels.tolist() == [0, 1, 2, 0, 1, 2]


def test_unknown_classes_are_refused(tmp_path):
    numbered = own(tmp_path, [0, 1, 2, 0, 1, 2])
    with pytest.raises(DataError, match=r"own has cases of the classes 0, 1; the run knows cat, 2"):
        match_classes(numbered, ("cat", "2"))
    with pytest.raises(DataError, match="test"):
        match_classes(numbered, ("cat",), "test")


def test_a_class_of_test_cases_alone_counts(tmp_path):
    both = own(tmp_path, [0, 1, 0, 1, 0, 1], test_images=IMAGES[:2], test_labels=np.array([2, 0]))
    with pytest.raises(DataError, match="classes 2;"):
        match_classes(both, ("0", "1"))
    assert match_classes(both, ("2", "1", "0")).test.labels.tolist() == [0, 2]


def test_the_same_classes_and_unlabelled_cases_stay(tmp_path):
    numbered = own(tmp_path, [0, 1, 2, 0, 1, 2])
    assert match_classes(numbered, numbered.classes) is numbered
    np.save(tmp_path / "bare.npy", IMAGES)
    bare = load(tmp_path / "bare.npy")
    assert match_classes(bare, ("0", "1")) is bare


def test_a_set_on_the_disk_keeps_its_numbers(tmp_path):
    for shard in range(2):
        np.save(tmp_path / f"images-{shard}.npy", np.concatenate([IMAGES, IMAGES]))
        np.save(tmp_path / f"labels-{shard}.npy", np.arange(12) % 3)
    shards = load(tmp_path)
    assert match_classes(shards, ("0", "1", "2", "3")).classes == ("0", "1", "2", "3")
    with pytest.raises(DataError, match="stays on the disk"):
        match_classes(shards, ("2", "1", "0"))


@pytest.mark.parametrize("names", [["a", "a", "b"], [["a", "b", "c"]], []])
def test_names_that_name_no_labels_are_refused(tmp_path, names):
    with pytest.raises(DataError, match="classes of shape"):
        own(tmp_path, [0, 1, 2, 0, 1, 2], classes=np.array(names, str))


def test_fewer_names_than_labels_are_refused(tmp_path):
    with pytest.raises(DataError, match="labels out of range"):
        own(tmp_path, [0, 1, 2, 0, 1, 2], classes=np.array(["a", "b"]))


def test_a_published_set_is_known_by_how_it_was_loaded(tmp_path):
    np.savez(tmp_path / "digits.npz", images=IMAGES, labels=np.array([0, 0, 1, 1, 2, 2]))
    mine = load(tmp_path / "digits.npz")
    assert (mine.name, mine.published, mine.origin) == (
        "digits",
        False,
        str(tmp_path / "digits.npz"),
    )
    assert load("digits").published
    assert not Dataset("mnist", mine.train, None, (2, 2), ("0",), "").published
    assert torch.equal(mine.train.labels, torch.tensor([0, 0, 1, 1, 2, 2]))


def picture(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.pad(np.full((4, 4), 255, np.uint8), 2)).save(path)


def test_one_class_is_too_few_to_tell_apart(tmp_path):
    for number in range(3):
        picture(tmp_path / "set" / "cat" / f"{number}.png")
    with pytest.raises(ConfigError, match="only one class was found in set, cat:"):
        training.new_run(
            tmp_path / "run",
            TrainConfig(validation=0),
            load(tmp_path / "set"),
            torch.device("cpu"),
            "a test",
        )
    assert not (tmp_path / "run").exists()


def test_pictures_without_class_folders_are_counted(tmp_path):
    for number in range(3):
        picture(tmp_path / "set" / f"{number}.png")
    with pytest.raises(
        DataError,
        match=r"holds 3 pictures and no folders: .* each class needs "
        r"one of its own",
    ):
        load(tmp_path / "set")


def test_a_folder_around_one_file_names_the_file(tmp_path):
    own(tmp_path, [0, 1, 2, 0, 1, 2])
    with pytest.raises(DataError, match=r"give the file instead of its folder: .*own\.npz"):
        load(tmp_path)
