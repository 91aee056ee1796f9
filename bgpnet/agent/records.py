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
from bgpnet.model.kinds import Resource, kind_of
from bgpnet.store.repo import Repo

log = logging.getLogger("bgpnet.agent")

GATHER = 0.1
"""Seconds that writes are gathered before they go out."""
RETRY = 1.0
"""Seconds until a datastore that did not answer is tried again."""


class Records:
    """One thread, the latest wish."""

    def __init__(self, repo: Repo, emit: Callable[[Event], None]) -> None:
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
            if not self._write(wish):
                pause.wait(RETRY)
                self._new.set()

    def _write(self, wish: tuple[Resource, ...]) -> bool:
        """Write each; false when the datastore is away and the rest has to wait."""
        for resource in wish:
            try:
                self._emit(Changed(kind_of(resource), self._repo.write(resource)))
            except (AlreadyExists, Conflict, NotFound):
                if not self._look_again(resource):
                    return False
            except StoreError as problem:
                self._emit(StoreAway(str(problem)))
                return False
        return True

    def _look_again(self, resource: Resource) -> bool:
        kind, name = kind_of(resource), resource.metadata.name
        try:
            self._emit(Changed(kind, self._repo.get(kind, name), read=True))
        except NotFound:
            self._emit(Gone(kind, name))
        except Invalid as problem:
            log.warning("%s; it is left as it is", problem)  # one that cannot be read must not hold up the others
        except StoreError as problem:
            self._emit(StoreAway(str(problem)))
            return False
        return True
