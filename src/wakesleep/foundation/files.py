"""Files written whole or not at all, and JSON that every reader understands.

A file is written under a temporary name, flushed, and renamed, so that a reader sees the old file
or the new one and never half of one, whatever kills the writer. What a killed writer left behind is
removed by the next one.
"""

from __future__ import annotations

import contextlib
import errno
import json
import math
import os
import platform
import re
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

from wakesleep.foundation.errors import CheckpointError

FORMAT = 2
"""Version of the files of runs and models; a reader refuses newer ones. 1: version 0.1, which
describes a deep belief net alone.
"""
HOST = re.sub(r"[^A-Za-z0-9]+", "-", platform.node())
ABANDONED_AFTER = 24 * 3600.0
"""Seconds after which a temporary file of a writer on another machine counts as abandoned: whether
that writer lives cannot be seen.
"""


def write_atomically(path: Path, write: Callable[[Path], object]) -> None:
    """Let `write` fill a temporary file beside `path`, flush it to the disk and rename it to
    `path`.

    Others may read the file as the process's umask allows, whatever mode `write` leaves it in.

    Raises:
        CheckpointError: the disk is full or the folder cannot be written; what stood at `path`
            before still stands.
    """
    temporary = path.with_name(f".{path.name}.{HOST}.{os.getpid()}.{uuid.uuid4().hex[:8]}.tmp")
    remove_abandoned(path.parent)
    try:
        temporary.touch(exist_ok=False)
        mode = temporary.stat().st_mode
        write(temporary)
        temporary.chmod(mode)
        with temporary.open("rb+") as file:
            os.fsync(file.fileno())
        temporary.replace(path)
    except Exception as error:
        if isinstance(error, OSError) or "SafetensorError" in type(error).__name__:
            raise _unwritten(path, error) from error
        raise
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)


def append(path: Path, line: str) -> None:
    """Put a line at the end of a file and flush it to the disk, before what is written later counts
    on it.

    Raises:
        CheckpointError: the disk is full or the file cannot be written.
    """
    try:
        with path.open("a", encoding="utf-8") as file:
            file.write(line)
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise _unwritten(path, error) from error


class Lock:
    """A locked file; the lock ends with `close`, with this object, and with the process."""

    def __init__(self, descriptor: int) -> None:
        """Hold the open file."""
        self.descriptor: int | None = descriptor

    def close(self) -> None:
        """Give the lock back."""
        if self.descriptor is not None:
            os.close(self.descriptor)
            self.descriptor = None

    __del__ = close


