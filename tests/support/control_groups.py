"""The cgroups of tests' pods: folders of a test's name in every hierarchy, which no namespace takes away."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

CGROUPS = Path("/sys/fs/cgroup")


def cgroups(name: str) -> Iterator[Path]:
    """All of the folders below that one, and itself, in every hierarchy; the inner ones first."""
    for top in (CGROUPS, *CGROUPS.iterdir()):
        for path, _, _ in os.walk(top / name, topdown=False):
            yield Path(path)
