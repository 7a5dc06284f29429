import gzip
import json
import struct
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from idx_writer import FILES, idx_bytes, packed, small_set
from PIL import Image

import wakesleep.data.sets as sets
from wakesleep.data import KNOWN, DataError, Dataset, Split, describe, hold_out, load
from wakesleep.foundation.errors import ConfigError
from wakesleep.sources.arrays import as_probs

RNG = np.random.default_rng(0)
IMAGES = RNG.integers(0, 256, (6, 3, 4), np.uint8)
LABELS = np.array([0, 1, 2, 0, 1, 2])


def saved(folder, **arrays):
    np.savez_compressed(folder / "own.npz", **arrays)
    return folder / "own.npz"


def test_digits():
    digits = load("digits")
    assert isinstance(digits, Dataset)
    assert (len(digits.train), len(digits.test)) == (1442, 355)
    assert digits.train.images.dtype == torch.float32
    assert digits.train.images.max() == 1
    assert digits.shape == (8, 8)
    share = digits.test.labels.bincount() / (
        digits.test.labels.bincount() + digits.train.labels.bincount()
    )
    assert (share - 0.2).abs().max() < 0.01
    assert digits.checksum == load("digits").checksum


def test_sklearn_is_imported_for_digits_alone():
    code = (
        "import sys, wakesleep.data; print([name for name in ('sklearn', 'pooch', 'requests') if "
        "name in sys.modules])"
    )
    source = str(Path(sets.__file__).parents[2])
    out = subprocess.run(
        [sys.executable, "-c", code],
        env={"PYTHONPATH": source},
        capture_output=True,
        text=True,
        check=True,
    )
    assert out.stdout.strip() == "[]"


@pytest.mark.parametrize(
    "keys",
    [
        ("images", "labels", "test_images", "test_labels"),
        ("x_train", "y_train", "x_test", "y_test"),
    ],
)
def test_npz(tmp_path, keys):
    own = load(
        saved(
            tmp_path, **dict(zip(keys, (IMAGES, LABELS, IMAGES[:2], np.array([3, 0])), strict=True))
        )
    )
    assert own.name == "own"
    assert own.shape == (3, 4)
    assert own.classes == ("0", "1", "2", "3")  # the highest label is a test case's
    assert torch.equal(own.train.images, torch.from_numpy(IMAGES.reshape(6, 12)))
    assert own.train.images.dtype == torch.uint8
    assert own.test.labels.tolist() == [3, 0]


def test_npz_without_test_part_as_text_and_float(tmp_path):
    own = load(str(saved(tmp_path, X=np.asfortranarray(IMAGES.reshape(6, 12) / 255), y=LABELS)))
    assert own.test is None
    assert own.shape == (1, 12)
    np.testing.assert_allclose(own.train.images.numpy(), IMAGES.reshape(6, 12) / 255, rtol=1e-6)


@pytest.mark.parametrize(
    ("arrays", "match"),
    [
        ({"images": IMAGES}, "labels missing"),
        ({"pictures": IMAGES}, "holds pictures; expected images and labels"),
        ({"images": IMAGES, "labels": LABELS[:5]}, "5 labels came for 6"),
        ({"images": IMAGES, "labels": LABELS - 1}, "labels out of range"),
        ({"images": IMAGES, "labels": LABELS / 2}, "integers"),
        ({"images": IMAGES / 2, "labels": LABELS}, "divide by 255"),
        ({"images": IMAGES, "labels": LABELS, "test_images": IMAGES}, "only one of"),
        (
            {
                "images": IMAGES,
                "labels": LABELS,
                "test_images": IMAGES[:, 1:],
                "test_labels": LABELS,
            },
            "store both alike",
        ),
        (
            {
                "images": IMAGES,
                "labels": LABELS,
                "test_images": IMAGES / 255,
                "test_labels": LABELS,
            },
            "store both alike",
        ),
        ({"images": np.array([None, {}]), "labels": LABELS}, "Python objects"),
        ({"images": IMAGES.astype("U"), "labels": LABELS}, "<U3"),
    ],
)
def test_npz_refused(tmp_path, arrays, match):
    with pytest.raises(DataError, match=match):
        load(saved(tmp_path, **arrays))


