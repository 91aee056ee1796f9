"""The image, and manifests/'s containers run from it by a real container engine.

Node n1 is as a cluster's: nothing of bgpnet is on it but containers, started with the capabilities, mounts and commands
of the DaemonSet in manifests/. Node n2 is one as in other tests.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path
from typing import Any

import container_image
import pytest
import yaml
from agents import SHARED, Cluster, Machine, cluster, eventually
from callers import cgroups_removed
from clab_docker import Containers
from cni_list import ListCaller

from bgpnet.errors import AgentAway
from bgpnet.kernel import legacy
from bgpnet.kernel.packets import PacketRules
from bgpnet.version import VERSION

pytestmark = [pytest.mark.root, pytest.mark.timeout(1500)]

IMAGE = f"bgpnet:{VERSION}"
CONFLIST = "/etc/cni/net.d/10-bgpnet.conflist"
SOCKET = "/run/docker.sock"
STATE = "/var/lib/bgpnet"
PROGRAM = "/opt/bgpnet/libexec/bgpnet/cni"
MEGABYTES = 90
"""What the image may have more than its base."""
OTHERWISE = {
    "BGPNET_DATASTORE": f"sqlite://{SHARED}/store/store.db",
    "BGPNET_KUBERNETES": "",
    "BGPNET_IP_AUTODETECTION_METHOD": "",
    "BGPNET_NODE": "n1",
    "BGPNET_IP": "192.0.2.1/24",
    "BGPNET_ADDRESS_REST": "1",
}
"""What is not as in the manifests: there is no Kubernetes here."""


@dataclass(frozen=True, slots=True)
class Built:
    """The image as an archive, and what its build said."""

    archive: Path
    said: str
    base: int
    size: int
    history: str
    config: dict[str, Any]


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Built:
    """Built as `make image` does."""
    folder = tmp_path_factory.mktemp("image")
    with container_image.alone(), container_image.building(folder) as docker:
        said = container_image.build(docker)["node"]
        docker("save", "--output", str(folder / "image.tar"), IMAGE)
        sizes = [int(docker("image", "inspect", "--format", "{{.Size}}", one)) for one in (container_image.BASE, IMAGE)]
        return Built(
            folder / "image.tar",
            said,
            sizes[0],
            sizes[1],
            docker("history", "--no-trunc", IMAGE),
            json.loads(docker("image", "inspect", IMAGE))[0]["Config"],
        )


def pod_of(file: str) -> dict[str, Any]:
    """The pod of the DaemonSet in a file of manifests/."""
    documents = yaml.safe_load_all((container_image.ROOT / "manifests" / file).read_text())
    found: dict[str, Any] = next(one["spec"]["template"]["spec"] for one in documents if one["kind"] == "DaemonSet")
    return found


class Node:
    """A node of a cluster: a docker daemon in the node of a lab, and what runs in its containers."""

    def __init__(self, machine: Machine) -> None:
        self.machine = machine
        self._pod = pod_of("bgpnet.yaml")

    def docker(self, *argv: str, check: bool = True) -> str:
        """What docker prints."""
        program = container_image.needed("docker", "docker.io")
        return self.machine.run(program, "--host", f"unix://{SOCKET}", *argv, check=check)

    def options(self, pod: dict[str, Any], container: dict[str, Any]) -> list[str]:
        """The pod's container as `docker run` has it."""
        security = container["securityContext"]
        found = ["--network", "host", "--user", str(security["runAsUser"]), "--security-opt", "no-new-privileges"]
        found += ["--read-only"] if security["readOnlyRootFilesystem"] else []
        found += [f"--cap-drop={one}" for one in security["capabilities"]["drop"]]
        found += [f"--cap-add={one}" for one in security["capabilities"].get("add", ())]
        volumes = {one["name"]: one for one in pod["volumes"]}
        for mount in container["volumeMounts"]:
            if path := volumes[mount["name"]].get("hostPath", {}).get("path"):
                how = "ro" if mount.get("readOnly") else "rw"
                how += ",rslave" if mount.get("mountPropagation") == "HostToContainer" else ""
                found += ["--volume", f"{path}:{mount['mountPath']}:{how}"]
            elif "emptyDir" in volumes[mount["name"]]:
                found += ["--tmpfs", mount["mountPath"]]
        return found

    def start(self, name: str, *more: str) -> None:
        """The container of that name, as the kubelet would start it; one that runs first has ended then."""
        every = [*self._pod["initContainers"], *self._pod["containers"]]
        container = next(one for one in every if one["name"] == name)
        said = {one["name"]: one.get("value", "") for one in container.get("env", ())}
        env = [f"--env={key}={value}" for key, value in (said | OTHERWISE).items() if value and said]
        stays = ["--detach"] if container in self._pod["containers"] else ["--rm"]
        store = ["--volume", f"{SHARED}/store:{SHARED}/store"]
        self.docker(
            "run",
            "--name",
            name,
            *stays,
            *self.options(self._pod, container),
            *store,
            *env,
            *more,
            IMAGE,
            *container["command"],
        )

    def replace(self, *names: str) -> None:
        """As a rolling update does: SIGTERM, SIGKILL after the grace, gone; then the new ones."""
        grace = str(self._pod["terminationGracePeriodSeconds"])
        self.docker("stop", "--time", grace, *names)
        self.docker("rm", *names)
        for name in names:
            self.start(name)

    def initialise(self) -> tuple[int, str]:
        """As the DaemonSet's init container: its exit code, and what it said."""
        return self._end(self._pod)

    def remove(self) -> tuple[int, str]:
        """As manifests/remove does: its exit code, and what it said."""
        return self._end(
            pod_of("remove/remove.yaml"), "--volume", f"{container_image.ROOT}/manifests/remove:/remove:ro"
        )

    def _end(self, pod: dict[str, Any], *more: str) -> tuple[int, str]:
        """The pod's init container until its end."""
        container = pod["initContainers"][0]
        program = container_image.needed("docker", "docker.io")
        argv = [program, "--host", f"unix://{SOCKET}", "run", "--rm", *self.options(pod, container), *more, IMAGE]
        done = self.machine.lab.exec(self.machine.name, [*argv, *container["command"]])
        return done.returncode, done.stdout + done.stderr

    def log(self) -> str:
        """Of both."""
        return self.docker("logs", "agent", check=False)[-5000:] + self.docker("logs", "speaker", check=False)[-2000:]

    def ready(self, peers: int = 0) -> None:
        """Wait until the agent is, with so many sessions."""

        def is_ready() -> bool:
            try:
                status = self.machine.status()
            except AgentAway:
                return False
            up = sum(peer["state"] == "up" for peer in status["peers"])
            return bool(status["ready"]) and up >= peers

        eventually(is_ready, self.log)


