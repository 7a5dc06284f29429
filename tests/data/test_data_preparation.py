"""Pictures are prepared alike wherever they are used: by set for their polarity, and as recorded
ever after.
"""

import io
import json

import numpy as np
import pytest
import torch
from idx_writer import idx_bytes
from PIL import Image

from wakesleep.data import (
    DataError,
    Preparation,
    from_header,
    ink_field,
    load,
    match_classes,
    preparation,
    prepared,
    read_picture,
    some,
)
from wakesleep.data.preparation import before, settle, votes
from wakesleep.foundation.errors import CheckpointError, ConfigError
from wakesleep.foundation.options import RAW, PictureOptions
from wakesleep.sources.arrays import as_probs


def enlarged(digits, count, side=28, dark=True):
    """Digits of all classes, bytes (count, side, side), dark on white or the other way round, and
    their labels.
    """
    chosen = some(digits, digits.test, count)
    rows = []
    for image in chosen.images.reshape(-1, 8, 8).numpy():
        grey = Image.fromarray((image * 255).astype(np.uint8)).resize(
            (side, side), Image.Resampling.BICUBIC
        )
        rows.append(255 - np.asarray(grey) if dark else np.asarray(grey))
    return np.stack(rows), chosen.labels.numpy()


def folder_of(path, images, labels):
    """A folder with a folder a class; its files in the order in which they are loaded."""
    for number, (image, label) in enumerate(zip(images, labels, strict=True)):
        (path / str(label)).mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(path / str(label) / f"{number:03}.png")
    return sorted(path.rglob("*.png"))


@pytest.mark.parametrize(
    ("dark", "actual"), [(True, "dark on light: turned round"), (False, "light on dark: kept")]
)
def test_the_polarity_of_a_folder_is_found_and_said(tmp_path, digits, dark, actual):
    images, labels = enlarged(digits, 40, dark=dark)
    folder_of(tmp_path, images, labels)
    own = load(tmp_path)
    assert own.findings == (actual,)
    assert own.preparation.inverted == dark
    assert own.preparation.paper == ("light" if dark else "dark")
    assert own.train.images[:, 0].float().mean() < 60  # the corner is paper
    kept = load(tmp_path, how=PictureOptions(polarity="keep"))
    assert torch.equal(kept.train.images, 255 - own.train.images if dark else own.train.images)
    assert kept.findings == (
        f"{'dark on light' if dark else 'light on dark'}: kept (--polarity keep)",
    )
    inverted = load(tmp_path, how=PictureOptions(polarity="invert"))
    assert torch.equal(inverted.train.images, own.train.images if dark else 255 - own.train.images)


@pytest.mark.parametrize("dark", [True, False])
@pytest.mark.parametrize(
    "options",
    [
        PictureOptions(),
        PictureOptions(size=14, centre=True),
        PictureOptions(polarity="keep"),
        PictureOptions(size=9),
    ],
)
def test_a_file_is_read_as_it_was_learned_from(tmp_path, digits, dark, options):
    files = folder_of(tmp_path, *enlarged(digits, 40, dark=dark))
    own = load(tmp_path, how=options)
    recorded = from_header(json.loads(json.dumps({"preparation": own.preparation.as_json()})))
    assert recorded == own.preparation
    read = torch.cat([recorded.read(file) for file in files])
    assert torch.equal(read, as_probs(own.train.images))
    again = load(tmp_path, how=recorded, own=True)
    assert again.checksum == own.checksum
    assert load(tmp_path, how=recorded).checksum == own.checksum


def test_one_picture_of_the_other_polarity_follows_its_set(tmp_path, digits):
    images, labels = enlarged(digits, 40)
    images[3] = 255 - images[3]  # a white digit on black among black ones on white
    files = folder_of(tmp_path, images, labels)
    own = load(tmp_path)
    assert own.preparation.inverted
    assert not own.preparation.unanimous
    odd = next(file for file in files if file.name == "003.png")
    assert torch.equal(
        own.preparation.read(odd), as_probs(own.train.images[files.index(odd)][None])
    )
    assert own.preparation.read(odd)[0, 0] == 1  # turned round with its set: dark on light now


