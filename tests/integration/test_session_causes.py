"""Why sessions are not up, each cause with a real peer: in `node status`, the node's status object and the metrics."""

from __future__ import annotations

import json
import os
import re
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from agent_parts import Process
from agents import Cluster, Machine, cluster, eventually
from outside import needed

from bgpnet.bgp.causes import Cause

pytestmark = pytest.mark.root

NODE_AS, TOR_AS = 64512, 65001
PEERS = {
    "good": "192.0.2.101",
    "here": "192.0.2.102",
    "there": "192.0.2.103",
    "word": "192.0.2.104",
    "shut": "192.0.2.105",
    "same": "192.0.2.106",
    "nobody": "192.0.2.107",
    "absent": "192.0.2.108",
    "unknown": "192.0.2.109",
}
"""Peers by what is wrong: the AS that is configured here, or there; the password; switched off; the node's router id;
nobody listens; no machine has the address; the peer knows no such node."""

SAYS = {
    "good": f"local 192.0.2.101 as {TOR_AS}; neighbor 192.0.2.1 as {NODE_AS};",
    "here": f"local 192.0.2.102 as 65099; neighbor 192.0.2.1 as {NODE_AS};",
    "there": f"local 192.0.2.103 as {TOR_AS}; neighbor 192.0.2.1 as 64999;",
    "word": f'local 192.0.2.104 as {TOR_AS}; neighbor 192.0.2.1 as {NODE_AS}; password "another";',
    "shut": f"local 192.0.2.105 as {TOR_AS}; neighbor 192.0.2.1 as {NODE_AS};",
    "same": f"router id 192.0.2.1; local 192.0.2.106 as {NODE_AS}; neighbor 192.0.2.1 as {NODE_AS};",
    "unknown": f"local 192.0.2.109 as {TOR_AS}; neighbor 192.0.2.99 as {NODE_AS};",
}
"""Of a BIRD each, which has one session with an address at most."""

CONF = """
router id {address};
protocol device {{}}
protocol static own {{ ipv4; route 198.18.1.0/24 blackhole; }}
protocol bgp p {{
  {says}
  strict bind on; multihop; connect delay time 1; connect retry time 1; error wait time 1, 2; hold time 3;
  ipv4 {{ import all; export where source = RTS_STATIC; }};
}}
"""
PEER = """
---
apiVersion: bgpnet.io/v1
kind: BGPPeer
metadata: {{name: {name}}}
spec: {{peerIP: {address}, asNumber: {number}{more}}}
"""


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """One node, with a BGPPeer for each cause."""
    with cluster(tmp_path_factory.mktemp("causes"), 1, f"agcause{os.getpid()}") as made:
        secrets = made[0].root / "run/bgpnet/secrets/bgp"
        secrets.mkdir(parents=True)
        (secrets / "word").write_text("a-secret-word\n")
        more = {"word": ", password: {secretKeyRef: {name: bgp, key: word}}"}
        text = "".join(
            PEER.format(
                name=name,
                address=address,
                number=NODE_AS if name == "same" else TOR_AS,
                more=f", keepaliveTime: 1s{more.get(name, '')}",
            )
            for name, address in PEERS.items()
        )
        made[0].ctl("create", "-f", "-", stdin=text)
        yield made


class Tor:
    """One BIRD on the switch."""

    def __init__(self, made: Cluster, name: str) -> None:
        self.lab, self.control = made.lab, f"/run/{name}.ctl"
        conf = made.folder / f"{name}.bird"
        conf.write_text(CONF.format(address=PEERS[name], says=SAYS[name]))
        argv = [needed("bird", "bird2"), "-f", "-c", str(conf), "-s", self.control]
        self.process = Process(made.lab, "switch", argv, made.folder / f"{name}.log")
        self.process.start()

    def ask(self, *words: str) -> str:
        done = self.lab.exec("switch", ["birdc", "-s", self.control, *words])
        return done.stdout + done.stderr


@pytest.fixture
def tors(made: Cluster) -> Iterator[dict[str, Tor]]:
    """The BIRDs by name."""
    for name, address in PEERS.items():
        if name != "absent":
            made.lab.exec("switch", ["ip", "address", "replace", f"{address}/24", "dev", "br0"])
    found = {name: Tor(made, name) for name in SAYS}
    yield found
    for tor in found.values():
        tor.process.end(signal.SIGKILL)


