"""Where MNIST and Fashion-MNIST come from: a folder of yours, the cache, or the first honest
mirror.
"""

import gzip
import io
import logging
import os
import queue
import sys
import tempfile
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wakesleep.data.idx import PARTS, dims_of, find_idx, read_idx
from wakesleep.foundation.errors import DataError, FetchError

logger = logging.getLogger(__name__)

LARGEST = 64 << 20  # bytes, packed or not; the largest of the eight files unpacks to 47 MB
TIMEOUT = (10.0, 30.0)  # seconds to connect, and of silence while reading
DEADLINE = 600.0  # seconds for one file from one mirror: 26 MB at 45 kB/s
VARIABLE = "WAKESLEEP_DATA"


@dataclass(frozen=True)
class Source:
    """A published set: its mirrors in the order they are tried, the sha256 of each unpacked part,
    its classes.
    """

    mirrors: tuple[str, ...]
    sums: Mapping[str, str]
    classes: tuple[str, ...]


SOURCES: dict[str, Source] = {
    "mnist": Source(
        mirrors=(
            "https://ossci-datasets.s3.amazonaws.com/mnist/",
            "https://storage.googleapis.com/cvdf-datasets/mnist/",
            "https://raw.githubusercontent.com/fgnt/mnist/master/",
        ),
        sums={
            "train-images": "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
            "train-labels": "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
            "t10k-images": "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
            "t10k-labels": "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
        },
        classes=tuple("0123456789"),
    ),
    "fashion-mnist": Source(
        mirrors=("http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",),
        sums={
            "train-images": "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
            "train-labels": "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
            "t10k-images": "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
            "t10k-labels": "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
        },
        classes=(
            "T-shirt/top",
            "Trouser",
            "Pullover",
            "Dress",
            "Coat",
            "Sandal",
            "Shirt",
            "Sneaker",
            "Bag",
            "Ankle boot",
        ),
    ),
}


def cache_folder() -> Path:
    """Return the user's cache folder for wakesleep, as the operating system has it."""
    import pooch  # here, so that importing wakesleep does not pay for it

    return Path(pooch.os_cache("wakesleep"))


def real_set(
    name: str, folder: Path | None = None, *, download: bool = True
) -> dict[str, NDArray[np.uint8]]:
    """Return the four arrays of a published set, each verified by the sha256 of its unpacked file.

    Looked for in `folder`, then in the folder $WAKESLEEP_DATA names, then in the user's cache (in
    each under `<name>/` and in the folder itself), and only then downloaded into the cache.

    Args:
        name: a key of SOURCES.
        folder: a folder of yours; it must exist.
        download: whether the network may be used.

    Returns:
        The part's name ("train-images", ...) -> (N, rows, columns) or (N,) uint8.

    Raises:
        DataError: `folder` does not exist, or a file under `<name>/` is not the published one.
        FetchError: the set is not here, and no mirror gave it.
    """
    source = SOURCES[name]
    if folder is not None and not folder.is_dir():
        raise DataError(
            f"there is no folder {folder}; expected one that holds "
            f"{name}/train-images-idx3-ubyte.gz and its kin"
        )
    for home in (home for each in _folders(folder) for home in (each / name, each)):
        files = find_idx(home)
        if len(files) < len(PARTS):
            if files:
                logger.warning(
                    "%s holds %s but lacks some of the four files of %s: looking on",
                    home,
                    ", ".join(files),
                    name,
                )
            continue
        try:
            return {part: _verified(path, part, source) for part, path in files.items()}
        except DataError as error:
            if home.name == name:
                raise
            # The four names are common to many sets: here lies another one, which is no fault.
            logger.warning("not %s: %s", name, error)
    looked = "looked in " + ", ".join(map(str, _folders(folder)))
    if not download:
        raise FetchError(
            f"{name} is not on this machine ({looked}) and downloading is switched off: allow it, "
            f"or {_fix(name)}"
        )
    home = cache_folder() / name
    fetch(name, home)
    return {part: _verified(path, part, source) for part, path in find_idx(home).items()}


def local_file(name: str, file: str, origin: str, folder: Path | None = None) -> Path:
    """Return where a file (or folder) of a set lies that is never downloaded, looked for as
    `real_set` does.

    Raises:
        FetchError: it is nowhere; the message says where it comes from, `origin`.
    """
    folders = list(_folders(folder))
    for home in (home for each in folders for home in (each / name, each)):
        if (home / file).exists():
            return home / file
    raise FetchError(
        f"{name} is not on this machine (looked for {name}/{file} in "
        f"{', '.join(map(str, folders))}), and it is not downloaded for you: {origin}; put it into "
        f"a folder and name that by the option `folder` or the variable {VARIABLE}"
    )


