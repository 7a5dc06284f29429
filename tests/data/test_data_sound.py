"""Recordings become pictures and pictures sounds; what cannot be used is refused in words."""

from __future__ import annotations

import io
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
from scipy.io import wavfile

import wakesleep as ws
from wakesleep.data import sound, sound_files
from wakesleep.data.sound import LogMel, save_wav, to_wave
from wakesleep.data.sound_files import read_wave
from wakesleep.foundation.errors import CheckpointError, ConfigError, DataError

RATE = 8000


def chirp(low: float = 300, high: float = 2000, seconds: float = 0.5, rate: int = RATE):
    """A tone that rises from `low` to `high` Hz, at half of full amplitude."""
    time = np.arange(int(seconds * rate)) / rate
    phase = 2 * np.pi * (low * time + (high - low) * time**2 / (2 * seconds))
    return 0.5 * np.sin(phase) * np.hanning(len(time))


def as_bytes(samples: np.ndarray, rate: int = RATE) -> bytes:
    packed = io.BytesIO()
    wavfile.write(packed, rate, samples)
    return packed.getvalue()


def int16(wave: np.ndarray) -> np.ndarray:
    return np.round(wave * 32767).astype(np.int16)


@pytest.fixture(params=["soundfile", "scipy"])
def reader(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Both packages that read .wav files."""
    if request.param == "soundfile":
        pytest.importorskip("soundfile")
    else:
        monkeypatch.setitem(sys.modules, "soundfile", None)
    return request.param


def test_a_picture_is_standardised_and_says_where_the_tone_is() -> None:
    picture = LogMel().picture(chirp())
    assert picture.shape == (24, 24)
    assert abs(picture.mean()) < 1e-5
    assert abs(picture.std() - 1) < 1e-5
    loudest = picture.argmax(0)[4:20]
    assert (np.diff(loudest) >= 0).all()
    assert loudest[-1] - loudest[0] >= 6


def test_mel_bands_cover_each_frequency_between_their_middles_once() -> None:
    bands = sound.mel_bands(LogMel(window=2048))
    middles = bands.argmax(1)
    assert np.allclose(bands[:, middles[0] + 1 : middles[-1]].sum(0), 1)


def test_loudness_and_length_leave_the_picture_alike() -> None:
    how = LogMel()
    picture = how.picture(chirp())
    assert np.allclose(how.picture(0.1 * chirp()), picture, atol=1e-4)
    slow = how.picture(chirp(seconds=1.0))
    assert np.corrcoef(picture.ravel(), slow.ravel())[0, 1] > 0.95


def test_a_recording_shorter_than_a_window_has_a_picture() -> None:
    assert np.isfinite(LogMel().picture(chirp(seconds=0.02))).all()


def test_what_is_heard_again_makes_the_picture_it_came_from() -> None:
    how = LogMel().suited([chirp()])
    for wave in (chirp(), chirp(1500, 400, 0.7), chirp(200, 900) + 0.3 * chirp(3000, 2500)):
        picture = how.picture(wave)
        again = how.picture(to_wave(picture, how, seconds=len(wave) / RATE))
        assert np.corrcoef(picture.ravel(), again.ravel())[0, 1] > 0.9


def test_phases_that_are_searched_for_agree_better_than_those_at_the_start() -> None:
    how = LogMel()
    spectra = np.abs(sound.spectrum(chirp(), how))

    def miss(wave: np.ndarray) -> float:
        return float(np.linalg.norm(np.abs(sound.spectrum(wave, how)) - spectra))

    start = sound._with_phases(spectra, how, 0)
    assert miss(sound._with_phases(spectra, how, 50)) < 0.5 * miss(start)


def test_windows_laid_over_each_other_give_the_sound_back() -> None:
    how = LogMel()
    wave = chirp()[: how.window + 40 * how.step]
    again = sound._overlapped(sound.spectrum(wave, how), how)
    inside = slice(how.window, -how.window)
    assert np.allclose(again[inside], wave[inside], atol=1e-6)


def test_a_saved_sound_is_read_back(reader: str, tmp_path: Path) -> None:
    save_wav(tmp_path / "a.wav", chirp())
    assert np.allclose(read_wave(tmp_path / "a.wav", RATE), chirp(), atol=1e-4)


@pytest.mark.parametrize("kind", ["8 bits", "16 bits", "32 bits", "float32", "float64", "stereo"])
def test_every_kind_of_wav_file_makes_the_same_picture(reader: str, kind: str) -> None:
    wave, other = chirp(), chirp(2500, 400)
    stored = {
        "8 bits": np.round(wave * 127 + 128).astype(np.uint8),
        "16 bits": int16(wave),
        "32 bits": np.round(wave * (2**31 - 1)).astype(np.int32),
        "float32": wave.astype(np.float32),
        "float64": wave,
        # half the difference is another sound, which goes out of the mean
        "stereo": np.stack([int16((wave + other) / 2), int16((wave - other) / 2)], 1),
    }[kind]
    case = LogMel(floor=30).read(io.BytesIO(as_bytes(stored)))
    assert case.shape == (1, 576)
    expected = LogMel(floor=30).picture(wave).ravel()
    assert np.corrcoef(case[0], expected)[0, 1] > 0.97


def test_other_rates_are_resampled(reader: str) -> None:
    content = as_bytes(int16(chirp(rate=44_100)), 44_100)
    wave = read_wave(io.BytesIO(content), RATE)
    assert abs(len(wave) - 4000) <= 1
    assert np.abs(wave[:3999] - chirp()[:3999]).max() < 0.02


def corrupt_zip() -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("0_a_0.wav", as_bytes(int16(chirp())))
    content = bytearray(packed.getvalue())
    content[100:140] = bytes(40)
    return bytes(content)


BAD = {
    "silence.wav": (as_bytes(np.zeros(4000, np.int16)), "is silent"),
    "constant.wav": (as_bytes(np.full(4000, 0.3, np.float32)), "is silent"),
    "empty.wav": (as_bytes(np.zeros(0, np.int16)), "holds no samples"),
    "nothing.wav": (b"", "cannot be read as a sound"),
    "text.wav": (b"this is no sound\n" * 20, "cannot be read as a sound"),
    "half.wav": (as_bytes(int16(chirp()))[:30], "cannot be read as a sound"),
    "nan.wav": (as_bytes(np.full(4000, np.nan, np.float32)), "NaN or infinite"),
    "long.wav": (as_bytes(np.ones(RATE * 3600, np.uint8)), "lasts 3,600 s; expected one word"),
    "rate.wav": (as_bytes(int16(chirp()), 3), "its header is damaged"),
}


@pytest.mark.parametrize("name", BAD)
def test_a_file_that_is_no_word_is_refused_in_words(name: str, reader: str, tmp_path: Path) -> None:
    content, words = BAD[name]
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=words) as refusal:
        read_wave(tmp_path / name, RATE)
    assert name in str(refusal.value)
    assert "0x" not in str(refusal.value)


@pytest.mark.parametrize(("kind", "bits"), [("FLAC", "PCM_16"), ("WAV", "PCM_24"), ("OGG", None)])
def test_what_soundfile_reads_makes_the_same_picture(kind: str, bits: str | None, tmp_path) -> None:
    soundfile = pytest.importorskip("soundfile")
    path, how = tmp_path / f"7_ann_0.{kind.lower()}", LogMel(floor=30)
    soundfile.write(path, chirp(), RATE, format=kind, subtype=bits)
    case = how.read(path)[0]
    assert np.corrcoef(case, how.picture(chirp()).ravel())[0, 1] > (0.9 if bits is None else 0.999)
    assert ws.load_data(path).classes == ("7",)


def test_other_formats_say_what_reads_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "soundfile", None)
    with pytest.raises(DataError, match="wakesleep\\[sound\\]"):
        read_wave(io.BytesIO(b"fLaC" + bytes(100)), RATE)


def test_places_without_a_sound_are_refused_in_words(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="is a folder"):
        read_wave(tmp_path, RATE)
    with pytest.raises(DataError, match="cannot be read"):
        read_wave(tmp_path / "absent.wav", RATE)
    with pytest.raises(DataError, match="holds no sound file"):
        sound_files.find(tmp_path)


@pytest.mark.parametrize("content", [b"no archive", corrupt_zip()], ids=["text", "corrupt"])
def test_a_corrupt_archive_is_refused_in_words(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "a.zip").write_bytes(content)
    with pytest.raises(DataError, match="the archive is corrupt"):
        ws.load_data(tmp_path / "a.zip")


def test_an_archive_that_unpacks_to_gigabytes_is_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("0_a_0.wav", bytes(sound_files.MOST_BYTES + 1))
    assert (tmp_path / "a.zip").stat().st_size < 1 << 20
    with pytest.raises(DataError, match="has more than 64 MiB"):
        ws.load_data(tmp_path / "a.zip")


def write_words(folder: Path, names: list[str]) -> None:
    for number, name in enumerate(names):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        save_wav(path, chirp(200 + 40 * number, 1500))


def test_more_sound_than_fits_into_memory_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_words(tmp_path, ["7_ann_0.wav", "3_bob_9.wav", "7_bob_1.wav"])
    monkeypatch.setattr(sound_files, "MOST_HOURS", 1.2 / 3600)
    with pytest.raises(DataError, match="hours of sound; take fewer"):
        ws.load_data(tmp_path)


def test_folders_are_the_classes(tmp_path: Path) -> None:
    write_words(tmp_path, ["train/yes/a.wav", "train/no/b.wav", "train/no/.c.wav", "test/no/d.wav"])
    words = ws.load_data(tmp_path)
    assert words.classes == ("no", "yes")
    assert words.train.labels.tolist() == [0, 1]
    assert words.test.labels.tolist() == [0]
    assert words.shape == (24, 24)
    assert words.train.images.shape == (2, 576)
    assert "3 recordings" in words.findings[0]
    assert 0.3 < words.preparation.seconds < 0.7


def test_names_are_the_classes_where_all_lie_in_one_folder(tmp_path: Path) -> None:
    write_words(tmp_path / "in", ["7_ann_0.wav", "3_bob_9.wav", "7_bob_1.wav"])
    with zipfile.ZipFile(tmp_path / "words.zip", "w") as archive:
        for path in sorted((tmp_path / "in").iterdir()):
            archive.write(path, f"recordings/{path.name}")
        archive.writestr("__MACOSX/recordings/._7_ann_0.wav", b"left behind")
    zipped, folder = ws.load_data(tmp_path / "words.zip"), ws.load_data(tmp_path / "in")
    assert zipped.classes == folder.classes == ("3", "7")
    assert zipped.train.labels.tolist() == folder.train.labels.tolist() == [0, 1, 1]
    assert zipped.checksum == folder.checksum


def test_recordings_that_nothing_tells_apart_are_refused(tmp_path: Path) -> None:
    write_words(tmp_path, ["one.wav", "two.wav"])
    with pytest.raises(DataError, match="expected a folder for each class"):
        ws.load_data(tmp_path)


def test_the_official_split_of_spoken_digits(tmp_path: Path) -> None:
    names = [f"{digit}_ann_{number}.wav" for digit in (0, 1) for number in (0, 4, 5, 12)]
    write_words(tmp_path / "in", names)
    (tmp_path / "spoken-digits").mkdir()
    with zipfile.ZipFile(tmp_path / "spoken-digits/recordings.zip", "w") as archive:
        for name in names:
            archive.write(tmp_path / "in" / name, name)
    digits = ws.load_data("spoken-digits", folder=tmp_path)
    assert digits.train.labels.tolist() == digits.test.labels.tolist() == [0, 0, 1, 1]
    assert digits.origin == "spoken-digits"


def test_sets_that_are_not_downloaded_say_where_they_come_from(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WAKESLEEP_DATA", str(tmp_path))
    with pytest.raises(ws.WakesleepError, match="free-spoken-digit-dataset, CC BY-SA"):
        ws.load_data("spoken-digits")
    with pytest.raises(ws.WakesleepError, match="roweis"):
        ws.load_data("20news")


def test_settings_of_pictures_and_sounds_are_not_mixed_up(tmp_path: Path) -> None:
    write_words(tmp_path, ["7_ann_0.wav", "3_bob_9.wav"])
    with pytest.raises(ConfigError, match="are for pictures"):
        ws.load_data(tmp_path, how=ws.PictureOptions(size=28))
    with pytest.raises(ConfigError, match="settings for pictures"):
        ws.load_data("digits", how=LogMel())


def test_settings_are_recorded_with_a_model_and_done_again(tmp_path: Path) -> None:
    write_words(tmp_path, ["7_ann_0.wav", "3_bob_9.wav"])
    words = ws.load_data(tmp_path, how=LogMel(bands=12, frames=10))
    dbn = ws.DBN((ws.units.Gaussian(120), 5, 6), labels=2, rng=ws.generator(0))
    ws.save(dbn, tmp_path / "m.safetensors", classes=words.classes, preparation=words.preparation)
    header = ws.load_model(tmp_path / "m.safetensors").header
    again = LogMel.from_json(header["preparation"])
    assert again == words.preparation
    assert np.allclose(again.read(tmp_path / "3_bob_9.wav"), words.train.images[0])
    with pytest.raises(CheckpointError, match="learned from sounds"):
        ws.data.from_header(header)
    with pytest.raises(CheckpointError, match="cannot be read"):
        LogMel.from_json({**header["preparation"], "unheard": 1})


@pytest.mark.parametrize(
    "wrong", [{"step": 300}, {"bands": 200}, {"rate": 0}, {"floor": -1.0}, {"frames": 2.5}]
)
def test_settings_that_make_no_picture_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ConfigError):
        LogMel(**wrong)


@pytest.mark.parametrize(
    ("wave", "words"),
    [
        (np.zeros(4000), "silent"),
        (np.zeros((2, 4000)), "mean of the channels"),
        (np.zeros(0), "empty"),
        (int16(chirp()), "divide 16-bit samples"),
        (np.full(4000, np.inf), "infinite"),
    ],
)
def test_arrays_that_are_no_recordings_are_refused(wave: np.ndarray, words: str) -> None:
    with pytest.raises(DataError, match=words):
        LogMel().picture(wave)


def test_what_cannot_be_heard_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="24 bands x 24 frames"):
        to_wave(np.zeros(100))
    with pytest.raises(DataError, match="finite"):
        to_wave(np.full(576, np.nan))
    with pytest.raises(ConfigError, match="seconds"):
        to_wave(np.zeros(576), seconds=1e6)
    with pytest.raises(DataError, match="divide"):
        save_wav(tmp_path / "a.wav", 3 * np.ones(10))


@pytest.mark.real_data
@pytest.mark.parametrize("real_data", ["spoken-digits"], indirect=True)
def test_real_words_are_heard_again(real_data: Path) -> None:
    digits = ws.load_data("spoken-digits", folder=real_data)
    how, test = digits.preparation, digits.test
    assert (len(digits.train), len(test)) == (2700, 300)
    centres = np.stack(
        [digits.train.images[digits.train.labels == label].mean(0) for label in range(10)]
    )
    for number in range(0, 300, 30):
        picture = test.images[number].numpy()
        again = how.picture(to_wave(picture, how)).ravel()
        assert np.corrcoef(picture, again)[0, 1] > 0.9
        assert (centres @ again).argmax() == (centres @ picture).argmax()
