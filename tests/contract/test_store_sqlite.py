"""What only the SQLite store promises: files and their rights, several processes, and its troubles as sentences."""

from __future__ import annotations

import fcntl
import os
import re
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from stores import follow

from bgpnet.errors import Compacted, Conflict, NotFound, StoreUnreachable
from bgpnet.store import bell, sqlite_file
from bgpnet.store.api import ABSENT, Deleted, Entry
from bgpnet.store.sqlite import SqliteStore

WRITER = Path(__file__).parents[1] / "chaos" / "store_writer.py"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "data" / "store.db"


@pytest.fixture
def opened(path: Path) -> Iterator[SqliteStore]:
    store = SqliteStore(str(path))
    yield store
    store.close()


def sentence(attempt: Callable[[], object]) -> str:
    """How the attempt is refused."""
    with pytest.raises(StoreUnreachable) as refused:
        attempt()
    text = str(refused.value)
    assert "\n" not in text
    return text


def put(store: SqliteStore) -> Callable[[], object]:
    return lambda: store.put("/t/a", b"", None)


def test_only_the_owner_may_read_what_it_makes(path: Path, opened: SqliteStore) -> None:
    opened.put("/t/secret", b"password", ABSENT)
    assert path.parent.stat().st_mode & 0o777 == 0o700
    modes = {file.name: file.stat().st_mode & 0o777 for file in path.parent.iterdir()}
    assert modes == dict.fromkeys(["store.db", "store.db-wal", "store.db-shm", "store.db-turn"], 0o600)


def test_a_commit_is_on_the_disk_before_it_is_acknowledged(path: Path) -> None:
    file = sqlite_file.SqliteFile(str(path))
    with file.reading() as link:
        assert link.db.execute("PRAGMA journal_mode").fetchone()[0] == "wal"
        assert link.db.execute("PRAGMA synchronous").fetchone()[0] == 2  # FULL
    file.close()


def test_what_was_written_outlives_the_store(path: Path) -> None:
    store = SqliteStore(str(path))
    revision = store.put("/t/a", b"one", ABSENT)
    store.close()
    again = SqliteStore(str(path))
    assert again.get("/t/a") == Entry("/t/a", b"one", revision)
    assert follow(again, "/t/", revision, again.put("/t/a", b"two", revision))
    again.close()


def test_a_closed_store_says_so(opened: SqliteStore) -> None:
    opened.close()
    assert "closed by this program" in sentence(put(opened))


def test_connections_do_not_grow_with_threads_that_come_and_go(path: Path, opened: SqliteStore) -> None:
    for _ in range(50):
        one = threading.Thread(target=opened.put, args=("/t/a", b"", None))
        one.start()
        one.join()
    handles: list[str] = []
    for file in Path("/proc/self/fd").iterdir():
        with suppress(FileNotFoundError):  # other tests' threads close theirs meanwhile
            handles.append(os.readlink(file))
    assert handles.count(str(path)) == 1


def test_the_file_does_not_grow_for_ever(path: Path) -> None:
    store = SqliteStore(str(path), history=50)
    sizes = []
    for _ in range(3):
        for _ in range(300):
            store.put("/t/a", b"x" * 2000, None)
        sizes.append(path.stat().st_size)
    assert sizes[2] <= sizes[1]
    store.close()


# several processes


def test_a_watch_sees_every_acknowledged_write_of_other_processes_once_and_in_order(
    path: Path, opened: SqliteStore
) -> None:
    before = opened.list("/t/").revision
    writers = [
        subprocess.Popen([sys.executable, WRITER, path, f"w{n}", "200"], stdout=subprocess.PIPE, text=True)
        for n in range(3)
    ]
    acknowledged = []
    for writer in writers:
        said, _ = writer.communicate(timeout=240)  # each write is on the disk before it is acknowledged
        assert writer.returncode == 0
        acknowledged += [line.split() for line in said.splitlines()[1:]]
    last = opened.put("/t/end", b"", ABSENT)
    seen = [
        [event.revision, event.key, event.value.decode() if isinstance(event, Entry) else "-"]
        for event in follow(opened, "/t/", before, last)
    ]
    assert len(acknowledged) > 3 * 200
    assert seen[:-1] == sorted(acknowledged, key=lambda line: int(line[0].partition(".")[2]))
    counted = [int(value) for _, key, value in seen if key == "/t/counter"]
    assert counted == list(range(1, len(counted) + 1))


