"""Two nodes and two switches (BIRDs) in another AS: filters, multipath, refusals, and what the switches are told."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from agent_parts import Process, eventually
from agents import Cluster, Machine, cluster

pytestmark = pytest.mark.root

PATIENCE = 60.0
RESOURCES = """
apiVersion: bgpnet.io/v1
kind: BGPConfiguration
metadata: {name: default}
spec:
  serviceClusterIPs: [{cidr: 10.96.0.0/16}]
  communities: [{name: pods, value: "64512:244"}]
  prefixAdvertisements: [{cidr: 10.244.0.0/16, communities: [pods, "64512:1:2"]}]
---
apiVersion: bgpnet.io/v1
kind: BGPFilter
metadata: {name: fabric}
spec:
  importV4:
    - {action: Accept, cidr: 198.18.0.0/15, matchOperator: In, prefixLength: {min: 24, max: 24}, asPathPrefix: [65001]}
    - {action: Reject, communities: {values: ["65001:666"]}}
  exportV4:
    - {action: Reject, cidr: 10.96.0.0/16, matchOperator: Equal}
    - action: Accept
      cidr: 10.244.0.0/16
      matchOperator: In
      peerType: eBGP
      operations:
        - {addCommunity: {value: "64512:7"}}
        - {prependASPath: {prefix: [64512]}}
        - {setPriority: {value: 512}}
---
apiVersion: bgpnet.io/v1
kind: BGPPeer
metadata: {name: tor1}
spec: {peerIP: 192.0.2.201, asNumber: 65001, filters: [fabric]}
---
apiVersion: bgpnet.io/v1
kind: BGPPeer
metadata: {name: tor2}
spec: {peerIP: 192.0.2.202, asNumber: 65001, filters: [fabric]}
"""
CONF = """
router id {address};
protocol device {{}}
protocol static {{
  ipv4;
  route 198.18.1.0/24 blackhole;
  route 198.18.2.0/25 blackhole;
  route 0.0.0.0/0 blackhole;
  route 10.244.200.0/26 blackhole {{ bgp_community.add((65001, 666)); }};
}}
template bgp node {{
  local {address} as 65001;
  strict bind on; connect delay time 1; connect retry time 1; error wait time 1, 2;
  ipv4 {{ import all; export where proto = "static1"; next hop self; }};
}}
{sessions}
"""


class Switch:
    """A BIRD on an address of the segment's bridge."""

    def __init__(self, made: Cluster, address: str) -> None:
        self.made, self.address = made, address
        self.control = made.folder / f"{address}.ctl"
        conf = made.folder / f"{address}.conf"
        sessions = "\n".join(
            f"protocol bgp {one.name} from node {{ neighbor {one.address} as 64512; }}" for one in made.machines
        )
        conf.write_text(CONF.format(address=address, sessions=sessions))
        program = shutil.which("bird") or "/usr/sbin/bird"
        assert Path(program).exists(), "bird is missing; run: apt-get install bird2"
        argv = [program, "-f", "-c", str(conf), "-s", str(self.control)]
        self.process = Process(made.lab, "switch", argv, made.folder / f"{address}.log")
        made.lab.exec("switch", ["ip", "address", "add", f"{address}/24", "dev", "br0"])

    def ask(self, question: str) -> str:
        """What birdc says."""
        done = self.made.lab.exec("switch", ["birdc", "-s", str(self.control), *question.split()])
        return done.stdout + done.stderr


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with cluster(tmp_path_factory.mktemp("policy"), 2, f"agpolicy{os.getpid()}") as made:
        made.start()
        made[0].add("a")
        made[1].add("b")
        yield made


@pytest.fixture(scope="module")
def switches(two: Cluster) -> Iterator[list[Switch]]:
    made = [Switch(two, address) for address in ("192.0.2.201", "192.0.2.202")]
    for one in made:
        one.process.start()
    two[0].ctl("apply", "-f", "-", stdin=RESOURCES)
    for machine in two.machines:
        machine.ready(3)
    yield made
    for one in made:
        one.process.end(signal.SIGKILL)


def way(machine: Machine, prefix: str) -> str:
    """What `ip route show` says of one prefix, in one line."""
    return " ".join(machine.run("ip", "route", "show", prefix).split())


