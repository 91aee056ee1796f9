"""Nodes as route reflectors in tests: made so in the datastore, and what both sides of their sessions have."""

from __future__ import annotations

import sys

import yaml
from agents import Cluster, Machine, eventually

NO_MESH = """
apiVersion: bgpnet.io/v1
kind: BGPConfiguration
metadata: {name: default}
spec: {nodeToNodeMeshEnabled: false}
---
apiVersion: bgpnet.io/v1
kind: BGPPeer
metadata: {name: reflectors}
spec: {nodeSelector: all(), peerSelector: has(reflector)}
"""


def reflect(machine: Machine, cluster_id: str) -> None:
    """Make its Node a route reflector; the agent writes the Node, too, so it may take more than one attempt."""

    def written() -> bool:
        got = machine.lab.exec(
            machine.name, [sys.executable, "-m", "bgpnet_ctl", "get", "node", machine.name, "-o", "yaml"]
        )
        if got.returncode:
            return False  # a ready agent's Node is recorded a moment later
        node = yaml.safe_load(got.stdout)
        node["metadata"]["labels"] = {"reflector": "yes"}
        node["spec"]["bgp"]["routeReflectorClusterID"] = cluster_id
        done = machine.lab.exec(
            machine.name, [sys.executable, "-m", "bgpnet_ctl", "replace", "-f", "-"], stdin=yaml.safe_dump(node)
        )
        return done.returncode == 0

    eventually(written, f"{machine.name} cannot be made a reflector")


def learned(machine: Machine) -> dict[str, str]:
    """The node's routes of BGP: prefix to next hop."""
    lines = [line.split() for line in machine.run("ip", "route", "show", "proto", "bgpnet-bgp").splitlines()]
    return {words[0]: words[words.index("via") + 1] for words in lines if "via" in words}


def blocks(made: Cluster) -> dict[str, str]:
    """The recorded blocks: prefix to the address of their node."""
    where = {machine.name: machine.address for machine in made.machines}
    return {cidr: where[block.spec.owner.name] for cidr, block in made.blocks().items() if block.spec.owner is not None}


def connected(made: Cluster) -> None:
    """Wait until every node has a route to every block of the others, and no other routes."""

    def missing() -> str:
        known = blocks(made)
        for machine in made.machines:
            wanted = {cidr: address for cidr, address in known.items() if address != machine.address}
            if (found := learned(machine)) != wanted:
                return f"{machine.name} has {found}, not {wanted}: {machine.status()['peers']}"
        return "" if len(known) >= len(made.machines) else f"only {known}"

    eventually(lambda: not missing(), missing)
