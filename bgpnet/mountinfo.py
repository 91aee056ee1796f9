"""Which mounts there are, from the text that the kernel has of them (/proc/PID/mountinfo, proc(5)). Pure."""

from __future__ import annotations

import re
from typing import NamedTuple


class Mount(NamedTuple):
    """What part of which device is where."""

    device: str
    root: str
    """The path in its file system that is mounted."""
    point: str
    kind: str


def parse(text: str) -> list[Mount]:
    """In the order in which they were made, as the kernel lists them."""
    return [_mount(line) for line in text.splitlines()]


def is_bound(place: str, mounts: list[Mount]) -> bool:
    """Whether it is bound from elsewhere, and may have another name there, as far as can be told.

    place: an absolute path, its links resolved.
    What is bound to its own name, or a subvolume (btrfs), is not; nor is a file system of its own, unless it is mounted
    twice, or this is a container by its root.
    """
    below = f"{place}/"
    above = [
        (len(mount.point), number)
        for number, mount in enumerate(mounts)
        if below.startswith(f"{mount.point.rstrip('/')}/")
    ]
    if not above:  # a root that is no mount
        return True
    here = mounts[max(above)[1]]
    if here.point == "/" or here.root == here.point:
        return False
    if here.root != "/":
        return not (here.kind == "btrfs" and here.root.endswith(here.point))
    twice = sum(mount.device == here.device and mount.root == "/" for mount in mounts) > 1
    return twice or any(mount.point == "/" and mount.kind == "overlay" for mount in mounts)


def _mount(line: str) -> Mount:
    before, _, after = line.partition(" - ")
    device, root, point = before.split()[2:5]
    return Mount(device, _plain(root), _plain(point), after.split()[0])


def _plain(path: str) -> str:
    """Without the kernel's octal escapes for spaces and the like."""
    return re.sub(r"\\([0-7]{3})", lambda match: chr(int(match[1], 8)), path)
