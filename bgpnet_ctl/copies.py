"""Whole datastores, read at one revision: ours, an export's, or Calico's."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from dataclasses import dataclass, field

from bgpnet.calico import convert, raw
from bgpnet.calico.note import Note
from bgpnet.calico.raw import Raw
from bgpnet.errors import BgpnetError, UsageError
from bgpnet.store.api import Store
from bgpnet.store.repo import ROOT
from bgpnet.transfer import contents, stream
from bgpnet.transfer.contents import Contents, Problem
from bgpnet_ctl import sources

Opener = Callable[[str], Store]

OURS = "/bgpnet/"
"""Everything of ours is under it, of whatever version."""
_URL = re.compile(r"(sqlite|etcd|kubernetes|memory):|[a-z][a-z0-9+.-]*://")


@dataclass(slots=True)
class Copy:
    """One side of a transfer. name: as the user called it."""

    name: str
    contents: Contents = field(default_factory=Contents)
    notes: list[Note] = field(default_factory=list)

    @property
    def checksum(self) -> str:
        """Of everything that could be read."""
        return contents.checksum(self.contents.resources)

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing at all, readable or not."""
        return not self.contents.resources and not self.contents.broken


def of_store(store: Store, name: str) -> Copy:
    """What an open datastore holds now, all of one instant; raises StoreUnreachable."""
    pairs = [(entry.key, entry.value) for entry in store.list(OURS).entries]
    return Copy(name, contents.read(pairs, ROOT))


def given(name: str, opened: Opener, target: str = "") -> Copy:
    """What a datastore URL, a file or standard input (`-`) holds; raises UsageError, BgpnetError.

    opened: opens a URL with the certificates and the user of this run. target: the datastore that it is for, which
    must be another; but an etcd may hold Calico's keys beside ours.
    """
    if not _URL.match(name):
        return _of_text(name)
    same = _are_same(name, target)
    if same and not name.startswith("etcd:"):
        raise _twice(name)
    if not exists(name):
        raise UsageError(f"{name} does not exist: name the datastore that holds what you want")
    store = opened(name)
    try:
        copy = of_store(store, name)
        theirs = [(entry.key, entry.value) for entry in store.list(raw.ROOT).entries] if same or copy.is_empty else []
    finally:
        store.close()
    if theirs:
        return _of_calico(name, raw.from_etcd(theirs))
    if same:
        raise _twice(name)
    return copy


def _twice(name: str) -> UsageError:
    return UsageError(f"{name} is both FROM and TO: name another datastore with --datastore")


def _of_calico(name: str, found: Raw) -> Copy:
    problems = [Problem(each.path, each.problem) for each in found.problems]
    resources, notes = convert.convert(found)
    return Copy(f"{name} (Calico)", Contents(contents.ordered(resources), problems), notes)


def exists(url: str) -> bool:
    """Whether a datastore is there to be read: opening a file of SQLite's would make it."""
    return not url.startswith("sqlite:///") or os.path.exists(url.removeprefix("sqlite://"))


def _are_same(one: str, other: str) -> bool:
    """Whether two names mean one datastore, as far as names tell."""
    if "-" in (one, other) or not (_URL.match(one) and _URL.match(other)):
        return False
    if one.startswith("etcd:") and other.startswith("etcd:"):
        return bool(_endpoints(one) & _endpoints(other))
    paths = [os.path.realpath(each.removeprefix("sqlite://")) for each in (one, other) if each.startswith("sqlite:///")]
    return len(set(paths)) == 1 and len(paths) == 2


def _endpoints(url: str) -> set[str]:
    from bgpnet.store import etcd_options

    return set(etcd_options.read(url, etcd_options.Said()).endpoints)


def _of_text(filename: str) -> Copy:
    if _is_database(filename):
        raise UsageError(f"{filename} is a SQLite database: name it sqlite://{os.path.abspath(filename)}")
    (name, text), *more = sources.texts((filename,))
    if more:
        raise UsageError(f"{filename} is a directory: name one file, as `bgpnetctl datastore export` writes it")
    if stream.promise(text, name) is None and "projectcalico.org/" in text:
        found = raw.from_text(text, name)
        if found.is_calico:
            return _of_calico(name, found)
    return Copy(name, stream.read(text, name))


def _is_database(filename: str) -> bool:
    if not os.path.isfile(filename):
        return False
    try:
        with open(filename, "rb") as file:
            return file.read(16) == b"SQLite format 3\0"
    except OSError as error:
        raise UsageError(f"{filename} cannot be read: {error.strerror}") from error


def sound(copy: Copy) -> Copy:
    """The same; raises BgpnetError when something in it cannot be read."""
    if copy.contents.broken:
        problems = [str(each).removeprefix(f"{copy.name}: ") for each in copy.contents.broken]
        raise BgpnetError(
            f"{copy.name} holds what cannot be read: {contents.shown(problems)}; repair or delete that, then do this"
            " again"
        )
    return copy
