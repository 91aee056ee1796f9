"""A cluster of the tests leaves nothing behind, however they end. With Debian's containerd and iptables, this one."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
import short_cluster
from agents import eventually
from control_groups import cgroups
from kube_guard import PATIENCE, containers
from kube_node import KERNELS

from bgpnet.lab import nodes

pytestmark = [pytest.mark.kubernetes, pytest.mark.root, pytest.mark.timeout(1200)]


UP = re.compile(r"^up (\S+)$", re.MULTILINE)


def settings() -> list[str]:
    """What a kubelet would like to be set on its machine."""
    return [Path("/proc/sys", name).read_text() for name in KERNELS]


def test_kill_9_of_who_made_it_ends_it_whole(tmp_path: Path) -> None:
    before = settings()
    log = tmp_path / "child.log"
    with (
        log.open("w") as out,
        subprocess.Popen([sys.executable, short_cluster.__file__, str(tmp_path)], stdout=out, stderr=out) as child,
    ):
        try:
            eventually(lambda: bool(re.search(UP, log.read_text())) or child.poll() is not None, log.read_text, 600)
            groups = existing(containers(tmp_path / "disk"))
        finally:
            child.kill()
    said = re.search(UP, log.read_text())
    assert said, log.read_text()
    name = said[1]
    assert groups
    eventually(lambda: name not in nodes.names(), "the lab is left", PATIENCE)
    eventually(lambda: not any(one.exists() for one in groups), "cgroups are left", PATIENCE)
    eventually(lambda: not (tmp_path / "disk").exists(), "images and volumes are left", PATIENCE)
    eventually(lambda: processes(tmp_path) == [], lambda: processes(tmp_path), PATIENCE)
    assert str(tmp_path) not in Path("/proc/self/mounts").read_text()
    assert settings() == before


def processes(folder: Path) -> list[str]:
    """The command lines that name the folder."""
    told = [read(one).decode(errors="replace") for one in Path("/proc").glob("[0-9]*/cmdline")]
    return [one for one in told if str(folder) in one]


def existing(names: list[str]) -> list[Path]:
    """The cgroups of these names."""
    return [path for name in names for path in cgroups(name)]


def read(path: Path) -> bytes:
    """What is in it, nothing if the process has ended."""
    try:
        return path.read_bytes()
    except OSError:
        return b""