def fetch(
    name: str, home: Path, *, timeout: tuple[float, float] = TIMEOUT, deadline: float = DEADLINE
) -> None:
    """Download those of the four files of a published set that a folder lacks, each from the first
    mirror that gives the true one.

    A file appears under its name whole and verified or not at all, so that downloads at the same
    time do each other no harm.

    Args:
        name: a key of SOURCES.
        home: the folder to fill; made where it is missing.
        timeout: seconds to connect, seconds of silence.
        deadline: seconds for one file from one mirror, however steadily it trickles.

    Raises:
        FetchError: no mirror gave the file (with each one's reason and the other ways), or the
            folder cannot be written.
    """
    present = find_idx(home)
    for part in PARTS:
        if part not in present:
            file = f"{part}-idx{dims_of(part)}-ubyte.gz"
            content = _from_mirrors(name, part, file, timeout, deadline)
            try:
                home.mkdir(parents=True, exist_ok=True)
                _save(content, home / file)
            except OSError as error:
                raise FetchError(
                    f"{home / file} cannot be written ({error}): make room for it, or {_fix(name)}"
                ) from error


def _folders(folder: Path | None) -> Iterator[Path]:
    if folder is not None:
        yield folder
    if named := os.environ.get(VARIABLE):
        yield Path(named).expanduser()
    yield cache_folder()


def _fix(name: str) -> str:
    return (
        "put its four IDX files into a folder and name that folder by the option `folder` or the "
        f"variable {VARIABLE} (as <folder>/{name}/train-images-idx3-ubyte.gz and so on), or use "
        "the embedded set `digits`, which needs no files"
    )


def _verified(file: Path | bytes, part: str, source: Source, name: str = "") -> NDArray[np.uint8]:
    name = name or str(file)
    array, digest = read_idx(file, dims_of(part), name=name, largest=LARGEST)
    if digest != source.sums[part]:
        raise DataError(
            f"{name} is not the published file: its unpacked sha256 is {digest}, expected "
            f"{source.sums[part]}. Delete it and let wakesleep download it, or copy it anew; a set "
            "of your own is loaded by its path instead"
        )
    return array


def _from_mirrors(
    name: str, part: str, file: str, timeout: tuple[float, float], deadline: float
) -> bytes:
    reasons = []
    for mirror in SOURCES[name].mirrors:
        url = mirror + file
        try:
            content = _get(url, timeout, deadline)
            _verified(content, part, SOURCES[name], url)
        except DataError as error:
            logger.warning("%s failed, trying the next mirror: %s", url, error)
            reasons.append(f"{url}: {error}")
            continue
        logger.info("downloaded %s", url)
        # Some servers unpack on the way, whatever was asked for; the file must stay what its name
        # says.
        return content if content[:2] == b"\x1f\x8b" else gzip.compress(content, mtime=0)
    tried = "".join(f"\n  {reason}" for reason in reasons)
    raise FetchError(
        f"{name}: no mirror gave {file}. Tried:{tried}\nTry again later, or {_fix(name)}."
    )


class _Body(io.BytesIO):
    """A download in memory that refuses to grow without end."""

    def write(self, data: Any, /) -> int:
        if self.tell() + len(data) > LARGEST:
            raise DataError(f"it sends more than {LARGEST} bytes")
        return super().write(data)


def _get(url: str, timeout: tuple[float, float], deadline: float) -> bytes:
    """Return what a URL holds; whatever goes wrong is a DataError.

    Timeouts know silence alone, and a server that trickles is never silent. So the download runs in
    a thread that is left behind at the deadline: its next write then meets a closed body and ends
    it.
    """
    import pooch

    outcome: queue.SimpleQueue[Exception | None] = queue.SimpleQueue()
    responses: list[Any] = []

    def guard(response: Any, *_: object, **__: object) -> None:
        responses.append(response)
        if int(response.headers.get("content-length", 0)) > LARGEST:
            raise DataError(
                f"it announces {response.headers['content-length']} bytes, more than {LARGEST}"
            )

    def work() -> None:
        try:
            downloader(url, body, None)
            outcome.put(None)
        except Exception as error:
            outcome.put(error)
        finally:
            for response in responses:
                response.close()

    downloader = pooch.HTTPDownloader(
        progressbar=sys.stderr is not None and sys.stderr.isatty(),
        chunk_size=1 << 14,
        timeout=timeout,
        headers={"Accept-Encoding": "identity"},
        hooks={"response": guard},
    )
    with _Body() as body:
        threading.Thread(target=work, name=f"download {url}", daemon=True).start()
        try:
            failure = outcome.get(timeout=deadline)
        except queue.Empty:
            raise DataError(f"not finished after {deadline:g} s") from None
        if failure is not None:
            raise DataError(f"{type(failure).__name__}: {failure}") from failure
        return body.getvalue()


def _save(content: bytes, path: Path) -> None:
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f"{path.name}.", suffix=".part")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
