"""What must hold of the fields of each kind, beyond their types, as far as the API server can check it. Pure.

The same as `bgpnet.rules` and, where it needs no other object, `bgpnet.admission`: limits are taken from there. What is
refused is refused there, too; what can only be said in Python (selectors) or needs other objects is left to them. Lists
and texts have limits, as the API server takes no rule whose cost it cannot bound.
"""

from __future__ import annotations

from typing import Any

from bgpnet.kube.crd import bgp, pools
from bgpnet.kube.crd.cel import AS_NUMBER, BARE_NETWORK, NETWORK, address, between, interface, rule, rules
from bgpnet.model import kinds
from bgpnet.model.kinds import Kind
from bgpnet.rules import ipamconfiguration, limits

Constraints = dict[str, dict[str, Any]]
"""By path: `` the object, `spec.cidr`, `spec.lists[]` the items of a list, `spec.maps{}` the values of a mapping."""


def _ipamconfiguration() -> Constraints:
    return {
        "": _only_default(),
        "spec": rules(
            rule(
                "self.strictAffinity || self.maxBlocksPerHost == 0",
                "needs strictAffinity; write spec.strictAffinity: true, or maxBlocksPerHost: 0",
                ".maxBlocksPerHost",
            ),
            rule(
                "self.strictAffinity || self.autoAllocateBlocks",
                "needs strictAffinity; write spec.strictAffinity: true, or autoAllocateBlocks: true",
                ".autoAllocateBlocks",
            ),
        ),
        "spec.maxBlocksPerHost": between(0, ipamconfiguration.BLOCKS_LIMIT),
        "spec.ipCooldownSeconds": between(0, ipamconfiguration.COOLDOWN_LIMIT),
    }


def _ipreservation() -> Constraints:
    return {"spec.reservedCIDRs[]": BARE_NETWORK}


def _clusterinformation() -> Constraints:
    return {
        "": _only_default(),
        "spec.clusterGUID": {"pattern": "^$|^[0-9a-fA-F]{32}$"},
        "spec.clusterType": {"pattern": "^$|^[A-Za-z0-9][A-Za-z0-9_.-]*(,[A-Za-z0-9][A-Za-z0-9_.-]*)*$"},
    }


def _node() -> Constraints:
    mac = {"pattern": "^$|^[0-9A-Fa-f]{2}(:[0-9A-Fa-f]{2}){5}$"}
    either = rules(rule("isIP(self) || isCIDR(self)", "is not an address; write one like 10.0.0.5 or 10.0.0.5/24"))
    return {
        "spec.bgp": {"minProperties": 1},
        "spec.bgp.asNumber": AS_NUMBER,
        "spec.bgp.ipv4Address": interface(4),
        "spec.bgp.ipv6Address": interface(6),
        "spec.bgp.ipv4IPIPTunnelAddr": address(4),
        "spec.bgp.routeReflectorClusterID": address(4),
        "spec.ipv4VXLANTunnelAddr": address(4),
        "spec.ipv6VXLANTunnelAddr": address(6),
        "spec.vxlanTunnelMACAddr": mac,
        "spec.vxlanTunnelMACAddrV6": mac,
        "spec.wireguard.interfaceIPv4Address": address(4),
        "spec.wireguard.interfaceIPv6Address": address(6),
        "spec.orchRefs[].orchestrator": {"minLength": 1},
        "spec.addresses[].address": {"maxLength": 48, **either},
        "spec.interfaces[].addresses[]": {"maxLength": 48, **either},
        "status.podCIDRs[]": NETWORK,
        "status.identity.uuid": {"minLength": 1},
    }


def _ipamblock() -> Constraints:
    name = "self.spec.cidr.replace('.', '-').replace(':', '-').replace('/', '-')"
    return {
        "": rules(rule(f"self.metadata.name == {name}", "metadata.name must be spec.cidr with - for each . : and /")),
        "spec": rules(rule("self.cidr == oldSelf.cidr", "is a block's identity; create another block", ".cidr")),
        "spec.cidr": NETWORK,
        # One writer, so that who wrote which slot is not noted for each: that note was half of a block.
        "spec.allocations": {"x-kubernetes-map-type": "atomic"},
        "spec.free[]": {"minimum": 0},
    }


def _releaserequest() -> Constraints:
    return {"spec.address": address(empty=False)}


def _only_default() -> dict[str, Any]:
    problem = "metadata.name must be default: a cluster has one object of this kind; rename"
    return rules(rule("self.metadata.name == 'default'", problem))


_CHECKED: dict[Kind, Constraints] = {
    kinds.IPPOOL: pools.of_pool(),
    kinds.BGPCONFIGURATION: bgp.of_configuration(),
    kinds.BGPPEER: bgp.of_peer(),
    kinds.BGPFILTER: bgp.of_filter(),
    kinds.NODE: _node(),
    kinds.IPRESERVATION: _ipreservation(),
    kinds.IPAMCONFIGURATION: _ipamconfiguration(),
    kinds.CLUSTERINFORMATION: _clusterinformation(),
    kinds.IPAMBLOCK: _ipamblock(),
    kinds.RELEASEREQUEST: _releaserequest(),
}


def _limited(kind: Kind) -> Constraints:
    found = dict(_CHECKED[kind])
    for word, limit in (("maxItems", limits.ITEMS), ("maxLength", limits.LENGTHS)):
        for path, most in limit.get(kind, {}).items():
            found[path] = {**found.get(path, {}), word: most}
    return found


OF_KIND: dict[Kind, Constraints] = {kind: _limited(kind) for kind in _CHECKED}
