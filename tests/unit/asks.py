"""ADDs as a runtime sends them, worlds that they come to, and what is answered."""

from __future__ import annotations

import json
from typing import Any

from msgspec import structs
from worlds import BLOCK, NOW, block, run, synced

from bgpnet.agent import events
from bgpnet.agent.effects import Answer, ClaimBlock, Effect, WirePod
from bgpnet.agent.world import World
from bgpnet.conflist import ANNOTATIONS
from bgpnet.model import ip, kinds
from bgpnet.model.instant import stamp
from bgpnet.model.ipamblock import Allocation, BlockState, IPAMBlock, Use
from bgpnet.model.ipamconfiguration import IPAMConfiguration, IPAMConfigurationSpec
from bgpnet.model.ipreservation import IPReservation, IPReservationSpec
from bgpnet.model.resource import Metadata
from bgpnet.wire import CniCall

POD = "shop/cart-0"
NET = ip.network(BLOCK)


def asked(
    container: str = "c1",
    address: str = "",
    number: int = 1,
    pod: str = POD,
    annotations: dict[str, str] | None = None,
    uid: str = "",
    **config: Any,
) -> events.CniAsked:
    """annotations: as the runtime passes them; None: it passes none."""
    namespace, name = pod.split("/")
    if annotations is not None:
        config["runtimeConfig"] = {ANNOTATIONS: annotations}
    args = f"IgnoreUnknown=1;K8S_POD_NAMESPACE={namespace};K8S_POD_NAME={name}{f';IP={address}' if address else ''}"
    args += f";K8S_POD_UID={uid}" if uid else ""
    env = {
        "CNI_COMMAND": "ADD",
        "CNI_CONTAINERID": container,
        "CNI_NETNS": f"/run/netns/{container}",
        "CNI_IFNAME": "eth0",
        "CNI_ARGS": args,
    }
    text = json.dumps({"cniVersion": "1.0.0", "name": "net", "type": "bgpnet", **config})
    return events.CniAsked(number, CniCall(env, text.encode()))


def given(found: list[Effect]) -> str:
    """The one address that is being wired."""
    [wire] = [one for one in found if isinstance(one, WirePod)]
    return str(wire.pod.address)


def refusal(found: list[Effect]) -> tuple[int, str]:
    """Code and sentence of the one refusal, which the log has, too."""
    [answer] = [one for one in found if isinstance(one, Answer)]
    said = json.loads(answer.body)
    assert answer.status == 1
    assert said["msg"] in answer.reason
    assert said["msg"].count("\n") == 0
    return said["code"], said["msg"]


def claims(found: list[Effect]) -> list[ClaimBlock]:
    return [one for one in found if isinstance(one, ClaimBlock)]


def configured(world: World, **spec: Any) -> World:
    default = IPAMConfiguration(metadata=Metadata(name="default"), spec=IPAMConfigurationSpec(**spec))
    return run(world, events.Changed(kinds.IPAMCONFIGURATION, default))


def reservation(*cidrs: str) -> IPReservation:
    return IPReservation(metadata=Metadata(name="kept"), spec=IPReservationSpec(reservedCIDRs=cidrs))


def keeping(world: World, *cidrs: str) -> World:
    return run(world, events.Changed(kinds.IPRESERVATION, reservation(*cidrs)))


def working(*pools: Any, blocks: tuple[IPAMBlock, ...] = ()) -> World:
    """A node with a block."""
    return synced(*pools, blocks=blocks or (block(),))


def held(cidr: str, free: int, owner: str = "node1", state: BlockState = BlockState.IN_USE) -> IPAMBlock:
    """A block with all but so many addresses given away; to tunnels, which nobody looks for in the kernel."""
    one = block(cidr, owner, f"uuid-{owner[-1]}")
    total = one.network.num_addresses
    slots = {
        ordinal: Allocation(container=f"t{ordinal}", ifname="x", use=Use.TUNNEL, since=stamp(NOW), sequence=1)
        for ordinal in range(total - free)
    }
    spec = structs.replace(one.spec, allocations=slots, free=tuple(range(total - free, total)), state=state)
    return structs.replace(one, spec=spec)


def idle(cidr: str = BLOCK, owner: str = "node1") -> IPAMBlock:
    return held(cidr, ip.network(cidr).num_addresses, owner, BlockState.IDLE)
