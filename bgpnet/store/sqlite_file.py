"""One SQLite database file: making it, connections to it, turns at writing it, and its troubles as sentences."""

from __future__ import annotations

import fcntl
import os
import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from urllib.parse import quote

from bgpnet.errors import StoreError, StoreUnreachable

DEADLINE = 5.0
"""Seconds that a call waits for other writers."""
APPLICATION = 0x42475053
"""SQLite's application_id of our files: "BGPS"."""
SCHEMA = 1
"""SQLite's user_version of our files."""

# entries: what is; log: the last changes, for watches (no value: deleted); state: one row
_TABLES = """
CREATE TABLE entries (key TEXT NOT NULL PRIMARY KEY, value BLOB NOT NULL, revision INTEGER NOT NULL) STRICT;
CREATE TABLE log (revision INTEGER PRIMARY KEY, key TEXT NOT NULL, value BLOB) STRICT;
CREATE TABLE state (identity TEXT NOT NULL, revision INTEGER NOT NULL, compacted INTEGER NOT NULL) STRICT;
INSERT INTO state VALUES (lower(hex(randomblob(4))), 0, 0);
"""

_REMEDIES = {
    sqlite3.SQLITE_BUSY: f"was locked for {DEADLINE:g} s: `fuser -v` on the file names who holds it",
    sqlite3.SQLITE_FULL: "has no room to write: free space on its file system",
    sqlite3.SQLITE_READONLY: "cannot be written: run as its owner, on a file system that is mounted writable",
    sqlite3.SQLITE_PERM: "cannot be written: run as its owner, on a file system that is mounted writable",
    sqlite3.SQLITE_CANTOPEN: "cannot be opened: run as its owner, and see that its directory is mounted writable",
    sqlite3.SQLITE_NOTADB: "is not a SQLite database: name another file, or move this one away",
    sqlite3.SQLITE_CORRUPT: "is damaged: restore it from a backup, or move it, -wal and -shm away to start anew",
    sqlite3.SQLITE_IOERR: "could not be read or written: look for the disk's errors in dmesg, and for free space",
}
_REMEDY_OF_FILES = "run as root, and name a file in a directory on a local disk that is mounted writable and has room"


@dataclass(frozen=True, slots=True)
class Link:
    """An open connection; `file` is the device and inode it was opened on, `identity` the datastore's own."""

    db: sqlite3.Connection
    file: tuple[int, int]
    identity: str


