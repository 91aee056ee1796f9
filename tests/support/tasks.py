"""Threads that take turns: only one runs at a time, and only when it is told to, up to its next checkpoint.

What runs is the agent's real, blocking code. Every call that leaves the process (datastore, journal, kernel, queue) is
preceded by a checkpoint, so that a test decides who goes on next, and where a process is killed: the killed thread
finds `Killed` raised at its checkpoint and never comes to the call that follows.
"""

from __future__ import annotations

import threading
from collections.abc import Callable

PATIENCE = 120.0
"""Seconds that one turn may take before the test is told that the code hangs."""

_current = threading.local()


class Killed(BaseException):
    """The process is gone; no `except Exception` of the code under test may outlive it."""


def always() -> bool:
    """A checkpoint that may be passed at any time."""
    return True


def checkpoint(where: str, ready: Callable[[], bool] = always) -> None:
    """Wait for one's turn; outside of a task it is always one's turn. ready: whether it makes sense to go on now."""
    task: Task | None = getattr(_current, "task", None)
    if task is not None:
        task.pause(where, ready)


class Task:
    """One thread of one process."""

    def __init__(self, name: str, work: Callable[[], None]) -> None:
        self.name = name
        self.at = "its start"
        self.done = False
        self.killed = False
        self.problem: BaseException | None = None
        self._ready: Callable[[], bool] = always
        self._work = work
        self._mine = threading.Lock()  # locks as signals: a tenth of what semaphores cost
        self._yours = threading.Lock()
        self._mine.acquire()
        self._yours.acquire()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    @property
    def ready(self) -> bool:
        """Whether it would do something with its turn."""
        return not self.done and self._ready()

    def turn(self) -> None:
        """Let it run to its next checkpoint; what the work raised is raised here."""
        self._mine.release()
        if not self._yours.acquire(timeout=PATIENCE):
            raise AssertionError(f"{self.name} hangs after {self.at}")
        if self.problem is not None:
            problem, self.problem = self.problem, None
            raise problem

    def kill(self) -> None:
        """It ends where it stands."""
        if not self.done:
            self.killed = True
            self.turn()
        self._thread.join(PATIENCE)

    def pause(self, where: str, ready: Callable[[], bool]) -> None:
        """Called by the work itself."""
        if self.killed:
            raise Killed  # code that runs while the stack unwinds is not run by a dead process
        self.at, self._ready = where, ready
        self._yours.release()
        self._mine.acquire()
        if self.killed:
            raise Killed

    def _run(self) -> None:
        _current.task = self
        self._mine.acquire()
        try:
            if not self.killed:
                self._work()
        except Killed:
            pass
        except BaseException as problem:
            self.problem = problem
        self.done = True
        self._yours.release()
