"""Runs tests/tunnel, which needs ipip, in a kernel that has it: this one, or User Mode Linux's."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from bgpnet.lab import uml

ROOT = Path(__file__).parents[2]
WITHIN = 280


@pytest.mark.root
@pytest.mark.uml
def test_everything_that_needs_ipip() -> None:
    run = [sys.executable, "-m", "pytest", "tests/tunnel", "-q", "-p", "no:cacheprovider"]
    if not uml.has_ipip():
        inside = f"import sys; from bgpnet.lab import uml; sys.exit(uml.run_inside({run!r}))"
        run = [sys.executable, "-c", inside]
    done = subprocess.run(run, cwd=ROOT, capture_output=True, text=True, timeout=WITHIN, stdin=subprocess.DEVNULL)
    assert done.returncode == 0, done.stdout + done.stderr
    assert " passed" in done.stdout
