"""Sets of recordings: their labels by folder or by name, their log-mel pictures as cases."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

import numpy as np

from wakesleep.data import sound_files
from wakesleep.data.checks import Array
from wakesleep.data.picture_folders import TEST, TRAIN, VALIDATION
from wakesleep.data.sets import Dataset, Split
from wakesleep.data.sound import LogMel
from wakesleep.foundation.errors import DataError
from wakesleep.foundation.values import listed

SPOKEN_DIGITS = "spoken-digits"
"""The Free Spoken Digit Dataset, by this name."""
OFFICIAL_TEST = 5
"""Recordings of the Free Spoken Digit Dataset with a lower number than this are its test part."""


class Recordings(NamedTuple):
    """Recordings with their names, in the order of these, at one rate."""

    names: tuple[str, ...]
    waves: tuple[Array, ...]


def read_recordings(path: Path, rate: int = LogMel.rate) -> Recordings:
    """Return the recordings in a folder, a .zip or a file.

    Raises:
        DataError: none there, or one that cannot be used; the message names it.
    """
    names, waves = zip(*sound_files.waves(path, rate), strict=True)
    return Recordings(names, waves)


def load_sounds(name: str, path: Path, how: LogMel | None = None) -> Dataset:
    """Return the recordings in a folder, a .zip or a file as a set of log-mel pictures (N, bands *
    frames), float32.

    The class of a recording is the folder it lies in; where all lie in one, what stands before the
    first _ in its name, as in 7_george_12.wav. Folders train and test (and their like) hold the
    parts. Of spoken-digits the recordings numbered 0 to 4 of each speaker are the test part.

    Args:
        name: what the set is called; spoken-digits has its own parts.
        path: where it lies.
        how: the settings of the pictures; None for the defaults, with the contrast and length
            of the training recordings.

    Raises:
        DataError: no recordings, or some that cannot be used; test recordings of classes that have
            no training recording.
    """
    recordings = read_recordings(path, LogMel.rate if how is None else how.rate)
    test = np.array([_is_test(name, each) for each in recordings.names])
    if test.all():
        raise DataError(f"{path} holds test recordings alone; expected some to learn from")
    training = [wave for wave, held in zip(recordings.waves, test, strict=True) if not held]
    how = LogMel().suited(training) if how is None else how
    pictures = np.stack([how.picture(wave).ravel() for wave in recordings.waves])
    labels, classes = _labels(recordings.names, path)
    if unknown := sorted(set(labels[test]) - set(labels[~test])):
        raise DataError(
            f"{path} has test recordings of classes without a training recording: "
            f"{listed([classes[number] for number in unknown])}; add some, or leave those out"
        )
    parts: list[Any] = [(pictures[chosen], labels[chosen]) for chosen in (~test, test)]
    digest = hashlib.sha256(b"".join(array.tobytes() for part in parts for array in part))
    seconds = sum(len(wave) for wave in recordings.waves) / how.rate
    findings = (
        f"{len(recordings.names):,} recordings, {seconds:,.0f} s in all, as log-mel pictures of "
        f"{how.bands} bands x {how.frames} frames at {how.rate:,} Hz",
    )
    return Dataset(
        name,
        Split(*parts[0]),
        Split(*parts[1]) if test.any() else None,
        how.shape,
        classes,
        digest.hexdigest(),
        preparation=how,
        findings=findings,
    )


def _folder_names(name: str) -> list[str]:
    return [folder.lower() for folder in PurePosixPath(name).parts[:-1]]


def _is_test(dataset: str, name: str) -> bool:
    """Return whether a recording of that name belongs to the test part."""
    if dataset == SPOKEN_DIGITS:
        number = PurePosixPath(name).stem.rsplit("_", 1)[-1]
        return number.isdigit() and int(number) < OFFICIAL_TEST
    return any(folder in TEST for folder in _folder_names(name))


def _labels(names: Sequence[str], path: Path) -> tuple[Array, tuple[str, ...]]:
    """Return the labels (N,) of recordings by their names, and the classes in the order of theirs;
    one class alone where neither folders nor names tell them apart.
    """
    parts = {*TRAIN, *TEST, *VALIDATION}
    folders = [
        [folder for folder in PurePosixPath(name).parts[:-1] if folder.lower() not in parts]
        for name in names
    ]
    classes = [inside[-1] if inside else "" for inside in folders]
    if len(set(classes)) == 1:
        stems = [PurePosixPath(name).stem for name in names]
        if not all("_" in stem for stem in stems) and len(names) > 1:
            raise DataError(
                f"{path}: neither folders nor names tell the classes of the recordings apart; "
                "expected a folder for each class, or names like CLASS_speaker_number.wav; "
                f"{stems[0]!r} came"
            )
        classes = [stem.split("_")[0] for stem in stems]
    known = sorted(set(classes))
    return np.array([known.index(each) for each in classes]), tuple(known)
