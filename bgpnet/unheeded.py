"""What Calico's network configuration may ask for, bgpnet does not do, and a pod would miss. Pure.

Source: Calico's cni-plugin/pkg/types/types.go. What says where its datastore, log or credentials are, or what Windows
or policies are to do, changes no pod's network here and is left aside (docs/cni.md). Annotations: annotations.py.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

Asks = Callable[[object], bool]
"""Whether a value asks for what bgpnet does not do; never asked about null, which says nothing."""


def _other_than(*usual: object) -> Asks:
    return lambda value: value not in usual


def _says(wanted: bool) -> Asks:
    """Calico's configuration has some of its switches as text."""
    return lambda value: value is wanted or value == str(wanted).lower()


_OURS = ("", "calico-ipam", "bgpnet-ipam", "bgpnet")
"""Names under which our own IPAM is meant, after Calico's manner."""
_ONE_FAMILY = "pods have IPv4 only"
_TABLE: tuple[tuple[str, str, Asks, str], ...] = (
    ("ipam", "type", _other_than(*_OURS), "bgpnet gives addresses of its IPPools; leave it out"),
    ("ipam", "assign_ipv4", _says(False), f'{_ONE_FAMILY}; write "true", or leave it out'),
    ("ipam", "assign_ipv6", _says(True), f'{_ONE_FAMILY}; write "false", or leave it out'),
    (
        "container_settings",
        "allow_ip_forwarding",
        _says(True),
        "bgpnet leaves a pod's forwarding alone; chain the plugin tuning with the sysctl net.ipv4.ip_forward instead",
    ),
    ("dataplane_options", "type", _other_than(""), "the kernel of the node is the only data plane; leave it out"),
    ("", "device_type", _other_than("", "veth"), "a pod's link is a veth; leave it out"),
    ("", "readiness_gates", _other_than([]), "a pod waits for the agent and nothing else; leave it out"),
)


_HEADS = frozenset(inside or key for inside, key, _, _ in _TABLE)


def asked(config: Mapping[str, object]) -> tuple[str, object, str] | None:
    """The first of them that a configuration asks for: the key's path, its value, and why it is refused."""
    if _HEADS.isdisjoint(config):
        return None
    for inside, key, asks, why in _TABLE:
        holder = config.get(inside) if inside else config
        value = holder.get(key) if isinstance(holder, dict) else None
        if value is not None and asks(value):
            return f"{inside}.{key}" if inside else key, value, why
    return None
