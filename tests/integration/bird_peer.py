"""A BIRD on the switch of a cluster, which the agents take for one more node of their mesh."""

from __future__ import annotations

import re
import shutil
import signal
from pathlib import Path

from agent_parts import Process, eventually
from agents import Cluster

ADDRESS = "192.0.2.100"
NODE = f"""
apiVersion: bgpnet.io/v1
kind: Node
metadata: {{name: bird}}
spec: {{bgp: {{ipv4Address: {ADDRESS}/24, asNumber: 64512}}}}
"""
CONF = """
router id {address};
protocol device {{}}
protocol static intruder {{ ipv4; {routes} }}
template bgp node {{
  local {address} as 64512;
  connect delay time 1; connect retry time 1; error wait time 1, 2;
  ipv4 {{ import all; export where proto = "intruder"; next hop self; }};
}}
{sessions}
"""
PATIENCE = 60.0


class Bird:
    """Peer `bird` of every node, its sessions named after them; it has the higher address, so it connects."""

    def __init__(self, made: Cluster) -> None:
        self.made = made
        self.conf, self.control = made.folder / "bird.conf", made.folder / "bird.ctl"
        program = shutil.which("bird") or "/usr/sbin/bird"
        assert Path(program).exists(), "bird is missing; run: apt-get install bird2"
        argv = [program, "-f", "-c", str(self.conf), "-s", str(self.control)]
        self.process = Process(made.lab, "switch", argv, made.folder / "bird.log")
        made.lab.exec("switch", ["ip", "address", "add", f"{ADDRESS}/24", "dev", "br0"])
        made[0].ctl("create", "-f", "-", stdin=NODE)

    def start(self) -> None:
        """Run it, announcing nothing."""
        self._write()
        self.process.start()
        eventually(lambda: "ready" in self.ask("show status"), self.process.log.read_text, PATIENCE)

    def announce(self, *prefixes: str) -> None:
        """These from now on, and no others."""
        self._write(*prefixes)
        said = self.ask("configure")
        assert "Reconfigur" in said, said

    def ask(self, question: str) -> str:
        """What birdc says."""
        done = self.made.lab.exec("switch", ["birdc", "-s", str(self.control), *question.split()])
        return done.stdout + done.stderr

    def heard_from(self, prefix: str) -> set[str]:
        """The nodes that announce the prefix."""
        told = self.ask(f"show route {prefix}")
        return set(re.findall(r"unicast \[(n\d+) ", told)) | set(re.findall(r"unreachable \[(n\d+) ", told))

    def hears(self, prefix: str, *nodes: str) -> None:
        """Wait until these nodes announce the prefix, and no others."""
        eventually(
            lambda: self.heard_from(prefix) == set(nodes),
            lambda: f"{prefix} is not from {nodes}: {self.ask('show route all')}",
            PATIENCE,
        )

    def end(self) -> None:
        """As the other programs of the test."""
        self.process.end(signal.SIGKILL)

    def _write(self, *prefixes: str) -> None:
        sessions = "\n".join(
            f"protocol bgp {machine.name} from node {{ neighbor {machine.address} as 64512; }}"
            for machine in self.made.machines
        )
        routes = " ".join(f"route {prefix} blackhole;" for prefix in prefixes)
        self.conf.write_text(CONF.format(address=ADDRESS, routes=routes, sessions=sessions))
