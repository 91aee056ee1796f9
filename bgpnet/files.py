"""Files that others read while they are replaced: whole or not at all. An edge."""

from __future__ import annotations

import errno
import fcntl
import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from time import monotonic, sleep, time, time_ns

STALE = 600.0
"""Seconds after which an unfinished file is nobody's any more: whoever wrote it was killed."""


def replace(path: Path, data: bytes, mode: int, tried: Callable[[Path], object] | None = None) -> None:
    """Write beside the place, make it durable, and rename it there; raises OSError, and what `tried` raises.

    tried: called with the finished file before it takes the place. Who has the old file open keeps it. Names of
    unfinished files begin with a dot and end in nothing that a reader of the directory knows.
    """
    descriptor, unnamed = tempfile.mkstemp(prefix=_prefix(path), dir=path.parent)
    try:
        with open(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fchmod(descriptor, mode)
            os.fsync(descriptor)
        if tried is not None:
            tried(Path(unnamed))
        os.rename(unnamed, path)
    except BaseException:  # whatever it is, it is raised again
        Path(unnamed).unlink(missing_ok=True)
        raise
    _sync(path.parent)


def link(path: Path, target: Path) -> None:
    """Make a symbolic link in one step, whatever file is in its place; raises OSError."""
    unnamed = path.with_name(f"{_prefix(path)}{os.getpid()}-{time_ns()}")
    unnamed.symlink_to(target)
    try:
        unnamed.rename(path)
    except OSError:
        unnamed.unlink()
        raise
    _sync(path.parent)


@contextmanager
def locked(folder: Path, seconds: float) -> Iterator[None]:
    """Be the only one in this folder of those who ask; raises OSError, after so many seconds TimeoutError."""
    deadline = monotonic() + seconds
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError as error:
                if monotonic() > deadline:
                    raise TimeoutError(errno.ETIMEDOUT, "somebody else works on it", str(folder)) from error
                sleep(0.02)  # flock has no deadline
        yield
    finally:
        os.close(descriptor)


def sweep(path: Path, older: float = STALE) -> list[Path]:
    """Remove what killed writers of this path have left, unless it is younger than so many seconds; raises OSError."""
    found = [one for one in sorted(path.parent.glob(f"{_prefix(path)}*")) if _age(one) >= older]
    for one in found:
        one.unlink(missing_ok=True)
    return found


def remove(path: Path) -> list[Path]:
    """Remove it, and what unfinished ones of it there are: those that were there. Raises OSError."""
    removed = sweep(path, older=0.0)
    try:
        path.unlink()
    except FileNotFoundError:
        return removed
    return [*removed, path]


def _prefix(path: Path) -> str:
    return f".{path.name}-"


def _age(path: Path) -> float:
    try:
        return time() - path.lstat().st_mtime
    except FileNotFoundError:
        return 0.0


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
