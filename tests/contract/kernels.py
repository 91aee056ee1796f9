"""The machines that pass the kernel's contract, each with a way to do what strangers do on it."""

from __future__ import annotations

import ctypes
import os
import re
import select
import shutil
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from importlib.resources import as_file, files
from pathlib import Path
from typing import Protocol

from bgpnet.kernel import netns, rtnl
from bgpnet.kernel.api import Kernel
from bgpnet.kernel.fake import HOST_NETNS, FakeKernel
from bgpnet.kernel.linux import LinuxKernel
from bgpnet.kernel.monitor import GROUPS
from bgpnet.kernel.netlink import Netlink
from bgpnet.kernel.state import FdbKey, NeighbourKey, Route, Vxlan, Wiring
from bgpnet.model import ip
from bgpnet.names import Alias, pod_link

UPLINK, UPLINK_ADDRESS, NEIGHBOUR = "up0", "192.0.2.1/24", "192.0.2.2"
"""Every machine has this link, up, with this address; the neighbour is in its subnet."""


class Machine(Protocol):
    """A kernel, and the strangers on it."""

    @property
    def kernel(self) -> Kernel:
        """What the contract is about."""

    def netns(self) -> int:
        """A new pod's namespace."""

    def host_netns(self) -> int:
        """The machine's own."""

    def interfaces(self, pod: int) -> set[str]:
        """What a pod's namespace has, lo left out."""

    def listing(self) -> str:
        """The main table as `ip route` prints it, without the blanks at the ends of lines."""

    def add_link(self, name: str, address: str = "") -> None:
        """A stranger's link, up; with its address it has a route to its subnet."""

    def add_vxlan(self, name: str, vxlan: Vxlan) -> None:
        """A VXLAN device that is up, over the uplink."""

    def set_mac(self, name: str, mac: str) -> None:
        """Whoever's; the link loses its neighbours."""

    def delete_link(self, name: str) -> None:
        """Whoever's."""

    def add_address(self, name: str, address: str) -> None:
        """One more."""

    def set_link(self, name: str, *, up: bool) -> None:
        """Whoever's."""

    def put_route(self, route: Route, protocol: int, table: int = 254) -> None:
        """`ip route replace`."""

    def drop_route(self, dst: ip.Network) -> None:
        """`ip route del`."""

    def drop_end(self, key: NeighbourKey | FdbKey) -> None:
        """`ip neigh del`, `bridge fdb del`."""

    def set_sysctl(self, name: str, value: str) -> None:
        """By its path below /proc/sys."""


class FakeMachine:
    """Dictionaries."""

    def __init__(self) -> None:
        self.kernel = FakeKernel()
        self._strangers = self.kernel.strangers
        self._pods = 100
        self.add_link = self._strangers.add_link
        self.add_vxlan = self._strangers.add_vxlan
        self.add_address = self._strangers.add_address
        self.set_mac = self._strangers.set_mac
        self.delete_link = self._strangers.delete_link
        self.set_link = self._strangers.set_link
        self.put_route = self._strangers.put_route
        self.drop_route = self._strangers.drop_route
        self.drop_end = self._strangers.drop_end
        self.set_sysctl = self._strangers.set_sysctl

    def netns(self) -> int:
        self._pods += 1
        return self._pods

    def host_netns(self) -> int:
        return HOST_NETNS

    def interfaces(self, pod: int) -> set[str]:
        return self.kernel.pods.get(pod, {"lo"}) - {"lo"}

    def listing(self) -> str:
        return str(self.kernel)


