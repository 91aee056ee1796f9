"""ADD while thousands of blocks arrive by BGP, beside the same node at rest: a BIRD, our speaker, one agent."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from ipaddress import IPv4Network
from itertools import islice
from pathlib import Path

from benchmarks import hosts, spawn
from benchmarks.table import Row, percentile

NODE, PEER = "bench-bgp", "bench-bird"
ADDRESS, PEER_ADDRESS = "192.0.2.1", "192.0.2.2"
BLOCKS, ARRIVALS = 5000, 3
"""How many blocks arrive at once, and how often in a round."""
DEADLINE = 60.0
LOOK = 0.05
OBJECTS = f"""\
apiVersion: bgpnet.io/v1
kind: IPPool
metadata: {{name: others}}
spec: {{cidr: 10.64.0.0/12, ipipMode: Never, natOutgoing: false, disabled: true}}
---
apiVersion: bgpnet.io/v1
kind: Node
metadata: {{name: {PEER}}}
spec: {{bgp: {{ipv4Address: {PEER_ADDRESS}/24, asNumber: 64512}}}}
"""
CONF = """\
router id {peer};
protocol device {{}}
protocol static blocks {{ ipv4; {routes} }}
protocol bgp node {{
  local {peer} as 64512; neighbor {address} as 64512;
  connect delay time 1; connect retry time 1; error wait time 1, 2;
  ipv4 {{ import all; export where proto = "blocks"; next hop self; }};
}}
"""


class Neighbour:
    """The BIRD, and what the node has of it."""

    def __init__(self, folder: Path) -> None:
        self._conf, self._control = folder / "bird.conf", folder / "bird.ctl"

    @contextmanager
    def running(self) -> Iterator[None]:
        """Announcing nothing at first."""
        program = shutil.which("bird") or "/usr/sbin/bird"
        if not Path(program).exists():
            raise SystemExit("make bench has blocks arrive from a BIRD: apt-get install bird2")
        self._write(0)
        with spawn.inside(PEER):
            process = subprocess.Popen([program, "-f", "-c", str(self._conf), "-s", str(self._control)])
        try:
            self._listens()
            yield
        finally:
            process.kill()
            process.wait(10)

    def _listens(self) -> None:
        deadline = time.monotonic() + DEADLINE
        while not self._control.exists():
            if time.monotonic() > deadline:
                raise SystemExit(f"BIRD does not start with {self._conf}")
            time.sleep(LOOK)

    def announce(self, blocks: int) -> None:
        """So many blocks from now on."""
        self._write(blocks)
        deadline = time.monotonic() + DEADLINE
        command = ["birdc", "-s", str(self._control), "configure"]
        while (ran := subprocess.run(command, capture_output=True, timeout=DEADLINE, check=False)).returncode:
            if time.monotonic() > deadline:  # the socket is there a moment before BIRD listens on it
                raise SystemExit(f"BIRD does not take {self._conf}: {ran.stdout.decode()}{ran.stderr.decode()}")
            time.sleep(LOOK)

    def arrived(self) -> int:
        """How many of them the node's kernel has."""
        shown = subprocess.run(
            ["ip", "-n", NODE, "route", "show", "proto", "145"], capture_output=True, check=True, timeout=DEADLINE
        )
        return shown.stdout.count(b"\n")

    def _write(self, blocks: int) -> None:
        nets = islice(IPv4Network("10.64.0.0/12").subnets(new_prefix=26), blocks)
        routes = " ".join(f"route {net} blackhole;" for net in nets)
        self._conf.write_text(CONF.format(peer=PEER_ADDRESS, address=ADDRESS, routes=routes))


def measure(node: hosts.Host, neighbour: Neighbour, pods: Sequence[str], rounds: int) -> list[Row]:
    """Pods one by one, half of them at rest and half while the blocks arrive; then all go, pods and blocks."""
    rest: list[float] = []
    meanwhile: list[float] = []
    half = len(pods) // 2
    for _ in range(ARRIVALS * rounds):
        rest += [node.call("ADD", pod) for pod in pods[:half]]
        neighbour.announce(BLOCKS)
        looked = time.monotonic()
        added = half
        for pod in pods[half:]:
            if time.monotonic() - looked > LOOK:
                looked = time.monotonic()
                if neighbour.arrived() == BLOCKS:
                    break
            meanwhile.append(node.call("ADD", pod))
            added += 1
        wait_for(neighbour, BLOCKS)
        neighbour.announce(0)
        for pod in pods[:added]:
            node.call("DEL", pod)
        wait_for(neighbour, 0)
    at_rest = percentile(rest, 0.5)
    during = percentile(meanwhile, 0.5)
    print(f"{len(meanwhile)} pods were added while {ARRIVALS * rounds} times {BLOCKS} blocks arrived")
    return [Row(f"ADD p50 while {BLOCKS} blocks arrive by BGP", during, at_rest, "the same node at rest", "ms", 2.0)]


def wait_for(neighbour: Neighbour, blocks: int) -> None:
    """Until the node's kernel has exactly so many blocks."""
    deadline = time.monotonic() + DEADLINE
    while (there := neighbour.arrived()) != blocks:
        if time.monotonic() > deadline:
            raise SystemExit(f"the node has {there} of {blocks} learned blocks after {DEADLINE:g} s")
        time.sleep(LOOK)


def run(plugin: Sequence[str], folder: Path, pods: int, rounds: int) -> list[Row]:
    """The whole of it, in namespaces of its own."""
    node = hosts.bgpnet(NODE, plugin, folder)
    names = [f"{NODE}-{number}" for number in range(pods)]
    with ExitStack() as stack:
        stack.enter_context(spawn.namespaces([NODE, PEER, *names]))
        stack.enter_context(hosts.agent(node, names[0], folder, f"{ADDRESS}/24", OBJECTS, PEER))
        hosts.ip(PEER, f"addr add {PEER_ADDRESS}/24 dev up1", "link set up1 up")
        neighbour = Neighbour(folder)
        stack.enter_context(speaker(folder / NODE))
        stack.enter_context(neighbour.running())
        neighbour.announce(1)
        wait_for(neighbour, 1)
        neighbour.announce(0)
        wait_for(neighbour, 0)
        return measure(node, neighbour, names, rounds)


@contextmanager
def speaker(home: Path) -> Iterator[None]:
    """Our ExaBGP in the node's namespace."""
    env = os.environ | {"BGPNET_RUN_DIR": str(home / "run")}
    with spawn.inside(NODE), (home / "speaker.log").open("wb") as log:
        process = subprocess.Popen([sys.executable, "-m", "bgpnet", "speaker"], env=env, stdout=log, stderr=log)
    try:
        yield
    finally:
        process.terminate()
        process.wait(10)
