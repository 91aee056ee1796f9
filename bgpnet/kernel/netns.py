"""Doing something in another network namespace, from the calling thread.

A thread that cannot come back would go on in the wrong network: then the process ends at once (killing it is safe).
"""

from __future__ import annotations

import ctypes
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

T = TypeVar("T")
CLONE_NEWNET = 0x40000000  # linux/sched.h

_libc = ctypes.CDLL(None, use_errno=True)


def setns(descriptor: int) -> None:
    """Move the calling thread into the namespace; raises OSError."""
    if _libc.setns(descriptor, CLONE_NEWNET) != 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))


def own() -> int:
    """A descriptor of the calling thread's namespace."""
    return os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)


@contextmanager
def inside(descriptor: int) -> Iterator[None]:
    """The calling thread is in that namespace, and back afterwards; raises OSError when it cannot go there."""
    home = own()
    try:
        setns(descriptor)
        try:
            yield
        finally:
            _return(home)
    finally:
        os.close(home)


def made_inside(descriptor: int, home: int, make: Callable[[], T]) -> T:
    """What `make` returns, called in that namespace by a thread whose own one is `home`; raises OSError."""
    setns(descriptor)
    try:
        return make()
    finally:
        _return(home)


def run_inside(path: Path, work: Callable[[], T]) -> T:
    """What `work` returns, run in the namespace of that path; raises OSError."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        with inside(descriptor):
            return work()
    finally:
        os.close(descriptor)


def _return(home: int) -> None:
    try:
        setns(home)
    except OSError as problem:
        sys.stderr.write(f"bgpnet: a thread cannot return to its network namespace ({problem}): ending\n")
        sys.stderr.flush()
        os._exit(70)