class SqliteFile:
    """Any number of threads and processes may use one file; a connection is one thread's at a time."""

    def __init__(self, path: str) -> None:
        """Make the file where there is none, mode 0600, its directory 0700. Raises StoreUnreachable."""
        self.path = path
        self._idle: list[Link] = []
        self._lock = threading.Lock()
        self._closed = False
        with self._sentences():
            _create(path)
        with self.reading():
            pass

    @contextmanager
    def reading(self) -> Iterator[Link]:
        """A connection, in one consistent view of the database if the caller begins one. Raises StoreUnreachable."""
        with self._sentences():
            link = self._take()
            try:
                yield link
            except sqlite3.Error:
                link.db.close()
                raise
            except BaseException:
                self._give_back(link)
                raise
            self._give_back(link)

    @contextmanager
    def writing(self) -> Iterator[Link]:
        """A transaction that writes: committed, and on the disk, when the block ends well; undone when it does not."""
        with self.reading() as link, self._turn():
            link.db.execute("BEGIN IMMEDIATE")
            try:
                yield link
            except StoreError:
                link.db.execute("ROLLBACK")
                raise
            link.db.execute("COMMIT")

    def close(self) -> None:
        """Close all connections; the ones at work follow when they are done. Later calls raise StoreUnreachable."""
        with self._lock:
            self._closed = True
            idle, self._idle = self._idle, []
        for link in idle:
            link.db.close()

    @contextmanager
    def _turn(self) -> Iterator[None]:
        """The one turn to write that all processes share; it ends with the process, however that ends.

        SQLite's own lock serialises commits, but up to 3.51.2 not a checkpoint with a commit that resets the log: that
        loses committed writes (sqlite.org/wal.html, "The WAL-Reset Bug"), and Debian 12 has 3.40.1. Checkpoints run
        inside commits, so taking turns at the whole of it leaves no such instant.
        """
        turn = os.open(f"{self.path}-turn", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            deadline = time.monotonic() + DEADLINE
            while not _try_lock(turn):
                if time.monotonic() > deadline:
                    raise self._trouble(_REMEDIES[sqlite3.SQLITE_BUSY])
                time.sleep(0.0005)
            yield
        finally:
            os.close(turn)

    def _take(self) -> Link:
        """An idle connection to the file that has the path now, or a new one; the caller's until given back.

        A file that was removed is not made again, and one that was replaced is not written behind its back.
        """
        status = os.stat(self.path)
        file = (status.st_dev, status.st_ino)
        while True:
            with self._lock:
                if self._closed:
                    raise self._trouble("was closed by this program: open it again")
                link = self._idle.pop() if self._idle else None
            if link is None:
                return self._open(file)
            if link.file == file:
                return link
            link.db.close()

    def _give_back(self, link: Link) -> None:
        if link.db.in_transaction:
            link.db.rollback()
        with self._lock:
            if not self._closed:
                self._idle.append(link)
                return
        link.db.close()

    def _open(self, file: tuple[int, int]) -> Link:
        db = sqlite3.connect(
            f"file:{quote(self.path)}?mode=rw",
            uri=True,
            timeout=DEADLINE,
            isolation_level=None,
            check_same_thread=False,
        )
        try:
            # FULL: a commit is on the disk before it is acknowledged; it costs a flush a write, and we write seldom
            db.execute("PRAGMA synchronous = FULL")
            db.execute("PRAGMA journal_size_limit = 16777216")
            if _is_empty(db):
                with self._turn():
                    _found(db)
            self._recognise(db)
            return Link(db, file, db.execute("SELECT identity FROM state").fetchone()[0])
        except BaseException:
            db.close()
            raise

    def _recognise(self, db: sqlite3.Connection) -> None:
        if _number(db, "PRAGMA application_id") != APPLICATION:
            raise self._trouble("is another program's SQLite database: name another file")
        version = _number(db, "PRAGMA user_version")
        if version != SCHEMA:
            raise self._trouble(f"has schema version {version}, this bgpnet knows {SCHEMA}: upgrade bgpnet")

    @contextmanager
    def _sentences(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR)
            name = getattr(error, "sqlite_errorname", type(error).__name__)
            raise self._trouble(f"{_REMEDIES.get(code & 0xFF, str(error))} ({name})") from error
        except FileNotFoundError as error:
            raise self._trouble(
                "is gone: put it back, or restart every bgpnet program on this machine to begin with an empty one"
            ) from error
        except OSError as error:
            raise self._trouble(f"cannot be used: {error.strerror} ({error.filename}): {_REMEDY_OF_FILES}") from error

    def _trouble(self, text: str) -> StoreUnreachable:
        return StoreUnreachable(f"datastore sqlite://{self.path} {text}")


def _create(path: str) -> None:
    os.makedirs(os.path.dirname(path), mode=0o700, exist_ok=True)
    with suppress(FileExistsError):
        os.mknod(path, 0o600)  # and never opened: see bell


def _is_empty(db: sqlite3.Connection) -> bool:
    return _number(db, "SELECT count(*) FROM sqlite_schema") == 0 and _number(db, "PRAGMA application_id") == 0


def _found(db: sqlite3.Connection) -> None:
    """Make the tables, if nobody was quicker."""
    db.execute("PRAGMA journal_mode = WAL")
    db.execute("BEGIN IMMEDIATE")
    if _is_empty(db):
        for statement in _TABLES.split(";"):
            db.execute(statement)
        db.execute(f"PRAGMA application_id = {APPLICATION}")
        db.execute(f"PRAGMA user_version = {SCHEMA}")
    db.execute("COMMIT")


def _number(db: sqlite3.Connection, query: str) -> int:
    found: int = db.execute(query).fetchone()[0]
    return found


def _try_lock(file: int) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
