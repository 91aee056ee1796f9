"""The datastore of Kubernetes clusters: custom resources of bgpnet.io, whatever the API server keeps them in.

A revision is the object's resourceVersion. A write that changes both an object and its status is two: the object at
the expected revision, then its status (the status subresource) at the revision that this gave; a watch sees both. A
write that changes nothing leaves the revision as it is. The API server does not tell the revision of a
deletion, and forgets history by itself.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from time import monotonic
from typing import Any

from bgpnet import stored
from bgpnet.errors import AlreadyExists, Compacted, Conflict, Invalid, NotFound, StoreError, StoreUnreachable
from bgpnet.kube.access import is_revision
from bgpnet.kube.client import Api
from bgpnet.kube.errors import Cause, Expired, Refused, Unreachable
from bgpnet.model.kinds import BGPCONFIGURATION, BGPFILTER, BGPPEER, IPPOOL, IPRESERVATION, Kind
from bgpnet.rules import table
from bgpnet.store import keys
from bgpnet.store import kubernetes_objects as objects
from bgpnet.store.api import ABSENT, Deleted, Entry, Event, Listing, Revision
from bgpnet.store.kubernetes_objects import Place

LOST = 4.0
"""Seconds without a stream after which a watch is given up (StoreUnreachable)."""
_PAUSE = 0.1
_SETTLING = 2.0  # seconds in which a server that did not answer a write has to say what became of it
_FORCED = 10.0  # seconds for which an unconditional write begins again where others write, too

_BY_HAND = frozenset({IPPOOL, IPRESERVATION, BGPCONFIGURATION, BGPPEER, BGPFILTER})
"""What people write with kubectl, too."""

Json = dict[str, Any]


class KubernetesStore:
    """A `Store` in a Kubernetes API server; use it from any thread. The first call connects."""

    def __init__(self, api: Api) -> None:
        self.api = api

    def __repr__(self) -> str:
        return f"KubernetesStore({self.api})"

    def get(self, key: str) -> Entry | None:
        """The entry, or None."""
        place = objects.place(key)
        item = self._read(place) if place else None
        return _entry(place.kind, item) if place and item is not None else None

    def list(self, prefix: str) -> Listing:
        """Everything under the prefix; under one of several kinds, a revision that no watch goes on from."""
        keys.prefix_end(prefix)
        kind = _kind(prefix)
        if kind is not None:
            entries, revision = self._list(kind)
            return Listing(entries, revision)
        several = [each for each in objects.STORED.values() if f"{objects.ROOT}{each.plural}/".startswith(prefix)]
        found = [entry for each in several for entry in self._list(each)[0]]
        return Listing(tuple(sorted(found, key=lambda entry: entry.key)), ABSENT)

    def put(self, key: str, value: bytes, expected: Revision | None) -> Revision:
        """Write, as `Store.put` says; StoreError where the API server finds a field wrong, which it names.

        Raises ValueError for a key or a value that is no resource.
        """
        place = _place(key)
        item = objects.from_value(place, value)
        with _translated():
            if expected == ABSENT:
                return self._create(place, key, item)
            if expected is not None:
                return self._replace(place, key, item, expected)
            return self._force(place, key, item)

    def delete(self, key: str, expected: Revision | None) -> Revision:
        """Delete, as `Store.delete` says; returns ABSENT, as the deletion's revision is not told.

        Raises StoreError where others' finalizers keep it.
        """
        place = objects.place(key)
        if place is None:
            raise _not_found(key)
        if expected is not None and not is_revision(expected):
            raise self._mismatch(place, key, expected)
        with _translated():
            try:
                waits = self.api.delete(place.path, resource_version=expected or "")
                if waits:
                    problem = f"stays until those who set its finalizers take them off ({', '.join(waits)})"
                    raise StoreError(f"{key}: is marked for deletion, and {problem}; `kubectl get -o yaml` shows them")
            except Unreachable as lost:
                self._settled(place, lost, lambda there: there is None)
            except Refused as refused:
                raise self._refusal(refused, place, key, expected) from refused
        return ABSENT

    def watch(self, prefix: str, after: Revision, stop: Callable[[], bool]) -> Iterator[Event | None]:
        """Follow the changes, as `Store.watch` says; a stream that breaks goes on where it stopped."""
        kind = _kind(prefix)
        if kind is None:
            raise Compacted(f"{prefix}: is of no kind that can be watched; list again")
        seen, lost_at = after, monotonic()
        while not stop():
            try:
                for event in self._events(kind, seen, stop):
                    lost_at = monotonic()
                    seen = event.revision if event else seen
                    yield event
            except Expired as expired:
                raise Compacted(f"{prefix}: the history after revision {after} is gone; list again") from expired
            except Unreachable as away:
                if self.api.closed.is_set() or monotonic() - lost_at > LOST:
                    raise StoreUnreachable(str(away)) from away
                yield None
                self.api.closed.wait(_PAUSE)
            except Refused as refused:
                raise StoreError(str(refused)) from refused

    def compact(self) -> None:
        """Nothing: the API server forgets history by itself, after five minutes."""

    def close(self) -> None:
        """Let go of the connections; calls and watches in progress end with StoreUnreachable."""
        self.api.close()

    def _read(self, place: Place) -> Json | None:
        with _translated():
            return self.api.get(place.path)

    def _list(self, kind: Kind) -> tuple[tuple[Entry, ...], Revision]:
        deadline = monotonic() + 4 * LOST
        while True:
            try:
                with _translated():
                    items, revision = self.api.list(objects.collection(kind))
            except Compacted as compacted:  # between two pages: begin again
                if monotonic() > deadline:
                    raise StoreUnreachable(f"{compacted}; the list of {kind.plural} takes too long") from compacted
                continue
            entries = sorted((_entry(kind, item) for item in items), key=lambda entry: entry.key)
            return tuple(entries), Revision(revision)

    def _events(self, kind: Kind, after: Revision, stop: Callable[[], bool]) -> Iterator[Event | None]:
        for told in self.api.watch(objects.collection(kind), after, stop=stop):
            if told is None:
                yield None
            elif told[0] == "DELETED":
                yield Deleted(objects.key(kind, told[1]), _revision(told[1]))
            else:
                yield _entry(kind, told[1])

    def _create(self, place: Place, key: str, item: Json) -> Revision:
        try:
            made = self.api.create(objects.collection(place.kind), item)
        except Unreachable as lost:  # whose it is, if it is there, its uid says in the annotation
            made = self._settled(place, lost, lambda there: _has_main_part(there, item)) or {}
        except Refused as refused:
            raise self._refusal(refused, place, key, ABSENT) from refused
        return self._status(place, key, item, made)

    def _replace(self, place: Place, key: str, item: Json, expected: Revision | None) -> Revision:
        """The object and its status, each if it changes; raises Conflict also when others wrote between the two."""
        if expected is not None and not is_revision(expected):
            raise self._mismatch(place, key, expected)
        before: Json | None = None
        if place.has_status:
            before = self.api.get(place.path)
            if before is None:
                raise _not_found(key)
            if expected is not None and _revision(before) != expected:
                raise _conflict(key, before, expected)
        if before is not None and objects.main_part(_as_written(place, before)) == objects.main_part(item):
            return self._status(place, key, item, before)
        try:
            made = self.api.patch(place.path, objects.replacement(item, expected or ""), kind="json")
        except Unreachable as lost:
            made = self._settled(place, lost, lambda there: _has_main_part(there, item)) or {}
        except Refused as refused:
            raise self._refusal(refused, place, key, expected) from refused
        return self._status(place, key, item, made)

    def _status(self, place: Place, key: str, item: Json, there: Json) -> Revision:
        """The status where it is another than `there`; the revision that the object has then."""
        if not place.has_status or there.get("status") == item.get("status"):
            return _revision(there)
        patch = objects.status_replacement(item, _revision(there))
        try:
            return _revision(self.api.patch(f"{place.path}/status", patch, kind="json"))
        except Unreachable as lost:
            return _revision(self._settled(place, lost, lambda there: _has_status(there, item)) or {})
        except Refused as refused:
            raise self._refusal(refused, place, key, _revision(there)) from refused

    def _settled(self, place: Place, lost: Unreachable, done: Callable[[Json | None], bool]) -> Json | None:
        """What is there, where that shows that a write was carried out whose answer was lost; else raises `lost`."""
        try:
            there = self.api.get(place.path, seconds=_SETTLING)
        except (Unreachable, Refused):
            raise lost from None
        if not done(there):
            raise lost
        return there

    def _force(self, place: Place, key: str, item: Json) -> Revision:
        """Whatever is there."""
        deadline = monotonic() + _FORCED
        while True:
            try:
                try:
                    return self._replace(place, key, item, None)
                except NotFound:
                    return self._create(place, key, item)
            except (AlreadyExists, Conflict, NotFound) as raced:
                if monotonic() > deadline:
                    problem = "is written by others all the time; write with its revision, or later"
                    raise StoreUnreachable(f"{key}: {problem}") from raced

    def _refusal(self, refused: Refused, place: Place, key: str, expected: Revision | None) -> StoreError:
        if refused.reason == "AlreadyExists":
            return AlreadyExists(f"{key}: exists already; read it and write with its revision")
        if refused.reason == "NotFound":
            return _not_found(key)
        if refused.reason == "Conflict":
            return self._mismatch(place, key, expected)
        if refused.causes:
            wrong = "; ".join(f"{_field(cause)}: {cause.message}" for cause in refused.causes)
            return StoreError(f"{key}: {self.api} refuses {wrong}; correct that")
        return StoreError(f"{key}: {refused}")

    def _mismatch(self, place: Place, key: str, expected: Revision | None) -> StoreError:
        item = self._read(place)
        return _not_found(key) if item is None else _conflict(key, item, expected)


def _place(key: str) -> Place:
    place = objects.place(key)
    if place is None:
        raise ValueError(
            f"{key}: is the key of no resource: /bgpnet/v1/<kind>/<name>, as Kubernetes holds nothing else"
        )
    return place


def _kind(prefix: str) -> Kind | None:
    return objects.STORED.get(prefix.removeprefix(objects.ROOT)[:-1]) if prefix.startswith(objects.ROOT) else None


def _entry(kind: Kind, item: Json) -> Entry:
    value = objects.to_value(kind, item)
    return Entry(objects.key(kind, item), _usual(kind, value) if kind in _BY_HAND else value, _revision(item))


def _as_written(place: Place, item: Json) -> Json:
    """An object as we would have written it: one that kubectl made reads the same, and is not written anew for that.

    Who may write a status only would be refused (the controller, of pools), and people's own words would go.
    """
    return objects.from_value(place, _entry(place.kind, item).value)


def _usual(kind: Kind, value: bytes) -> bytes:
    """As bgpnetctl would have written it: what kubectl writes has not been through our rules' usual spellings."""
    try:
        return stored.encode(table.normalise(stored.decode_stored(kind, value, "")))
    except Invalid:
        return value  # who decodes it says what is broken


def _revision(item: Json) -> Revision:
    return Revision(item["metadata"]["resourceVersion"])


def _field(cause: Cause) -> str:
    """A rule for the whole object is said to be of `<nil>`."""
    return "the object" if cause.field in ("", "<nil>") else cause.field


def _has_main_part(there: Json | None, item: Json) -> bool:
    return there is not None and objects.main_part(there) == objects.main_part(item)


def _has_status(there: Json | None, item: Json) -> bool:
    return _has_main_part(there, item) and there is not None and there.get("status") == item.get("status")


def _not_found(key: str) -> NotFound:
    return NotFound(f"{key}: does not exist; create it, or list again")


def _conflict(key: str, item: Json, expected: Revision | None) -> Conflict:
    return Conflict(f"{key}: is at revision {_revision(item)}, not {expected}; read it again")


@contextmanager
def _translated() -> Iterator[None]:
    """The API's errors in the datastore's words."""
    try:
        yield
    except Unreachable as away:
        raise StoreUnreachable(str(away)) from away
    except Expired as expired:
        raise Compacted(str(expired)) from expired
    except Refused as refused:
        raise StoreError(str(refused)) from refused