@contextmanager
def running(made: Cluster, image: Path, name: str) -> Iterator[Node]:
    """A daemon in node n1 with the image, and nothing else."""
    machine = made[0]
    program = container_image.needed("dockerd", "docker.io")
    # what a node of Kubernetes has: propagation of mounts
    machine.run("mount", "--make-rshared", "/")
    machine.run("touch", "/run/xtables.lock")  # FileOrCreate: docker would make a folder
    argv = [program, *container_image.ALONE, "--data-root", f"{SHARED}/docker", "--exec-root", "/run/docker-exec"]
    argv += ["--pidfile", "/run/docker.pid", "--host", f"unix://{SOCKET}", "--cgroup-parent", f"/{name}"]
    process = machine.process("dockerd", *argv)
    process.start()
    node = Node(machine)
    try:
        eventually(lambda: "Version" in node.docker("version", check=False), process.log.read_text, 180)
        argv = [container_image.needed("docker", "docker.io"), "--host", f"unix://{SOCKET}", "load", "--input"]
        loaded = machine.lab.exec(machine.name, [*argv, str(image)], timeout=container_image.SLOW)
        assert loaded.returncode == 0, loaded.stdout + loaded.stderr
        yield node
    finally:
        node.docker("rm", "--force", "agent", "speaker", check=False)
        process.end()


@pytest.fixture
def node(built: Built, tmp_path: Path) -> Iterator[tuple[Node, Machine]]:
    """n1 with a docker daemon, and n2 with agent and speaker."""
    name = f"image{os.getpid()}"
    (tmp_path / "image.tar").hardlink_to(built.archive)
    with (
        cgroups_removed(name),
        cluster(tmp_path, 2, name, rest=1.0) as made,
        running(made, Path(SHARED) / "image.tar", name) as first,
    ):
        made[1].start()
        yield first, made[1]
    subprocess.run(["rm", "-rf", str(tmp_path / "docker")], check=True, timeout=300)


def test_the_image_is_small_and_keeps_nothing_of_its_build(built: Built) -> None:
    print(built.said)
    assert built.said == f"{IMAGE}: {built.size // 1_000_000} MB"
    assert built.size - built.base < MEGABYTES * 1_000_000
    for word in ("PIP_", "ca.pem", "index-url", "/src"):
        assert word not in built.history
        assert word not in json.dumps(built.config)
    assert built.config["Labels"]["org.opencontainers.image.version"] == VERSION