def test_a_picture_from_elsewhere_is_turned_to_look_like_the_set(tmp_path, digits):
    images, labels = enlarged(digits, 40)
    files = folder_of(tmp_path, images, labels)
    for options in (PictureOptions(), PictureOptions(polarity="keep")):
        how = load(tmp_path, how=options).preparation
        assert how.unanimous
        stream = io.BytesIO()
        Image.fromarray(255 - np.asarray(Image.open(files[0]))).save(stream, "PNG")
        stream.seek(0)
        assert torch.equal(how.read(stream), how.read(files[0]))


@pytest.mark.parametrize("dark", [True, False])
@pytest.mark.parametrize(
    "options", [PictureOptions(), PictureOptions(centre=True), PictureOptions(polarity="keep")]
)
def test_a_drawing_has_ink_as_large_and_as_bright_as_the_training_pictures(
    tmp_path, digits, dark, options
):
    folder_of(tmp_path, *enlarged(digits, 40, dark=dark))
    own = load(tmp_path, how=options)
    pad = np.zeros((280, 280), np.uint8)
    pad[150:250, 40:60] = 255  # a small stroke, bright on black, in a corner
    stream = io.BytesIO()
    Image.fromarray(pad).save(stream, "PNG")
    stream.seek(0)
    case = own.preparation.read(stream, drawing=True)
    bright = dark and options.polarity == "keep"
    assert own.preparation.dark != bright
    ink = 1 - case if bright else case
    assert ink[0, 0] == 0
    assert ink_field(ink, own.shape) == pytest.approx(own.preparation.field, abs=2 / 28)
    rows = ink.reshape(own.shape).sum(1)
    assert float(rows @ torch.arange(28.0) / rows.sum()) == pytest.approx(14, abs=1)


def test_photographs_are_neither_turned_nor_kept_large(tmp_path):
    rng = np.random.default_rng(0)
    small = rng.integers(0, 256, (6, 6, 8), np.uint8)
    photographs = [
        np.asarray(Image.fromarray(image).resize((640, 480), Image.Resampling.BICUBIC))
        for image in small
    ]
    files = folder_of(tmp_path, photographs, [0, 0, 0, 1, 1, 1])
    own = load(tmp_path)
    assert own.shape == (21, 28)
    assert own.preparation.paper is None
    assert own.findings[0].startswith("no even border, as photographs have none: kept")
    assert "pictures of 480 x 640 are scaled to 21 x 28 (--size decides)" in own.findings
    assert torch.equal(own.preparation.read(files[4]), as_probs(own.train.images[4:5]))
    assert load(tmp_path, how=PictureOptions(size=40)).shape == (30, 40)
    assert load(tmp_path, how=RAW).shape == (480, 640)
    Image.fromarray(photographs[0][:400]).save(files[1])
    assert any("480 x 640 and of 1 other size are" in words for words in load(tmp_path).findings)


def test_few_pictures_are_scaled_down_sooner_than_many(tmp_path, digits, monkeypatch):
    images, labels = enlarged(digits, 20, 40)
    folder_of(tmp_path / "files", images, labels)
    few = load(tmp_path / "files")
    assert few.shape == (28, 28)
    assert "pictures of 40 x 40 are scaled to 28 x 28 (--size decides)" in few.findings
    assert load(tmp_path / "files", how=PictureOptions(size=0)).shape == (40, 40)
    output = "20 pictures are few for 40 x 40 pixels: with --size 28"
    own = npz(tmp_path / "own.npz", images, labels)
    assert load(own).shape == (40, 40)
    assert any(words.startswith(output) for words in load(own).findings)
    assert not any(
        words.startswith(output) for words in load(own, how=PictureOptions(size=0)).findings
    )
    small = folder_of(tmp_path / "small", enlarged(digits, 20, 32)[0], labels)
    assert load(small[0].parent.parent).shape == (32, 32)
    monkeypatch.setattr(preparation, "SMALL_SET", 20)
    assert load(tmp_path / "files").shape == (40, 40)
    assert not any(words.startswith(output) for words in load(own).findings)


