"""CrossSubnet on a topology with a router: the same pods, direct or tunnelled as the nodes' subnets say."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from functools import partial
from itertools import permutations
from pathlib import Path
from socket import socket

import pytest

from bgpnet.lab import nodes, parse
from bgpnet.lab.demo import UP_WITHIN, Demo, Findings
from bgpnet.lab.probe import Place, listeners, reach
from bgpnet.lab.wait import until

pytestmark = [pytest.mark.root, pytest.mark.uml, pytest.mark.timeout(900)]

ROOT = Path(__file__).parents[2]
FILE = ROOT / "containerlab/subnets.clab.yml"


def missing(demo: Demo, name: str, wanted: list[str]) -> str:
    """The first route that the node lacks, or nothing."""
    told = demo.lab.exec(name, ["ip", "route"]).stdout
    absent = [one for one in wanted if not re.search(one, told)]
    return f"{name}: no {absent[0]!r} in:\n{told}" if absent else ""


def unreached(one: Place, other: Place, listening: Mapping[str, socket]) -> str:
    """What keeps the one from reaching the other; a busy machine may be slow once."""
    found = reach(one, other, listening)
    return "" if found.ok else str(found)


def test_nodes_of_one_subnet_speak_directly_and_others_through_tunl0() -> None:
    lab = nodes.deploy(parse.parse(FILE.read_text(), str(FILE), os.environ), lambda text: None)
    try:
        demo = Demo(lab, Findings(), ROOT, lambda text: None)
        demo.come_up()
        demo.make_pods()
        block = {name: re.escape(blocks[0]) for name, blocks in demo.findings.blocks.items()}
        near, far = r"192\.0\.2\.12 dev eth1 proto bgpnet-bgp", r"192\.0\.2\.131 dev tunl0 proto bgpnet-bgp onlink"
        until(
            partial(missing, demo, "node1", [f"{block['node2']} via {near}", f"{block['node3']} via {far}"]), UP_WITHIN
        )
        back = r"192\.0\.2\.11 dev tunl0 proto bgpnet-bgp onlink"
        until(partial(missing, demo, "node3", [f"{block['node1']} via {back}"]), UP_WITHIN)
        places = [demo.place(pod) for pod in demo.findings.pods]
        with listeners(places) as listening:
            for one, other in permutations(places, 2):
                until(partial(unreached, one, other, listening), UP_WITHIN)
    finally:
        lab.destroy()
