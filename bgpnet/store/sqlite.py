"""The embedded datastore: one SQLite file for all programs of one machine (and all nodes of a lab).

Every write is one transaction: the entry, one row of the log, and the count of revisions. A watch reads the log. The
log keeps the last `history` revisions; a watch that is further behind is told Compacted and lists again.

An acknowledged write survives kill -9 and power loss (WAL, synchronous FULL). Measured on a virtual disk: FULL 3,100
puts a second, NORMAL 12,500; an agent writes about once a second, so NORMAL's speed buys nothing worth a lost block.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from bgpnet.errors import AlreadyExists, Compacted, Conflict, NotFound
from bgpnet.store import bell, keys
from bgpnet.store.api import ABSENT, Deleted, Entry, Event, Listing, Revision
from bgpnet.store.sqlite_file import Link, SqliteFile

HISTORY = 5_000
"""Revisions kept for watches: most of a minute at 100 writes a second; bounds the file at about 60 MB."""
IDLE = 0.5
"""Seconds after which a watch without news yields None."""
_TRIM = 256  # revisions between trims of the log: a trim at every write would double what a write costs
_BATCH = 500  # events that a watch reads at once


class SqliteStore:
    """A `Store` in one SQLite file; use it from any thread. Beside it lie its -wal, -shm and -turn."""

    def __init__(self, path: str, history: int = HISTORY) -> None:
        """Open the file, and make it where there is none. Raises StoreUnreachable: not ours, damaged, no permission."""
        self._file = SqliteFile(path)
        self._bell = bell.Bell(path)
        self._history = history

    def get(self, key: str) -> Entry | None:
        """The entry, or None."""
        with self._file.reading() as link:
            row = link.db.execute("SELECT value, revision FROM entries WHERE key = ?", (key,)).fetchone()
            return Entry(key, row[0], keys.revision(link.identity, row[1])) if row else None

    def list(self, prefix: str) -> Listing:
        """Everything under the prefix, and the revision to watch from."""
        query = "SELECT key, value, revision FROM entries WHERE key >= ? AND key < ? ORDER BY key"
        with self._file.reading() as link:
            link.db.execute("BEGIN")
            rows = link.db.execute(query, (prefix, keys.prefix_end(prefix))).fetchall()
            now, _ = _state(link)
            link.db.execute("COMMIT")
        entries = tuple(Entry(key, value, keys.revision(link.identity, number)) for key, value, number in rows)
        return Listing(entries, keys.revision(link.identity, now))

    def put(self, key: str, value: bytes, expected: Revision | None) -> Revision:
        """Write, as `Store.put` says."""
        with self._file.writing() as link:
            if expected == ABSENT:
                if _stored(link, key) is not None:
                    raise AlreadyExists(f"{key}: exists already; read it and write with its revision")
            elif expected is not None:
                _check(link, key, expected)
            number = self._record(link, key, value)
            link.db.execute(
                "INSERT INTO entries VALUES (?, ?, ?)"
                " ON CONFLICT (key) DO UPDATE SET value = excluded.value, revision = excluded.revision",
                (key, value, number),
            )
        bell.touch(self._file.path)
        return keys.revision(link.identity, number)

    def delete(self, key: str, expected: Revision | None) -> Revision:
        """Delete, as `Store.delete` says."""
        with self._file.writing() as link:
            _check(link, key, expected)
            number = self._record(link, key, None)
            link.db.execute("DELETE FROM entries WHERE key = ?", (key,))
        bell.touch(self._file.path)
        return keys.revision(link.identity, number)

    def watch(self, prefix: str, after: Revision, stop: Callable[[], bool]) -> Iterator[Event | None]:
        """Follow the changes, as `Store.watch` says."""
        end = keys.prefix_end(prefix)
        seen = after
        while not stop():
            rings = self._bell.listen()
            events, reached = self._events(prefix, end, seen)
            yield from events
            seen = reached
            if not events:
                yield None
                self._bell.wait(rings, IDLE)

    def compact(self) -> None:
        """Forget history."""
        with self._file.writing() as link:
            link.db.execute("UPDATE state SET compacted = revision")
            link.db.execute("DELETE FROM log")
        bell.touch(self._file.path)

    def close(self) -> None:
        """Let go of file and connections; watches end with StoreUnreachable."""
        self._bell.close()
        self._file.close()

    def _record(self, link: Link, key: str, value: bytes | None) -> int:
        """One more revision, in the log; now and then its tail is cut."""
        number: int = link.db.execute("UPDATE state SET revision = revision + 1 RETURNING revision").fetchone()[0]
        link.db.execute("INSERT INTO log VALUES (?, ?, ?)", (number, key, value))
        if number % min(_TRIM, self._history) == 0 and number > self._history:
            oldest = number - self._history
            link.db.execute("UPDATE state SET compacted = max(compacted, ?)", (oldest,))
            link.db.execute("DELETE FROM log WHERE revision <= ?", (oldest,))
        return number

    def _events(self, prefix: str, end: str, seen: Revision) -> tuple[Sequence[Event], Revision]:
        """The next events after that revision, and the revision they reach."""
        query = (
            "SELECT revision, key, value FROM log WHERE revision > ? AND key >= ? AND key < ? ORDER BY revision LIMIT ?"
        )
        with self._file.reading() as link:
            link.db.execute("BEGIN")
            since = keys.number(link.identity, seen)
            now, compacted = _state(link)
            if not compacted <= since <= now:
                raise Compacted(f"{prefix}: the history after revision {seen} is gone; list again")
            rows = link.db.execute(query, (since, prefix, end, _BATCH)).fetchall() if since < now else []
            link.db.execute("COMMIT")
        reached = rows[-1][0] if len(rows) == _BATCH else now
        return [_event(link, *row) for row in rows], keys.revision(link.identity, reached)


def _event(link: Link, number: int, key: str, value: bytes | None) -> Event:
    revision = keys.revision(link.identity, number)
    return Deleted(key, revision) if value is None else Entry(key, value, revision)


def _state(link: Link) -> tuple[int, int]:
    """The newest revision, and the newest that is forgotten."""
    now, compacted = link.db.execute("SELECT revision, compacted FROM state").fetchone()
    return now, compacted


def _stored(link: Link, key: str) -> Revision | None:
    row = link.db.execute("SELECT revision FROM entries WHERE key = ?", (key,)).fetchone()
    return keys.revision(link.identity, row[0]) if row else None


def _check(link: Link, key: str, expected: Revision | None) -> None:
    """Raises NotFound, or Conflict when the stored revision is another."""
    stored = _stored(link, key)
    if stored is None:
        raise NotFound(f"{key}: does not exist; create it, or list again")
    if expected is not None and stored != expected:
        raise Conflict(f"{key}: is at revision {stored}, not {expected}; read it again")
