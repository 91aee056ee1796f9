"""A store in this process's memory, for tests: the same promises as the real ones, gone with the process."""

from __future__ import annotations

import itertools
import secrets
import threading
from collections import deque
from collections.abc import Callable, Iterator

from bgpnet.errors import AlreadyExists, Compacted, Conflict, NotFound
from bgpnet.store import keys
from bgpnet.store.api import ABSENT, Deleted, Entry, Event, Listing, Revision

IDLE = 0.5
"""Seconds after which a watch without news yields None."""


class MemoryStore:
    """One lock, one dictionary, and the last `history` changes."""

    def __init__(self, history: int = 5_000) -> None:
        self._changed = threading.Condition()
        self._entries: dict[str, Entry] = {}
        self._log: deque[Event] = deque(maxlen=history)
        self._count = 0
        self._compacted = 0
        self._identity = secrets.token_hex(4)

    def get(self, key: str) -> Entry | None:
        """The entry, or None."""
        with self._changed:
            return self._entries.get(key)

    def list(self, prefix: str) -> Listing:
        """Everything under the prefix, and the revision to watch from."""
        end = keys.prefix_end(prefix)
        with self._changed:
            found = sorted(key for key in self._entries if prefix <= key < end)
            return Listing(tuple(self._entries[key] for key in found), self._revision(self._count))

    def put(self, key: str, value: bytes, expected: Revision | None) -> Revision:
        """Write, as `Store.put` says."""
        with self._changed:
            if expected == ABSENT:
                if key in self._entries:
                    raise AlreadyExists(f"{key}: exists already; read it and write with its revision")
            elif expected is not None:
                self._check(key, expected)
            entry = Entry(key, bytes(value), self._revision(self._count + 1))
            self._entries[key] = entry
            self._record(entry)
            return entry.revision

    def delete(self, key: str, expected: Revision | None) -> Revision:
        """Delete, as `Store.delete` says."""
        with self._changed:
            self._check(key, expected)
            del self._entries[key]
            gone = Deleted(key, self._revision(self._count + 1))
            self._record(gone)
            return gone.revision

    def watch(self, prefix: str, after: Revision, stop: Callable[[], bool]) -> Iterator[Event | None]:
        """Follow the changes, as `Store.watch` says."""
        end = keys.prefix_end(prefix)
        seen = keys.number(self._identity, after)
        while not stop():
            with self._changed:
                if not self._compacted <= seen <= self._count:
                    raise Compacted(f"{prefix}: the history after revision {after} is gone; list again")
                news = list(itertools.islice(reversed(self._log), self._count - seen))[::-1]
                seen = self._count
            mine = [event for event in news if prefix <= event.key < end]
            yield from mine
            if not mine:
                yield None
                self._wait(seen)

    def compact(self) -> None:
        """Forget history."""
        with self._changed:
            self._log.clear()
            self._compacted = self._count

    def close(self) -> None:
        """Nothing to let go of: a test may hand the same store to the next life of its subject."""

    def _wait(self, seen: int) -> None:
        with self._changed:
            self._changed.wait_for(lambda: self._count > seen, timeout=IDLE)

    def _check(self, key: str, expected: Revision | None) -> None:
        stored = self._entries.get(key)
        if stored is None:
            raise NotFound(f"{key}: does not exist; create it, or list again")
        if expected is not None and stored.revision != expected:
            raise Conflict(f"{key}: is at revision {stored.revision}, not {expected}; read it again")

    def _record(self, event: Event) -> None:
        self._count += 1
        if len(self._log) == self._log.maxlen:
            self._compacted += 1
        self._log.append(event)
        self._changed.notify_all()

    def _revision(self, number: int) -> Revision:
        return keys.revision(self._identity, number)
