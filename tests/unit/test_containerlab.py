"""containerlab/*.clab.yml beside containerlab itself: its keys, its values, and what a node's image has to bring.

The real program deploys one of them in tests/integration/test_image.py where it is on PATH.
"""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any

import pytest
import yaml

from bgpnet.kernel import sysctl
from bgpnet.lab import keys
from bgpnet.lab.parse import parse
from bgpnet.lab.topology import Topology

ROOT = Path(__file__).parents[2]
OURS = sorted((ROOT / "containerlab").glob("*.clab.yml"))
KNOWN: dict[str, dict[str, Any]] = yaml.safe_load((Path(__file__).parent / "data/containerlab.yaml").read_text())

Value = str | int | float | bool | list[Any] | dict[str, Any] | None


def wrong(known: dict[str, Any], said: dict[str, Value], where: str) -> list[str]:
    """What containerlab would not take of a mapping."""
    found = [f"{where}.{key}: containerlab has no such key" for key in said if key not in known]
    for key, value in said.items():
        if key in known and value is not None and not _fits(known[key], value):
            found.append(f"{where}.{key} = {value!r}: containerlab wants {known[key]}")
    return found


def _fits(wanted: str | list[str], value: Value) -> bool:
    if isinstance(wanted, list):
        return value in wanted
    plain = isinstance(value, str | int | float | bool)
    match wanted:
        case "texts":
            unique = isinstance(value, list) and len(set(map(str, value))) == len(value) > 0
            return unique and all(isinstance(one, str) for one in value)  # type: ignore[union-attr]  # a list
        case "words":
            return isinstance(value, dict) and all(isinstance(one, str | int | float | bool) for one in value.values())
        case "number":
            return isinstance(value, int | float) and not isinstance(value, bool)
        case "text" | "flag" | "map" | "list":
            types: dict[str, type] = {"text": str, "flag": bool, "map": dict, "list": list}
            return isinstance(value, types[wanted]) and (plain or wanted in ("map", "list"))
    raise AssertionError(wanted)


def problems(text: str) -> list[str]:
    """All that containerlab would not take of a topology."""
    said = yaml.safe_load(text)
    found = wrong(KNOWN["top"], said, "")
    topology = said["topology"]
    found += wrong(KNOWN["topology"], topology, "topology")
    definitions = {"defaults": topology.get("defaults") or {}}
    for section in ("kinds", "groups", "nodes"):
        definitions |= {f"{section}.{name}": one or {} for name, one in (topology.get(section) or {}).items()}
    for where, one in definitions.items():
        found += wrong(KNOWN["node"], one, f"topology.{where}")
    for number, link in enumerate(topology.get("links", ())):
        where = f"topology.links[{number}]"
        found += wrong(KNOWN["link"], link, where)
        for end in link["endpoints"]:
            if isinstance(end, dict):
                found += wrong(KNOWN["endpoint"], end, f"{where}.endpoints")
            elif not re.fullmatch(r"\S+:\S+", end):
                found.append(f"{where}.endpoints: {end!r}")
    return found


@pytest.mark.parametrize("file", OURS, ids=lambda path: path.name)
def test_containerlab_knows_every_key_and_takes_every_value(file: Path) -> None:
    assert problems(file.read_text()) == []


def test_a_key_or_a_value_that_containerlab_does_not_take_is_found() -> None:
    text = """
        name: l
        topolgy: {}
        topology:
          defaults: {image-pull-policy: sometimes, privileged: "no"}
          nodes:
            n1: {cap_add: [NET_ADMIN], exec: ip link, env: {A: [1]}, binds: [a:/a, a:/a]}
          links:
            - {endpoints: [n1eth1, "n2:eth1"], mtu: big}
    """
    assert [one.partition(":")[0].partition(" ")[0] for one in problems(text)] == [
        ".topolgy",
        "topology.defaults.image-pull-policy",
        "topology.defaults.privileged",
        "topology.nodes.n1.cap_add",
        "topology.nodes.n1.exec",
        "topology.nodes.n1.env",
        "topology.nodes.n1.binds",
        "topology.links[0].mtu",
        "topology.links[0].endpoints",
    ]


def test_the_lab_takes_only_what_containerlab_knows() -> None:
    assert set(KNOWN["top"]) == keys.TOP_USED | keys.TOP_ACCEPTED
    assert set(KNOWN["topology"]) == keys.TOPOLOGY_USED
    assert set(KNOWN["node"]) == keys.NODE_USED | keys.NODE_ACCEPTED | keys.NODE_NOT_BUILT
    assert set(KNOWN["link"]) == keys.LINK_BRIEF_USED | keys.LINK_ACCEPTED
    assert set(KNOWN["endpoint"]) == keys.ENDPOINT_USED | keys.ENDPOINT_ACCEPTED


def nodes(file: Path) -> Topology:
    """The topology as the lab reads it."""
    return parse(file.read_text(), str(file), {})


@pytest.mark.parametrize("file", OURS, ids=lambda path: path.name)
def test_a_container_has_what_its_node_needs(file: Path) -> None:
    """Not privileged, without a network of docker's, from the image of ours; the agent can write sysctls."""
    said = yaml.safe_load(file.read_text())["topology"]["defaults"]
    assert said["privileged"] is False
    assert set(said["cap-add"]) == {"NET_ADMIN", "SYS_ADMIN", "NET_RAW"}
    assert (said["image"], said["image-pull-policy"], said["network-mode"]) == ("bgpnet:lab", "never", "none")
    for name, node in nodes(file).nodes.items():
        targets = {bind.target: bind.source for bind in node.binds}
        if "BGPNET_NODE" in node.env:
            assert targets[str(sysctl.HOSTS / "net")] == "/proc/sys/net", name
        for source in targets.values():
            assert source.startswith(("/run/bgpnet-", "/proc/sys/net")) or Path(source).exists(), (name, source)


@pytest.mark.parametrize("file", OURS, ids=lambda path: path.name)
def test_the_image_brings_every_program_of_its_nodes(file: Path) -> None:
    image = (ROOT / "Dockerfile").read_text()
    brought = set(re.findall(r"\b([a-z]+):[a-z0-9-]+", image)) | {"sh", "sleep", "bgpnet", "bgpnetctl", "ip"}
    for node in nodes(file).nodes.values():
        for argv in (list(node.process), *(shlex.split(line) for line in node.exec)):
            assert not argv or argv[0] in brought, argv
