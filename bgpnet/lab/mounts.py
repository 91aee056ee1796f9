"""Mount calls, and the private root of a node; only the child of a fork runs these (see holder).

The root is an overlay: everything of this machine can be read, whatever a node writes stays with the node, and a
bind's missing mount point appears there alone. Other file systems of this machine (a separate /home) are seen as they
are. /run and /var/lib/bgpnet begin empty; /proc and /sys are the node's own.
"""

from __future__ import annotations

import ctypes
import os
import platform
import re
from collections.abc import Iterable
from pathlib import Path

from bgpnet import mountinfo
from bgpnet.lab.topology import Bind

# linux/mount.h and linux/sched.h
CLONE_NEWNS = 0x00020000
CLONE_NEWUTS = 0x04000000
CLONE_NEWPID = 0x20000000
CLONE_NEWNET = 0x40000000
_MS_RDONLY = 0x1
_MS_REMOUNT = 0x20
_MS_BIND = 0x1000
_MS_REC = 0x4000
_MS_PRIVATE = 0x40000
_MNT_DETACH = 2
# glibc has no pivot_root: asm/unistd_64.h, asm/unistd_32.h; every younger architecture has asm-generic's number
_PIVOT_ROOT = {"x86_64": 155, "i686": 217, "armv7l": 218}.get(platform.machine(), 41)

EMPTY = ("/run", "/var/lib/bgpnet")
"""Directories that begin empty in every node, on a tmpfs."""

_libc = ctypes.CDLL(None, use_errno=True)


def unshare(flags: int) -> None:
    """New namespaces for the caller (CLONE_NEW…); raises OSError."""
    _check(_libc.unshare(flags), "unshare")


def mount(source: str, target: str, kind: str = "", flags: int = 0, options: str = "") -> None:
    """mount(2); raises OSError that names the target."""
    _check(_libc.mount(source.encode(), target.encode(), kind.encode(), flags, options.encode()), target)


def _check(result: int, subject: str) -> None:
    if result != 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code), subject)


class Root:
    """The node's root while it is put together, below `scratch`, which must be an empty directory."""

    def __init__(self, scratch: Path) -> None:
        mount("", "/", flags=_MS_REC | _MS_PRIVATE)
        mount("bgpnet-lab", str(scratch), "tmpfs", options="mode=0755")
        self.scratch = scratch
        self.layers = 0
        self.private: set[int] = set()
        self.top = str(scratch / "root")
        os.mkdir(self.top)
        self._overlay("/", self.top)

    def furnish(self, binds: Iterable[Bind]) -> None:
        """All that the node sees below its root; raises OSError or ValueError, each naming the path."""
        binds = list(binds)
        # opened now: the tmpfs on /run would hide a source that is below it
        sources = {bind.target: os.open(bind.source, os.O_PATH) for bind in binds if bind.source}
        for point in _outer_mounts(skip=[str(self.scratch), "/proc", "/sys", "/run"]):
            mount(point, self._inside(point), flags=_MS_BIND | _MS_REC)
        mount("proc", self._inside("/proc"), "proc")
        mount("sysfs", self._inside("/sys"), "sysfs")
        if os.path.ismount("/sys/fs/cgroup"):
            mount("/sys/fs/cgroup", self._inside("/sys/fs/cgroup"), flags=_MS_BIND | _MS_REC)
        for directory in EMPTY:
            self._empty(directory)
        for bind in sorted(binds, key=lambda bind: bind.target.count("/")):
            if bind.source:
                self._bind(sources[bind.target], bind)
            else:
                self._empty(bind.target)

    def enter(self) -> None:
        """Make it the root of this mount namespace and let go of the old one."""
        os.chdir(self.top)
        _check(_libc.syscall(_PIVOT_ROOT, b".", b"."), "pivot_root")
        _check(_libc.umount2(b".", _MNT_DETACH), "/")
        os.chdir("/")

    def _inside(self, path: str) -> str:
        return self.top + path

    def _overlay(self, lower: str, target: str) -> None:
        """Mount a private, writable view of `lower` on `target`."""
        upper, work = (str(self.scratch / f"{kind}{self.layers}") for kind in ("upper", "work"))
        self.layers += 1
        os.mkdir(upper)
        os.mkdir(work)
        escaped = re.sub(r"([\\\\:,])", r"\\\1", lower)
        mount("bgpnet-lab", target, "overlay", options=f"lowerdir={escaped},upperdir={upper},workdir={work}")
        self.private.add(os.stat(target).st_dev)

    def _point(self, path: str, directory: bool) -> str:
        """The mount point for `path`; made where it is missing, in a private layer and never on this machine."""
        target = self._inside(path)
        if os.path.lexists(target):
            if os.path.isdir(target) != directory:
                kinds = ("a file", "a directory") if directory else ("a directory", "a file")
                raise ValueError(f"{path} is {kinds[0]} and {kinds[1]} cannot be bound over it")
            return target
        ancestor = os.path.dirname(target)
        while not os.path.isdir(ancestor):
            ancestor = os.path.dirname(ancestor)
        if os.stat(ancestor).st_dev not in self.private:
            self._overlay(ancestor, ancestor)
        os.makedirs(target if directory else os.path.dirname(target), exist_ok=True)
        if not directory:
            os.close(os.open(target, os.O_CREAT | os.O_WRONLY, 0o644))
        return target

    def _empty(self, path: str) -> None:
        target = self._point(path, directory=True)
        mount("bgpnet-lab", target, "tmpfs", options="mode=0755")
        self.private.add(os.stat(target).st_dev)

    def _bind(self, source: int, bind: Bind) -> None:
        link = f"/proc/self/fd/{source}"
        target = self._point(bind.target, os.path.isdir(link))
        mount(link, target, flags=_MS_BIND | _MS_REC)
        if bind.read_only:
            mount("", target, flags=_MS_BIND | _MS_REMOUNT | _MS_RDONLY)
        os.close(source)


def _outer_mounts(skip: list[str]) -> list[str]:
    """This namespace's mount points besides the root, none below another or below one to skip."""
    chosen: list[str] = []
    for _, _, point, _ in mountinfo.parse(Path("/proc/self/mountinfo").read_text()):
        if point != "/" and not any(point == seen or point.startswith(f"{seen}/") for seen in [*skip, *chosen]):
            chosen.append(point)
    return [point for point in chosen if os.path.lexists(point)]
