"""Which keys of containerlab's schema (schemas/clab.schema.json, types/node_definition.go) the lab takes.

Every key here is one that containerlab knows, so a file that we take is one that it takes. What decides something
inside a node is either honoured or refused; what only tells a container engine how to run a container (its image,
its privileges, its limits, its management network) is accepted and changes nothing here.
"""

from __future__ import annotations

TOP_USED = frozenset({"name", "prefix", "topology"})
TOP_ACCEPTED = frozenset({"mgmt", "settings", "debug"})
TOPOLOGY_USED = frozenset({"defaults", "kinds", "groups", "nodes", "links"})

NODE_USED = frozenset(
    {"kind", "group", "entrypoint", "cmd", "exec", "binds", "env", "sysctls", "labels", "image", "network-mode", "user"}
)
NODE_ACCEPTED = frozenset(
    {
        "image-pull-policy", "restart-policy", "auto-remove", "cap-add", "privileged", "memory", "cpu", "cpu-set",
        "shm-size", "runtime", "ports", "mgmt-ipv4", "mgmt-ipv6", "aliases", "position",
    }
)  # fmt: skip
NODE_NOT_BUILT = frozenset(
    {
        "type", "startup-config", "startup-delay", "enforce-startup-config", "suppress-startup-config", "config",
        "license", "devices", "env-files", "sandbox", "kernel", "extras", "stages", "dns", "certificate",
        "healthcheck", "components", "publish", "credentials", "wait-for",
    }
)  # fmt: skip
"""Known to containerlab, and would change what runs in a node: refused until built."""

LINK_USED = frozenset({"type", "endpoints", "mtu"})
LINK_BRIEF_USED = LINK_USED | {"ipv4", "ipv6"}
LINK_ACCEPTED = frozenset({"labels", "vars"})
ENDPOINT_USED = frozenset({"node", "interface", "mac", "ipv4", "ipv6"})
ENDPOINT_ACCEPTED = frozenset({"vars"})

KINDS = frozenset({"linux", "bridge"})
SPECIAL_ENDPOINTS = frozenset({"host", "mgmt-net", "macvlan", "dummy", "vxlan", "vxlan-stitch"})
"""First words of a brief endpoint that select another link type in containerlab."""

NETWORK_MODES = frozenset({"none", "bridge"})
USERS = frozenset({"root", "0"})
BIND_OPTIONS = frozenset({"ro", "rw", "z", "Z"})
