"""Sound files: found in a folder or an archive, and read as samples at the rate that is wanted."""

from __future__ import annotations

import io
import math
import warnings
import zipfile
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path, PurePosixPath
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from wakesleep.foundation.errors import DataError, WakesleepError

SUFFIXES = frozenset((".wav", ".flac", ".ogg"))
"""Of sound files; those other than .wav need the package soundfile."""
MOST_SECONDS = 60.0
"""Length beyond which a recording is refused: stretched to the frames of one picture, nothing of
its words is left.
"""
MOST_BYTES = 64 << 20
"""Bytes of a sound file: a minute of stereo at 96 kHz with 32 bits a sample has 46 million."""
MOST_FILES = 200_000
"""Files of an archive, and of a folder."""
MOST_HOURS = 20.0
"""Length of all recordings of a set together, which are held in memory: 2.3 GB at 8 kHz. A small
archive may unpack to more.
"""
RATES = (1_000, 400_000)
"""Samples a second that are believed."""
SILENT = 1e-4
"""What samples must differ by to be a sound; a step of 16 bits is 3e-5."""


def find(path: Path) -> list[str]:
    """Return the names of the sound files in a folder, at any depth, or in a .zip, in their order,
    with slashes; of a sound file, its own name.

    Hidden files are left out, as are those that macOS adds to archives.

    Raises:
        DataError: none there, too many, or an archive that cannot be read.
    """
    if path.is_dir():
        names = [file.relative_to(path).as_posix() for file in path.rglob("*") if file.is_file()]
    elif path.suffix.lower() == ".zip":
        try:
            with zipfile.ZipFile(path) as archive:
                names = archive.namelist()
        except (OSError, zipfile.BadZipFile, NotImplementedError) as error:
            raise _corrupt(path, error) from error
    else:
        return [path.name]
    sounds = sorted(filter(_is_sound, names))
    if not sounds:
        raise DataError(
            f"{path} holds no sound file; expected {', '.join(sorted(SUFFIXES))}: in a folder for "
            "each class, or called CLASS_speaker_number.wav"
        )
    if len(sounds) > MOST_FILES:
        raise DataError(
            f"{path} holds {len(sounds):,} sound files; at most {MOST_FILES:,} are read: take fewer"
        )
    return sounds


def waves(path: Path, rate: int) -> Iterator[tuple[str, NDArray[np.float32]]]:
    """Yield the sound files that `find` finds, each its name and its samples as `read_wave` returns
    them.

    Raises:
        DataError: none there, or one that cannot be used; the message names it. More than 20 hours
            in all.
    """
    total = 0
    for name, wave in _waves(path, rate):
        total += len(wave)
        if total > MOST_HOURS * 3600 * rate:
            raise DataError(
                f"{path} holds more than {MOST_HOURS:g} hours of sound; take fewer recordings, or "
                "shorter ones"
            )
        yield name, wave


def _waves(path: Path, rate: int) -> Iterator[tuple[str, NDArray[np.float32]]]:
    names = find(path)
    if path.is_dir():
        yield from ((name, read_wave(path / name, rate)) for name in names)
    elif path.suffix.lower() != ".zip":
        yield path.name, read_wave(path, rate)
    else:
        with zipfile.ZipFile(path) as archive:
            for name in names:
                try:
                    with archive.open(name) as file:
                        content = _bytes(file, f"{path}: {name}")
                except WakesleepError:
                    raise
                except Exception as error:
                    # zipfile and zlib have a dozen kinds of errors for one corrupt archive
                    raise _corrupt(path, error) from error
                yield name, samples(content, rate, f"{path}: {name}")


def holds_sounds(path: Path) -> bool:
    """Return whether a path leads to a sound file, an archive, or a folder in which the first
    visible file, at any depth, is a sound.
    """
    if path.is_file():
        return path.suffix.lower() in (*SUFFIXES, ".zip")
    return path.is_dir() and _is_sound(next(_visible(path), ""))


def _visible(folder: Path) -> Iterator[str]:
    """Yield the names of the files below a folder that are not hidden."""
    for path in sorted(folder.iterdir()):
        if path.name.startswith((".", "__")):
            continue
        if path.is_dir():
            yield from _visible(path)
        else:
            yield path.name


def _is_sound(name: str) -> bool:
    path = PurePosixPath(name)
    hidden = any(part.startswith((".", "__")) for part in path.parts)
    return path.suffix.lower() in SUFFIXES and not hidden


