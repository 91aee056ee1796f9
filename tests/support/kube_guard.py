"""Ends a test's cluster when whoever made it says so or is gone: python kube_guard.py LAB FOLDER

Waits for the end of its standard input, which whoever started it holds; kill -9 of pytest ends it, too. Then the lab
goes with all that runs in it, the cgroups of its containers, and the folder of its images and volumes.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from control_groups import cgroups

from bgpnet.errors import UsageError
from bgpnet.lab import nodes
from bgpnet.lab.wait import until

PATIENCE = 120.0


@contextmanager
def guarded(lab: str, folder: Path) -> Iterator[None]:
    """While the block runs, the lab of that name may be made; afterwards all of it is gone, whatever happens."""
    argv = [sys.executable, __file__, lab, str(folder)]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, start_new_session=True) as guard:
        try:
            yield
        finally:
            assert guard.stdin
            guard.stdin.close()
            code = guard.wait(2 * PATIENCE)
    assert code == 0, f"something of lab {lab} is left (see above)"


def containers(folder: Path) -> list[str]:
    """The cgroups of the containers that run on the disks in that folder.

    containerd itself names them: without a cgroup for every pod, the kubelet gives no folder of its own.
    """
    return [f"k8s.io/{one.name}" for one in folder.glob("*/containerd/io.containerd.runtime.v2.task/k8s.io/*")]


def _left(names: list[str], folder: Path) -> str:
    for path in (one for name in names for one in cgroups(name)):
        with suppress(OSError):  # a process that was killed has not ended yet
            path.rmdir()
    shutil.rmtree(folder, ignore_errors=True)
    left = [str(one) for name in names for one in cgroups(name)] + [str(folder)] * folder.exists()
    return f"left on the machine: {left}" if left else ""


def main(lab: str, folder: Path) -> int:
    """Wait, and end it."""
    sys.stdin.buffer.read()
    names = containers(folder)
    if lab in nodes.names():
        nodes.find(lab).destroy()
    try:
        until(lambda: _left(names, folder), PATIENCE)
    except UsageError as problem:
        print(problem, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], Path(sys.argv[2])))