class LinuxMachine:
    """The running kernel, in the namespace of the calling thread; strangers are `ip`."""

    def __init__(self, closing: ExitStack) -> None:
        self._closing = closing
        ip_command("link set lo up")
        self.kernel = LinuxKernel()
        closing.callback(self.kernel.close)

    def netns(self) -> int:
        descriptor = new_netns()
        self._closing.callback(os.close, descriptor)
        return descriptor

    def host_netns(self) -> int:
        descriptor = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
        self._closing.callback(os.close, descriptor)
        return descriptor

    def interfaces(self, pod: int) -> set[str]:
        with netns.inside(pod):
            found = re.findall(r"^\d+: ([^:@]+)", ip_command("-o link show"), re.MULTILINE)
        return {name for name in found if name not in ("lo", "tunl0")}

    def listing(self) -> str:
        with as_file(files("bgpnet.kernel") / "rt_protos.conf") as conf:
            return named_routes(str(conf))

    def add_link(self, name: str, address: str = "") -> None:
        peer = f"p-{name}"[:15]
        ip_command(f"link add {name} type veth peer name {peer}")
        ip_command(f"link set {peer} up")
        ip_command(f"link set {name} up")
        if address:
            ip_command(f"addr add {address} dev {name}")

    def add_vxlan(self, name: str, vxlan: Vxlan) -> None:
        words = [word for word in ("learning", "noudpcsum", "l2miss", "proxy") if word in vxlan.others]
        words += ["nolearning"] if "learning" not in vxlan.others else []
        words += ["remote 192.0.2.77"] if "remote" in vxlan.others else []
        kind = (
            f"type vxlan id {vxlan.vni} dstport {vxlan.port} local {vxlan.local} dev {vxlan.parent} {' '.join(words)}"
        )
        ip_command(f"link add {name} address {vxlan.mac} {kind}")
        ip_command(f"link set {name} up")

    def delete_link(self, name: str) -> None:
        ip_command(f"link del {name}")

    def set_mac(self, name: str, mac: str) -> None:
        ip_command(f"link set {name} address {mac}")

    def add_address(self, name: str, address: str) -> None:
        ip_command(f"addr add {address} dev {name}")

    def set_link(self, name: str, *, up: bool) -> None:
        ip_command(f"link set {name} {'up' if up else 'down'}")

    def put_route(self, route: Route, protocol: int, table: int = 254) -> None:
        ip_command(f"route replace {route} proto {protocol} table {table}")

    def drop_route(self, dst: ip.Network) -> None:
        ip_command(f"route del {dst}")

    def drop_end(self, key: NeighbourKey | FdbKey) -> None:
        if isinstance(key, NeighbourKey):
            ip_command(f"neigh del {key.address} dev {key.dev}")
            return
        done = subprocess.run(["bridge", "fdb", "del", key.mac, "dev", key.dev], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr

    def set_sysctl(self, name: str, value: str) -> None:
        Path("/proc/sys", name).write_text(value)


def new_netns() -> int:
    """A descriptor of a new, empty network namespace; it lives as long as the descriptor."""
    made: list[int] = []

    def work() -> None:
        if ctypes.CDLL(None, use_errno=True).unshare(netns.CLONE_NEWNET) == 0:
            made.append(os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert made, "no network namespace could be made: run the tests as root"
    return made[0]


@contextmanager
def linux_machine() -> Iterator[LinuxMachine]:
    """A machine in a namespace of its own, which the calling thread and those it starts are in meanwhile."""
    descriptor = new_netns()
    with ExitStack() as closing:
        closing.callback(os.close, descriptor)
        closing.enter_context(netns.inside(descriptor))
        machine = LinuxMachine(closing)
        machine.add_link(UPLINK, UPLINK_ADDRESS)
        yield machine


@contextmanager
def fake_machine() -> Iterator[FakeMachine]:
    """The same in dictionaries."""
    machine = FakeMachine()
    machine.add_link(UPLINK, UPLINK_ADDRESS)
    yield machine


MACHINES: dict[str, Callable[[], AbstractContextManager[FakeMachine | LinuxMachine]]] = {
    "fake": fake_machine,
    "linux": linux_machine,
}
"""What passes the contract."""


def ip_command(words: str) -> str:
    """What `ip` prints; raises AssertionError with what it complains of."""
    assert shutil.which("ip"), "ip is missing: apt-get install iproute2"
    done = subprocess.run(["ip", *words.split()], capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 0, f"ip {words}: {done.stderr}"
    return done.stdout


def ping(address: str, source: str = "") -> str:
    """Whether the address answers, asked from that one of ours, and what is said if not."""
    assert shutil.which("ping"), "ping is missing: apt-get install iputils-ping"
    words = ["ping", "-c1", "-W3", *(["-I", source] if source else []), address]
    done = subprocess.run(words, capture_output=True, text=True, timeout=30, check=False)
    return "" if done.returncode == 0 else done.stdout + done.stderr


def named_routes(conf: str) -> str:
    """`ip route` with our names of protocols: their file is bound where iproute2 looks for it."""
    script = 'mount -t tmpfs none /etc/iproute2/rt_protos.d && cp "$0" /etc/iproute2/rt_protos.d/ && exec ip route'
    command = ["unshare", "--mount", "--propagation", "private", "sh", "-c", script, conf]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 0, done.stderr
    return "\n".join(line.rstrip() for line in done.stdout.splitlines())


def wiring(pod: int, number: int = 1, container: str = "c1", ifname: str = "eth0") -> Wiring:
    """Pod number N of 10.0.0.0/24: link, address and MAC follow from it."""
    return Wiring(
        link=pod_link(f"default/pod-{number}", "", "eth0"),
        ifname=ifname,
        netns=pod,
        address=ip.address(f"10.0.0.{number}"),
        mac=f"0a:58:0a:00:00:{number:02x}",
        mtu=1480,
        alias=Alias(container, ifname, "2026-01-01T00:00:00Z"),
    )


def eventually(holds: Callable[[], bool], within: float = 60.0) -> bool:
    """Whether it comes to hold before the deadline."""
    deadline = time.monotonic() + within
    while not holds():
        if time.monotonic() > deadline:
            return False
        threading.Event().wait(0.005)
    return True


@contextmanager
def heard() -> Iterator[list[rtnl.Message]]:
    """Every notification of links, addresses and routes in the calling thread's namespace meanwhile.

    The kernel tells late, up to a second, that a link which was made before has a carrier.
    """
    netlink = Netlink.open(GROUPS)
    found: list[rtnl.Message] = []
    try:
        yield found
        while select.select([netlink], [], [], 0.2)[0]:
            found += netlink.receive()
    finally:
        netlink.close()
