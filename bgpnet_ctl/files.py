"""Files that commands write: whole or not at all, and for nobody else to read."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from bgpnet.errors import UsageError


def check(path: str) -> None:
    """Raises UsageError where `write` could not succeed: to be asked before work that cannot be undone."""
    target = Path(path)
    if target.is_dir():
        raise UsageError(f"{path} is a directory: name a file in it")
    if _is_special(target):
        if not os.access(target, os.W_OK):
            raise UsageError(f"{path} cannot be written: it is not yours: name another")
        return
    target = _real(target)
    if not os.access(target.parent, os.W_OK | os.X_OK):
        raise UsageError(f"{path} cannot be written: {target.parent} is no directory of yours: name another")


def write(path: str, pieces: Iterable[str]) -> None:
    """Put the file there with mode 0600, in one step; a file that was there is replaced. Raises UsageError.

    What a symbolic link leads to is replaced, not the link. A device, a pipe or /dev/stdout is written to as it is:
    by a rename, root would put a file in the place of /dev/null.
    """
    check(path)
    target = Path(path)
    try:
        if _is_special(target):
            with target.open("w", encoding="utf-8") as device:
                device.writelines(pieces)
            return
        _replace(_real(target), pieces)
    except OSError as error:
        raise UsageError(f"{path} cannot be written: {error.strerror}: name a file in a directory of yours") from error


def _is_special(target: Path) -> bool:
    """It is there, and neither a file nor a directory."""
    return target.exists() and not target.is_file() and not target.is_dir()


def _real(target: Path) -> Path:
    return Path(os.path.realpath(target))


def _replace(target: Path, pieces: Iterable[str]) -> None:
    fd, fresh = tempfile.mkstemp(prefix=f".{target.name}.", dir=target.parent)  # 0600
    try:
        with os.fdopen(fd, "w", encoding="utf-8") as file:
            file.writelines(pieces)
            file.flush()
            os.fsync(file.fileno())
        os.rename(fresh, target)
    except BaseException:
        with suppress(OSError):
            os.unlink(fresh)
        raise
    _settle(target.parent)


def _settle(folder: Path) -> None:
    """The new name is on the disk, too."""
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