def rows(machine: Machine) -> dict[str, dict[str, Any]]:
    return {one["name"]: one for one in machine.status()["peers"]}


def causes(machine: Machine) -> dict[str, str]:
    return {name: one["cause"] for name, one in rows(machine).items()}


def comes(machine: Machine, **expected: Cause) -> None:
    """Wait until these sessions have these causes."""
    wanted = {name: str(cause) for name, cause in expected.items()}
    eventually(
        lambda: {name: cause for name, cause in causes(machine).items() if name in wanted} == wanted,
        lambda: json.dumps(rows(machine), indent=1),
    )


def metrics(machine: Machine) -> list[str]:
    """What a scraper on the node reads."""
    text = machine.run("python3", "-c", SCRAPE)
    return [line for line in text.splitlines() if not line.startswith("#")]


SCRAPE = """
import urllib.request
with urllib.request.urlopen("http://127.0.0.1:9091/metrics", timeout=30) as answer:
    assert answer.headers["Content-Type"].startswith("text/plain; version=0.0.4"), answer.headers
    print(answer.read().decode())
"""


def test_each_cause_is_told_by_its_name(made: Cluster, tors: dict[str, Tor]) -> None:
    node = made[0]
    node.start()
    node.ready(peers=2)
    comes(
        node,
        good=Cause.ESTABLISHED,
        here=Cause.WRONG_AS,
        there=Cause.WRONG_AS,
        word=Cause.NO_ANSWER,
        same=Cause.ROUTER_ID,
        nobody=Cause.REFUSED,
        absent=Cause.UNREACHABLE,
        unknown=Cause.RESET,
    )
    tors["shut"].ask("disable", "p")
    comes(node, shut=Cause.PEER)
    with stopped(tors["good"].process):
        comes(node, good=Cause.HOLD)
    comes(node, good=Cause.ESTABLISHED, shut=Cause.PEER)
    differences: list[str] = []

    def agree() -> bool:
        differences[:] = _differences(node)
        return not differences

    eventually(agree, lambda: "\n".join(differences))  # the object is written a moment later, and sessions go on
    tors["good"].process.end(signal.SIGKILL)
    comes(node, good=Cause.REFUSED, here=Cause.WRONG_AS)


@contextmanager
def stopped(process: Process) -> Iterator[None]:
    """The program does nothing while the block runs; nsenter, in front of it, stops and goes on with it."""
    assert process.popen is not None
    os.kill(process.pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(process.popen.pid, signal.SIGCONT)
        os.kill(process.pid, signal.SIGCONT)


def _differences(node: Machine) -> list[str]:
    """What is not the same wherever somebody looks: cause, since when, prefixes."""
    shown = node.ctl("node", "status")
    told = json.loads(node.ctl("get", "nodestatus", "n1", "-o", "json"))["status"]["bgp"]["peersV4"]
    objects = {one["peerIP"]: one for one in told}
    series = metrics(node)
    assert "a-secret-word" not in f"{shown}{told}{series}"
    wanted = ['prefixes_refused{peer="192.0.2.101",name="good",type="global",reason="outside the pools"} 1']
    refused = objects.get("192.0.2.101", {}).get("refused")
    found = [] if refused == 1 else [f"nodestatus refuses nothing of good: {told}"]
    for name, row in rows(node).items():
        address = PEERS[name]
        if not re.search(rf"\| {re.escape(address)} .*\| {re.escape(row['info'])} ", shown):
            found.append(f"node status: {name} is not {row['info']}: {shown}")
        said = objects.get(address, {})
        if (said.get("info"), said.get("since", "")) != (row["info"], row["since"]):
            found.append(f"nodestatus: {said} is not {row}")
        label = f'{{peer="{address}",name="{name}",type="global"'
        wanted.append(f"session_up{label}}} {int(row['state'] == 'up')}")
        wanted.append(f'session_info{label},as_number="{row["asNumber"]}",cause="{row["cause"]}"}} 1')
        wanted.append(f"prefixes_received{label}}} {row['received']}")
    return found + [f"metrics: no {one}" for one in wanted if f"bgpnet_bgp_{one}" not in series]