def test_pods_are_wired_by_containers_without_privileges(node: tuple[Node, Machine]) -> None:
    first, other = node
    machine = first.machine
    before, found = machine.routes(), places(machine)
    machine.run("sh", "-c", "mkdir -p /opt/cni/bin && chown 1000 /opt/cni/bin")
    assert "chown root /opt/cni/bin" in first.initialise()[1]
    machine.run("chown", "0", "/opt/cni/bin")
    first.start("install-cni")
    assert "supportedVersions" in machine.run(
        "env", "CNI_COMMAND=VERSION", "/opt/cni/bin/bgpnet", stdin='{"cniVersion":"1.0.0"}'
    )
    first.start("speaker")
    first.start("agent")
    first.ready(peers=1)
    other.ready(peers=1)
    eventually(lambda: CONFLIST in machine.run("sh", "-c", "ls /etc/cni/net.d/*", check=False), first.log)

    caller = ListCaller(machine, machine.run("cat", CONFLIST), "/opt/cni/bin")
    machine.run("ip", "netns", "add", "blue")
    result = caller.add("c1", "blue", pod="blue")
    address = result["ips"][0]["address"].partition("/")[0]
    green = other.add("green")
    eventually(lambda: reaches(machine, "blue", green.address), first.log)
    eventually(lambda: reaches(other, "green", address), first.log)
    link = next(one for one in machine.cali())
    assert machine.run("cat", f"/proc/sys/net/ipv4/conf/{link}/proxy_arp").strip() == "1"
    inside(first)

    with other.ping(green, address) as pings:
        first.replace("agent", "speaker")
        first.ready(peers=1)
        first.docker("kill", "agent")
        first.docker("rm", "agent")
        first.start("agent")
        first.ready(peers=1)
    assert pings.lost == 0, first.log()
    caller.check("c1", "blue", pod="blue")
    caller.delete("c1", "blue", pod="blue")
    eventually(lambda: not machine.cali(), first.log)
    removed(first, caller, before, found)


def removed(first: Node, caller: ListCaller, before: list[str], found: str) -> None:
    """What manifests/remove leaves of bgpnet and of a pod that nobody deleted: nothing; and others' things stay."""
    machine = first.machine
    caller.add("c2", "blue", pod="blue")
    code, said = first.remove()
    assert code != 0
    assert "stop it first" in said
    assert machine.cali()
    first.docker("rm", "--force", "agent", "speaker")
    machine.run("ip", "link", "add", "cali0stranger", "type", "bridge")
    machine.run("nft", "add", "table", "inet", "bgpnet")
    tunnel_address(machine)
    legacy_rules(machine)
    code, said = first.remove()
    assert code == 0, said
    assert "bgpnet is off this node" in said
    assert machine.cali() == ["cali0stranger"]
    assert machine.routes() == before
    assert machine.run("nft", "list", "tables") == ""
    assert machine.run("ip", "-4", "address", "show", "dev", "tunl0") == ""
    left = legacy.tables(machine.run("iptables-legacy-save"))
    assert [line for lines in left.values() for line in lines if "BGPNET" in line or "-A" in line] == [STRANGERS]
    assert places(machine) == found

    tunnel_address(machine)  # the next network's, when the node boots before the DaemonSet is deleted
    code, said = first.remove()
    assert (code, said.splitlines()[-1]) == (0, "bgpnet is off this node")
    assert "10.244.9.9" in machine.run("ip", "-4", "address", "show", "dev", "tunl0")


STRANGERS = "-A FORWARD -s 198.51.100.9/32 -j ACCEPT"


def tunnel_address(machine: Machine) -> None:
    """A link of the tunnel's name with an address: this kernel need not have ipip."""
    if not reached(machine, "ip", "link", "show", "tunl0"):
        machine.run("ip", "link", "add", "tunl0", "type", "bridge")
    machine.run("ip", "address", "add", "10.244.9.9/32", "dev", "tunl0")


def legacy_rules(machine: Machine) -> None:
    """What an agent writes where docker or the kernel has iptables-legacy, beside a rule of somebody else's."""
    machine.run("iptables-legacy", *STRANGERS.split())
    machine.run("iptables-legacy", "-P", "FORWARD", "DROP")
    net, node = IPv4Network("10.244.0.0/16"), IPv4Address("192.0.2.2")
    rules = PacketRules(frozenset({net}), frozenset({net}), frozenset({node}), frozenset({"tunl0"}), nat=True)
    for script in (legacy.script(rules, {}), legacy.accept(legacy.tables(machine.run("iptables-legacy-save")))):
        machine.run("iptables-legacy-restore", "--noflush", stdin=script)
    assert machine.run("iptables-legacy-save").count("bgpnet") >= 5


