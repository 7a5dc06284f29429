"""Recordings become log-mel pictures, cases that a net learns from, and pictures become sounds
again, so that what a net dreams can be listened to.
"""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from wakesleep.data.checks import Array, as_array
from wakesleep.data.sound_files import MOST_SECONDS, SILENT, read_wave
from wakesleep.foundation.errors import CheckpointError, ConfigError, DataError
from wakesleep.foundation.files import write_atomically
from wakesleep.foundation.values import check_fields, check_settings

if TYPE_CHECKING:
    import torch

Wave = NDArray[np.float32]
"""A recording in [-1, 1], (samples,)."""
PEAK = 0.9
"""Loudest sample of a sound that is made."""


@dataclass(frozen=True)
class LogMel:
    """How recordings become cases of a model, and how others become cases like them.

    The spectrum's power in windows of a recording, summed in bands that are even on the mel scale,
    m = 2595 log10(1 + f / 700), its logarithm stretched in time to a fixed number of frames, less
    its mean and over its standard deviation: neither loudness nor length is left, and the same word
    spoken slowly makes the same picture. Source: Davis & Mermelstein (1980).

    Raises:
        ConfigError: numbers that make no picture, such as a step longer than a window.
    """

    rate: int = 8000
    """Samples a second; other recordings are resampled."""
    window: int = 256
    """Samples of a window (Hann), 32 ms at 8 kHz."""
    step: int = 80
    """Samples from window to window, 10 ms at 8 kHz."""
    bands: int = 24
    """Rows of a picture: mel bands from 0 to half the rate, the lowest first."""
    frames: int = 24
    """Columns of a picture, from the beginning of the recording to its end."""
    floor: float = 80.0
    """Decibels below a recording's loudest entry at which all that is quieter is cut off."""
    contrast: float = 4.0
    """Typical standard deviation of the log power: that of the training recordings. A picture does
    not hold it; `to_wave` needs one.
    """
    seconds: float = 0.4
    """Typical length of a recording, likewise."""

    def __post_init__(self) -> None:
        check_fields(self)
        for name in ("rate", "window", "step", "bands", "frames", "floor", "contrast", "seconds"):
            if not getattr(self, name) > 0:
                raise ConfigError(f"{name} = {getattr(self, name)}: expected more than 0")
        if self.step > self.window:
            raise ConfigError(
                f"step = {self.step} is longer than window = {self.window}: sound between two "
                "windows would be lost; expected a step of at most a window"
            )
        if not bool((mel_bands(self).sum(1) > 0).all()):
            raise ConfigError(
                f"bands = {self.bands} are too many for windows of {self.window} samples: a band "
                "would hold no frequency; expected fewer, or longer windows"
            )

    @property
    def shape(self) -> tuple[int, int]:
        """(bands, frames), the rows and columns of a picture."""
        return self.bands, self.frames

    def read(self, source: str | Path | IO[bytes]) -> torch.Tensor:
        """Return a sound file as a case, (1, bands * frames) float32, standardised.

        Raises:
            DataError: no readable recording, a silent one, or one that is too long.
        """
        import torch

        return torch.from_numpy(self.picture(read_wave(source, self.rate)).reshape(1, -1))

    def picture(self, wave: Array) -> NDArray[np.float32]:
        """Return a recording (samples,) at `rate` samples a second, in [-1, 1], as a picture
        (bands, frames) of mean 0 and variance 1.

        Raises:
            DataError: a recording that is empty, silent, not finite, or of several channels.
        """
        log_power = stretched(self.log_power(_checked(wave)), self.frames)
        picture: Wave = ((log_power - log_power.mean()) / log_power.std()).astype(np.float32)
        return picture

    def log_power(self, wave: Array) -> NDArray[np.float64]:
        """Return the logarithm of the power in each band and window of a recording, (bands,
        windows), before it is stretched and standardised.
        """
        power = mel_bands(self) @ (np.abs(spectrum(wave, self)) ** 2)
        log_power: NDArray[np.float64] = np.log(
            np.maximum(power, power.max() * 10 ** (-self.floor / 10))
        )
        return log_power

    def suited(self, waves: Sequence[Array]) -> LogMel:
        """Return these settings with contrast and length as the median of recordings has them."""
        powers = [self.log_power(_checked(wave)) for wave in waves]
        return replace(
            self,
            contrast=float(np.median([each.std() for each in powers])),
            seconds=float(np.median([len(wave) / self.rate for wave in waves])),
        )

    def as_json(self) -> dict[str, Any]:
        """Return it as plain values."""
        return {"kind": "log-mel", **asdict(self)}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> LogMel:
        """Return the settings that `as_json` wrote.

        Raises:
            CheckpointError: they are damaged, or of a newer version.
        """
        try:
            return cls(**{name: value for name, value in values.items() if name != "kind"})
        except (TypeError, ValueError) as error:
            raise CheckpointError(
                f"what is recorded of the preparation of sounds cannot be read ({error}): {values}"
            ) from error