def test_centring_finds_ink_anywhere_on_a_page(tmp_path, digits):
    images, labels = enlarged(digits, 20)
    pages = np.full((20, 90, 60), 255, np.uint8)
    for number, image in enumerate(images):
        top, left = 3 * number, number
        pages[number, top : top + 28, left : left + 28] = image
    folder_of(tmp_path, pages, labels)
    assert load(tmp_path).shape == (28, 19)
    own = load(tmp_path, how=PictureOptions(centre=True))
    assert own.shape == (28, 28)
    assert ink_field(as_probs(own.train.images), own.shape) == pytest.approx(20 / 28, abs=1 / 28)
    mass = as_probs(own.train.images).reshape(-1, 28, 28).sum(2)
    assert ((mass @ torch.arange(28.0)) / mass.sum(1) - 14).abs().max() < 1


def npz(path, images, labels):
    np.savez(path, images=images, labels=labels)
    return path


def test_arrays_are_turned_as_a_set_and_other_sets_made_to_look_alike(tmp_path, digits):
    images, labels = enlarged(digits, 40)
    own = load(npz(tmp_path / "dark.npz", images, labels))
    assert own.findings == ("dark on light: turned round",)
    assert torch.equal(own.train.images.reshape(40, 28, 28), torch.from_numpy(255 - images))
    light = load(npz(tmp_path / "light.npz", 255 - images, labels))
    assert light.findings == ()
    assert torch.equal(light.train.images, own.train.images)
    for recorded in (own.preparation, light.preparation):
        for name in ("dark.npz", "light.npz"):
            assert torch.equal(load(tmp_path / name, how=recorded).train.images, own.train.images)
    floats = load(npz(tmp_path / "floats.npz", images / 255, labels))
    np.testing.assert_allclose(floats.train.images, as_probs(own.train.images), atol=1e-6)


def test_arrays_are_scaled_where_a_size_was_chosen(tmp_path, digits):
    images, labels = enlarged(digits, 40)
    own = load(npz(tmp_path / "own.npz", images, labels), how=PictureOptions(size=14))
    assert own.shape == (14, 14)
    assert "pictures of 28 x 28 are scaled to 14 x 14" in own.findings
    recorded = from_header(json.loads(json.dumps({"preparation": own.preparation.as_json()})))
    assert load(tmp_path / "own.npz", how=recorded, own=True).checksum == own.checksum
    read = torch.cat(
        [recorded.read(file) for file in folder_of(tmp_path / "files", images, np.zeros(40, int))]
    )
    assert torch.equal(read, as_probs(own.train.images))
    wide = load(
        npz(tmp_path / "wide.npz", np.pad(images, ((0, 0), (1, 1), (1, 1))), labels), how=recorded
    )
    assert wide.shape == (30, 30)  # another size than either: whoever evaluates it refuses


def test_tables_are_left_alone(tmp_path):
    table = np.ones((20, 12))
    table[:, 3] = np.arange(20) / 20
    own = load(npz(tmp_path / "table.npz", table, np.arange(20) % 2))
    assert own.preparation.paper is None
    np.testing.assert_allclose(own.train.images, table, atol=1e-6)


def test_arrays_are_transposed_where_that_is_said_and_other_sets_are_not(tmp_path):
    images = np.random.default_rng(0).integers(0, 256, (9, 5, 4), np.uint8)
    for name, array in (
        ("train-images-idx3-ubyte", images),
        ("train-labels-idx1-ubyte", np.arange(9) % 3),
    ):
        (tmp_path / name).write_bytes(idx_bytes(array))
    own = load(tmp_path, how=PictureOptions(transpose=True))
    assert own.shape == (4, 5)
    assert torch.equal(
        own.train.images.reshape(9, 4, 5), torch.from_numpy(images.transpose(0, 2, 1).copy())
    )
    assert load(tmp_path, how=own.preparation, own=True).checksum == own.checksum
    upright = npz(tmp_path / "upright.npz", images.transpose(0, 2, 1), np.arange(9) % 3)
    assert torch.equal(load(upright, how=own.preparation).train.images, own.train.images)
    with pytest.raises(ConfigError, match="upright"):
        load(
            folder_of(tmp_path / "files", images, np.arange(9) % 3)[0].parents[1],
            how=PictureOptions(transpose=True),
        )


