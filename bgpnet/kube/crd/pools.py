"""What must hold of an IPPool (see constraints.py). Pure."""

from __future__ import annotations

from typing import Any

from bgpnet.kube.crd.cel import NETWORK, between, rule, rules
from bgpnet.rules import ippool

Constraints = dict[str, dict[str, Any]]

_SIZE = "(has(self.blockSize) ? self.blockSize : (cidr(self.cidr).ip().family() == 4 ? 26 : 122))"
_LB = "'LoadBalancer' in self.allowedUses"


def _sizes(version: int) -> str:
    low, high = ippool.BLOCK_SIZES[version]
    return f"(self.blockSize >= {low} && self.blockSize <= {high})"


def of_pool() -> Constraints:
    """Of IPPool."""
    apart = " && ".join(
        f"!cidr('{local}').containsCIDR(cidr(self)) && !cidr(self).containsCIDR(cidr('{local}'))"
        for local in ippool.LINK_LOCAL
    )
    family = "cidr(self.cidr).ip().family()"
    return {
        "spec.cidr": {
            **NETWORK,
            **rules(
                NETWORK,
                rule(f"!isCIDR(self) || ({apart})", "overlaps with the link-local addresses; choose another range"),
            ),
        },
        "spec.blockSize": between(20, 128),
        "spec.allowedUses": {"maxItems": 3, "x-kubernetes-list-type": "set"},
        "spec": rules(
            rule(
                f"!has(self.blockSize) || !isCIDR(self.cidr) || ({family} == 4 ? {_sizes(4)} : {_sizes(6)})",
                "must be 20 to 32 for an IPv4 pool, and 116 to 128 for an IPv6 pool",
                ".blockSize",
            ),
            rule(
                f"self.disabled || !isCIDR(self.cidr) || cidr(self.cidr).prefixLength() <= {_SIZE}",
                "is smaller than one block; write a larger cidr, or a larger number as blockSize",
                ".cidr",
            ),
            rule(
                "self.ipipMode == 'Never' || self.vxlanMode == 'Never'",
                "cannot go with ipipMode; set one of the two to Never",
                ".vxlanMode",
            ),
            rule(
                f"self.ipipMode == 'Never' || !isCIDR(self.cidr) || {family} == 4",
                "cannot be used with an IPv6 cidr; write Never",
                ".ipipMode",
            ),
            rule(
                "self.namespaceSelector == '' || !('Tunnel' in self.allowedUses)",
                "cannot go with the use Tunnel, which has no namespace; take Tunnel out of spec.allowedUses",
                ".namespaceSelector",
            ),
            rule(
                f"!({_LB}) || self.allowedUses.size() == 1",
                "LoadBalancer must stand alone; make a second pool for the other uses",
                ".allowedUses",
            ),
            *(
                rule(f"!({_LB}) || {must}", f"a LoadBalancer pool {why}", f".{field}")
                for field, must, why in (
                    ("ipipMode", "self.ipipMode == 'Never'", "is not encapsulated; write Never"),
                    ("vxlanMode", "self.vxlanMode == 'Never'", "is not encapsulated; write Never"),
                    ("nodeSelector", "self.nodeSelector in ['', 'all()']", "serves all nodes; write all()"),
                    ("disableBGPExport", "!self.disableBGPExport", "must be exported; write false"),
                )
            ),
            rule(
                "oldSelf.disabled || !isCIDR(self.cidr) || !isCIDR(oldSelf.cidr) || "
                "cidr(self.cidr) == cidr(oldSelf.cidr)",
                "cannot be changed while nodes may claim blocks of it; disable the pool first, or create a second one",
                ".cidr",
            ),
            rule(
                "oldSelf.disabled || !isCIDR(self.cidr) || !isCIDR(oldSelf.cidr) || "
                f"{_SIZE} == {_SIZE.replace('self.', 'oldSelf.')}",
                "cannot be changed while nodes may claim blocks of it; disable the pool first, or create a second one",
                ".blockSize",
            ),
            rule(
                f"!({_LB.replace('self.', 'oldSelf.')}) || {_LB}",
                "a LoadBalancer pool stays one; create a second pool for the other uses",
                ".allowedUses",
            ),
        ),
    }
