"""Rings when a file is touched: whoever commits touches it afterwards, whoever watches waits for the ring.

Touching comes after the commit, so that whoever is woken finds it; the write-ahead log's own writes come before. It is
done by path: to open and close the database file would drop SQLite's locks on it (POSIX locks go with any close).
A ring can be missed (a writer killed between commit and touch): waits are short, and who waited looks again.
"""

from __future__ import annotations

import os
import select
import threading
import time
from contextlib import suppress
from functools import lru_cache
from typing import Any

POLL = 0.02
"""Seconds between looks where the kernel gives us no inotify instance (fs.inotify.max_user_instances)."""
GAP = 0.005
"""Seconds from one ring to the next at least: a burst of writes is looked at in one go, its first one at once."""

# linux/inotify.h
_IN_ATTRIB = 0x4
_IN_MOVE_SELF = 0x800


@lru_cache
def _libc() -> Any:
    import ctypes  # late: few who open a datastore watch it

    return ctypes.CDLL(None, use_errno=True)


def touch(path: str) -> None:
    """Tell all that watch; a file that cannot be touched is found changed a little later."""
    now = time.time_ns()  # the kernel's own stamp is too coarse to tell two touches apart
    with suppress(OSError):
        os.utime(path, ns=(now, now))


class Bell:
    """One thread, and one inotify instance, for all who listen in this process; from the first that does."""

    def __init__(self, path: str, inotify: bool = True) -> None:
        """Without `inotify`, or where the kernel has no more instances, the file's time is looked at every 20 ms."""
        self._path = path
        self._rung = threading.Condition()
        self._rings = 0
        self._closed = False
        self._want_inotify = inotify
        self._thread: threading.Thread | None = None

    def listen(self) -> int:
        """Begin to hear; the number of rings so far, to wait from. To be called before one looks."""
        with self._rung:
            if self._thread is None and not self._closed:
                inotify = self._subscribe() if self._want_inotify else -1
                hear = self._hear if inotify >= 0 else self._look
                self._thread = threading.Thread(target=hear, args=(inotify,), name="store bell", daemon=True)
                self._thread.start()
            return self._rings

    def wait(self, rings: int, timeout: float) -> None:
        """Wait for a ring after the first `rings`, at most so many seconds."""
        with self._rung:
            self._rung.wait_for(lambda: self._rings > rings or self._closed, timeout)

    def close(self) -> None:
        """Hear no more, and end all waits."""
        with self._rung:
            self._closed = True
            self._rung.notify_all()

    def _ring(self) -> None:
        with self._rung:
            self._rings += 1
            self._rung.notify_all()

    def _hear(self, inotify: int) -> None:
        ready = select.poll()
        ready.register(inotify, select.POLLIN)
        while not self._closed:
            if ready.poll(1000):
                os.read(inotify, 65536)
                self._add(inotify)
                self._ring()
                time.sleep(GAP)
        os.close(inotify)

    def _look(self, _: int) -> None:
        seen = 0
        while not self._closed:
            with suppress(OSError):
                if (touched := os.stat(self._path).st_mtime_ns) != seen:
                    seen = touched
                    self._ring()
            time.sleep(POLL)

    def _subscribe(self) -> int:
        """An inotify instance that hears the file; negative where there is none."""
        inotify: int = _libc().inotify_init1(os.O_CLOEXEC)
        if inotify >= 0 and self._add(inotify) < 0:
            os.close(inotify)
            return -1
        return inotify

    def _add(self, inotify: int) -> int:
        """Hear the file that has the path now: a second time changes nothing, a replaced file is heard from then on."""
        watch: int = _libc().inotify_add_watch(inotify, os.fsencode(self._path), _IN_ATTRIB | _IN_MOVE_SELF)
        return watch