def own(machine: Machine) -> str:
    """The node's block."""
    (block,) = machine.status()["blocks"]
    return str(block["cidr"])


def test_equal_routes_of_two_switches_are_one_route_with_two_next_hops(two: Cluster, switches: list[Switch]) -> None:
    both = (
        "198.18.1.0/24 proto bgpnet-bgp "
        "nexthop via 192.0.2.201 dev eth1 weight 1 nexthop via 192.0.2.202 dev eth1 weight 1"
    )
    for machine in two.machines:
        eventually(lambda one=machine: way(one, "198.18.1.0/24") == both, lambda one=machine: one.run("ip", "route"))


def test_what_no_rule_asks_for_is_refused_counted_and_explained(two: Cluster, switches: list[Switch]) -> None:
    machine = two[0]

    def refused() -> dict[str, Any]:
        return {peer["address"]: peer["refused"] for peer in machine.status()["peers"]}

    each = {"outside the pools": 1, "default route": 1, "filter": 1}
    wanted = {"192.0.2.201": each, "192.0.2.202": each, two[1].address: {"service addresses": 1}}
    eventually(lambda: refused() == wanted, refused, PATIENCE)
    assert [line for line in machine.routes() if re.match(r"default|198\.18\.2\.|10\.244\.200\.", line)] == []
    shown = machine.ctl("node", "status")
    assert "Not taken of what 192.0.2.201 announces: " in shown
    assert "0.0.0.0/0 from 192.0.2.201 is a default route: a BGPFilter that accepts it must say so" in shown
    said = json.loads(machine.ctl("bgp", "explain", "10.244.200.0/26", "--peer", "tor2", "-o", "json"))
    (path,) = said["import"]["paths"]
    assert (said["from"], said["import"]["learned"], path["accepted"]) == ("agent", True, False)
    assert (path["rule"]["filter"], path["rule"]["list"], path["rule"]["index"]) == ("fabric", "importV4", 1)
    other = json.loads(machine.ctl("bgp", "explain", "198.18.1.0/24", "--peer", "tor1", "--node", "n2", "-o", "json"))
    assert (other["from"], other["import"]["paths"][0]["rule"]["index"]) == ("datastore", 0)


def test_switches_are_told_own_blocks_as_the_rule_changes_them(two: Cluster, switches: list[Switch]) -> None:
    for switch in switches:
        for machine in two.machines:
            block = own(machine)
            eventually(lambda one=switch, net=block: net in one.ask("show route"), switches[0].ask("show route all"))
            said = switch.ask(f"show route {block} all")
            assert said.count("BGP.as_path") == 1  # of its owner alone
            for line in (
                "BGP.as_path: 64512 64512",
                f"BGP.next_hop: {machine.address}",
                "BGP.med: 512",
                "BGP.community: (64512,7) (64512,244)",
                "BGP.large_community: (64512, 1, 2)",
            ):
                assert line in said, said
        assert "10.96.0.0/16" not in switch.ask("show route")


def test_a_filter_that_changes_is_applied_to_what_was_learned(two: Cluster, switches: list[Switch]) -> None:
    machine = two[0]
    changed = RESOURCES.replace("cidr: 198.18.0.0/15", "cidr: 198.18.0.0/23")
    machine.ctl("apply", "-f", "-", stdin=changed.replace("min: 24, max: 24", "min: 25, max: 25"))
    eventually(lambda: way(machine, "198.18.1.0/24") == "", lambda: machine.run("ip", "route"))
    machine.ctl("apply", "-f", "-", stdin=RESOURCES)
    eventually(lambda: "nexthop" in way(machine, "198.18.1.0/24"), lambda: machine.run("ip", "route"))


def test_a_switch_that_leaves_takes_its_next_hop_and_nothing_else(two: Cluster, switches: list[Switch]) -> None:
    machine = two[0]
    with machine.monitor() as lines:
        switches[1].ask("disable all")
        one = "198.18.1.0/24 via 192.0.2.201 dev eth1 proto bgpnet-bgp"
        eventually(lambda: way(machine, "198.18.1.0/24") == one, lambda: machine.run("ip", "route"))
    assert [line for line in lines if "Deleted 198.18.1.0/24" in line] == []
