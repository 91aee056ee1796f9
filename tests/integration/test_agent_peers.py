"""Agents that speak with top-of-rack switches as BGPPeers say: AS numbers, passwords, TTL security, another port."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from subprocess import CompletedProcess

import pytest
import yaml
from agents import Cluster, Machine, cluster, eventually
from tor import Tor

from bgpnet.bgp import causes

pytestmark = pytest.mark.root

WORDS = ("the-first-word", "the-second-word")
RACK, SPINE = "192.0.2.101", "192.0.2.102"
PEERS = f"""
apiVersion: bgpnet.io/v1
kind: BGPConfiguration
metadata: {{name: default}}
spec: {{nodeToNodeMeshEnabled: false, asNumber: 64777}}
---
apiVersion: bgpnet.io/v1
kind: BGPPeer
metadata: {{name: rack}}
spec:
  nodeSelector: rack == '1'
  peerIP: {RACK}
  asNumber: 65001
  keepaliveTime: 3s
  ttlSecurity: 1
  password: {{secretKeyRef: {{name: bgp, key: rack}}}}
---
apiVersion: projectcalico.org/v3
kind: BGPPeer
metadata: {{name: spine}}
spec: {{peerIP: "{SPINE}:1790", asNumber: "1.10"}}
"""


MESH = """
apiVersion: bgpnet.io/v1
kind: BGPConfiguration
metadata: {name: default}
spec:
  nodeToNodeMeshEnabled: %s
  listenPort: 1179
  nodeMeshPassword: {secretKeyRef: {name: bgp, key: mesh}}