def test_npy_is_unlabelled(tmp_path):
    np.save(tmp_path / "own.npy", IMAGES)
    own = load(tmp_path / "own.npy")
    assert own.train.labels is None
    assert own.classes == ()
    assert describe(own)["train_counts"] is None


def test_no_pickle_is_loaded(tmp_path):
    class Bomb:
        def __reduce__(self):
            return (Path.touch, (tmp_path / "exploded",))

    np.save(tmp_path / "own.npy", np.array([Bomb()], object), allow_pickle=True)
    with pytest.raises(DataError, match="Python objects"):
        load(tmp_path / "own.npy")
    assert not (tmp_path / "exploded").exists()


def test_npy_header_that_claims_too_much(tmp_path):
    np.save(tmp_path / "own.npy", np.zeros((9, 9)))
    content = (tmp_path / "own.npy").read_bytes()
    (tmp_path / "own.npy").write_bytes(content.replace(b"(9, 9), }  ", b"(9, 999), }", 1))
    with pytest.raises(DataError, match="claims 71928 bytes"):
        load(tmp_path / "own.npy")


@pytest.mark.parametrize("cut", [0, 3, 50, -30])
@pytest.mark.parametrize("suffix", [".npz", ".npy"])
def test_corrupt_files(tmp_path, cut, suffix):
    path = saved(tmp_path, images=IMAGES, labels=LABELS)
    if suffix == ".npy":
        path = tmp_path / "own.npy"
        np.save(path, IMAGES)
    path.write_bytes(path.read_bytes()[:cut])
    with pytest.raises(DataError, match="own"):
        load(path)


def test_nothing_there(tmp_path):
    (tmp_path / "table.csv").write_text("1,2")
    for name in ("mnits", "", "x" * 5000, "\0", tmp_path / "nowhere.npz", "~nobody-here/a.npz"):
        with pytest.raises(DataError, match="digits, mnist, fashion-mnist"):
            load(name)
    with pytest.raises(
        DataError,
        match=r"nor a path, for .*mnits does not exist; did "
        r"you mean mnist\?",
    ):
        load("mnits")
    with pytest.raises(DataError, match="did you mean fashion-mnist"):
        load("Fashion_MNIST")
    with pytest.raises(DataError, match="no known kind"):
        load(tmp_path / "table.csv")
    with pytest.raises(DataError, match="subfolder"):
        load(tmp_path)
    assert KNOWN == ("digits", "mnist", "fashion-mnist")


def test_idx_folder(tmp_path):
    arrays = small_set()
    for name, content in packed(arrays).items():
        (tmp_path / name).write_bytes(content)
    own = load(tmp_path)
    assert own.shape == (4, 3)
    assert (own.test.images.reshape(-1, 4, 3).numpy() == arrays["t10k-images"]).all()
    assert own.classes == tuple("0123456789")
    (tmp_path / FILES["t10k-images"]).unlink()
    with pytest.raises(DataError, match="lacks t10k-images-idx3-ubyte"):
        load(tmp_path)
    (tmp_path / FILES["t10k-labels"]).unlink()
    assert load(tmp_path).test is None
    (tmp_path / FILES["train-labels"]).write_bytes(idx_bytes(arrays["train-labels"])[:-1])
    with pytest.raises(DataError, match="train-labels"):
        load(tmp_path)


def written(folder, names, arrays):
    folder.mkdir(exist_ok=True)
    for name, array in zip(names, arrays, strict=True):
        (folder / name).write_bytes(array if isinstance(array, bytes) else idx_bytes(array))
    return folder


def wide(array, code=12, dtype=">i4"):
    array = np.asarray(array)
    return (
        bytes((0, 0, code, array.ndim))
        + struct.pack(f">{array.ndim}I", *array.shape)
        + array.astype(dtype).tobytes()
    )