def test_a_model_without_a_record_reads_as_before(digits):
    how = from_header({"shape": [28, 28], "ink_field": 0.5})
    assert how == before((28, 28), 0.5)
    images, _ = enlarged(digits, 6)
    framed = [np.pad(image, 20, constant_values=255) for image in images]
    for image in [
        *images,
        *(255 - image for image in images),
        *framed,
        *(255 - image for image in framed),
    ]:
        stream = io.BytesIO()
        Image.fromarray(image).save(stream, "PNG")
        stream.seek(0)
        expected = read_picture(stream, (28, 28), field=0.5)
        stream.seek(0)
        assert torch.equal(how.read(stream), expected)


def test_published_sets_and_sets_made_by_hand_are_prepared_as_mnist_is(digits):
    assert digits.preparation == before((8, 8), 1.0)
    assert prepared(digits) is digits.preparation
    by_hand = type(digits)("mine", digits.train, digits.test, (8, 8), digits.classes, "")
    assert prepared(by_hand) == digits.preparation


@pytest.mark.parametrize(
    "header",
    [
        {"preparation": {"paper": "dark"}},
        {"preparation": {"shape": [2, 2], "newer": 1}},
        {"preparation": 3},
        {},
    ],
)
def test_a_damaged_record_is_refused(header):
    with pytest.raises(CheckpointError, match="preparation"):
        from_header(header)


def test_blank_pictures_are_cases_of_a_set_and_no_questions(tmp_path, digits):
    images, labels = enlarged(digits, 20)
    images[0] = 255
    files = folder_of(tmp_path, images, labels)
    for options in (PictureOptions(), PictureOptions(centre=True)):
        own = load(tmp_path, how=options)
        assert (
            own.train.images[
                files.index(next(file for file in files if file.name == "000.png"))
            ].max()
            == 0
        )
    with pytest.raises(DataError, match="blank"):
        own.preparation.read(next(file for file in files if file.name == "000.png"))


def test_votes_and_what_they_settle():
    dark, light = np.zeros((5, 6), np.uint8), np.full((5, 6), 255, np.uint8)
    dark[2, 2:4], light[2, 2:4] = 255, 0
    half = np.zeros((5, 6), np.uint8)
    half[:, 3:] = 128
    half[2, 5] = 255
    blank = np.full((5, 6), 7, np.uint8)
    assert settle(votes(np.stack([dark, dark, blank]))) == ("dark", True)
    assert settle(votes(np.stack([light, light, light, dark]) / np.float32(255))) == (
        "light",
        False,
    )
    assert settle(votes(np.stack([blank]))) == (None, False)
    assert settle(votes(np.stack([half, half, dark]))) == (None, False)


@pytest.mark.parametrize("options", [{"size": -1}, {"size": 5000}, {"polarity": "dark"}])
def test_options_that_cannot_be(options):
    with pytest.raises(ConfigError, match="expected"):
        PictureOptions(**options)


def test_a_set_sorted_by_class_is_looked_at_all_over(tmp_path, digits):
    images, labels = enlarged(digits, 60)
    place = np.argsort(labels, kind="stable")
    own = match_classes(
        load(npz(tmp_path / "sorted.npz", images[place], labels[place])), tuple("0123456789")
    )
    assert len(some(own, own.train, 12).labels.unique()) >= 9
    assert torch.equal(some(digits, digits.train, 12).images, digits.train.images[:12])
    assert len(some(own, own.train, 100)) == 60
    assert isinstance(own.preparation, Preparation)


def _warnings(path, images, labels=None):
    np.savez(path, images=images, labels=np.arange(len(images)) % 2 if labels is None else labels)
    return [
        words for words in load(path).findings if "warning" in words or "no training case" in words
    ]


def test_doubtful_sets_are_warned_of(tmp_path):
    blank, stroke = np.zeros((10, 8, 8), np.uint8), np.zeros((10, 8, 8), np.uint8)
    stroke[:, 2:6, 3:5] = 255
    path = tmp_path / "own.npz"
    assert _warnings(path, stroke) == []
    assert _warnings(path, blank) == [
        "warning: all 10 pictures are blank: there is nothing on them to learn"
    ]
    mixed = np.concatenate([stroke[:6], 255 - stroke[:4]])
    assert _warnings(path, mixed)[0].startswith(
        "warning: 4 pictures are dark on light and 6 light on dark"
    )
    counted = _warnings(path, stroke, np.arange(10) % 3 + 1)
    assert len(counted) == 1
    assert counted[0].startswith("no training case is of the classes 0,")
