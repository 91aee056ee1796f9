"""A datastore that may be away when a program starts: opened by the first call that succeeds in it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import suppress

from bgpnet.errors import StoreUnreachable
from bgpnet.store.api import Entry, Event, Listing, Revision, Store


class LazyStore:
    """Implements store.api.Store over one that `open_store` opens; until then every call raises StoreUnreachable."""

    def __init__(self, open_store: Callable[[], Store]) -> None:
        self._open = open_store
        self._lock = threading.Lock()
        self._store: Store | None = None

    def try_now(self) -> None:
        """Open it if it is there; raises UsageError for a datastore that will never open."""
        with suppress(StoreUnreachable):
            self._opened()

    def get(self, key: str) -> Entry | None:
        """See Store.get."""
        return self._opened().get(key)

    def list(self, prefix: str) -> Listing:
        """See Store.list."""
        return self._opened().list(prefix)

    def put(self, key: str, value: bytes, expected: Revision | None) -> Revision:
        """See Store.put."""
        return self._opened().put(key, value, expected)

    def delete(self, key: str, expected: Revision | None) -> Revision:
        """See Store.delete."""
        return self._opened().delete(key, expected)

    def watch(self, prefix: str, after: Revision, stop: Callable[[], bool]) -> Iterator[Event | None]:
        """See Store.watch."""
        return self._opened().watch(prefix, after, stop)

    def compact(self) -> None:
        """See Store.compact."""
        self._opened().compact()

    def close(self) -> None:
        """See Store.close."""
        with self._lock:
            if self._store is not None:
                self._store.close()

    def _opened(self) -> Store:
        with self._lock:
            if self._store is None:
                self._store = self._open()
            return self._store