def read_wave(source: str | Path | IO[bytes], rate: int) -> NDArray[np.float32]:
    """Return a sound file as samples in [-1, 1], (samples,), at `rate` a second; of several
    channels the mean.

    Raises:
        DataError: no sound, a corrupt, empty or silent one, or one that is longer than a minute.
    """
    if isinstance(source, str | Path):
        name = str(source)
        try:
            with Path(source).open("rb") as file:
                content = _bytes(file, name)
        except IsADirectoryError as error:
            raise DataError(f"{name} is a folder; expected one sound file") from error
        except OSError as error:
            raise DataError(
                f"{name} cannot be read ({error.strerror}); expected a sound file"
            ) from error
    else:
        name = str(getattr(source, "name", "the sound"))
        content = _bytes(source, name)
    return samples(content, rate, name)


def samples(content: bytes, rate: int, name: str) -> NDArray[np.float32]:
    """Return what the bytes of a sound file hold, as `read_wave` does; `name` is for errors."""
    wave, own_rate = _decoded(content, name)
    _check_header(len(wave), own_rate, name)
    if not len(wave):
        raise DataError(f"{name} holds no samples: it is an empty recording; record it anew")
    if not np.isfinite(wave).all():
        raise DataError(f"{name} holds NaN or infinite samples; record or convert it anew")
    mono = wave.mean(1)
    if np.ptp(mono) < SILENT:
        raise DataError(
            f"{name} is silent: its samples differ by {np.ptp(mono):.1e}; expected something to "
            "be heard: leave it out, or record it anew"
        )
    if own_rate != rate:
        from scipy.signal import resample_poly

        shared = math.gcd(own_rate, rate)
        mono = np.asarray(resample_poly(mono, rate // shared, own_rate // shared))
    return np.ascontiguousarray(mono, np.float32)


def _bytes(file: IO[bytes], name: str) -> bytes:
    """Return what a file holds, at most MOST_BYTES, whatever an archive says of its size."""
    content = file.read(MOST_BYTES + 1)
    if len(content) > MOST_BYTES:
        raise DataError(
            f"{name} has more than {MOST_BYTES >> 20} MiB; expected a recording of one word: cut "
            "it into a file for each word"
        )
    return content


def _decoded(content: bytes, name: str) -> tuple[NDArray[np.float64], int]:
    """Return samples (samples, channels) in [-1, 1] and their rate, by soundfile, or by SciPy
    where it is missing.
    """
    try:
        library: Any = import_module("soundfile")
    except (ImportError, OSError):  # OSError: it came without its library
        library = None
    riff = content[:4] in (b"RIFF", b"RIFX", b"RF64")
    if library is None and not riff and content[:4] in (b"fLaC", b"OggS"):
        raise DataError(
            f"{name} is no .wav file, and the package soundfile, which reads such files, is not "
            "installed: pip install 'wakesleep[sound]', or convert it to .wav"
        )
    try:
        if library is not None:
            with library.SoundFile(io.BytesIO(content)) as file:
                _check_header(file.frames, file.samplerate, name)
                return file.read(dtype="float64", always_2d=True), int(file.samplerate)
        return _by_scipy(content)
    except DataError:
        raise
    except Exception as error:
        # the two have many kinds of errors for one corrupt file; soundfile's names an address
        words = " ".join(str(getattr(error, "error_string", error)).split())
        raise DataError(
            f"{name} cannot be read as a sound ({words}): it is corrupt, or not what its name "
            "says; expected a .wav file"
        ) from error


def _check_header(count: int, rate: int, name: str) -> None:
    """Raise DataError for a rate that is not believed, or for so many samples a channel that they
    are no word: a small file may unpack to gigabytes.
    """
    if not RATES[0] <= rate <= RATES[1]:
        raise DataError(
            f"{name} claims {rate:,} samples a second; expected {RATES[0]:,} to {RATES[1]:,}: "
            "its header is damaged"
        )
    if count > MOST_SECONDS * rate:
        raise DataError(
            f"{name} lasts {count / rate:,.0f} s; expected one word, or at most "
            f"{MOST_SECONDS:.0f} s: cut it into a file for each word"
        )


def _by_scipy(content: bytes) -> tuple[NDArray[np.float64], int]:
    from scipy.io import wavfile

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", wavfile.WavFileWarning)  # chunks that it does not know
        rate, read = wavfile.read(io.BytesIO(content))
    wave = read[:, None] if read.ndim == 1 else read
    if wave.dtype.kind == "f":
        return wave.astype(np.float64), int(rate)
    if wave.dtype == np.uint8:  # 8-bit files have no sign
        return (wave.astype(np.float64) - 128) / 128, int(rate)
    return wave / float(1 << (8 * wave.dtype.itemsize - 1)), int(rate)


def _corrupt(path: Path, error: Exception) -> DataError:
    return DataError(
        f"{path} cannot be read ({type(error).__name__}: {error}): the archive is corrupt, locked "
        "by a password, or no .zip; make it anew"
    )