def lock(path: Path) -> Lock | None:
    """Lock the file `path` against others that lock it; None where system or file system know no
    such locks.

    Raises:
        BlockingIOError: it is locked already.
    """
    try:
        import fcntl
    except ImportError:  # Windows
        return None
    try:
        held = Lock(os.open(path, os.O_RDWR | os.O_CLOEXEC))
        assert held.descriptor is not None
        fcntl.flock(held.descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise
    except OSError:
        return None
    return held


def _unwritten(path: Path, error: Exception) -> CheckpointError:
    if not path.parent.is_dir():
        return CheckpointError(
            f"{path} could not be written: the folder {path.parent} does not exist; make it, or "
            "choose another"
        )
    # the rest names the temporary file
    reason = (error.strerror if isinstance(error, OSError) else None) or error
    full = not isinstance(error, OSError) or error.errno in (errno.ENOSPC, errno.EDQUOT, None)
    fix = "free some space or choose another folder" if full else "choose another folder"
    return CheckpointError(
        f"{path} could not be written ({reason}); {fix}. What was saved before is untouched"
    )


def remove_abandoned(folder: Path) -> None:
    """Remove the temporary files in `folder` whose writers were killed; what may not be removed
    stays.
    """
    with contextlib.suppress(OSError):
        for name in os.listdir(folder):
            if name.startswith(".") and name.endswith(".tmp") and _is_abandoned(folder / name):
                with contextlib.suppress(OSError):
                    (folder / name).unlink()


def _is_abandoned(temporary: Path) -> bool:
    """Return whether a temporary file is one of ours whose writer is gone."""
    match = re.fullmatch(r"\..+\.([A-Za-z0-9-]*)\.(\d+)\.[0-9a-f]{8}\.tmp", temporary.name)
    if match is not None and match[1] == HOST:
        try:
            os.kill(int(match[2]), 0)
        except ProcessLookupError:
            return True
        except OSError:
            pass
        return False
    # the latter of versions before 0.2
    ours = match is not None or re.fullmatch(r"\..+\.[0-9a-f]{8}\.tmp", temporary.name)
    return bool(ours) and time.time() - temporary.stat().st_mtime > ABANDONED_AFTER


def to_json(content: Any, indent: int | None = None) -> str:
    """Return `content` as JSON (RFC 8259), which knows no infinity: numbers that are not finite
    become null.
    """
    return json.dumps(_finite(content), indent=indent, allow_nan=False)


def _finite(content: Any) -> Any:
    if isinstance(content, float):
        return content if math.isfinite(content) else None
    if isinstance(content, dict):
        return {name: _finite(value) for name, value in content.items()}
    return [_finite(value) for value in content] if isinstance(content, list | tuple) else content


def write_json(path: Path, content: Any) -> None:
    """Write `content` as JSON, atomically; numbers that are not finite become null."""
    text = to_json(content, indent=2) + "\n"
    write_atomically(path, lambda temporary: temporary.write_text(text, encoding="utf-8"))


def read_text(path: Path, expected: str) -> str:
    """Return the text of a file.

    Raises:
        CheckpointError: it is not there, may not be read or is no text; the message says what was
            `expected`.
    """
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise unreadable(path, error, expected) from error


def unreadable(path: Path, error: Exception, fix: str) -> CheckpointError:
    """Return the error that says why `path` cannot be read: a file that is damaged wants another
    fix than one without permission.
    """
    if isinstance(error, PermissionError):
        return CheckpointError(
            f"{path} may not be read by this user ({error.strerror}); ask its owner for "
            "permission, or: chmod a+r"
        )
    if isinstance(error, FileNotFoundError):
        return CheckpointError(f"{path} does not exist; {fix}")
    return CheckpointError(f"{path} cannot be read ({error}); {fix}")


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON file of a run folder.

    Raises:
        CheckpointError: it is not there, may not be read, or holds no JSON object.
    """
    expected = "expected a run folder that wakesleep train made"
    try:
        content = json.loads(read_text(path, expected))
    except ValueError as error:
        raise unreadable(path, error, expected) from error
    if not isinstance(content, dict):
        raise CheckpointError(
            f"{path} does not hold what a run folder should; expected one that wakesleep train made"
        )
    return content


def read_metrics(folder: Path) -> list[dict[str, Any]]:
    """Return the lines of a run folder's metrics, an epoch each; none where there are none yet.

    A last line that its writer did not finish is left out.

    Raises:
        CheckpointError: another line is damaged, or the file may not be read.
    """
    path = folder / "metrics.jsonl"
    lines = []
    for number, line in enumerate(whole_lines(path), start=1):
        try:
            lines.append(json.loads(line))
        except ValueError as error:
            raise CheckpointError(
                f"{path} is damaged in line {number} ({error}); remove that line, or take "
                "an earlier copy"
            ) from error
    return lines


def whole_lines(path: Path) -> list[str]:
    """Return the lines of a file, with their ends; none where there is no file. A last line without
    an end was never finished: left out.
    """
    text = read_text(path, "expected lines of JSON") if path.exists() else ""
    return [line for line in text.splitlines(keepends=True) if line.endswith("\n")]


TABLE_ENDS = (".csv", ".csv.gz", ".tsv", ".tsv.gz", ".parquet")
"""Ends of the names of files that hold tables."""


def is_table(name: str | Path) -> bool:
    """Return whether a file of that name holds a table."""
    return str(name).lower().endswith(TABLE_ENDS)