def test_qmnist_under_its_own_names(tmp_path):
    arrays = small_set()
    labels = [
        wide(np.stack([arrays[part], arrays[part] + 5, arrays[part]], 1))
        for part in ("train-labels", "t10k-labels")
    ]
    names = [
        f"qmnist-{part}-{rest}"
        for part in ("train", "test")
        for rest in ("images-idx3-ubyte", "labels-idx2-int")
    ]
    own = load(
        written(
            tmp_path / "q",
            names,
            [
                arrays["train-images"],
                labels[0],
                gzip.compress(idx_bytes(arrays["t10k-images"])),
                labels[1],
            ],
        )
    )
    assert own.train.labels.tolist() == arrays["train-labels"].tolist()
    assert own.test.labels.tolist() == arrays["t10k-labels"].tolist()
    assert (own.test.images.reshape(-1, 4, 3).numpy() == arrays["t10k-images"]).all()


def test_emnist_under_its_own_names(tmp_path):
    arrays = small_set()
    names = [
        f"emnist-letters-{part}-{rest}"
        for part in ("train", "test")
        for rest in ("images-idx3-ubyte", "labels-idx1-ubyte")
    ]
    folder = written(
        tmp_path / "e",
        names,
        [content + (place % 2) for place, content in enumerate(arrays.values())],
    )
    assert load(folder).classes == tuple(str(label) for label in range(11))
    (folder / "emnist-letters-mapping.txt").write_text(
        "".join(f"{label} {64 + label} {96 + label}\n" for label in range(1, 11))
    )
    own = load(folder)
    assert own.classes == tuple("ABCDEFGHIJ")
    assert own.train.labels.tolist() == arrays["train-labels"].tolist()
    written(folder, [name.replace("letters", "digits") for name in names], arrays.values())
    with pytest.raises(DataError, match=r"holds 2 sets \(emnist-digits-\.\.\., emnist-letters"):
        load(folder)
    chosen = load(folder / names[0])
    assert (chosen.checksum, chosen.classes) == (own.checksum, own.classes)
    (folder / "emnist-letters-mapping.txt").write_text("1 65\n")
    with pytest.raises(DataError, match="names the labels 1 to 1"):
        load(folder / names[0])


def test_kmnist_under_its_own_names(tmp_path):
    arrays = small_set()
    parts = [
        f"kmnist-{part}-{kind}.npz" for part in ("train", "test") for kind in ("imgs", "labels")
    ]
    for name, array in zip(parts, arrays.values(), strict=True):
        np.savez(tmp_path / name, array)
    own = load(tmp_path)
    assert own.test.labels.tolist() == arrays["t10k-labels"].tolist()
    (tmp_path / parts[3]).unlink()
    with pytest.raises(DataError, match="only one of the test images"):
        load(tmp_path)
    (tmp_path / parts[2]).unlink()
    assert load(tmp_path).test is None
    (tmp_path / parts[1]).unlink()
    with pytest.raises(DataError, match=r"kmnist-train-labels\.npz is missing"):
        load(tmp_path)


@pytest.mark.parametrize(("code", "dtype"), [(11, ">i2"), (12, ">i4"), (13, ">f4"), (14, ">f8")])
def test_idx_of_wider_numbers(tmp_path, code, dtype):
    pixels = IMAGES if code < 13 else IMAGES / 255
    names = ("train-images-idx3-ubyte", "train-labels-idx1-ubyte")
    own = load(
        written(tmp_path / "w", names, [wide(pixels, code, dtype), wide(LABELS, code, dtype)])
    )
    assert own.train.images.dtype == (torch.uint8 if code < 13 else torch.float32)
    np.testing.assert_allclose(as_probs(own.train.images), IMAGES.reshape(6, 12) / 255, atol=1e-6)
    assert own.train.labels.tolist() == LABELS.tolist()


@pytest.mark.parametrize("name", ["own.npz", "own.npy", "train-images-idx3-ubyte.gz"])
def test_a_web_page_in_place_of_a_file(tmp_path, name):
    (tmp_path / name).write_text("<!DOCTYPE html><html>please log in</html>")
    (tmp_path / "train-labels-idx1-ubyte.gz").write_bytes(idx_bytes(LABELS))
    with pytest.raises(DataError, match="web page"):
        load(tmp_path / name)


