"""The conflist that an agent writes, and the plugins that are chained after ours by it."""

from __future__ import annotations

import itertools
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from agents import SHARED, Cluster, Machine, cluster, eventually, plugin
from cni_list import ListCaller

from bgpnet.cni import install
from bgpnet.cni.frozen import freeze

pytestmark = pytest.mark.root

NUMBERS = itertools.count(1)
CHAINED = Path("/usr/lib/cni")
NAME = "10-bgpnet.conflist"
BINS = f"{SHARED}/bin"

SERVER = """
import socket
with socket.create_server(("0.0.0.0", 80)) as server:
    while True:
        server.accept()[0].sendall(b"hello from the pod")
"""
CLIENT = """
import socket, sys
with socket.create_connection((sys.argv[1], int(sys.argv[2])), timeout=30) as client:
    print(client.recv(100).decode())
"""


def chained(folder: Path, *names: str) -> None:
    """Debian's plugins, put where the node's runtime looks."""
    for name in names:
        assert (CHAINED / name).is_file(), "apt-get install containernetworking-plugins"
        shutil.copy(CHAINED / name, folder / "bin" / name)


@pytest.fixture
def made(tmp_path: Path) -> Iterator[Cluster]:
    """One node whose agent is to write a conflist, and does not run yet."""
    (tmp_path / "bin").mkdir()
    install.install(plugin().read_bytes(), tmp_path / "bin")
    with cluster(tmp_path, 1, f"conflist{os.getpid()}x{next(NUMBERS)}") as one:
        one[0].agent.env |= {"BGPNET_CNI_CONF_DIR": f"{SHARED}/net.d", "BGPNET_CNI_BIN_DIR": BINS}
        yield one


def written(made: Cluster) -> Path:
    """The file, once it is there."""
    path = made.folder / "net.d" / NAME
    eventually(path.exists, lambda: made[0].log())
    return path


def untouched(path: Path) -> tuple[int, ...]:
    """What a write or a replacement would change of a file; that it was read, here for one, is no matter."""
    now = path.stat()
    return (now.st_ino, now.st_mode, now.st_uid, now.st_size, now.st_mtime_ns, now.st_ctime_ns)


def test_it_comes_with_the_first_answer_and_stays_as_it_is(made: Cluster) -> None:
    one, folder = made[0], made.folder / "net.d"
    one.agent.env["BGPNET_IP"] = "192.0.2.99"
    one.agent.start()
    eventually(lambda: "waiting for the node's address" in one.log(), one.log)
    assert not folder.exists()
    one.agent.end()
    assert not folder.exists()
    one.agent.env["BGPNET_IP"] = "192.0.2.1/24"
    one.agent.start()
    path = written(made)
    assert one.status()["node"] == "n1"
    before = untouched(path)
    assert oct(path.stat().st_mode & 0o777) == "0o644"
    assert json.loads(path.read_text())["cniVersions"] == ["1.0.0", "1.1.0"]
    one.agent.end(15)
    assert untouched(path) == before
    (folder / "05-other.conflist").write_text("{}")
    one.agent.start()
    one.ready()
    sentence = f"{SHARED}/net.d/05-other.conflist sorts before {NAME}"
    eventually(lambda: sentence in str(one.status()["warnings"]), one.log)
    eventually(lambda: sentence in one.log(), one.log)
    assert sentence in " ".join(one.ctl("node", "status").split())
    assert untouched(path) == before
    assert sorted(os.listdir(folder)) == ["05-other.conflist", NAME]


def pods_result(said: dict[str, object]) -> str:
    ips = said["ips"]
    assert isinstance(ips, list)
    return str(ips[0]["address"]).removesuffix("/32")


