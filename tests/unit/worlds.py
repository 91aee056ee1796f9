"""Worlds for tests: made by events, as the agent's own is; and what a fake kernel looks like after their plan."""

from __future__ import annotations

from collections.abc import Iterable

from msgspec import structs

from bgpnet import ipam
from bgpnet.agent import events
from bgpnet.agent.apply import Applied, apply
from bgpnet.agent.effects import Effect
from bgpnet.agent.plan import plan
from bgpnet.agent.step import Happening, step
from bgpnet.agent.world import Me, Phase, Pod, World
from bgpnet.bgp.lines import EndOfRib, Opened, PeerDown, PeerState, PeerUp
from bgpnet.bgp.rib import Path, Table, Update
from bgpnet.bgp.talk import Synced
from bgpnet.cnispec import Attachment
from bgpnet.kernel.fake import FakeKernel
from bgpnet.kernel.state import Wiring
from bgpnet.model import ip, kinds
from bgpnet.model.instant import stamp
from bgpnet.model.ip import Address
from bgpnet.model.ipamblock import IPAMBlock, Owner
from bgpnet.model.ippool import Encap, IPPool, IPPoolSpec
from bgpnet.model.node import Identity, Node, NodeBGP, NodeSpec, NodeStatus
from bgpnet.model.resource import Metadata
from bgpnet.names import Alias

NOW = 1_700_000_000.0
CLOCK = 1000.0
ME = Me("node1", "uuid-1", ip.interface("192.0.2.1/24"), "eth1", 1500, "0")
BLOCK = "10.244.0.0/26"
PEER, OTHER = ip.address("192.0.2.2"), ip.address("192.0.2.3")


def pool(name: str = "pods", cidr: str = "10.244.0.0/16", mode: Encap = Encap.NEVER, **more: object) -> IPPool:
    spec = IPPoolSpec(cidr=cidr, ipipMode=mode, **more)  # type: ignore[arg-type]  # the spec's own fields
    return IPPool(metadata=Metadata(name=name), spec=spec)


def node(name: str, address: str, uuid: str = "") -> Node:
    """A Node, alive at NOW."""
    identity = Identity(uuid=uuid or f"uuid-{name}", heartbeat=stamp(NOW))
    return Node(
        metadata=Metadata(name=name, resourceVersion="1"),
        spec=NodeSpec(bgp=NodeBGP(ipv4Address=address)),
        status=NodeStatus(identity=identity),
    )


def block(cidr: str = BLOCK, owner: str = "node1", uid: str = "uuid-1") -> IPAMBlock:
    return ipam.new_block(ip.network(cidr), Owner(name=owner, uid=uid), NOW)


def fresh() -> World:
    return World(me=ME, now=NOW, clock=CLOCK)


def run(world: World, *happenings: Happening) -> World:
    """Step them all."""
    return effects(world, *happenings)[0]


def effects(world: World, *happenings: Happening) -> tuple[World, list[Effect]]:
    """Step them all; what is to be done besides."""
    found: list[Effect] = []
    for event in happenings:
        world, more = step(world, event)
        found += more
    return world, found


def synced(
    *pools: IPPool, blocks: Iterable[IPAMBlock] = (), nodes: Iterable[Node] = (), start: World | None = None
) -> World:
    """A World that has heard everything there is."""
    return run(
        start or fresh(),
        events.Listed(kinds.NODE, (node("node1", "192.0.2.1/24", "uuid-1"), *nodes)),
        events.Listed(kinds.BGPCONFIGURATION, ()),
        events.Listed(kinds.BGPFILTER, ()),
        events.Listed(kinds.BGPPEER, ()),
        events.Listed(kinds.IPAMCONFIGURATION, ()),
        events.Listed(kinds.IPRESERVATION, ()),
        events.Listed(kinds.RELEASEREQUEST, ()),
        events.Listed(kinds.IPPOOL, pools or (pool(),)),
        events.Listed(kinds.IPAMBLOCK, tuple(blocks)),
    )


def later(world: World, seconds: float) -> World:
    """After a Tick so much later."""
    return run(world, events.Tick(world.now + seconds, world.clock + seconds))


def pod(container: str, address: str, phase: Phase = Phase.READY, link: str = "") -> Pod:
    return Pod(
        attachment=Attachment(container, "eth0"),
        pod="",
        network="net",
        netns=f"/run/netns/{container}",
        link=link or f"cali{container}",
        address=ip.address(address),
        mac="0a:58:0a:f4:00:01",
        mtu=1500,
        since=stamp(NOW),
        sequence=1,
        phase=phase,
        visible=True,
    )


def path(prefix: str, peer: Address = PEER, next_hop: Address | None = None) -> Path:
    return Path(prefix=ip.network(prefix), next_hop=next_hop or peer, peer=peer)


def told(*prefixes: str, peer: Address = PEER) -> Update:
    return Update(peer, announced=tuple(path(prefix, peer) for prefix in prefixes))


def state(peer: Address = PEER, *, up: bool = True, graceful: bool = True) -> PeerState:
    return PeerState(peer, ME.address.ip, 64512, external=False, up=up, graceful=graceful)


def found(*states: PeerState, table: Table | None = None) -> Synced:
    """The speaker as it is when the agent connects."""
    return Synced({one.peer: one for one in states}, table or Table())


def up(peer: Address = PEER, restart: int | None = 120) -> PeerUp:
    opened = Opened(peer, 64512, peer, 30, restart, restarted=False, families=("ipv4 unicast",))
    return PeerUp(peer, ME.address.ip, 64512, external=False, opened=opened)


def ended(peer: Address = PEER) -> EndOfRib:
    return EndOfRib(peer, "ipv4 unicast")


def lost(peer: Address = PEER) -> PeerDown:
    """It vanished."""
    return PeerDown(peer, "closing connection", lost=True)


def goodbye(peer: Address = PEER) -> PeerDown:
    """It said that it leaves."""
    return PeerDown(peer, "notification received (6,2)", lost=False)


def machine() -> FakeKernel:
    """A kernel with the node's own link."""
    kernel = FakeKernel()
    kernel.strangers.add_link("eth1", "192.0.2.1/24")
    return kernel


def wire(kernel: FakeKernel, one: Pod) -> None:
    """The pod's link, as a worker makes it."""
    alias = Alias(one.attachment.container, one.attachment.ifname, one.since)
    netns = 100 + len(kernel.pods)
    kernel.wire(Wiring(one.link, one.attachment.ifname, netns, one.address, one.mac, one.mtu, alias))


def applied(world: World, kernel: FakeKernel) -> Applied:
    """The World's plan, carried out."""
    return apply(plan(world), kernel)


def routes(world: World, kernel: FakeKernel | None = None) -> list[str]:
    """`ip route` after the World's plan."""
    kernel = kernel or machine()
    applied(world, kernel)
    return str(kernel).splitlines()


def end(one: Node, address: str = "") -> Node:
    """The Node once it has said where its VXLAN tunnel ends."""
    assert one.ipv4 is not None
    mac = ":".join(f"{byte:02x}" for byte in b"\x66\x62" + one.ipv4.ip.packed)
    return structs.replace(one, spec=structs.replace(one.spec, ipv4VXLANTunnelAddr=address, vxlanTunnelMACAddr=mac))
