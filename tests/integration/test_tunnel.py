"""Runs tests/tunnel, which needs ipip, in a kernel that has it: this one, or User Mode Linux's."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from bgpnet.lab import uml

ROOT = Path(__file__).parents[2]
NAT = ("test_firewall_legacy.py", "test_services.py")
"""What runs in a machine of its own, because it takes as long as all others."""
WITHIN = 1100
"""Seconds; NAT and Services took 97 on two CPUs with a load of 12 to 20."""


@pytest.mark.root
@pytest.mark.uml
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("nat", [False, True], ids=["kernel and routes", "NAT and Services"])
def test_everything_that_needs_ipip(nat: bool) -> None:
    files = [str(one) for one in sorted((ROOT / "tests/tunnel").glob("test_*.py")) if (one.name in NAT) == nat]
    run = [sys.executable, "-m", "pytest", *files, "-q", "-p", "no:cacheprovider"]
    if not uml.has_ipip():
        inside = f"import sys; from bgpnet.lab import uml; sys.exit(uml.run_inside({run!r}))"
        run = [sys.executable, "-c", inside]
    done = subprocess.run(run, cwd=ROOT, capture_output=True, text=True, timeout=WITHIN, stdin=subprocess.DEVNULL)
    assert done.returncode == 0, done.stdout + done.stderr
    assert " passed" in done.stdout
