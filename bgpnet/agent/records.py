"""Our own objects, written behind the pods: many allocations in one write, each a compare-and-swap.

The plan says what should stand there and at which revision it was last heard; a conflict is read again and goes to the
loop as news, whose next plan decides anew.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

from bgpnet.agent.events import Changed, Event, Gone, StoreAway
from bgpnet.agent.threads import start
from bgpnet.errors import AlreadyExists, Conflict, Invalid, NotFound, StoreError
from bgpnet.model.kinds import Kind, Resource, kind_of
from bgpnet.store.repo import Repo

log = logging.getLogger("bgpnet.agent")

Emit = Callable[[Event], None]

GATHER = 0.1
"""Seconds that writes are gathered before they go out."""
RETRY = 1.0
"""Seconds until a datastore that did not answer is tried again."""


class Records:
    """One thread, the latest wish."""

    def __init__(self, repo: Repo, emit: Emit) -> None:
        self._repo = repo
        self._emit = emit
        self._wish: tuple[Resource, ...] = ()
        self._new = threading.Event()
        self._lock = threading.Lock()
        start("records", self._run)

    def set(self, wish: tuple[Resource, ...]) -> None:
        """What should be written; replaces what was not written yet."""
        with self._lock:
            if wish == self._wish:
                return
            self._wish = wish
        if wish:
            self._new.set()

    def _run(self) -> None:
        pause = threading.Event()
        while True:
            self._new.wait()
            pause.wait(GATHER)
            self._new.clear()
            with self._lock:
                wish = self._wish
            if not write_behind(self._repo, self._emit, wish):
                pause.wait(RETRY)
                self._new.set()


def write_behind(repo: Repo, emit: Emit, wish: tuple[Resource, ...]) -> bool:
    """Write each object of the wish; False when the datastore is away and the rest has to wait."""
    for resource in wish:
        try:
            emit(Changed(kind_of(resource), repo.write(resource), written=True))
        except (AlreadyExists, Conflict, NotFound):
            if not look_again(repo, emit, kind_of(resource), resource.metadata.name):
                return False
        except StoreError as problem:
            emit(StoreAway(str(problem)))
            return False
    return True


def look_again(repo: Repo, emit: Emit, kind: Kind, name: str) -> bool:
    """Read one object, which is news for the loop; False when the datastore is away."""
    try:
        emit(Changed(kind, repo.get(kind, name), read=True))
    except NotFound:
        emit(Gone(kind, name, read=True))
    except Invalid as problem:
        log.warning("%s; it is left as it is", problem)  # one that cannot be read must not hold up the others
    except StoreError as problem:
        emit(StoreAway(str(problem)))
        return False
    return True
