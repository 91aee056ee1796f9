"""Sysctls by their path below /proc/sys, in the calling process's network namespace."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from bgpnet.errors import KernelRefused
from bgpnet.kernel import refusals

ROOT = Path("/proc/sys")


def read(names: Iterable[str]) -> dict[str, str]:
    """The named sysctls' values; one that does not exist (its link is not there) is left out."""
    found = {}
    for name in names:
        try:
            found[name] = (ROOT / name).read_text().strip()
        except (FileNotFoundError, NotADirectoryError):
            continue
        except OSError as problem:
            raise KernelRefused(f"sysctl {name} cannot be read: {problem.strerror}") from problem
    return found


def write(name: str, value: str) -> None:
    """Raises KernelRefused with the remedy."""
    try:
        (ROOT / name).write_text(value)
    except OSError as problem:
        raise refusals.no_sysctl(name, value, problem.strerror or str(problem)) from problem
