"""What is kept equal: Nodes with their Kubernetes Nodes, pools' conditions, and the condition of the network. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from msgspec import structs

from bgpnet import kubenode
from bgpnet.controller.actions import Action, SetNetwork, Waiting, Write
from bgpnet.controller.picture import Memory, Picture, Rules, is_alive, kubernetes_name, silence
from bgpnet.kubeobjects import NETWORK_UNAVAILABLE, NodeSeen
from bgpnet.model import instant, ip
from bgpnet.model.ippool import IPPool, IPPoolStatus
from bgpnet.model.kinds import subject
from bgpnet.model.node import Node
from bgpnet.model.resource import Condition

IS_UP, IS_DOWN = "BgpnetIsUp", "BgpnetIsDown"
ALLOCATABLE = "Allocatable"
TERMINATING = "Terminating"
"""A reason that is not ours: whoever deletes the pool says so."""


def nodes(picture: Picture) -> Iterator[Action]:
    """Nodes that do not have the labels, the addresses and the orchRef of their Kubernetes Node."""
    for name, node in picture.nodes.items() if picture.cluster else ():
        seen = counterpart(picture, node)
        if seen is not None and (wanted := kubenode.like(node, seen)) != node:
            changed = ", ".join(_differences(node, wanted))
            yield Write(wanted, "write", f"Kubernetes Node {seen.name} has other {changed}", name)


def counterpart(picture: Picture, node: Node) -> NodeSeen | None:
    """The Kubernetes Node of a Node, by its orchRef or else by its name."""
    seen = picture.cluster.nodes if picture.cluster else {}
    return seen.get(kubernetes_name(node) or node.metadata.name)


def _differences(old: Node, new: Node) -> Iterator[str]:
    if old.metadata.labels != new.metadata.labels or old.metadata.annotations != new.metadata.annotations:
        yield "labels"
    if old.spec.addresses != new.spec.addresses:
        yield "addresses"
    if old.spec.orchRefs != new.spec.orchRefs:
        yield "orchRefs"


def pools(picture: Picture) -> Iterator[Action]:
    """Pools whose condition Allocatable is not as it should be."""
    older: list[IPPool] = []
    for pool in sorted(picture.pools.values(), key=lambda one: (one.metadata.creationTimestamp, one.metadata.name)):
        there = pool.status.conditions if pool.status else ()
        before = next((one for one in there if one.type == ALLOCATABLE), None)
        now = _allocatable(pool, older, before, picture.now)
        older.append(pool)
        if now != before:
            status = IPPoolStatus(conditions=(*(one for one in there if one.type != ALLOCATABLE), now))
            said = f"{now.status}: {now.reason}" + (f" ({now.message})" if now.message else "")
            yield Write(structs.replace(pool, status=status), "set Allocatable in", said)


def _allocatable(pool: IPPool, older: list[IPPool], before: Condition | None, now: float) -> Condition:
    """The condition; the same one when nothing but its time would change, or when its reason is somebody else's."""
    if before is not None and before.status == "False" and before.reason == TERMINATING:
        return before
    reason, message = _why_not(pool, older)
    status = "True" if reason == "OK" else "False"
    at = before.lastTransitionTime if before is not None and before.status == status else instant.stamp(now)
    return Condition(type=ALLOCATABLE, status=status, reason=reason, message=message, lastTransitionTime=at)


def _why_not(pool: IPPool, older: list[IPPool]) -> tuple[str, str]:
    """Reason and message (source: Calico's ippool controller). Pools whose blocks are of one size share them, as a
    split leaves them for a moment: that harms nobody.
    """
    if pool.spec.disabled:
        return "PoolDisabled", "spec.disabled is true"
    for other in older:
        meet = ip.contains(other.network, pool.network) or ip.contains(pool.network, other.network)
        if meet and other.block_size != pool.block_size:
            said = f"overlaps the older {subject(other)}, {other.spec.cidr} with blocks of /{other.block_size}"
            return "CIDROverlap", f"{pool.spec.cidr} {said}: delete one of them"
    if pool.network.version == 6:
        return "FamilyNotSupported", "IPv6 is not wired yet"
    if pool.network.prefixlen > pool.block_size:
        return "SmallerThanBlock", f"{pool.spec.cidr} is smaller than a block of /{pool.block_size}"
    return "OK", ""


def network(picture: Picture, memory: Memory, rules: Rules) -> Iterator[Action | Waiting]:
    """Kubernetes Nodes whose condition NetworkUnavailable is not as our agent's life says.

    Calico's node clears it when it works and sets it when it is stopped; a node whose agent is silent cannot, so that
    both are done here. Only what we called available is called unavailable, and only while some agent is heard: where
    all are silent, it is more likely the datastore that takes no heartbeats, and pods would have nowhere to go.
    """
    heard = any(is_alive(picture, memory, rules, name) for name in picture.nodes)
    for seen, node in _heard_last(picture, memory, rules):
        if is_alive(picture, memory, rules, node.metadata.name):
            if seen.unavailable is not False:
                yield SetNetwork(seen, False, IS_UP, "the node's agent works", node)
        elif seen.unavailable is False and seen.conditions[NETWORK_UNAVAILABLE].reason == IS_UP and rules.down:
            quiet = silence(picture, memory, rules, node.metadata.name)
            shown = f"is silent for {quiet:.0f} s" if quiet < float("inf") else "has given up the node's name"
            action = SetNetwork(seen, True, IS_DOWN, f"the node's agent {shown}", node)
            yield _not_yet(picture, action, quiet, rules, heard=heard) or action


def _heard_last(picture: Picture, memory: Memory, rules: Rules) -> list[tuple[NodeSeen, Node]]:
    """Every Kubernetes Node with its Node; where several stand for it (a former name), the livelier one."""
    found: dict[str, tuple[tuple[bool, float], NodeSeen, Node]] = {}
    for name, node in picture.nodes.items() if picture.cluster else ():
        seen = counterpart(picture, node)
        if seen is None or node.ipv4 is None:
            continue
        life = is_alive(picture, memory, rules, name), -silence(picture, memory, rules, name)
        if seen.name not in found or life > found[seen.name][0]:
            found[seen.name] = life, seen, node
    return [(seen, node) for _, seen, node in found.values()]


def _not_yet(picture: Picture, action: SetNetwork, quiet: float, rules: Rules, *, heard: bool) -> Waiting | None:
    """Why a network is not called unavailable now, and until when."""
    why, due = "", None
    if rules.at_once:  # nobody has watched: this machine's clock may differ from the nodes'
        why = f"{action.why} by this machine's clock: a controller that keeps running has to see it"
    elif not heard:
        why = f"{action.why}, as all others are: see that the datastore takes what agents write"
    elif quiet < rules.down:
        why, due = "silent agent", picture.clock + rules.down - quiet
    return Waiting(action.what, action.object, action.node, why, due) if why else None


def next_look(picture: Picture, memory: Memory, rules: Rules) -> list[float]:
    """When the first of the agents that live now would have been silent for long: silence makes no news."""
    if picture.cluster is None or not rules.down:
        return []
    alive = (name for name in picture.nodes if is_alive(picture, memory, rules, name))
    left = (rules.down - silence(picture, memory, rules, name) for name in alive)
    return [picture.clock + max(min(left, default=rules.down), 1.0)]