def test_processes_that_open_a_new_file_at_once_agree_on_it(path: Path) -> None:
    writers = [
        subprocess.Popen([sys.executable, WRITER, path, f"w{n}", "1"], stdout=subprocess.PIPE, text=True)
        for n in range(6)
    ]
    revisions = [writer.communicate(timeout=60)[0].splitlines()[1].split()[0] for writer in writers]
    assert [writer.returncode for writer in writers] == [0] * 6
    assert len({revision.partition(".")[0] for revision in revisions}) == 1
    assert len(set(revisions)) == 6


@pytest.mark.parametrize("inotify", [True, False], ids=["inotify", "looking"])
def test_the_bell_rings_for_touches_of_others(path: Path, opened: SqliteStore, inotify: bool) -> None:
    ring = bell.Bell(str(path), inotify=inotify)
    rings = ring.listen()
    ring.wait(rings, 0.1)  # the first look may ring
    for _ in range(5):
        rings = ring.listen()
        subprocess.run([sys.executable, "-c", f"from bgpnet.store import bell; bell.touch({str(path)!r})"], check=True)
        ring.wait(rings, 60)
        assert ring.listen() > rings
    ring.close()
    started = time.monotonic()
    ring.wait(ring.listen(), 60)
    assert time.monotonic() - started < 30


# troubles


def test_a_writer_that_holds_its_turn_is_waited_for_and_then_named(path: Path, opened: SqliteStore) -> None:
    with open(f"{path}-turn") as turn:
        fcntl.flock(turn, fcntl.LOCK_EX)
        started = time.monotonic()
        text = sentence(put(opened))
        assert 4.9 < time.monotonic() - started < 30
        assert opened.get("/t/a") is None  # reading goes on
    assert text.startswith(f"datastore sqlite://{path} was locked for 5 s: ")
    opened.put("/t/a", b"", ABSENT)


def test_a_foreign_program_that_locks_the_file_is_waited_for_and_then_named(path: Path, opened: SqliteStore) -> None:
    foreign = sqlite3.connect(path, isolation_level=None)
    foreign.execute("BEGIN IMMEDIATE")
    text = sentence(put(opened))
    foreign.close()
    assert "was locked for 5 s: `fuser -v` on the file names who holds it (SQLITE_BUSY)" in text
    opened.put("/t/a", b"", ABSENT)


def test_not_a_database(path: Path) -> None:
    path.parent.mkdir()
    path.write_bytes(b"apiVersion: bgpnet.io/v1\n" * 100)
    assert "is not a SQLite database: name another file" in sentence(lambda: SqliteStore(str(path)))
    assert path.read_bytes().startswith(b"apiVersion")


def test_another_programs_database_stays_untouched(path: Path) -> None:
    path.parent.mkdir()
    foreign = sqlite3.connect(path)
    foreign.execute("CREATE TABLE bookmarks (url TEXT)")
    foreign.close()
    before = path.read_bytes()
    assert "is another program's SQLite database" in sentence(lambda: SqliteStore(str(path)))
    assert path.read_bytes() == before


def test_a_newer_schema(path: Path, opened: SqliteStore) -> None:
    opened.close()
    newer = sqlite3.connect(path)
    newer.execute("PRAGMA user_version = 2")
    newer.close()
    text = sentence(lambda: SqliteStore(str(path)))
    assert text == f"datastore sqlite://{path} has schema version 2, this bgpnet knows 1: upgrade bgpnet"


def test_a_damaged_file(path: Path, opened: SqliteStore) -> None:
    for number in range(200):
        opened.put(f"/t/{number}", b"x" * 400, ABSENT)
    opened.close()
    whole = path.read_bytes()
    path.write_bytes(whole[:4096] + b"\xff" * (len(whole) - 4096))
    assert re.search("is damaged: restore it from a backup, or move it", sentence(lambda: SqliteStore(str(path))))


def test_a_directory_in_place_of_the_file(path: Path) -> None:
    path.mkdir(parents=True)
    assert "cannot be opened: " in sentence(lambda: SqliteStore(str(path)))


def test_a_file_in_place_of_the_directory(path: Path) -> None:
    path.parent.write_bytes(b"")
    text = sentence(lambda: SqliteStore(str(path)))
    assert f"cannot be used: File exists ({path.parent}): run as root" in text


