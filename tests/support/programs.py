"""Where `scripts/gobuild` puts the programs that it builds from Go modules."""

from __future__ import annotations

import os
import re
from pathlib import Path


def built(name: str, program: str) -> str:
    """A program of tests/support/<name>, which `make test` has built; fails with the command that builds it."""
    required = (Path(__file__).parent / name / "go.mod").read_text()
    version = re.search(r"^require [^ ]* v(.*)$", required, re.MULTILINE)
    assert version, f"tests/support/{name}/go.mod requires nothing in one line"
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    found = cache / "bgpnet" / f"{name}-{version[1]}" / program
    assert found.exists(), f"{found} is missing; run `scripts/gobuild {name}`, which builds it in minutes"
    return str(found)
