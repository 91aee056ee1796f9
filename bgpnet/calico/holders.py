"""Who has an address, from the attributes of its block and from WorkloadEndpoints. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from bgpnet import names
from bgpnet.calico import instants
from bgpnet.calico.block_value import Attribute

TUNNELS = {"ipip": names.TUNNEL, "vxlan": names.VXLAN}
"""Those that bgpnet has, too, as handles (`ipip-tunnel-addr-NODE`) and types (`ipipTunnelAddress`) begin."""
FOREIGN = ("vxlan-v6-tunnel-addr-", "wireguard-tunnel-addr-", "wireguard-v6-tunnel-addr-")
WINDOWS = "windows-reserved-ipam-handle"


@dataclass(frozen=True, slots=True)
class Endpoint:
    """What a WorkloadEndpoint says of an address; pod: `namespace/name`."""

    node: str
    pod: str
    container: str
    ifname: str
    since: str


@dataclass(frozen=True, slots=True)
class Holder:
    """Who has an address. tunnel: the node's own that has it. foreign: what it serves that bgpnet has not."""

    handle: str
    node: str
    pod: str
    container: str
    ifname: str
    since: str
    tunnel: str
    foreign: str
    released: str | None

    def __str__(self) -> str:
        return f"pod {self.pod}" if self.pod else f"handle {self.handle}" if self.handle else "no handle"

    @classmethod
    def of(cls, attribute: Attribute, endpoint: Endpoint | None, owner: str) -> Holder:
        """From an entry of `attributes`, and what an endpoint adds to it."""
        handle = attribute.handle_id or attribute.primary or ""
        said = dict(attribute.secondary or {})
        pod = f"{said.get('namespace', '')}/{said['pod']}" if said.get("pod") else ""
        tunnel = ""
        for kind, device in TUNNELS.items():
            if handle.startswith(f"{kind}-tunnel-addr-"):
                said.setdefault("node", handle.removeprefix(f"{kind}-tunnel-addr-"))
                tunnel = device
            tunnel = device if said.get("type") == f"{kind}TunnelAddress" else tunnel
        released = attribute.released_at
        foreign = _foreign(handle, said)
        container = handle if tunnel or foreign else handle.rpartition(".")[2]  # `<network>.<container>`
        return cls(
            handle=handle,
            node=said.get("node") or (endpoint.node if endpoint else "") or owner,
            pod=pod or (endpoint.pod if endpoint else ""),
            container=(endpoint.container if endpoint else "") or container,
            ifname=tunnel or (endpoint.ifname if endpoint else "") or "eth0",
            since=instants.rfc3339(said.get("timestamp"), (endpoint.since if endpoint else "") or instants.UNKNOWN),
            tunnel=tunnel,
            foreign=foreign,
            released=instants.rfc3339(released, instants.UNKNOWN) if released else None,
        )


def _foreign(handle: str, said: Mapping[str, str]) -> str:
    kind = said.get("type", "")
    ours = {f"{each}TunnelAddress" for each in TUNNELS}
    if handle.startswith(FOREIGN) or (kind.endswith("TunnelAddress") and kind not in ours):
        return f"is a tunnel's address ({kind or handle}), and bgpnet has no such tunnel"
    if handle == WINDOWS:
        return "is kept from Windows nodes"
    if said.get("service") or kind == "loadBalancer":
        return "is a service's, and bgpnet gives services no addresses"
    return ""


def endpoints(items: Iterable[dict[str, Any]]) -> dict[str, Endpoint]:
    """What WorkloadEndpoints say, by address."""
    found: dict[str, Endpoint] = {}
    for tree in items:
        spec, meta = tree.get("spec"), tree.get("metadata")
        if not isinstance(spec, dict) or not isinstance(meta, dict):
            continue
        pod = spec.get("pod") or spec.get("workload") or ""
        known = Endpoint(
            node=str(spec.get("node") or ""),
            pod=f"{meta.get('namespace') or ''}/{pod}" if pod else "",
            container=str(spec.get("containerID") or ""),
            ifname=str(spec.get("endpoint") or ""),
            since=instants.rfc3339(meta.get("creationTimestamp")),
        )
        networks = spec.get("ipNetworks")
        for network in networks if isinstance(networks, list) else ():
            found[str(network).partition("/")[0]] = known
    return found