"""
PAIR = """
apiVersion: bgpnet.io/v1
kind: BGPPeer
metadata: {name: pair}
spec: {node: n1, peerSelector: has(second), password: {secretKeyRef: {name: bgp, key: mesh}}}
"""


@pytest.fixture
def made(tmp_path: Path) -> Iterator[Cluster]:
    """Two nodes, of which the first is in rack 1; nothing runs on them yet."""
    with cluster(tmp_path, 2, f"agpeer{os.getpid()}") as made:
        yield made


def peers(machine: Machine) -> dict[str, tuple[str, str]]:
    """By name: type and state."""
    return {peer["name"]: (peer["type"], peer["state"]) for peer in machine.status()["peers"]}


def since(machine: Machine, name: str) -> str:
    return str(next(peer["since"] for peer in machine.status()["peers"] if peer["name"] == name))


def info(machine: Machine, name: str) -> str:
    return str(next((peer["info"] for peer in machine.status()["peers"] if peer["name"] == name), ""))


def label(machine: Machine, **labels: str) -> None:
    """As an operator would, with an editor; the agent writes its Node, too, so it may take more than one attempt."""

    def bgpnetctl(*argv: str, stdin: str = "") -> CompletedProcess[str]:
        return machine.lab.exec(machine.name, [sys.executable, "-m", "bgpnet_ctl", *argv], stdin=stdin)

    def written() -> bool:
        got = bgpnetctl("get", "node", machine.name, "-o", "yaml")
        if got.returncode:
            return False  # a ready agent's Node is recorded a moment later
        node = yaml.safe_load(got.stdout)
        node["metadata"]["labels"] = labels
        return bgpnetctl("replace", "-f", "-", stdin=yaml.safe_dump(node)).returncode == 0

    eventually(written, f"{machine.name} cannot be labelled")


def secret(machine: Machine, word: str, key: str = "rack") -> None:
    """A password, put in place in one step."""
    folder = machine.root / "run/bgpnet/secrets/bgp"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / ".fresh").write_text(f"{word}\n")
    (folder / ".fresh").rename(folder / key)


def guarded(word: str) -> str:
    return f'multihop 1; ttl security on; password "{word}";'


def test_two_switches_one_of_them_guarded(made: Cluster) -> None:
    one, two = made.machines
    rack, spine = Tor(made, RACK, 65001), Tor(made, SPINE, (1 << 16) + 10, port=1790)
    try:
        _speak_with_two_switches(one, two, rack, spine)
    finally:
        rack.end()
        spine.end()


def _speak_with_two_switches(one: Machine, two: Machine, rack: Tor, spine: Tor) -> None:
    one.ctl("create", "-f", "-", stdin=PEERS)
    rack.speak(one, options=guarded(WORDS[0]), node_as=64777)
    spine.speak(one, two, node_as=64777)
    for machine in (one, two):
        machine.start()
    for machine in (one, two):
        machine.ready(peers=1)
        assert peers(machine) == {"spine": ("global", "up")}
    label(one, rack="1")
    eventually(lambda: "its password is in neither" in one.ctl("node", "status"), lambda: one.ctl("node", "status"))
    secret(one, "a-wrong-word")
    eventually(lambda: info(one, "rack") == causes.NO_ANSWER, lambda: one.status())
    secret(one, WORDS[0])
    both = {"spine": ("global", "up"), "rack": ("node specific", "up")}
    eventually(lambda: peers(one) == both, lambda: one.status())
    assert peers(two) == {"spine": ("global", "up")}

    pod = one.add("a", pod=None)
    block = f"{pod.address.rsplit('.', 1)[0]}."
    eventually(lambda: any(net.startswith(block) for net in rack.heard(one)), lambda: rack.ask("show route"))
    assert "BGP.as_path: 64777" in rack.ask("show route all protocol n1")
    assert "Hold timer" in (told := rack.ask("show protocols all n1"))
    assert "/9" in told, told

    before = (spine.since(one), since(one, "spine"), spine.since(two))
    assert all(before)
    secret(one, WORDS[1])
    eventually(lambda: not rack.since(one), lambda: rack.ask("show protocols"))
    rack.speak(one, options=guarded(WORDS[1]), node_as=64777)
    eventually(lambda: peers(one) == both, lambda: one.status())
    assert (spine.since(one), since(one, "spine"), spine.since(two)) == before

    said = one.ctl("node", "status")
    assert "| 192.0.2.101  | node specific | up " in said
    assert "| 192.0.2.102  | global        | up " in said
    everything = one.log() + one.speaker.log.read_text() + said + str(one.status()) + one.run("ps", "axww")
    assert not any(word in everything for word in WORDS)
    conf = one.root / "run/bgpnet/exabgp.conf"
    assert conf.stat().st_mode & 0o777 == 0o600

    one.ctl("delete", "bgppeer", "rack")
    eventually(lambda: peers(one) == {"spine": ("global", "up")}, lambda: one.status())
    eventually(lambda: not rack.since(one), lambda: rack.ask("show protocols"))
    rack.ask("disable n1")
    assert (spine.since(one), since(one, "spine"), spine.since(two)) == before


def test_a_guarded_mesh_of_two_as_numbers_becomes_a_peering_and_no_session_ends(made: Cluster) -> None:
    one, two = made.machines
    one.ctl("create", "-f", "-", stdin=MESH % "true")
    two.agent.env["BGPNET_AS_NUMBER"] = "65002"
    for machine in (one, two):
        secret(machine, WORDS[0], "mesh")
        machine.start()
    for machine in (one, two):
        machine.ready(peers=1)
    near, far = one.add("a"), two.add("b")
    route = f"via {two.address} dev eth1 proto bgpnet-bgp"
    eventually(lambda: any(route in line for line in one.routes()), lambda: one.routes())
    assert peers(one) == {"n2": ("node-to-node mesh", "up")}
    label(two, second="")
    before = since(one, "n2"), since(two, "n1")
    with one.ping(near, far.address) as pings:
        one.ctl("create", "-f", "-", stdin=PAIR)
        for machine in (one, two):
            eventually(lambda machine=machine: peers(machine) == {"pair": ("node specific", "up")}, machine.log)
        off = re.sub("nodeMeshPassword: .*", "logSeverityScreen: Error", MESH % "false")
        one.ctl("apply", "-f", "-", stdin=off)
        conf = one.root / "run/bgpnet/exabgp.conf"
        eventually(lambda: "exabgp_log_level=ERROR" in conf.read_text(), conf.read_text)
    assert (since(one, "pair"), since(two, "pair")) == before
    assert pings.lost == 0
