"""A program that writes to a datastore and acknowledges each write on standard output, until it is killed.

    store_writer.py FILE NAME [COUNT]

A line a write, after it returned: `revision key value`, the value `-` for a deletion. It creates, replaces, deletes
keys of its own, and increments `/t/counter` by compare-and-swap. `ready` comes before the datastore is opened.

A write that did not get its turn for five seconds, because a busy disk stood still, is tried again: it was not made.
"""

from __future__ import annotations

import itertools
import os
import sys
from collections.abc import Callable
from functools import partial
from typing import TypeVar

from bgpnet.errors import AlreadyExists, Conflict, StoreUnreachable
from bgpnet.store.api import ABSENT, Revision, Store
from bgpnet.store.sqlite import SqliteStore

T = TypeVar("T")


def patiently(call: Callable[[], T]) -> T:
    """What the call returns, however long others have the datastore locked."""
    while True:
        try:
            return call()
        except StoreUnreachable as refused:
            if " was locked for " not in str(refused):
                raise


def acknowledge(line: str) -> None:
    os.write(1, f"{line}\n".encode())  # at once, and whole: shorter than PIPE_BUF


def increment(store: Store) -> tuple[Revision, int]:
    while True:
        entry = store.get("/t/counter")
        number = int(entry.value) + 1 if entry else 1
        value, known = str(number).encode(), entry.revision if entry else ABSENT
        try:
            return patiently(partial(store.put, "/t/counter", value, known)), number
        except (Conflict, AlreadyExists):
            continue


def main(path: str, name: str, count: int) -> None:
    acknowledge("ready")
    store = patiently(partial(SqliteStore, path))
    for number in itertools.islice(itertools.count(), count):
        key = f"/t/{name}/{number % 5}"
        value = f"{name}.{number}"
        if number % 3 == 2:
            revision, counted = increment(store)
            acknowledge(f"{revision} /t/counter {counted}")
        entry = store.get(key)
        if entry and number % 2:
            acknowledge(f"{patiently(partial(store.delete, key, entry.revision))} {key} -")
        else:
            known = entry.revision if entry else ABSENT
            acknowledge(f"{patiently(partial(store.put, key, value.encode(), known))} {key} {value}")
    store.close()


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]) if len(sys.argv) > 3 else sys.maxsize)
