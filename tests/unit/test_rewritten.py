"""An import under running agents (rewritten.py): what they wrote anew stays, what people wrote comes back."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from ipam_worlds import block, node, pool, slot
from msgspec import structs

from bgpnet import codec
from bgpnet.errors import BgpnetError
from bgpnet.model import kinds
from bgpnet.model.ipamblock import IPAMBlock, Owner
from bgpnet.model.kinds import Resource, subject
from bgpnet.model.node import Identity, Node, NodeStatus
from bgpnet.model.resource import Metadata
from bgpnet.store import repo
from bgpnet.store.api import ABSENT, Revision, Store
from bgpnet.store.memory import MemoryStore
from bgpnet_ctl import copies, importing, rewritten

N1, N2 = Owner(name="n1", uid="uid-n1"), Owner(name="n2", uid="uid-n2")
KEY = repo.key(kinds.NODE, "n1")


def of_people(one: Node) -> Node:
    """With a label, which the agent knows nothing of."""
    return structs.replace(one, metadata=structs.replace(one.metadata, labels={"rack": "r1"}))


def with_uid(one: Node, uid: str) -> Node:
    return structs.replace(one, status=NodeStatus(identity=Identity(uuid=uid, heartbeat="2026-01-01T00:00:00Z")))


EARLIER, LATER = of_people(node("n1", "10.0.0.0", age=900.0)), node("n1", "10.0.0.0", age=1.0)
OLD = block("10.0.0.0/26", "n1", {1: slot("c1", 11)})
NEW = block("10.0.0.0/26", "n1", {1: slot("c1", 11), 2: slot("c2", 12)})
LATE = block("10.0.0.64/26", "n1", {1: slot("c3", 13)})


def test_a_machine_is_the_same_by_name_and_uuid() -> None:
    source: list[Resource] = [
        EARLIER,
        node("n2"),
        node("n3"),
        Node(metadata=Metadata(name="n4")),
        pool("blue", "10.0.0.0/16"),
    ]
    target: list[Resource] = [LATER, with_uid(node("n2"), "another"), Node(metadata=Metadata(name="n4")), node("n5")]
    assert rewritten.machines(source, target) == {N1}
    assert rewritten.machines(source, []) == set()


@pytest.mark.parametrize(
    ("resource", "expected"),
    [
        (OLD, True),
        (LATER, True),
        (block("10.0.0.0/26", "n2", {}), False),
        (block("10.0.0.0/26", None, {}), False),
        (block("10.0.0.0/26", "n1", {}, owner=Owner(name="n1", uid="older")), False),
        (node("n2"), False),
        (pool("n1", "10.0.0.0/16"), False),
    ],
)
def test_a_machines_own_are_its_blocks_and_its_node(resource: Resource, expected: bool) -> None:
    assert rewritten.is_of(resource, {N1}) is expected


def merged(source: list[Resource], target: list[Resource]) -> dict[str, Resource]:
    found = rewritten.merged(source, target, {N1})
    assert len({subject(one) for one in found}) == len(found)
    return {subject(one): one for one in found}


def test_own_blocks_are_as_the_agent_wrote_them_and_its_node_has_both_sides() -> None:
    blue, other = pool("blue", "10.0.0.0/16"), block("10.0.0.128/26", "n2", {})
    found = merged([blue, OLD, other, EARLIER, node("n2")], [NEW, LATE, LATER])
    assert found == {
        "IPPool(blue)": blue,
        "IPAMBlock(10-0-0-0-26)": NEW,
        "IPAMBlock(10-0-0-64-26)": LATE,  # claimed since
        "IPAMBlock(10-0-0-128-26)": other,
        "Node(n1)": structs.replace(EARLIER, status=LATER.status),
        "Node(n2)": node("n2"),
    }


def test_what_is_of_no_living_machine_comes_from_the_export() -> None:
    foreign = block("10.0.0.128/26", "n2", {1: slot("x", 1)})
    found = merged([OLD, block("10.0.0.128/26", "n2", {})], [foreign, pool("red", "10.9.0.0/16")])
    assert found == {"IPAMBlock(10-0-0-0-26)": OLD, "IPAMBlock(10-0-0-128-26)": block("10.0.0.128/26", "n2", {})}


def put(store: Store, resource: Resource, expected: Revision | None = None) -> None:
    store.put(repo.key(kinds.kind_of(resource), resource.metadata.name), codec.encode(resource), expected)


def stored(store: Store) -> Node:
    found = repo.Repo(store).get(kinds.NODE, "n1")
    assert isinstance(found, Node)
    return found


class Busy(MemoryStore):
    """Somebody writes between our look and our write, so many times."""

    def __init__(self, times: int, somebody: Callable[[Store, int], None]) -> None:
        super().__init__()
        self.times, self.somebody = times, somebody

    def put(self, key: str, value: bytes, expected: Revision | None) -> Revision:
        if self.times and expected not in (None, ABSENT):
            self.times -= 1
            self.somebody(self, self.times)
        return super().put(key, value, expected)


def heartbeat(store: Store, left: int) -> None:
    put(store, node("n1", "10.0.0.0", age=float(-100 - left)))


def test_a_node_gets_peoples_fields_back_and_keeps_its_status() -> None:
    store = MemoryStore()
    put(store, LATER, ABSENT)
    rewritten.give_back(store, EARLIER)
    assert stored(store).metadata.labels == {"rack": "r1"}
    assert stored(store).status == LATER.status


def test_a_heartbeat_in_between_is_no_reason_to_give_up_and_is_kept() -> None:
    store = Busy(rewritten.ATTEMPTS - 1, heartbeat)
    put(store, LATER, ABSENT)
    rewritten.give_back(store, EARLIER)
    assert store.times == 0
    assert stored(store).metadata.labels == {"rack": "r1"}
    assert stored(store).status == node("n1", age=-100.0).status


def test_a_node_that_is_written_all_the_time_or_gone_or_unreadable_is_said_and_stays() -> None:
    busy = Busy(rewritten.ATTEMPTS, heartbeat)
    put(busy, LATER, ABSENT)
    broken = MemoryStore()
    broken.put(KEY, b"{", ABSENT)
    for store in (busy, MemoryStore(), broken):
        with pytest.raises(
            BgpnetError, match=r"^Node\(n1\) is being written by somebody else: run the same command ag"
        ):
            rewritten.give_back(store, EARLIER)
    assert stored(busy).metadata.labels == {}
    kept = broken.get(KEY)
    assert kept is not None
    assert kept.value == b"{"


def planned(store: Store, *source: Resource) -> importing.Plan:
    export = MemoryStore()
    for one in source:
        put(export, one, ABSENT)
    return importing.planned(copies.of_store(export, "the export"), copies.of_store(store, "the datastore"))


def test_an_import_brings_back_all_but_what_the_agents_have_written_since() -> None:
    store = MemoryStore()
    for one in (NEW, LATE, LATER):
        put(store, one, ABSENT)
    dead = block("10.0.0.128/26", "n2", {1: slot("c5", 21)})
    plan = planned(store, pool("blue", "10.0.0.0/16"), OLD, dead, EARLIER, node("n2"))
    assert (plan.living, plan.there) == ({N1}, 3)
    assert sorted(map(subject, plan.missing)) == ["IPAMBlock(10-0-0-128-26)", "IPPool(blue)", "Node(n2)"]
    importing.carry_out(plan, store, iter)
    found = {
        subject(one): one
        for kind in (kinds.IPAMBLOCK, kinds.IPPOOL, kinds.NODE)
        for one in repo.Repo(store).list(kind)[0]
    }
    assert sorted(found) == [
        "IPAMBlock(10-0-0-0-26)",
        "IPAMBlock(10-0-0-128-26)",
        "IPAMBlock(10-0-0-64-26)",
        "IPPool(blue)",
        "Node(n1)",
        "Node(n2)",
    ]
    kept = found["IPAMBlock(10-0-0-0-26)"]
    assert isinstance(kept, IPAMBlock)
    assert kept.spec == NEW.spec
    assert (stored(store).metadata.labels, stored(store).status) == ({"rack": "r1"}, LATER.status)
    # The same command again finds it done.
    again = planned(store, pool("blue", "10.0.0.0/16"), OLD, dead, EARLIER, node("n2"))
    assert (again.missing, again.there) == ([], 6)
    importing.carry_out(again, store, iter)


def test_a_block_of_a_machine_that_the_export_does_not_know_is_foreign() -> None:
    store = MemoryStore()
    put(store, block("10.0.0.0/26", "n1", {}, owner=Owner(name="n1", uid="new")), ABSENT)
    put(store, with_uid(node("n1"), "new"), ABSENT)
    with pytest.raises(BgpnetError, match=r"the datastore is not empty: of its 2 objects 2 are not as in the export"):
        planned(store, pool("blue", "10.0.0.0/16"), OLD, EARLIER)
