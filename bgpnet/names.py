"""Names made from names: links, aliases, blocks; and which names are allowed."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache

from bgpnet.model import ip

TUNNEL = "tunl0"
VXLAN = "vxlan.bgpnet"
TUNNELS = (TUNNEL, VXLAN)
"""The tunnel devices, which are ours by their names; so is what hangs on them."""
POD_LINK_PREFIX = "cali"
HOST_MAC = "ee:ee:ee:ee:ee:ee"
POD_GATEWAY = ip.address("169.254.1.1")
ALIAS_LIMIT = 255  # IFALIASZ is 256 with the closing NUL (linux/if.h)

_SUBDOMAIN = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*\Z")


def is_subdomain(name: str) -> bool:
    """Whether a resource may be called so: a lower-case DNS-1123 subdomain of at most 253 characters."""
    return len(name) <= 253 and _SUBDOMAIN.match(name) is not None


def pod_link(pod: str, container: str, ifname: str) -> str:
    """The host's end of a pod's veth: `cali` and 11 hex digits of SHA-1, as Calico's (cni-plugin/pkg/dataplane).

    `pod` is `namespace/name`, hashed as `namespace.name`; without a pod, the container id is hashed. A second
    interface joins its name by what stands in no name, so that no other pod is called the same.
    """
    return _pod_link(f"{pod.replace('/', '.', 1) if pod else container}{'' if ifname == 'eth0' else f'/{ifname}'}")


@lru_cache(maxsize=256)
def _pod_link(subject: str) -> str:
    """Kept, because an ADD asks several times."""
    import hashlib  # late: it is 3 ms of a program that never asks

    return POD_LINK_PREFIX + hashlib.sha1(subject.encode(), usedforsecurity=False).hexdigest()[:11]


@dataclass(frozen=True, slots=True)
class Alias:
    """Our mark on a pod's link, and the way back from link to pod: container id, interface, instant (RFC 3339)."""

    container: str
    ifname: str
    since: str

    def __str__(self) -> str:
        return f"{self.container}/{self.ifname}/{self.since}"

    def is_of(self, other: Alias) -> bool:
        """Whether both mark the same container's interface, whenever."""
        return (self.container, self.ifname) == (other.container, other.ifname)


def parse_alias(text: str) -> Alias | None:
    """The alias of a link of ours; None for anybody else's."""
    parts = text.split("/")
    return Alias(*parts) if len(parts) == 3 and all(parts) else None


def block(net: ip.Network) -> str:
    """10.0.0.0/26 -> `10-0-0-0-26`; `fd00::/122` -> `fd00---122`, as Calico names them."""
    return re.sub(r"[.:/]", "-", str(net))


def block_affinity(node: str, net: ip.Network) -> str:
    """`n1-10-0-0-0-26`, as Calico's custom resources are called; hashed at its end where it would be too long."""
    name = f"{node}-{block(net)}"
    if len(name) < 253:
        return name
    import hashlib

    return f"{name[:200]}-{hashlib.sha256(name.encode()).hexdigest()[:32]}"


def workload_endpoint(node: str, pod: str, container: str, endpoint: str) -> str:
    """A workload endpoint's name, as Calico's (libcalico-go/lib/names): `n1-k8s-web--1-eth0`, a `-` inside doubled.

    `pod` is its name without the namespace; without a pod, it is called by its container: `n1-cni-<id>-eth0`.
    """
    segments = (node, "k8s", pod, endpoint) if pod else (node, "cni", container, endpoint)
    return "-".join(segment.replace("-", "--") for segment in segments if segment)
