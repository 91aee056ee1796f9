"""Who this machine is: a UUID in its state directory, and which boot this is. An edge: reads and writes files."""

from __future__ import annotations

import os
from pathlib import Path
from uuid import UUID, uuid4

from bgpnet.errors import UsageError

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


def boot() -> str:
    """This boot's id: pods of another boot run no more."""
    return BOOT.read_text().strip()


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