def places(machine: Machine) -> str:
    """What lies where bgpnet keeps its files."""
    return machine.run(
        "sh", "-c", "mkdir -p $0 $*; ls -A $0 $*", "/opt/cni/bin", "/etc/cni/net.d", "/run/bgpnet", STATE
    )


def reached(machine: Machine, *argv: str) -> bool:
    """Whether the command ended well."""
    return machine.lab.exec(machine.name, argv).returncode == 0


def reaches(machine: Machine, netns: str, address: str) -> bool:
    """One ping."""
    return reached(machine, "ip", "netns", "exec", netns, "ping", "-n", "-c", "1", "-W", "5", address)


def inside(first: Node) -> None:
    """What the containers have and have not."""
    assert f"Client Version:    {VERSION}" in first.docker("exec", "agent", "bgpnetctl", "version")
    assert "192.0.2.2" in first.docker("exec", "agent", "bgpnetctl", "node", "status")
    assert first.docker("exec", "agent", "sh", "-c", "command -v gcc musl-gcc make pip; true") == ""
    refused = first.docker("exec", "agent", "sh", "-c", "touch /opt/bgpnet/x 2>&1 || true")
    assert "Read-only file system" in refused
    alone = ["--rm", "--network=none", "--read-only", "--user=65532:65532", "--cap-drop=ALL"]
    assert "agent" in first.docker("run", *alone, IMAGE, "bgpnet", "--help")
    assert VERSION in first.docker("run", *alone, IMAGE, "bgpnetctl", "version")
    made = first.docker(
        "run", *alone, "--env=BGPNET_DATASTORE=sqlite:////tmp/x.db", "--tmpfs=/tmp", IMAGE, "bgpnet", "init"
    )
    assert made == "created the first pool default-ipv4-ippool, 10.244.0.0/16\n"


def test_a_topology_of_containerlab(node: tuple[Node, Machine]) -> None:
    """Four nodes of which two reflect: sessions, learned routes and pods, as the lab has them."""
    first, _ = node
    first.docker("tag", IMAGE, "bgpnet:lab")
    docker = container_image.needed("docker", "docker.io")
    lab = Containers(first.machine, docker, SOCKET, container_image.ROOT / "containerlab/reflecting.clab.yml")
    print(f"deployed by {lab.by or 'docker, as containerlab would: it is not on PATH'}")
    try:
        lab.deploy()
        names = ("node1", "node3", "node4")
        addresses = {name: wired(lab, name) for name in names}
        for name in names:
            pod = f"/proc/{lab.pid(name)}/root{POD}"
            for other in names:
                ping = ["nsenter", f"--net={pod}", "ping", "-n", "-c", "1", "-W", "5", addresses[other]]
                eventually(lambda ping=ping: reached(first.machine, *ping), lambda name=name: told(lab, name))
        learned = lab.exec("node3", "ip", "route", "show", "proto", "bgpnet-bgp")
        assert re.search(r"/26 via 192\.0\.2\.1 dev eth1", learned), learned
        assert re.search(r"/26 via 192\.0\.2\.4 dev eth1", learned), learned
    finally:
        lab.destroy()


POD = "/tmp/pod"


def told(lab: Containers, name: str) -> str:
    """What the node says of itself."""
    logs = lab.docker("logs", lab.topology.nodes[name].container, check=False)
    return lab.exec(name, "sh", "-c", "bgpnetctl node status; ip route", check=False) + logs[-4000:]


def wired(lab: Containers, name: str) -> str:
    """A pod in the node, by the image's own CNI program; its address."""
    make = f"unshare --net={POD} ip link set lo up"
    lab.exec(name, "sh", "-c", f"touch {POD} && {make}")
    add = f"env CNI_COMMAND=ADD CNI_CONTAINERID={name} CNI_NETNS={POD} CNI_IFNAME=eth0 CNI_PATH=/opt/cni/bin"
    said = ""

    def done() -> bool:
        nonlocal said
        said = lab.exec(
            name,
            "sh", "-c", f"{add} {PROGRAM} || true",
            stdin='{"cniVersion": "1.0.0", "name": "bgpnet", "type": "bgpnet"}',
        )  # fmt: skip
        return '"ips"' in said

    eventually(done, lambda: said + told(lab, name))
    return str(json.loads(said)["ips"][0]["address"].partition("/")[0])


def test_without_an_engine_the_build_says_what_is_missing() -> None:
    done = subprocess.run(
        ["scripts/image"],
        env=os.environ | {"ENGINE": "no-such-engine"},
        cwd=container_image.ROOT,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 1
    assert "no container engine works here" in done.stderr
    assert "no-such-engine" in done.stderr
    assert "install podman" in done.stderr