def _checked(wave: Array) -> NDArray[np.float64]:
    """Return a recording that a picture can be made of."""
    samples = as_array(wave, "the recording")
    if samples.ndim != 1:
        raise DataError(
            f"the recording has shape {samples.shape}; expected (samples,): take the mean of the "
            "channels"
        )
    if not len(samples):
        raise DataError("the recording is empty; expected at least one sample")
    if samples.dtype.kind != "f":
        raise DataError(
            f"the recording holds {samples.dtype}; expected floating-point samples in [-1, 1]: "
            "divide 16-bit samples by 32768"
        )
    if not np.isfinite(samples).all():
        raise DataError("the recording holds NaN or infinite samples; expected numbers in [-1, 1]")
    if np.ptp(samples) < SILENT:
        raise DataError(
            "the recording is silent: its samples differ by less than "
            f"{SILENT:g}; expected something to be heard"
        )
    return samples.astype(np.float64)


def mel_bands(how: LogMel) -> NDArray[np.float64]:
    """Return the weight of each frequency of a window's spectrum in each mel band, (bands,
    window // 2 + 1): triangles whose corners are even on the mel scale.
    """
    top = 2595 * np.log10(1 + how.rate / 2 / 700)
    corners = 700 * (10 ** (np.linspace(0, top, how.bands + 2) / 2595) - 1)
    low, middle, high = corners[:-2, None], corners[1:-1, None], corners[2:, None]
    frequency = np.fft.rfftfreq(how.window, 1 / how.rate)
    rising, falling = (frequency - low) / (middle - low), (high - frequency) / (high - middle)
    return np.maximum(0, np.minimum(rising, falling))


def spectrum(wave: Array, how: LogMel) -> NDArray[np.complex128]:
    """Return the spectrum of each window of a recording, (window // 2 + 1, windows); one shorter
    than a window is filled up with silence.
    """
    padded = np.pad(wave, (0, max(0, how.window - len(wave))))
    windows = np.lib.stride_tricks.sliding_window_view(padded, how.window)[:: how.step]
    return np.fft.rfft(windows * np.hanning(how.window)).T


def stretched(rows: Array, count: int) -> NDArray[np.float64]:
    """Return rows (bands, windows) at `count` times from the first window to the last, by straight
    lines between neighbours.
    """
    times = np.linspace(0, rows.shape[1] - 1, count)
    return np.stack([np.interp(times, np.arange(rows.shape[1]), row) for row in rows])


