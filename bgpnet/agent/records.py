"""Our own objects, written behind the pods: many allocations in one write, each a compare-and-swap.

The plan says what should stand there and at which revision it was last heard; a conflict is read again and goes to the
loop as news, whose next plan decides anew.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass
from time import monotonic

from bgpnet.agent.events import Changed, Event, Gone, StoreAway
from bgpnet.errors import AlreadyExists, Conflict, Invalid, NotFound, StoreError
from bgpnet.model.kinds import Resource, kind_of
from bgpnet.store.repo import Repo
from bgpnet.threads import start

log = logging.getLogger("bgpnet.agent")

Emit = Callable[[Event], None]

QUIET = 0.4
"""Seconds without another wish after which one goes out: more than the loop takes to the next while a burst goes on."""
LATEST = 0.8
"""Seconds after its oldest change in which it goes out though others keep coming: the datastore is a second behind."""
RETRY = 1.0
"""Seconds until a datastore that did not answer is tried again."""


@dataclass(frozen=True, slots=True)
class Gathered:
    """What waits to be written, by the clock that never jumps: its oldest change, and when the last wish came."""

    oldest: float
    last: float

    @property
    def due(self) -> float:
        """When it goes out: a burst of ADDs that takes up to a second, in two writes of a block."""
        return min(self.last + QUIET, self.oldest + LATEST)


def gathered(before: Gathered | None, since: float, now: float) -> Gathered:
    """With one more wish, whose changes have happened since then."""
    return Gathered(since if before is None else min(before.oldest, since), now)


class Records:
    """One thread, the latest wish."""

    def __init__(self, repo: Repo, emit: Emit) -> None:
        self._repo = repo
        self._emit = emit
        self._wish: tuple[Resource, ...] = ()
        self._gathered: Gathered | None = None
        self._new = threading.Condition()
        start("records", self._run)

    def set(self, wish: tuple[Resource, ...], since: float) -> None:
        """What should be written; replaces what was not written yet. since: the oldest change in it, see `Gathered`."""
        with self._new:
            if wish == self._wish:
                return
            self._wish = wish
            if wish:
                self._gathered = gathered(self._gathered, since, monotonic())
                self._new.notify()

    def _run(self) -> None:
        pause = threading.Event()
        while True:
            if not write_behind(self._repo, self._emit, self._next()):
                pause.wait(RETRY)
                with self._new:
                    self._gathered = Gathered(0.0, 0.0)

    def _next(self) -> tuple[Resource, ...]:
        """The latest wish, when it is due."""
        with self._new:
            while self._gathered is None or (left := self._gathered.due - monotonic()) > 0:
                self._new.wait(None if self._gathered is None else left)
            self._gathered = None
            return self._wish


def write_behind(repo: Repo, emit: Emit, wish: tuple[Resource, ...]) -> bool:
    """Write each object of the wish; False when the datastore is away and the rest has to wait."""
    for resource in wish:
        try:
            emit(Changed(kind_of(resource), repo.write(resource), written=True, upon=resource.metadata.resourceVersion))
        except (AlreadyExists, Conflict, NotFound):
            if not _look_again(repo, emit, resource):
                return False
        except StoreError as problem:
            emit(StoreAway(str(problem)))
            return False
    return True


def _look_again(repo: Repo, emit: Emit, resource: Resource) -> bool:
    kind, name, upon = kind_of(resource), resource.metadata.name, resource.metadata.resourceVersion
    try:
        emit(Changed(kind, repo.get(kind, name), read=True, upon=upon))
    except NotFound:
        emit(Gone(kind, name, read=True, upon=upon))
    except Invalid as problem:
        log.warning("%s; it is left as it is", problem)  # one that cannot be read must not hold up the others
    except StoreError as problem:
        emit(StoreAway(str(problem)))
        return False
    return True
