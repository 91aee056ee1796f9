"""Typed resources over the datastore's bytes: rules and admission for people's changes, none for the agents' own.

Keys are `/bgpnet/v1/<plural>/<name>`. Admission reads before it writes, and the datastore has no transactions over
several objects: two overlapping pools created in the same instant both get in; `bgpnetctl` shows them.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar

from msgspec import structs

from bgpnet import admission, stored
from bgpnet.errors import AlreadyExists, Conflict, Finding, Invalid, NotFound
from bgpnet.model import instant
from bgpnet.model.bgppeer import BGPPeer
from bgpnet.model.ipamblock import IPAMBlock
from bgpnet.model.kinds import BGPFILTER, BGPPEER, IPAMBLOCK, IPPOOL, Kind, Resource, kind_of, subject
from bgpnet.store.api import ABSENT, Deleted, Entry, Revision, Store

ROOT = "/bgpnet/v1/"
ATTEMPTS = 10
"""How often `apply` and `delete` begin again when somebody else was faster."""

R = TypeVar("R", bound=Resource)


def key(kind: Kind, name: str) -> str:
    """`/bgpnet/v1/ippools/blue`."""
    return f"{prefix(kind)}{name}"


def prefix(kind: Kind) -> str:
    """`/bgpnet/v1/ippools/`."""
    return f"{ROOT}{kind.plural}/"


@dataclass(frozen=True, slots=True)
class Gone:
    """An object was deleted; `revision` is that of the deletion."""

    kind: Kind
    name: str
    revision: Revision


class Repo:
    """The resources of one datastore. Every call may raise StoreUnreachable."""

    def __init__(
        self,
        store: Store,
        new_uid: Callable[[], str] = lambda: str(uuid.uuid4()),
        now: Callable[[], float] = time.time,
    ) -> None:
        self.store = store
        self._new_uid = new_uid
        self._now = now
        self._broken: dict[str, Invalid] = {}

    @property
    def broken(self) -> list[Invalid]:
        """Stored objects that could not be read when last looked at, in key order.

        They exist: that a list or watch leaves them out says nothing about them.
        """
        return [invalid for _, invalid in sorted(self._broken.items())]

    def find(self, kind: Kind, name: str) -> Resource | None:
        """The object, or None; raises Invalid when its stored value is broken."""
        entry = self.store.get(key(kind, name))
        return self._decode(kind, entry) if entry else None

    def get(self, kind: Kind, name: str) -> Resource:
        """The object; raises NotFound, or Invalid when its stored value is broken."""
        resource = self.find(kind, name)
        if resource is None:
            raise _not_found(kind, name)
        return resource

    def list(self, kind: Kind) -> tuple[list[Resource], Revision]:
        """All objects of a kind in name order, and the revision to watch from; broken ones are put in `broken`."""
        listing = self.store.list(prefix(kind))
        present = {entry.key for entry in listing.entries}
        for stale in [each for each in list(self._broken) if each.startswith(prefix(kind)) and each not in present]:
            self._broken.pop(stale, None)
        decoded = (self._try(kind, entry) for entry in listing.entries)
        return [resource for resource in decoded if resource is not None], listing.revision

    def watch(self, kind: Kind, after: Revision, stop: Callable[[], bool]) -> Iterator[Resource | Gone | None]:
        """Every change after that revision; None now and then when nothing happens. Raises Compacted as the store does.

        An object that becomes unreadable gives no event: what was last known of it stands, and `broken` names it.
        """
        for event in self.store.watch(prefix(kind), after, stop):
            match event:
                case Entry():
                    resource = self._try(kind, event)
                    if resource is not None:
                        yield resource
                case Deleted():
                    self._broken.pop(event.key, None)
                    yield Gone(kind, event.key.removeprefix(prefix(kind)), event.revision)
                case None:
                    yield None

    def create(self, resource: Resource) -> Resource:
        """Creates; returns it as stored. Raises Invalid, or AlreadyExists."""
        if resource.metadata.resourceVersion:
            problem = "must be empty to create an object; remove it"
            given = resource.metadata.resourceVersion
            raise Invalid(subject(resource), [Finding("metadata.resourceVersion", given, problem)])
        resource = self._obey(_with_metadata(resource, uid="", creationTimestamp=""))
        findings = admission.on_create(resource, *self._others(resource))
        self._admit(resource, [*findings, *admission.missing(resource, self._filters(resource))])
        return self._create(resource)

    def update(self, resource: Resource) -> Resource:
        """Replaces the object at `metadata.resourceVersion`; a status that is not given stays.

        Raises Invalid (also when the resourceVersion is empty), NotFound, or Conflict.
        """
        expected = _revision(resource)
        old = self.get(kind_of(resource), resource.metadata.name)
        if old.metadata.resourceVersion != expected or resource.metadata.uid not in ("", old.metadata.uid):
            raise _conflict(resource)
        return self._replace(resource, old)

    def apply(self, resource: Resource) -> Resource:
        """Creates it, or puts it in the place of what is there, whatever its revision.

        Of the metadata the new labels and annotations count, as in v3; a status that is not given stays. Raises
        Invalid, or Conflict when others keep changing the object.
        """
        kind, name = kind_of(resource), resource.metadata.name
        for _ in range(ATTEMPTS):
            old = self.find(kind, name) if name else None
            try:
                if old is None:
                    return self.create(_with_metadata(resource, resourceVersion=""))
                return self._replace(resource, old)
            except (AlreadyExists, Conflict, NotFound):
                continue
        raise _conflict(resource)

    def delete(self, kind: Kind, name: str) -> None:
        """Deletes; a broken object goes without further questions, as nothing else repairs it.

        What the agents write goes only where it is broken, or `admission.abandoned`.
        Raises NotFound, Invalid when admission refuses, or Conflict when others keep changing the object.
        """
        for _ in range(ATTEMPTS):
            entry = None if kind.computed else self.store.get(key(kind, name))
            resource = self._try(kind, entry) if entry else None
            if kind.derived and (entry is None or (resource is not None and not admission.abandoned(resource))):
                raise Invalid(f"{kind.name}({name})", [_derived(kind)])
            if entry is None:
                raise _not_found(kind, name)
            if resource is not None:
                findings = admission.on_delete(resource, self._blocks(resource), self._now())
                self._admit(resource, [*findings, *admission.referrers(resource, self._peers(resource))])
            try:
                self.store.delete(entry.key, entry.revision)
            except Conflict:
                continue
            except NotFound as error:
                raise _not_found(kind, name) from error
            self._broken.pop(entry.key, None)
            return
        raise Conflict(f"update conflict: {kind.name}({name}): others keep changing it; try again")

    def write(self, resource: Resource) -> Resource:
        """An agent's own write, without rules and admission: at its resourceVersion, which is empty to create.

        Raises AlreadyExists, NotFound, or Conflict.
        """
        if not resource.metadata.resourceVersion:
            return self._create(resource)
        return self._put(resource, Revision(resource.metadata.resourceVersion))

    def remove(self, resource: Resource) -> None:
        """An agent's own deletion, without admission, at its resourceVersion.

        Raises Invalid (without a resourceVersion), NotFound, or Conflict.
        """
        kind, name = kind_of(resource), resource.metadata.name
        try:
            self.store.delete(key(kind, name), _revision(resource))
        except NotFound as error:
            raise _not_found(kind, name) from error
        except Conflict as error:
            raise _conflict(resource) from error

    def _replace(self, new: Resource, old: Resource) -> Resource:
        meta = old.metadata
        new = _with_metadata(
            new, uid=meta.uid, creationTimestamp=meta.creationTimestamp, resourceVersion=meta.resourceVersion
        )
        if getattr(new, "status", None) is None and getattr(old, "status", None) is not None:
            new = structs.replace(new, status=getattr(old, "status", None))
        new = self._obey(new)
        around = self._others(new) if admission.reshaped(new, old) else ([], [])
        findings = admission.on_update(new, old, *around)
        self._admit(new, [*findings, *admission.missing(new, self._filters(new))])
        return new if new == old else self._put(new, Revision(meta.resourceVersion))

    def _create(self, resource: R) -> R:
        resource = _with_metadata(
            resource,
            uid=resource.metadata.uid or self._new_uid(),
            creationTimestamp=resource.metadata.creationTimestamp or instant.stamp(self._now()),
        )
        return self._put(resource, ABSENT)

    def _put(self, resource: R, expected: Revision) -> R:
        kind, name = kind_of(resource), resource.metadata.name
        try:
            revision = self.store.put(key(kind, name), stored.encode(resource), expected)
        except AlreadyExists as error:
            raise AlreadyExists(
                f"resource already exists: {subject(resource)}; change it with apply, or choose another name"
            ) from error
        except NotFound as error:
            raise _not_found(kind, name) from error
        except Conflict as error:
            raise _conflict(resource) from error
        return _with_metadata(resource, resourceVersion=revision)

    def _obey(self, resource: Resource) -> Resource:
        """The resource normalised; raises Invalid with every broken rule."""
        if kind_of(resource).derived:
            raise Invalid(subject(resource), [_derived(kind_of(resource))])
        from bgpnet.rules import table  # late: who only reads needs no rules, and bgpnetctl is to start quickly

        normal = table.normalise(resource)
        findings = list(table.check(normal))
        if findings:
            raise Invalid(subject(resource), findings)
        return normal

    def _admit(self, resource: Resource, findings: Sequence[Finding]) -> None:
        if findings:
            raise Invalid(subject(resource), [*findings])

    def _others(self, resource: Resource) -> tuple[Sequence[Resource], Sequence[IPAMBlock]]:
        """What admission wants to see: everything of the kind, and all blocks; only a pool is judged by others."""
        if kind_of(resource) is not IPPOOL:
            return [], []
        return self._complete(IPPOOL, resource), self._blocks(resource)

    def _blocks(self, resource: Resource) -> Sequence[IPAMBlock]:
        if kind_of(resource) is not IPPOOL:
            return []
        return [block for block in self._complete(IPAMBLOCK, resource) if isinstance(block, IPAMBlock)]

    def _filters(self, resource: Resource) -> set[str]:
        """The names of all filters; broken ones count, as they exist. Read only for a peer that names some."""
        if not (isinstance(resource, BGPPeer) and resource.spec.filters):
            return set()
        entries = self.store.list(prefix(BGPFILTER)).entries
        return {entry.key.removeprefix(prefix(BGPFILTER)) for entry in entries}

    def _peers(self, resource: Resource) -> Sequence[Resource]:
        return self._complete(BGPPEER, resource) if kind_of(resource) is BGPFILTER else []

    def _complete(self, kind: Kind, judged: Resource) -> Sequence[Resource]:
        """All objects of a kind; raises Invalid while one of them cannot be read, as it may be the one that matters."""
        resources, _ = self.list(kind)
        unread = [each for each in sorted(self._broken) if each.startswith(prefix(kind))]
        if unread:
            problem = f"cannot be judged while {', '.join(unread)} cannot be read; delete or repair that first"
            raise Invalid(subject(judged), [Finding("the object", None, problem)])
        return resources

    def _decode(self, kind: Kind, entry: Entry) -> Resource:
        name = entry.key.removeprefix(prefix(kind))
        try:
            resource = stored.decode_stored(kind, entry.value, entry.revision, entry.key)
            if resource.metadata.name != name:
                problem = f"must be {name}, as in its key; delete the object and create it anew"
                raise Invalid(entry.key, [Finding("metadata.name", resource.metadata.name, problem)])
        except Invalid as invalid:
            self._broken[entry.key] = invalid
            raise
        self._broken.pop(entry.key, None)
        return resource

    def _try(self, kind: Kind, entry: Entry) -> Resource | None:
        try:
            return self._decode(kind, entry)
        except Invalid:
            return None  # `broken` has it


def _derived(kind: Kind) -> Finding:
    return Finding("kind", kind.name, f"{kind.origin}; {kind.remedy}")


def _with_metadata(resource: R, **fields: str) -> R:
    return structs.replace(resource, metadata=structs.replace(resource.metadata, **fields))


def _revision(resource: Resource) -> Revision:
    if not resource.metadata.resourceVersion:
        problem = "is required to change an object; get it first, or use apply"
        raise Invalid(subject(resource), [Finding("metadata.resourceVersion", None, problem)])
    return Revision(resource.metadata.resourceVersion)


def _not_found(kind: Kind, name: str) -> NotFound:
    return NotFound(
        f"resource does not exist: {kind.name}({name}); see `bgpnetctl get {kind.plural}` for those that do"
    )


def _conflict(resource: Resource) -> Conflict:
    return Conflict(
        f"update conflict: {subject(resource)}: somebody changed it first; get it again and repeat the change"
    )
