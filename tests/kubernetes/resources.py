"""bgpnet's own resources on a cluster, as kubectl reads them, and its pods."""

from __future__ import annotations

from kubectl import Json, Kubectl, condition
from workloads import SYSTEM, name

POOL = "default-ipv4-ippool"
AGENTS = "app.kubernetes.io/name=bgpnet-node"
RELEASED = 50.0
"""Seconds in which a pod's address is free after its DEL; after 60 an agent takes what was lost for a leak."""


def held(kubectl: Kubectl) -> dict[str, str]:
    """The pods that have an address by the blocks, as NAMESPACE/NAME, and the node that owns the block; "" for none."""
    return {
        slot["pod"]: block["spec"].get("owner", {}).get("name", "")
        for block in kubectl.items("ipamblocks.bgpnet.io")
        for slot in block["spec"].get("allocations", {}).values()
        if "freedAt" not in slot and slot.get("pod")
    }


def owners(kubectl: Kubectl) -> dict[str, str]:
    """The blocks by CIDR, and who owns them; "" for nobody."""
    blocks = (one["spec"] for one in kubectl.items("ipamblocks.bgpnet.io"))
    return {one["cidr"]: one.get("owner", {}).get("name", "") for one in blocks}


def agents(kubectl: Kubectl) -> dict[str, Json]:
    """The agents' pods that do not end, by their nodes; those that were only made have none yet."""
    found = kubectl.pods("-n", SYSTEM, "-l", AGENTS)
    return {node: one for one in found if (node := one["spec"].get("nodeName", ""))}


def ready(kubectl: Kubectl, count: int) -> bool:
    """Whether so many agents' pods are Ready, and there is no other."""
    found = kubectl.pods("-n", SYSTEM, "-l", AGENTS)
    return len(found) == count and all(condition(one, "Ready") for one in found)


def restarts(pod: Json) -> dict[str, int]:
    """How often each container of a pod was started again."""
    return {one["name"]: one["restartCount"] for one in pod["status"]["containerStatuses"]}


def container(pod: Json, called: str) -> str:
    """The runtime's name of a pod's container."""
    (found,) = (one for one in pod["status"]["containerStatuses"] if one["name"] == called)
    return str(found["containerID"]).rpartition("/")[2]


def ctl(kubectl: Kubectl, *argv: str) -> str:
    """What bgpnetctl prints in the agent's container of a node that is Ready."""
    nodes = kubectl.nodes()
    found = next(one for node, one in sorted(agents(kubectl).items()) if nodes.get(node))
    return kubectl.exec(name(found), "bgpnetctl", *argv, namespace=SYSTEM)