def to_wave(
    picture: Any, how: LogMel | None = None, *, seconds: float | None = None, steps: int = 50
) -> Wave:
    """Return a sound whose log-mel picture is about `picture`, (samples,) in [-1, 1].

    The picture says nothing of phases, nor of single frequencies in a band: power is spread over
    the frequencies that make the bands' powers (non-negative least squares), and phases are those
    that agree among windows that overlap. Source: Griffin & Lim (1984), with the momentum of
    Perraudin, Balazs & Sondergaard (2013).

    Args:
        picture: (bands, frames) or (bands * frames,), standardised as `LogMel.picture` makes it.
        how: how such pictures were made; None for the defaults.
        seconds: how long the sound is; None for `how.seconds`.
        steps: rounds of the search for phases.

    Raises:
        DataError: a picture of another size, or with values that are not finite.
        ConfigError: a length below a window's or beyond a minute.
    """
    how = LogMel() if how is None else how
    rows = as_array(picture, "the picture").astype(np.float64)
    if rows.size != how.bands * how.frames or not np.isfinite(rows).all():
        raise DataError(
            f"a picture of shape {rows.shape} came; expected finite numbers, {how.bands} bands x "
            f"{how.frames} frames"
        )
    seconds = how.seconds if seconds is None else float(seconds)
    if not how.window / how.rate <= seconds <= MOST_SECONDS:
        raise ConfigError(
            f"seconds = {seconds}: expected {how.window / how.rate:g} (a window) to {MOST_SECONDS}"
        )
    count = 1 + (round(seconds * how.rate) - how.window) // how.step
    log_power = stretched(rows.reshape(how.shape), count) * how.contrast
    magnitude = np.sqrt(_unfolded(np.exp(log_power), mel_bands(how)))
    wave = _with_phases(magnitude, how, steps)
    return (PEAK * wave / max(float(np.abs(wave).max()), 1e-12)).astype(np.float32)


def _unfolded(power: Array, bands: Array, rounds: int = 50) -> NDArray[np.float64]:
    """Return power a frequency (frequencies, windows) that makes the power a band (bands, windows),
    by multiplicative updates of non-negative least squares (Lee & Seung 2001).
    """
    target = bands.T @ power
    unfolded: NDArray[np.float64] = target / np.maximum(bands.sum(0)[:, None], 1e-12)
    for _ in range(rounds):
        unfolded *= target / np.maximum(bands.T @ (bands @ unfolded), 1e-12)
    return unfolded


def _with_phases(
    magnitude: Array, how: LogMel, steps: int, momentum: float = 0.99
) -> NDArray[np.float64]:
    """Return a sound (samples,) whose spectrum has about this magnitude (frequencies, windows).

    Phases begin as those of tones that sound through all windows.
    """
    frequency, number = np.arange(len(magnitude)), np.arange(magnitude.shape[1])
    phases = np.exp(2j * np.pi * np.outer(frequency / how.window, number * how.step))
    before = magnitude * phases
    for _ in range(steps):
        now = spectrum(_overlapped(magnitude * phases, how), how)
        phases = np.exp(1j * np.angle(now + momentum * (now - before)))
        before = now
    return _overlapped(magnitude * phases, how)


def _overlapped(spectra: Array, how: LogMel) -> NDArray[np.float64]:
    """Return the sound (samples,) whose windows' spectra are nearest to `spectra` (frequencies,
    windows): the inverse of `spectrum` where there is one.
    """
    window = np.hanning(how.window)
    pieces = np.fft.irfft(spectra.T, how.window) * window
    wave = np.zeros((len(pieces) - 1) * how.step + how.window)
    weight = np.full(len(wave), 1e-8)
    for number, piece in enumerate(pieces):
        columns = slice(number * how.step, number * how.step + how.window)
        wave[columns] += piece
        weight[columns] += window**2
    sound: NDArray[np.float64] = wave / weight
    return sound


@check_settings
def save_wav(path: str | Path, wave: Any, rate: int = LogMel.rate) -> None:
    """Write a sound (samples,) in [-1, 1] as a .wav file of 16 bits a sample.

    Raises:
        DataError: samples beyond [-1, 1], not finite, or of several channels.
        CheckpointError: the file cannot be written.
    """
    from scipy.io import wavfile

    samples = as_array(wave, "the sound")
    if samples.ndim != 1 or not (np.abs(samples) <= 1).all():
        raise DataError(
            f"a sound of shape {samples.shape} came; expected (samples,), each in [-1, 1]: divide "
            "by np.abs(wave).max()"
        )
    packed = io.BytesIO()
    wavfile.write(packed, rate, np.round(samples * 32767).astype(np.int16))
    write_atomically(Path(path), lambda temporary: temporary.write_bytes(packed.getvalue()))
