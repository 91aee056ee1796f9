"""Who this machine is: a UUID in its state directory, and which boot this is. An edge: reads and writes files."""

from __future__ import annotations

import errno
import fcntl
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import UUID, uuid4

from bgpnet.errors import UsageError

ALONE = b"\0bgpnet-agent"
BOOT = Path("/proc/sys/kernel/random/boot_id")


def machine(state: Path) -> str:
    """The machine's UUID, made on its first start and kept; raises UsageError when it cannot be read or kept."""
    path = state / "identity"
    try:
        return str(UUID(path.read_text().strip()))
    except FileNotFoundError:
        return _make(path)
    except ValueError:
        raise UsageError(f"{path} is not a UUID; remove it to give this machine a new identity") from None
    except OSError as problem:
        raise UsageError(f"{path} cannot be read: {problem.strerror}; see to the state directory") from problem


@contextmanager
def alone(state: Path) -> Iterator[None]:
    """No other agent works on this network namespace or this state directory meanwhile; raises UsageError.

    Outside of it an agent may not touch journal, kernel or sockets: they may be a living one's. Both claims end with
    the process, however it ends.
    """
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as network:
        try:
            network.bind(ALONE)  # an abstract name: each network namespace has names of its own (unix(7))
        except OSError:
            raise UsageError(
                "another agent runs in this network namespace: stop it first, or run this one on a machine of its own"
            ) from None
        lock = _open_lock(state / "lock")
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            yield
        except BlockingIOError:
            raise UsageError(
                f"another agent uses the state directory {state}: stop it first, or choose another with --state-dir"
            ) from None
        finally:
            os.close(lock)


def boot() -> str:
    """This boot's id: pods of another boot run no more."""
    return BOOT.read_text().strip()


def _open_lock(path: Path) -> int:
    try:
        try:
            return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as problem:
            if problem.errno != errno.EROFS:
                raise
            return os.open(path, os.O_RDONLY | os.O_CLOEXEC)  # a lock asks for no right to write (flock(2))
    except OSError as problem:
        raise UsageError(f"{path} cannot be opened: {problem.strerror}; see to the state directory") from problem


def _make(path: Path) -> str:
    identity = str(uuid4())
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        fresh = path.with_suffix(".new")
        fd = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        with os.fdopen(fd, "w") as file:
            file.write(identity + "\n")
            file.flush()
            os.fsync(fd)
        fresh.rename(path)
    except OSError as problem:
        raise UsageError(f"{path} cannot be written: {problem.strerror}; see to the state directory") from problem
    return identity
