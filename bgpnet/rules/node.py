"""What a Node must obey by itself, and what of it is stored but not acted on yet."""

from __future__ import annotations

import re
from collections.abc import Iterator

from msgspec import structs

from bgpnet.errors import Finding
from bgpnet.model import instant, ip
from bgpnet.model.node import Node, NodeBGP, NodeSpec, NodeStatus
from bgpnet.rules import common

_MAC = re.compile(r"[0-9A-Fa-f]{2}(:[0-9A-Fa-f]{2}){5}\Z")

UNUSED = (
    ("ipv6VXLANTunnelAddr", "there is no VXLAN tunnel for IPv6"),
    ("vxlanTunnelMACAddrV6", "there is no VXLAN tunnel for IPv6"),
    ("wireguard", "packets between nodes are not encrypted"),
)


def check(node: Node) -> Iterator[Finding]:
    """Every rule of Node that needs no datastore."""
    spec = node.spec
    if spec.bgp is not None:
        yield from _bgp(spec.bgp)
    yield from _tunnels(spec)
    for index, ref in enumerate(spec.orchRefs):
        if not ref.orchestrator:
            yield Finding(
                f"spec.orchRefs[{index}].orchestrator", ref.orchestrator, "is empty; write k8s for Kubernetes"
            )
    for index, entry in enumerate(spec.addresses):
        yield from _either(f"spec.addresses[{index}].address", entry.address)
    for index, link in enumerate(spec.interfaces):
        for place, text in enumerate(link.addresses):
            yield from _either(f"spec.interfaces[{index}].addresses[{place}]", text)
    if node.status is not None:
        yield from _status(node.status)


def _bgp(bgp: NodeBGP) -> Iterator[Finding]:
    if bgp == NodeBGP():
        yield Finding("spec.bgp", None, "is empty; remove it, or write spec.bgp.ipv4Address like 10.0.0.5/24")
    yield from common.as_number("spec.bgp.asNumber", bgp.asNumber)
    if bgp.ipv4Address:
        yield from common.findings(common.interface("spec.bgp.ipv4Address", bgp.ipv4Address, 4))
    if bgp.ipv6Address:
        yield from common.findings(common.interface("spec.bgp.ipv6Address", bgp.ipv6Address, 6))
    if bgp.ipv4IPIPTunnelAddr:
        yield from common.findings(common.address("spec.bgp.ipv4IPIPTunnelAddr", bgp.ipv4IPIPTunnelAddr, 4))
    cluster = bgp.routeReflectorClusterID
    if cluster and isinstance(common.address("", cluster, 4), Finding):
        yield Finding(
            "spec.bgp.routeReflectorClusterID", cluster, "is not a cluster ID; write four numbers like 244.0.0.1"
        )


def _tunnels(spec: NodeSpec) -> Iterator[Finding]:
    for name, version in (("ipv4VXLANTunnelAddr", 4), ("ipv6VXLANTunnelAddr", 6)):
        text = getattr(spec, name)
        if text:
            yield from common.findings(common.address(f"spec.{name}", text, version))
    for name in ("vxlanTunnelMACAddr", "vxlanTunnelMACAddrV6"):
        text = getattr(spec, name)
        if text and not _MAC.match(text):
            yield Finding(f"spec.{name}", text, "is not a MAC address; write one like 66:3e:ca:a4:db:65")
    if spec.wireguard is None:
        return
    for name, version in (("interfaceIPv4Address", 4), ("interfaceIPv6Address", 6)):
        text = getattr(spec.wireguard, name)
        if text:
            yield from common.findings(common.address(f"spec.wireguard.{name}", text, version))


def _either(path: str, text: str) -> Iterator[Finding]:
    addr, slash, length = text.partition("/")
    found = common.address(path, addr)
    if isinstance(found, Finding):
        yield Finding(path, text, "is not an address; write one like 10.0.0.5 or 10.0.0.5/24")
    elif slash and not (length.isascii() and length.isdigit() and int(length[:4]) <= found.max_prefixlen):
        yield Finding(path, text, "has no valid prefix length; write it like 10.0.0.5/24")


def _status(status: NodeStatus) -> Iterator[Finding]:
    for index, cidr in enumerate(status.podCIDRs):
        yield from common.findings(common.network(f"status.podCIDRs[{index}]", cidr))
    if status.identity is None:
        return
    if not status.identity.uuid:
        yield Finding("status.identity.uuid", "", "is empty; leave the status out, the node's agent writes it")
    try:
        instant.seconds(status.identity.heartbeat)
    except ValueError:
        problem = "is not an instant; leave the status out, the node's agent writes it"
        yield Finding("status.identity.heartbeat", status.identity.heartbeat, problem)


def not_built(node: Node) -> Iterator[tuple[str, object, str]]:
    """(path, value, what happens instead) of each value that is kept but not acted on."""
    for name, instead in UNUSED:
        value = getattr(node.spec, name)
        if value:
            yield f"spec.{name}", value, instead


def normalise(node: Node) -> Node:
    """The BGP addresses in their usual spelling; what is wrong stays for `check`."""
    bgp = node.spec.bgp
    if bgp is None:
        return node
    bgp = structs.replace(bgp, ipv4Address=_usual(bgp.ipv4Address, 4), ipv6Address=_usual(bgp.ipv6Address, 6))
    return structs.replace(node, spec=structs.replace(node.spec, bgp=bgp))


def _usual(text: str, version: int) -> str:
    parsed: ip.Interface | Finding = common.interface("", text, version)
    return text if isinstance(parsed, Finding) else str(parsed)