@pytest.mark.parametrize("twin", [False, True], ids=["C", "twin"])
def test_portmap_bandwidth_and_tuning_are_chained_after_ours(made: Cluster, twin: bool) -> None:
    one = made[0]
    chained(made.folder, "portmap", "bandwidth", "tuning")
    if twin:
        install.install(freeze(), made.folder / "bin")
    sysctl = {"net.core.somaxconn": "500"}
    one.agent.env["BGPNET_CNI_PLUGINS"] = json.dumps(
        ["portmap", "bandwidth", {"type": "tuning", "sysctl": sysctl, "mtu": 1400}]
    )
    one.agent.start()
    one.ready()
    runtime = ListCaller(one, written(made).read_text(), BINS, newest="1.1.0")
    assert runtime.version == "1.0.0"  # Debian's plugins know no newer one
    one.netns("p")
    asked = {
        "portMappings": [{"hostPort": 8080, "containerPort": 80, "protocol": "tcp"}],
        "bandwidth": {
            "ingressRate": 8_000_000,
            "ingressBurst": 8_000_000,
            "egressRate": 8_000_000,
            "egressBurst": 8_000_000,
        },
        "mac": "02:11:22:33:44:55",
    }
    result = runtime.add("c1", "p", pod="web", **asked)
    names = ["bgpnet", "portmap", "bandwidth", "tuning"]
    assert runtime.calls == [("ADD", name) for name in names]
    link, inside = result["interfaces"][:2]
    assert inside["mac"] == asked["mac"]
    assert f"link/ether {asked['mac']} " in one.run("ip", "-n", "p", "link", "show", "eth0")
    assert (link["name"][:4], inside["name"], inside["sandbox"]) == ("cali", "eth0", "/run/netns/p")
    address = pods_result(result)
    assert_served(one, address)
    assert "tbf" in one.run("tc", "qdisc", "show", "dev", link["name"])
    assert one.run("ip", "netns", "exec", "p", "cat", "/proc/sys/net/core/somaxconn").strip() == "500"
    assert "mtu 1400 " in one.run("ip", "-n", "p", "link", "show", "eth0")
    # portmap 1.1.1 looks for IPv6 rules that it does not make where the pod has no IPv6 address.
    runtime.check("c1", "p", pod="web", without="portmap", **asked)
    runtime.calls.clear()
    for _ in range(2):  # as the kubelet does
        runtime.delete("c1", "p", pod="web", **asked)
    assert runtime.calls[:4] == [("DEL", name) for name in reversed(names)]
    assert "8080" not in one.run("iptables", "-t", "nat", "-S")
    eventually(lambda: one.cali() == [], lambda: one.cali())
    eventually(lambda: made.live() == {}, lambda: made.live())


def assert_served(one: Machine, address: str) -> None:
    """The pod's own port, and the host's port that is mapped to it."""
    server = one.process("server", "ip", "netns", "exec", "p", sys.executable, "-c", SERVER)
    server.start()

    def said(host: str, port: str) -> str:
        return one.run(sys.executable, "-c", CLIENT, host, port, check=False).strip()

    try:
        eventually(lambda: said(address, "80") == "hello from the pod", server.log.read_text)
        assert said(one.address, "8080") == "hello from the pod"
    finally:
        server.end()


def test_ours_after_another_is_refused(made: Cluster) -> None:
    one = made[0]
    one.agent.start()
    one.ready()
    one.netns("p")
    previous = {"cniVersion": "1.0.0", "interfaces": [], "ips": []}
    answer = one.cni("ADD", "c1", "p", pod="p", prevResult=previous)
    assert (answer.code, answer.error) == (1, 7)
    assert "must be the first plugin of the conflist" in answer.message
    assert one.cali() == []


def test_uninstall_once_the_agent_is_stopped(made: Cluster) -> None:
    one = made[0]
    one.agent.start()
    path = written(made)
    argv = [sys.executable, "-m", "bgpnet", "cni", "install"]
    places = ["--bin-dir", BINS, "--conf-dir", f"{SHARED}/net.d"]
    done = one.lab.exec(one.name, [*argv, "--uninstall", *places])
    assert (done.returncode, path.exists()) == (1, True)
    assert "the agent listens on /run/bgpnet/agent.sock" in done.stderr
    one.agent.end()
    removed = one.run(*argv, "--uninstall", *places)
    assert removed == f"removed {SHARED}/net.d/{NAME}\nremoved {BINS}/bgpnet\n"
    assert (list(path.parent.iterdir()), list((made.folder / "bin").iterdir())) == ([], [])


@pytest.mark.parametrize("work", ["--python", "--uninstall"])
def test_a_read_only_file_system(tmp_path: Path, work: str) -> None:
    (tmp_path / "bgpnet").write_text("the old one")
    command = f"{sys.executable} -m bgpnet cni install {work} --bin-dir {tmp_path}"
    script = f"mount --bind {tmp_path} {tmp_path} && mount -o remount,ro,bind {tmp_path} && exec {command}"
    done = subprocess.run(["unshare", "-m", "sh", "-c", script], capture_output=True, text=True, timeout=60)
    remedy = "mount it writable, or name the directory where the container runtime looks for it"
    assert done.stderr == f"Error: --bin-dir {tmp_path}: Read-only file system; {remedy}\n"
    assert (done.returncode, os.listdir(tmp_path)) == (1, ["bgpnet"])


def test_a_file_system_that_executes_nothing(tmp_path: Path) -> None:
    command = f"{sys.executable} -m bgpnet cni install --python --bin-dir {tmp_path}"
    script = f"mount -t tmpfs -o noexec none {tmp_path} && {command}; ls -A {tmp_path}"
    done = subprocess.run(["unshare", "-m", "sh", "-c", script], capture_output=True, text=True, timeout=60)
    said = f"Error: the plugin may not be executed in {tmp_path}, and was not installed (Permission denied): mount that"
    assert (done.stderr.startswith(said), done.stdout) == (True, ""), done.stderr
