"""Writes: judged as a whole, then carried out one by one, and told in calicoctl's words."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass

from msgspec import structs

from bgpnet import admission
from bgpnet.errors import AlreadyExists, BgpnetError, Finding, Invalid, NotFound
from bgpnet.model import kinds
from bgpnet.model.bgppeer import BGPPeer
from bgpnet.model.ipamblock import IPAMBlock
from bgpnet.model.kinds import Kind, Resource, kind_of, subject
from bgpnet.rules import table as rules
from bgpnet.store.repo import Repo
from bgpnet_ctl.reading import without_status


@dataclass(frozen=True, slots=True)
class Verb:
    """A way to write a resource: how calicoctl says it, and what it does."""

    name: str
    past: str
    carry_out: Callable[[Repo, Resource], object]


def _replace(repo: Repo, resource: Resource) -> None:
    """At the revision that the file says, or else at the one that is stored now."""
    if not resource.metadata.resourceVersion:
        stored = repo.get(kind_of(resource), resource.metadata.name).metadata.resourceVersion
        resource = structs.replace(resource, metadata=structs.replace(resource.metadata, resourceVersion=stored))
    repo.update(resource)


def _create_missing(repo: Repo, resource: Resource) -> None:
    with suppress(AlreadyExists):
        repo.create(resource)


CREATE = Verb("create", "created", Repo.create)
CREATE_MISSING = Verb("create", "created", _create_missing)
APPLY = Verb("apply", "applied", Repo.apply)
REPLACE = Verb("replace", "replaced", _replace)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a request: lines for standard output, what was written, what failed, warnings."""

    said: tuple[str, ...] = ()
    done: tuple[Resource, ...] = ()
    failed: str = ""
    warned: tuple[str, ...] = ()


def warnings(resources: Iterable[Resource], datastore: str = "") -> Iterator[str]:
    """One sentence for each value that is stored but not acted on yet. datastore: its URL."""
    for resource in resources:
        yield from rules.not_built(resource, orchestrated=datastore.startswith("kubernetes:"))


def write(repo: Repo, verb: Verb, resources: Sequence[Resource]) -> Outcome:
    """Carry out in order, up to the first that fails; nothing at all when some are known to be refused.

    A filter goes before the peers that name it, wherever the file has it.

    A status is the agents' word: what `get` printed a while ago must not be put back in its place.
    """
    resources = sorted(resources, key=lambda resource: kind_of(resource) is not kinds.BGPFILTER)
    refusals = list(_refusals(repo, verb, resources))
    if refusals:
        return _failure(verb, resources, [], refusals)
    done: list[Resource] = []
    for resource in resources:
        try:
            verb.carry_out(repo, without_status(resource))
        except BgpnetError as error:
            return _failure(verb, resources, done, [error])
        done.append(resource)
    head = f"Successfully {verb.past} {len(done)}{_of_kind(map(kind_of, resources))} resource(s)"
    return Outcome((head,), tuple(done))


def _refusals(repo: Repo, verb: Verb, resources: Sequence[Resource]) -> Iterator[Invalid]:
    """What can be said before the first write: each by itself, and all beside each other and what exists."""
    seen: set[str] = set()
    for resource in resources:
        name = subject(resource)
        if kind_of(resource).derived:
            kind = kind_of(resource)
            problem = f"{kind.origin}; take it out of what you {verb.name}, and {kind.remedy}"
            yield Invalid(name, [Finding("kind", kind.name, problem)])
        if name in seen:
            problem = f"occurs twice in what you {verb.name}; keep one of the two"
            yield Invalid(name, [Finding("metadata.name", resource.metadata.name, problem)])
        seen.add(name)
    pools = [resource for resource in resources if kind_of(resource) is kinds.IPPOOL]
    if pools:
        yield from _refused_pools(repo, verb, pools)
    peers = [resource for resource in resources if isinstance(resource, BGPPeer) and resource.spec.filters]
    if peers:
        yield from _refused_peers(repo, peers, [each for each in resources if kind_of(each) is kinds.BGPFILTER])


