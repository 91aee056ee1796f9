"""Feeds: each blocks, decodes, and puts an event on the queue. None of them decides anything."""

from __future__ import annotations

import threading
from collections.abc import Callable
from time import monotonic, time

from bgpnet.agent.events import Changed, Event, Gone, Listed, StoreAway, Tick
from bgpnet.errors import Compacted, StoreError
from bgpnet.model.kinds import Kind
from bgpnet.store.repo import Gone as Deleted
from bgpnet.store.repo import Repo, prefix

Emit = Callable[[Event], None]
Stop = threading.Event

RETRY = 1.0
"""Seconds until a datastore that did not answer is asked again."""


def clock(emit: Emit, stop: Stop) -> None:
    """A Tick a second."""
    while not stop.wait(1.0):
        emit(Tick(time(), monotonic()))


def datastore(repo: Repo, kind: Kind, emit: Emit, stop: Stop) -> None:
    """List, then follow; on any trouble list again, so that the World never misses an absence."""
    while not stop.is_set():
        try:
            resources, revision = repo.list(kind)
            emit(Listed(kind, tuple(resources), _broken(repo, kind)))
            for item in repo.watch(kind, revision, stop.is_set):
                if isinstance(item, Deleted):
                    emit(Gone(kind, item.name))
                elif item is not None:
                    emit(Changed(kind, item))
        except Compacted:
            continue
        except StoreError as problem:
            emit(StoreAway(str(problem)))
            stop.wait(RETRY)


def _broken(repo: Repo, kind: Kind) -> tuple[str, ...]:
    """The names of stored objects of the kind that cannot be read: they exist all the same."""
    return tuple(
        invalid.subject.removeprefix(prefix(kind))
        for invalid in repo.broken
        if invalid.subject.startswith(prefix(kind))
    )
