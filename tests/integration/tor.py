"""BIRDs on the switch of a cluster, each as a top-of-rack switch in an AS of its own; a BGPPeer tells the agents."""

from __future__ import annotations

import re
import shutil
import signal
from pathlib import Path

from agent_parts import Process, eventually
from agents import Cluster, Machine
from bird_time import BirdTime

CONF = """
router id {address};
log stderr all;
protocol device {{}}
protocol static behind {{ ipv4; route {route} blackhole; }}
template bgp node {{
  local {address} port {port} as {as_number};
  strict bind on; connect delay time 1; connect retry time 1; error wait time 1, 2; graceful restart on;
  ipv4 {{ import all; export where proto = "behind"; next hop self; }};
}}
{sessions}
"""


class Tor:
    """One switch; `speak` gives it a session with some nodes, named after them."""

    def __init__(self, made: Cluster, address: str, as_number: int, *, port: int = 179, route: str = "10.99.0.0/24"):
        self.made, self.address, self.as_number, self.port, self.route = made, address, as_number, port, route
        self._conf, self._control = made.folder / f"{address}.conf", made.folder / f"{address}.ctl"
        program = shutil.which("bird") or "/usr/sbin/bird"
        assert Path(program).exists(), "bird is missing; run: apt-get install bird2"
        argv = [program, "-f", "-c", str(self._conf), "-s", str(self._control)]
        self.process = Process(made.lab, "switch", argv, made.folder / f"{address}.log")
        made.lab.exec("switch", ["ip", "address", "add", f"{address}/24", "dev", "br0"])

    def speak(self, *nodes: Machine, options: str = "multihop;", node_as: int = 64512) -> None:
        """From now on with these nodes, in that way."""
        sessions = "\n".join(
            f"protocol bgp {node.name} from node {{ neighbor {node.address} as {node_as}; {options} }}"
            for node in nodes
        )
        text = CONF.format(
            address=self.address, port=self.port, as_number=self.as_number, route=self.route, sessions=sessions
        )
        self._conf.write_text(text)
        if self.process.running:
            said = self.ask("configure")
            assert "Reconfigur" in said, said
        else:
            self.process.start()
            eventually(lambda: "ready" in self.ask("show status"), self.process.log.read_text)

    def ask(self, question: str) -> str:
        """What birdc says."""
        done = self.made.lab.exec("switch", ["birdc", "-s", str(self._control), *question.split()])
        return done.stdout + done.stderr

    def since(self, node: Machine) -> str:
        """When the session with the node came up; nothing while it is down."""
        up = rf"^{node.name} +BGP +--- +up +(\S+) +Established"
        found = re.search(up, self.ask("show protocols"), re.MULTILINE)
        return BirdTime(found[1] if found else "")

    def heard(self, node: Machine) -> set[str]:
        """The prefixes that the node announces."""
        return set(re.findall(r"^(\d\S+/\d+)", self.ask(f"show route protocol {node.name}"), re.MULTILINE))

    def end(self) -> None:
        """As the other programs of the test."""
        self.process.end(signal.SIGKILL)
