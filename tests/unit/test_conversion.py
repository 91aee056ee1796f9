"""`bgp convert`: whatever order the nodes hear the changes in, every node has every route at every moment."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import replace

import pytest
import worlds
from msgspec import structs

from bgpnet.bgp.basis import basis
from bgpnet.bgp.conf import Neighbour, PeerKind
from bgpnet.bgp.peering import MESH
from bgpnet.errors import BgpnetError, UsageError
from bgpnet.model import ip, kinds
from bgpnet.model.bgpconfiguration import BGPConfiguration, BGPConfigurationSpec
from bgpnet.model.bgppeer import BGPPeer, BGPPeerSpec
from bgpnet.model.instant import stamp
from bgpnet.model.kinds import Kind, Resource, kind_of
from bgpnet.model.node import IN_MESH, Node, NodeSession, NodeSessions, NodeStatus
from bgpnet.model.resource import Metadata, Password, SecretKeyRef
from bgpnet.rules import table
from bgpnet_ctl.conversion import CLUSTER, LABEL, PEER, Step, choose, possible, to_mesh, to_reflectors
from bgpnet_ctl.converting import pending
from bgpnet_ctl.topology import Picture, picture

NAMES = ("n1", "n2", "n3", "n4")
KINDS = (kinds.NODE, kinds.BGPPEER, kinds.BGPCONFIGURATION)


class Fleet:
    """Nodes that hear of each kind of object when they do, and what follows: sessions, routes, what they publish."""

    def __init__(self, *resources: Resource) -> None:
        nodes = [worlds.node(name, f"192.0.2.{at}/24") for at, name in enumerate(NAMES, 1)]
        blocks = [worlds.block(f"10.244.{at}.0/26", name) for at, name in enumerate(NAMES, 1)]
        self.truth: dict[tuple[Kind, str], Resource] = {
            (kind_of(one), one.metadata.name): one for one in (*nodes, *blocks, worlds.pool(), *resources)
        }
        self.views: dict[str, dict[Kind, list[Resource]]] = {name: {} for name in NAMES}
        self.memo: dict[str, Picture] = {}
        for name in NAMES:
            for kind in KINDS:
                self.hear(name, kind)

    def hear(self, name: str, kind: Kind) -> None:
        self.views[name][kind] = [one for (of, _), one in self.truth.items() if of is kind]
        self.memo.pop(name, None)

    def view(self, name: str) -> Picture:
        """The datastore as that node has heard it."""
        if name not in self.memo:
            self.memo[name] = picture([one for each in self.views[name].values() for one in each], worlds.NOW)
        return self.memo[name]

    def up(self, one: str, other: str) -> bool:
        """Whether both ends want the session."""
        ends = ((one, other), (other, one))
        return all(self.view(a).made[a].of(self.view(a).members[b].address) is not None for a, b in ends)

    def gives(self, sender: str, receiver: str) -> set[str]:
        """Whose blocks the receiver has by its session with the sender (RFC 4456, as each knows itself)."""
        if not self.up(sender, receiver):
            return set()
        found, seen = {sender}, self.view(sender)
        for source in set(NAMES) - {sender, receiver}:
            if seen.made[sender].cluster_id and self.up(sender, source):
                clients = [seen.made[sender].of(seen.members[one].address) for one in (source, receiver)]
                same = self.view(receiver).made[receiver].cluster_id == seen.made[sender].cluster_id
                if any(client is not None and client.client for client in clients) and not same:
                    found.add(source)
        return found

    def lacking(self) -> list[str]:
        """Who has no route to whom."""
        found = []
        for name in NAMES:
            has = set().union(*(self.gives(other, name) for other in NAMES if other != name))
            found += [f"{name} to {other}" for other in NAMES if other not in has | {name}]
        return found

    def seen(self) -> Picture:
        """The datastore with what every node publishes."""
        told = {(kinds.NODE, name): self._says(name) for name in NAMES}
        return picture([*(self.truth | told).values()], worlds.NOW)

    def _says(self, name: str) -> Node:
        view, stored = self.view(name), self.truth[kinds.NODE, name]
        at = {one.address: other for other, one in view.members.items()}
        sessions = tuple(
            NodeSession(
                peer=str(one.address),
                state="up" if self.up(name, at[one.address]) else "start",
                blocks=len(self.gives(at[one.address], name)),
                sources=tuple(
                    IN_MESH if source == MESH else source.removeprefix("BGPPeer ")
                    for source in view.made[name].sources[one.address]
                ),
            )
            for one in view.made[name].neighbours
        )
        word = basis(one for each in self.views[name].values() for one in each)
        assert isinstance(stored, Node)
        status = stored.status or NodeStatus()
        said = NodeSessions(checkedAt=stamp(worlds.NOW), basis=word, sessions=sessions)
        return structs.replace(stored, status=structs.replace(status, bgp=said))

    def write(self, step: Step) -> None:
        for write in step.writes:
            wanted = write.change(self.truth.get((write.kind, write.name)))
            assert wanted is None or list(table.check(wanted)) == [], step.text
            if wanted is None:
                self.truth.pop((write.kind, write.name), None)
            else:
                self.truth[write.kind, write.name] = wanted

    def convert(self, steps: Sequence[Step], chance: random.Random, until: int = 99) -> None:
        """As `converting.carry_out`, every node hearing one thing at a time; nobody may lack a route, ever."""
        for step in steps[:until]:
            if step.writes and step.missing(self.seen()):
                self.write(step)
            for _ in range(1000):
                if not step.missing(self.seen()):
                    break
                self.hear(chance.choice(NAMES), chance.choice(KINDS))
                assert self.lacking() == [], step.text
            else:
                raise AssertionError(f"{step.text}: {step.missing(self.seen())}")


def chance_of(seed: int) -> random.Random:
    """An order of the news."""
    return random.Random(seed)  # noqa: S311  # nothing is kept secret by it


def there(fleet: Fleet) -> list[Step]:
    return to_reflectors(fleet.seen(), ["n1", "n2"], CLUSTER)


@pytest.mark.parametrize("seed", range(12))
def test_no_node_lacks_a_route_whatever_the_order_of_the_news(seed: int) -> None:
    chance, fleet = chance_of(seed), Fleet()
    assert fleet.lacking() == []
    fleet.convert(there(fleet), chance)
    assert not fleet.up("n3", "n4")
    assert pending(fleet.seen(), there(fleet)) == len(there(fleet))
    fleet.convert(to_mesh(fleet.seen()), chance)
    assert fleet.seen().peers == {}
    assert fleet.up("n3", "n4")
    assert all(LABEL not in node.metadata.labels for node in fleet.seen().nodes.values())
    assert pending(fleet.seen(), to_mesh(fleet.seen())) == len(to_mesh(fleet.seen()))


@pytest.mark.parametrize("steps", range(8))
def test_ended_anywhere_it_goes_on_or_back(steps: int) -> None:
    chance = chance_of(steps)
    on, back = Fleet(), Fleet()
    for fleet in (on, back):
        fleet.convert(there(fleet), chance, until=steps)
    on.convert(there(on), chance)
    assert not on.up("n3", "n4")
    back.convert(to_mesh(back.seen()), chance)
    assert back.lacking() == []
    assert back.seen().reflectors == []
    on.convert(to_mesh(on.seen()), chance, until=steps)
    on.convert(there(on), chance)
    assert not on.up("n3", "n4")


def test_this_test_sees_what_breaks_before_it_makes() -> None:
    fleet, chance = Fleet(), chance_of(0)
    steps = there(fleet)
    with pytest.raises(AssertionError):
        fleet.convert([steps[6], steps[7]], chance)


def test_the_mesh_that_goes_is_the_sessions_that_come() -> None:
    fleet = guarded()
    before = fleet.seen().made["n3"].of(ip.address("192.0.2.1"))
    fleet.convert(there(fleet), chance_of(1), until=4)
    after = fleet.seen().made["n3"]
    assert after.warnings == ()
    same = after.of(ip.address("192.0.2.1"))
    assert before is not None
    assert same is not None
    assert wire(same) == wire(before)
    assert same.password is not None
    assert after.sources[ip.address("192.0.2.1")] == (f"BGPPeer {PEER}", MESH)


def guarded() -> Fleet:
    """A mesh with a password and a restart time of its own."""
    password = Password(secretKeyRef=SecretKeyRef(name="bgp", key="mesh"))
    spec = BGPConfigurationSpec(asNumber=64512, nodeMeshPassword=password, nodeMeshMaxRestartTime="90s")
    return Fleet(BGPConfiguration(metadata=Metadata(name="default"), spec=spec))


def wire(one: Neighbour) -> Neighbour:
    """Without what only import, export and the status know."""
    return replace(one, name="", kind=PeerKind.MESH, client=False)


def test_a_mesh_with_a_password_is_converted_and_has_it_again_on_the_way_back() -> None:
    fleet, chance = guarded(), chance_of(3)
    before, whole = fleet.seen().made, fleet.seen().configured
    fleet.convert(there(fleet), chance)
    assert fleet.seen().configured["default"] == BGPConfigurationSpec(asNumber=64512, nodeToNodeMeshEnabled=False)
    reflected = fleet.seen().made
    for name, made in reflected.items():
        for one in made.neighbours:
            was = before[name].of(one.address)
            assert was is not None
            assert wire(one) == wire(was)
    fleet.convert(to_mesh(fleet.seen()), chance)
    assert fleet.seen().made == before
    assert fleet.seen().configured["default"] == structs.replace(whole["default"], nodeToNodeMeshEnabled=True)


def test_reflectors_are_nodes_of_different_subnets_and_those_of_a_begun_conversion() -> None:
    fleet = Fleet(worlds.node("n4", "198.51.100.4/24"))
    assert choose(fleet.seen()) == ["n1", "n4"]
    assert choose(Fleet().seen()) == ["n1", "n2"]
    fleet.convert(to_reflectors(fleet.seen(), ["n2", "n3"], CLUSTER), chance_of(0), until=2)
    assert choose(fleet.seen()) == ["n2", "n3"]


def numbered(name: str, number: int) -> Node:
    one = worlds.node(name, f"192.0.2.{name[1:]}/24")
    assert one.spec.bgp is not None
    return structs.replace(one, spec=structs.replace(one.spec, bgp=structs.replace(one.spec.bgp, asNumber=number)))


def off() -> BGPConfiguration:
    return BGPConfiguration(metadata=Metadata(name="default"), spec=BGPConfigurationSpec(nodeToNodeMeshEnabled=False))


def other_peer() -> BGPPeer:
    return BGPPeer(metadata=Metadata(name=PEER), spec=BGPPeerSpec(node="n1", peerSelector="all()"))


def silent(fleet: Fleet) -> Picture:
    return picture([*fleet.truth.values()], worlds.NOW + 300)


def with_many() -> Picture:
    nodes = [worlds.node(f"n{at}", f"192.0.{at // 200}.{at % 200 + 1}/16") for at in range(102)]
    return picture(nodes, worlds.NOW)


@pytest.mark.parametrize(
    ("seen", "chosen", "error", "text"),
    [
        (lambda: Fleet().seen(), ["n9"], UsageError, "--nodes n9: there is no such node with an IPv4 address"),
        (lambda: picture([worlds.node("n1", "192.0.2.1/24")], worlds.NOW), ["n1"], BgpnetError, "1 nodes need no"),
        (lambda: Fleet(numbered("n2", 65001)).seen(), ["n1"], BgpnetError, r"several AS \(64512, 65001\)"),
        (lambda: Fleet(off()).seen(), ["n1"], BgpnetError, "the node-to-node mesh is off, so there is nothing"),
        (lambda: Fleet(other_peer()).seen(), ["n1"], BgpnetError, "is there and selects other nodes"),
        (lambda: silent(Fleet()), ["n1"], BgpnetError, "node n1 is silent, .* start its agent, or delete its Node"),
        (with_many, ["n1"], BgpnetError, "102 nodes are more than the 100 clients .* outside"),
    ],
)
def test_what_cannot_work_is_refused(
    seen: Callable[[], Picture], chosen: list[str], error: type[BgpnetError], text: str
) -> None:
    with pytest.raises(error, match=text):
        possible(seen(), chosen)


def test_other_reflectors_than_there_are_and_reflectors_without_sessions_are_refused() -> None:
    fleet = Fleet()
    fleet.convert(there(fleet), chance_of(0))
    with pytest.raises(BgpnetError, match="node n1 is a route reflector already: name it with --nodes, too"):
        possible(fleet.seen(), ["n3"])
    del fleet.truth[kinds.BGPPEER, PEER]
    with pytest.raises(BgpnetError, match="reflector n1 has no session with n2, which would lose its routes"):
        possible(fleet.seen(), None)