@pytest.mark.root
def test_no_permission(path: Path, opened: SqliteStore) -> None:
    opened.put("/t/a", b"", ABSENT)
    program = (
        "import os, sys; sys.dont_write_bytecode = True\n"
        "from bgpnet.errors import StoreUnreachable\n"
        "from bgpnet.store.sqlite import SqliteStore\n"
        "os.setgroups([]); os.setgid(65534); os.setuid(65534)\n"
        "try: SqliteStore(sys.argv[1])\n"
        "except StoreUnreachable as refused: print(refused)\n"
    )
    done = subprocess.run([sys.executable, "-c", program, path], capture_output=True, text=True, timeout=30, check=True)
    assert "Permission denied" in done.stdout
    assert "run as root" in done.stdout


@contextmanager
def tmpfs(directory: Path, options: str) -> Iterator[None]:
    directory.mkdir(parents=True, exist_ok=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", directory], check=True, timeout=30)
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", directory], check=True, timeout=30)


def fill(file: Path) -> None:
    """Write until the disk is full."""
    with file.open("wb", buffering=0) as opened, suppress(OSError):
        while True:
            opened.write(b"x" * 4096)


@pytest.mark.root
def test_a_full_disk_and_then_room_again(path: Path) -> None:
    with tmpfs(path.parent, "size=1m"):
        store = SqliteStore(str(path))
        kept = store.put("/t/kept", b"kept", ABSENT)
        filler = path.parent / "filler"
        fill(filler)
        text = sentence(lambda: store.put("/t/big", b"x" * 100_000, None))
        assert "has no room to write: free space on its file system" in text
        assert store.get("/t/kept") == Entry("/t/kept", b"kept", kept)
        filler.unlink()
        store.put("/t/big", b"x" * 100_000, ABSENT)
        store.close()


@pytest.mark.root
def test_a_disk_without_any_room(path: Path) -> None:
    with tmpfs(path.parent, "size=4k"):
        (path.parent / "filler").write_bytes(b"x" * 4096)
        assert "room" in sentence(lambda: SqliteStore(str(path)))


@pytest.mark.root
def test_a_file_system_that_becomes_read_only(path: Path) -> None:
    with tmpfs(path.parent, "size=4m"):
        store = SqliteStore(str(path))
        store.put("/t/a", b"", ABSENT)
        store.close()
        subprocess.run(["mount", "-o", "remount,ro", path.parent], check=True, timeout=30)
        assert "mounted writable" in sentence(lambda: SqliteStore(str(path)))


# the file is taken away


def test_a_removed_file_is_not_made_again_behind_anybodys_back(path: Path, opened: SqliteStore) -> None:
    opened.put("/t/a", b"", ABSENT)
    path.rename(f"{path}.away")
    for attempt in (put(opened), lambda: opened.get("/t/a"), lambda: opened.list("/t/")):
        assert "is gone: put it back, or restart every bgpnet program" in sentence(attempt)
    assert not path.exists()
    Path(f"{path}.away").rename(path)
    assert opened.get("/t/a") is not None


def test_a_watch_of_a_removed_file_ends(path: Path, opened: SqliteStore) -> None:
    watch = opened.watch("/t/", opened.list("/t/").revision, lambda: False)
    assert next(watch) is None
    path.rename(f"{path}.away")
    assert "is gone" in sentence(lambda: next(watch))


def test_a_file_begun_anew_shares_no_revision_with_the_old_one(path: Path, opened: SqliteStore) -> None:
    revision = opened.put("/t/a", b"old", ABSENT)
    watch = opened.watch("/t/", revision, lambda: False)
    assert next(watch) is None
    for file in path.parent.iterdir():
        file.unlink()
    anew = SqliteStore(str(path))
    anew.put("/t/a", b"new", ABSENT)
    with pytest.raises(Compacted):
        next(watch)
    with pytest.raises(Conflict):
        opened.put("/t/a", b"", revision)
    assert opened.get("/t/a") == anew.get("/t/a")
    anew.close()


def test_a_restored_backup_sends_watches_back_to_the_list(path: Path, opened: SqliteStore) -> None:
    opened.put("/t/a", b"one", ABSENT)
    backup = sqlite3.connect(f"{path}.backup")
    with sqlite3.connect(path) as source:
        source.backup(backup)
    source.close()
    backup.close()
    later = opened.put("/t/b", b"", ABSENT)
    opened.close()
    os.replace(f"{path}.backup", path)
    store = SqliteStore(str(path))
    assert [entry.key for entry in store.list("/t/").entries] == ["/t/a"]
    with pytest.raises(Compacted):
        next(store.watch("/t/", later, lambda: False))
    with pytest.raises(NotFound):
        store.put("/t/b", b"", later)
    assert isinstance(follow(store, "/t/", store.list("/t/").revision, store.delete("/t/a", None))[0], Deleted)
    store.close()
