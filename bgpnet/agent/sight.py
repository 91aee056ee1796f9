"""Whether a pod's network namespace is there, by the path that the runtime named. The edge to the file system.

Unknown is not gone: what lies where this process cannot look (a container without the host's /run, another PID
namespace) is unseen, and so is a path of a sort that is not understood.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

from bgpnet.agent.watched import Netns

INITIAL = 0xEFFFFFFC
"""The inode of the first PID namespace (PROC_PID_INIT_INO in include/linux/proc_ns.h)."""
_OF_PROCESS = re.compile(r"/proc/\d+(?=/)")


def netns(path: str, proc: Path = Path("/proc")) -> Netns:
    """THERE, GONE or UNSEEN. proc: where a procfs of this process is."""
    if not path.startswith("/"):
        return Netns.UNSEEN
    try:
        os.lstat(path)
    except FileNotFoundError:
        pass
    except OSError:
        return Netns.UNSEEN
    else:
        return Netns.THERE
    if of_process := _OF_PROCESS.match(path):
        # A process whose number we see may have changed its mind; one that we see nothing of may be another machine's.
        return Netns.GONE if _sees_all(proc) and not os.path.lexists(of_process[0]) else Netns.UNSEEN
    return Netns.GONE if Path(path).parent.is_dir() else Netns.UNSEEN


def shows(path: str, netns: int) -> bool:
    """Whether the path leads to the namespace of this descriptor, which came with a request.

    Where the agent runs in a container of its own, the runtime's paths may lead nowhere, or elsewhere.
    """
    try:
        return path.startswith("/") and os.path.samestat(os.stat(path), os.fstat(netns))
    except (OSError, ValueError):  # a path with a null byte is none
        return False


def _sees_all(proc: Path) -> bool:
    """Whether process numbers mean here what they mean to the runtime: in the machine's first PID namespace."""
    try:
        return (proc / "self/ns/pid").stat().st_ino == INITIAL
    except OSError:
        return False