def draw(path, level, size=(4, 3), mode="L"):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new(mode, size, level).save(path)


def test_picture_folder(tmp_path):
    draw(tmp_path / "cat" / "1.png", 10)
    draw(tmp_path / "cat" / "2.jpg", (200, 200, 200), size=(8, 9), mode="RGB")
    draw(tmp_path / "ant" / "9.png", 255, size=(4, 3))
    (tmp_path / "ant" / "notes.txt").write_text("not a picture")
    (tmp_path / ".hidden").mkdir()
    own = load(tmp_path)
    assert own.classes == ("ant", "cat")
    assert own.shape == (3, 4)
    assert own.train.labels.tolist() == [0, 1, 1]
    assert own.train.images.dtype == torch.uint8
    assert own.train.images.float().mean(1).tolist() == pytest.approx([255, 10, 200], abs=1)
    assert own.test is None


def test_picture_folder_with_train_and_test(tmp_path):
    for name in ("ant", "cat"):
        draw(tmp_path / "train" / name / "1.png", 50)
    draw(tmp_path / "test" / "cat" / "1.png", 60, size=(40, 30))
    own = load(tmp_path)
    assert own.classes == ("ant", "cat")
    assert own.test.labels.tolist() == [1]
    assert own.test.images.shape == (1, 12)
    draw(tmp_path / "test" / "dog" / "1.png", 60)
    with pytest.raises(DataError, match="lacks: dog"):
        load(tmp_path)


@pytest.mark.parametrize(
    "names",
    [("training", "testing"), ("Train", "Val"), ("train", "validation"), ("training", "test")],
)
def test_names_of_the_folders_of_parts(tmp_path, names):
    for part in names:
        for name in ("ant", "cat"):
            draw(tmp_path / part / name / "1.png", 50)
    own = load(tmp_path)
    assert own.classes == ("ant", "cat")
    assert (len(own.train), len(own.test)) == (2, 2)
    (tmp_path / "__MACOSX" / "ant").mkdir(parents=True)
    assert len(load(tmp_path).test) == 2
    (tmp_path / "sample").mkdir()
    with pytest.raises(DataError, match=r"sample.*move the others"):
        load(tmp_path)


def test_validation_cases_beside_test_cases_are_learned_from(tmp_path):
    for level, part in enumerate(("train", "val", "test")):
        draw(tmp_path / part / "ant" / "1.png", 50 * level)
        draw(tmp_path / part / "cat" / "1.png", 50 * level)
    own = load(tmp_path)
    assert own.train.images[:, 0].tolist() == [0, 50, 0, 50]
    assert own.train.labels.tolist() == [0, 0, 1, 1]
    assert own.test.images[:, 0].tolist() == [100, 100]


def test_a_class_may_be_called_train(tmp_path):
    for name in ("train", "bus"):
        draw(tmp_path / name / "1.png", 50)
    assert load(tmp_path).classes == ("bus", "train")


def test_hidden_files_are_no_pictures(tmp_path):
    for part in ("train", "test"):
        draw(tmp_path / part / "ant" / "1.png", 50)
        (tmp_path / part / "ant" / "._1.png").write_bytes(b"\0\5\x16\7")
        (tmp_path / part / "ant" / ".hidden.png").touch()
    (tmp_path / "._train").touch()
    own = load(tmp_path)
    assert (len(own.train), len(own.test)) == (1, 1)


@pytest.mark.parametrize("empty", ["ant", "bee", "cat"])
@pytest.mark.parametrize("part", ["", "train"])
def test_an_empty_class_is_refused_wherever_it_stands(tmp_path, empty, part):
    for name in ("ant", "bee", "cat"):
        draw(tmp_path / part / name / "1.png", 50)
    (tmp_path / part / empty / "1.png").unlink()
    with pytest.raises(DataError, match=f"no picture of {empty}; expected"):
        load(tmp_path)