def _refused_peers(repo: Repo, peers: Sequence[Resource], filters: Sequence[Resource]) -> Iterator[Invalid]:
    """Peers may name filters that exist, or that come with them."""
    stored = repo.list(kinds.BGPFILTER)[0]
    broken = {key.rpartition("/")[2] for key in (invalid.subject for invalid in repo.broken)}
    known = {each.metadata.name for each in [*stored, *filters]} | broken
    for peer in peers:
        findings = admission.missing(peer, known)
        if findings:
            yield Invalid(subject(peer), findings)


def _refused_pools(repo: Repo, verb: Verb, pools: Sequence[Resource]) -> Iterator[Invalid]:
    """Pools are judged by one another: the repository, which sees one at a time, would find out half-way."""
    stored = {pool.metadata.name: pool for pool in repo.list(kinds.IPPOOL)[0]}
    blocks = [block for block in repo.list(kinds.IPAMBLOCK)[0] if isinstance(block, IPAMBlock)]
    for at, pool in enumerate(pools):
        old = stored.get(pool.metadata.name)
        if old is None and verb is not REPLACE:
            findings = admission.on_create(pool, [*stored.values(), *pools[:at]], blocks)
        else:
            others = [*stored.values(), *pools[:at]]
            replaced = old if verb.name != CREATE.name else None
            findings = admission.on_update(pool, replaced, others, blocks) if replaced is not None else []
        if findings:
            yield Invalid(subject(pool), findings)


def _failure(
    verb: Verb, resources: Sequence[Resource], done: Sequence[Resource], errors: Sequence[BgpnetError]
) -> Outcome:
    of_kind = _of_kind(map(kind_of, resources))
    if done:
        head = f"Partial success: {verb.past} the first {len(done)} out of {len(resources)}{of_kind} resources:"
        said = (head, *(f"  {subject(resource)}" for resource in done))
        return Outcome(said, tuple(done), f"hit error: {_joined(errors)}")
    any_, plural = ("", "") if len(resources) == 1 else (" any", "s")
    return Outcome(failed=f"failed to {verb.name}{any_}{of_kind} resource{plural}: [{_joined(errors)}]")


def _joined(errors: Sequence[BgpnetError]) -> str:
    return "; ".join(map(str, errors))


def _of_kind(of: Iterable[Kind]) -> str:
    """The kind in quotes; mixed kinds omit it."""
    names = {kind.name for kind in of}
    return f" '{names.pop()}'" if len(names) == 1 else ""


def delete(repo: Repo, targets: Sequence[tuple[Kind, str]], skip_missing: bool) -> Outcome:
    """Delete each, filters after the peers that name them; one that fails does not keep the others."""
    targets = sorted(targets, key=lambda target: target[0] is kinds.BGPFILTER)
    done = 0
    failures: list[str] = []
    gone: set[str] = set()
    of_kind = _of_kind(kind for kind, _ in targets)
    for kind, name in targets:
        try:
            repo.delete(kind, name)
            done += 1
            gone |= {name} if kind is kinds.NODE else set()
        except BgpnetError as error:
            if not (skip_missing and isinstance(error, NotFound)):
                failures.append(f"failed to delete{of_kind} resource: [{error}]")
    said = (f"Successfully deleted {done}{of_kind} resource(s)",) if done or not failures else ()
    return Outcome(said, failed="\n".join(failures), warned=tuple(_left_behind(repo, gone)) if gone else ())


def _left_behind(repo: Repo, gone: set[str]) -> Iterator[str]:
    """What is for a node that is gone, and for no other: people wrote it, so people take it away."""
    peers = [peer for peer in repo.list(kinds.BGPPEER)[0] if isinstance(peer, BGPPeer) and peer.spec.node in gone]
    own = {f"node.{name}" for name in gone}
    settings = [each for each in repo.list(kinds.BGPCONFIGURATION)[0] if each.metadata.name in own]
    for each in (*peers, *settings):
        command = f"bgpnetctl delete {kind_of(each).aliases[0]} {each.metadata.name}"
        yield f"{subject(each)} was for a node that is deleted now: if it does not come back, `{command}`"
