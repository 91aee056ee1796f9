"""An import: everything is read and checked before the first write, and what is written is read again at the end.

It can be killed at any moment. What is there and equal is left as it is, so the same command again goes on where the
first one stopped; so is what living agents wrote anew into an emptied datastore (see rewritten). Anything else in the
datastore is a refusal. Pools are written last: an agent that is looking already
cannot claim a block before all blocks are there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from bgpnet import codec
from bgpnet.errors import AlreadyExists, BgpnetError, StoreUnreachable
from bgpnet.model import kinds
from bgpnet.model.ipamblock import Owner
from bgpnet.model.kinds import Resource, kind_of, subject
from bgpnet.model.node import Node
from bgpnet.store import repo
from bgpnet.store.api import ABSENT, Store
from bgpnet.transfer import checks, compare, contents
from bgpnet.transfer.contents import Problem
from bgpnet_ctl import copies, rewritten
from bgpnet_ctl.copies import Copy, Opener

Progress = Callable[[list[Resource]], Iterable[Resource]]
"""Hands the list on one by one, and shows how far it is."""


@dataclass(slots=True)
class Plan:
    """What is to be written, what is there already, and what somebody should look at.

    living: machines whose agents have written their own objects anew; those are left, and change meanwhile.
    """

    source: Copy
    target: str
    there: int = 0
    missing: list[Resource] = field(default_factory=list)
    warnings: list[Problem] = field(default_factory=list)
    living: set[Owner] = field(default_factory=set)


def prepared(source: str, target: str, store: Callable[[], Store], opened: Opener) -> Plan:
    """The plan for two names; `store` opens the target, which is not asked for before `opened` has given the source.

    Raises UsageError, or BgpnetError as `planned` does.
    """
    given = copies.given(source, opened, target)
    there = copies.of_store(store(), target) if copies.exists(target) else Copy(target)
    return planned(given, there)


def planned(source: Copy, target: Copy) -> Plan:
    """The plan; raises BgpnetError for a source that is empty or broken, and a target that holds anything else."""
    copies.sound(source)
    resources = source.contents.resources
    if not resources:
        raise BgpnetError(
            f"{source.name} holds nothing of bgpnet's or Calico's to import: name the datastore or file that is meant"
        )
    living = rewritten.machines(resources, target.contents.resources)
    resources = rewritten.merged(resources, target.contents.resources, living)
    broken = list(checks.broken(resources))
    if broken:
        raise BgpnetError(f"{source.name} breaks rules, nothing was imported: {contents.shown(broken)}")
    foreign = _foreign(resources, target, living)
    if foreign:
        count = len(target.contents.resources) + len(target.contents.broken)
        raise BgpnetError(
            f"{target.name} is not empty: of its {count} objects {len(foreign)} are not as in {source.name}, such as"
            f" {foreign[0]}; import into an empty datastore"
        )
    there = {subject(each) for each in target.contents.resources}
    missing = [each for each in resources if subject(each) not in there]
    whole = Copy(source.name, contents.Contents(resources), source.notes) if living else source
    return Plan(whole, target.name, len(there), missing, list(checks.findings(resources)), living)


def _foreign(source: list[Resource], target: Copy, living: set[Owner]) -> list[str]:
    wanted = {subject(each): each for each in source}
    found = [each.subject for each in target.contents.broken]
    for resource in target.contents.resources:
        name = subject(resource)
        if rewritten.is_of(resource, living):
            continue
        if name not in wanted or not compare.same(wanted[name], resource):
            found.append(name)
    return found


def carry_out(plan: Plan, store: Store, progress: Progress) -> Copy:
    """Write what is missing, and read everything again; raises BgpnetError when that is not what was to be there."""
    done = 0
    try:
        for node in plan.source.contents.resources:
            if isinstance(node, Node) and rewritten.is_of(node, plan.living):
                rewritten.give_back(store, node)
        for resource in progress(sorted(plan.missing, key=lambda each: kind_of(each) is kinds.IPPOOL)):
            _create(store, resource)
            done += 1
        result = copies.of_store(store, plan.target)
    except StoreUnreachable as away:
        raise BgpnetError(
            f"after {done} of {len(plan.missing)} objects: {away}; run the same command again, it goes on from there"
        ) from away
    if result.contents.broken or _settled(result, plan) != _settled(plan.source, plan):
        raise BgpnetError(_unequal(plan.source, result))
    return result


def _settled(copy: Copy, plan: Plan) -> str:
    """The checksum of all that no living agent writes meanwhile."""
    return contents.checksum([one for one in copy.contents.resources if not rewritten.is_of(one, plan.living)])


def _unequal(source: Copy, result: Copy) -> str:
    found = [*compare.compare(source.contents.resources, result.contents.resources), *result.contents.broken]
    return (
        f"{source.name} has sha256 {source.checksum}, {result.name} has {result.checksum} after the import:"
        f" {contents.shown(found)}; somebody wrote there meanwhile, stop them and import into an empty datastore"
    )


def _create(store: Store, resource: Resource) -> None:
    """As it is, uid and all: not through the repository, which would make it a new object."""
    key, value = repo.key(kind_of(resource), resource.metadata.name), codec.encode(resource)
    try:
        store.put(key, value, ABSENT)
    except AlreadyExists as error:
        entry = store.get(key)
        found = contents.read([(key, entry.value)] if entry else [], repo.ROOT).resources
        if not found or not compare.same(found[0], resource):
            raise BgpnetError(
                f"{subject(resource)} was created by somebody else meanwhile: stop them, and import into an empty"
                " datastore"
            ) from error