def test_picture_folder_refused(tmp_path):
    (tmp_path / "ant").mkdir()
    with pytest.raises(DataError, match="holds no picture"):
        load(tmp_path)
    (tmp_path / "ant" / "1.png").write_text("not a picture")
    (tmp_path / "ant" / "2.png").touch()
    draw(tmp_path / "ant" / "3.png", 50)
    with pytest.raises(DataError, match=r"2 of 3 files cannot be .*1\.png, .*2\.png; expected"):
        load(tmp_path)


def test_reading_many_pictures_shows_how_far_it_is(tmp_path, monkeypatch):
    shown = []

    class Bar(list):
        def __init__(self, files, **given):
            super().__init__(files)
            shown.append((len(self), given["disable"]))  # None: on a terminal alone

    monkeypatch.setattr("tqdm.tqdm", Bar)
    for name in ("ant", "bee"):
        draw(tmp_path / name / "1.png", 50)
    assert len(load(tmp_path).train) == 2
    assert shown == [(2, None), (2, None)]


def test_pictures_below_the_folders_of_classes_are_found(tmp_path):
    for name in ("ant", "bee"):
        draw(tmp_path / "set" / "inner" / name / "1.png", 50)
    folder = tmp_path / "set" / "inner"
    with pytest.raises(DataError, match=f"give the folder that holds .*, {folder}, or move"):
        load(tmp_path)
    assert load(folder).classes == ("ant", "bee")


@pytest.mark.parametrize("kind", ["U3", "S3"])
def test_labels_that_are_words_name_the_classes(tmp_path, kind):
    words = np.array(["cat", "ant", "bee", "ant"], kind)
    np.savez(
        tmp_path / "own.npz",
        images=IMAGES[:4],
        labels=words,
        test_images=IMAGES[:2],
        test_labels=words[1:3],
    )
    own = load(tmp_path / "own.npz")
    assert own.classes == ("ant", "bee", "cat")
    assert own.train.labels.tolist() == [2, 0, 1, 0]
    assert own.test.labels.tolist() == [0, 1]


def test_pictures_in_colour_are_told_to_become_grey(tmp_path):
    np.savez(tmp_path / "own.npz", images=np.zeros((4, 8, 8, 3), np.uint8), labels=np.arange(4) % 2)
    with pytest.raises(DataError, match=r"shape \(4, 8, 8, 3\).*grey, images.mean\(-1\)"):
        load(tmp_path / "own.npz")


def test_hold_out_takes_the_last():
    split = Split(torch.arange(10.0).reshape(5, 2), torch.arange(5))
    train, validation = hold_out(split, 2)
    assert train.labels.tolist() == [0, 1, 2]
    assert validation.images.tolist() == [[6, 7], [8, 9]]
    assert hold_out(Split(split.images), 4)[1].labels is None
    for n in (0, -1, 5, 6):
        with pytest.raises(ConfigError, match="from 1 to 4"):
            hold_out(split, n)


def test_describe_is_fit_for_json(tmp_path):
    own = load(
        saved(
            tmp_path,
            images=IMAGES,
            labels=LABELS,
            test_images=IMAGES[:2],
            test_labels=np.array([3, 0]),
        )
    )
    output = json.loads(json.dumps(describe(own)))
    assert output["n_train"] == 6
    assert output["n_unlabelled"] == 0
    assert output["n_test"] == 2
    assert output["train_counts"] == [2, 2, 2, 0]
    assert output["test_counts"] == [1, 0, 0, 1]
    assert output["mean_intensity"] == pytest.approx(IMAGES.mean() / 255)
    assert output["shape"] == [3, 4]


def test_checksum_sees_cases_and_labels(tmp_path):
    sums = set()
    for image, label in ((0, 0), (1, 0), (0, 1)):
        images, labels = IMAGES.copy(), LABELS.copy()
        images[5, 0, 0] ^= image
        labels[5] ^= label
        sums.add(load(saved(tmp_path, images=images, labels=labels)).checksum)
    assert len(sums) == 3
