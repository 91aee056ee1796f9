"""A lab on this machine: deployed, looked into, broken, and taken down without a trace."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import textwrap
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from bgpnet.errors import UsageError
from bgpnet.lab import nodes
from bgpnet.lab.nodes import Lab
from bgpnet.lab.parse import parse

pytestmark = pytest.mark.root

PAIR = """
name: bgpnettest
topology:
  defaults:
    kind: linux
  nodes:
    n1:
      cmd: sh -c 'echo started; echo err >&2; sleep 1000'
      env: {COLOUR: blue, HOME: /elsewhere}
      sysctls: {net.ipv4.ip_forward: 1, net.ipv4.conf.all.rp_filter: 1}
      labels: {role: edge}
      binds:
        - shared:/srv/shared
        - file.txt:/etc/iproute2/no/such/folder/file.txt:ro
        - file.txt:/top-level-file
        - /own
      exec:
        - ip address add 192.0.2.1/24 dev eth1
        - echo said by exec
    n2:
      binds:
        - shared:/srv/shared
    switch:
      exec:
        - ip link add br0 type bridge
        - ip link set eth1 master br0
        - ip link set eth2 master br0
        - ip link set br0 up
  links:
    - endpoints: ["n1:eth1", "switch:eth1"]
      mtu: 1500
    - type: veth
      mtu: 1500
      endpoints:
        - {node: n2, interface: eth1, mac: "02:00:00:00:00:02", ipv4: 192.0.2.2/24, ipv6: 2001:db8::2/64}
        - {node: switch, interface: eth2}
"""


def until(true: Callable[[], bool], what: str, seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, what
        time.sleep(0.02)


def run_lab(*words: str, folder: Path, **options: object) -> subprocess.CompletedProcess[str]:
    argv = [sys.executable, "-m", "bgpnet.lab.main", *words]
    env = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}
    return subprocess.run(argv, cwd=folder, env=env, capture_output=True, text=True, timeout=120, **options)  # type: ignore[call-overload,no-any-return]  # options are run's


def traces() -> dict[str, list[str]]:
    """What a lab could leave on this machine, without what others may be doing on it at the same time."""
    netns = Path("/run/netns")
    mounts = Path("/proc/self/mountinfo").read_text().splitlines()
    processes = subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True, check=True).stdout
    links = json.loads(subprocess.run(["ip", "-j", "link"], capture_output=True, text=True, check=True).stdout)
    return {
        "links": sorted(name for link in links if re.match(r"bgpnettest|eth[1-9]|br0", name := link["ifname"])),
        "netns": sorted(name for name in os.listdir(netns) if "bgpnettest" in name) if netns.is_dir() else [],
        "mounts": [line for line in mounts if "bgpnet" in line],
        "processes": sorted(line for line in processes.splitlines() if "bgpnet-lab" in line or "sleep 1000" in line),
        "labs": [name for name in nodes.names() if name.startswith("bgpnettest")],
        "forward": [Path("/proc/sys/net/ipv4/ip_forward").read_text()],
        "rp_filter": [Path("/proc/sys/net/ipv4/conf/all/rp_filter").read_text()],
        "iproute2": sorted(os.listdir("/etc/iproute2")),
        "root": sorted(os.listdir("/")),
    }


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """A directory with the pair's topology; nothing of the lab may be left when the test is over."""
    (tmp_path / "pair.clab.yml").write_text(PAIR)
    (tmp_path / "file.txt").write_text("content\n")
    before = traces()
    yield tmp_path
    for name in nodes.names():
        if name.startswith("bgpnettest"):
            nodes.find(name).destroy()
    until(lambda: is_as_before(before, traces()), f"left behind: {before} became {traces()}")


def is_as_before(before: dict[str, list[str]], now: dict[str, list[str]]) -> bool:
    """Whether nothing came, nor went but what another test's lab had still to end."""
    ending = ("mounts", "processes")
    return all(
        Counter(now[one]) <= Counter(before[one]) if one in ending else now[one] == before[one] for one in before
    )


@pytest.fixture
def pair(folder: Path) -> Lab:
    said: list[str] = []
    lab = nodes.deploy(parse(PAIR, str(folder / "pair.clab.yml"), {}), said.append)
    assert "n1: said by exec" in said
    return lab


def output(lab: Lab, node: str, command: str) -> str:
    done = lab.exec(node, ["sh", "-c", command])
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_nodes_reach_each_other_over_the_switch(pair: Lab) -> None:
    ping = ["ping", "-c", "1", "-W", "2", "192.0.2.2"]
    until(lambda: pair.exec("n1", ping).returncode == 0, "an answer to a ping")  # the bridge's ports have to come up
    link = json.loads(output(pair, "n2", "ip -j address show dev eth1"))[0]
    assert link["address"] == "02:00:00:00:00:02"
    assert link["mtu"] == 1500
    assert {"192.0.2.2", "2001:db8::2"} <= {entry["local"] for entry in link["addr_info"]}


def test_a_node_has_its_own_name_processes_and_environment(pair: Lab) -> None:
    assert output(pair, "n1", "hostname") == "n1"
    assert output(pair, "n1", "echo $COLOUR $HOME $CLAB_LABEL_ROLE") == "blue /elsewhere edge"
    assert output(pair, "n1", "cat /proc/1/cmdline | tr '\\0' ' '").startswith("bgpnet-lab")
    assert Path(output(pair, "n1", "command -v python3")).parent == Path(sys.executable).parent
    assert len(output(pair, "n1", "ls -d /proc/[0-9]*").split()) < 12


def test_the_exit_code_and_both_streams_of_a_command_pass(pair: Lab) -> None:
    done = pair.exec("clab-bgpnettest-n1", ["sh", "-c", "cat; echo no >&2; exit 7"], stdin="given")
    assert (done.returncode, done.stdout, done.stderr) == (7, "given", "no\n")
    with pytest.raises(UsageError, match=r"took longer than 0\.2 s"):
        pair.exec("n1", ["sleep", "1000"], timeout=0.2)
    with pytest.raises(UsageError, match="lab bgpnettest has n1, n2, switch"):
        pair.exec("n9", ["true"])


def test_binds_appear_where_nothing_was_and_only_in_the_node(pair: Lab, folder: Path) -> None:
    assert output(pair, "n1", "cat /etc/iproute2/no/such/folder/file.txt /top-level-file") == "content\ncontent"
    assert output(pair, "n1", "cat /etc/iproute2/rt_tables | wc -l") != "0"
    assert pair.exec("n1", ["sh", "-c", "echo x > /etc/iproute2/no/such/folder/file.txt"]).returncode != 0
    output(pair, "n1", "echo shared > /srv/shared/note; echo mine > /own/note")
    assert output(pair, "n2", "cat /srv/shared/note") == "shared"
    assert (folder / "shared" / "note").read_text() == "shared\n"
    assert not Path("/etc/iproute2/no").exists()
    assert not Path("/top-level-file").exists()
    assert not Path("/own").exists()


def test_what_a_node_writes_stays_with_the_node(pair: Lab) -> None:
    name = f"bgpnettest-{os.getpid()}"
    output(pair, "n1", f"echo x > /etc/{name} && echo x > /run/{name} && echo x > /var/lib/bgpnet/x")
    assert output(pair, "n2", f"ls /run /var/lib/bgpnet; ls /etc | grep -c {name} || true").split()[-1] == "0"
    assert not Path("/etc", name).exists()
    assert not Path("/run", name).exists()


def test_sysctls_are_the_nodes_alone(pair: Lab) -> None:
    assert output(pair, "n1", "cat /proc/sys/net/ipv4/ip_forward /proc/sys/net/ipv4/conf/all/rp_filter") == "1\n1"
    assert output(pair, "n2", "cat /proc/sys/net/ipv4/ip_forward") == "0"


def test_the_main_process_logs_and_ip_netns_finds_the_node(pair: Lab) -> None:
    log = Path(pair.nodes["n1"].log)
    until(lambda: log.read_text().splitlines() == ["started", "err"], "the log of cmd")
    done = subprocess.run(
        ["ip", "netns", "exec", "clab-bgpnettest-n1", "ip", "-br", "address"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert "192.0.2.1/24" in done.stdout


def test_a_node_outlives_its_command(pair: Lab) -> None:
    until(lambda: pair.exec("n1", ["pgrep", "-fx", "sleep 1000"]).returncode == 0, "the command of n1")
    output(pair, "n1", "kill -9 $(pgrep -fx 'sleep 1000')")
    log = Path(pair.nodes["n1"].log)
    until(lambda: "the command of n1 ended with status" in log.read_text(), "the end of cmd in the log")
    assert pair.nodes["n1"].running


def test_a_second_deploy_is_refused_and_changes_nothing(pair: Lab, folder: Path) -> None:
    done = run_lab("deploy", folder=folder)
    assert done.returncode == 1
    assert done.stderr == (
        "bgpnet lab: lab bgpnettest is already deployed: destroy it first, or deploy with --reconfigure\n"
    )
    assert pair.nodes["n1"].running
    assert run_lab("deploy", "--reconfigure", folder=folder).returncode == 0
    assert not pair.nodes["n1"].running


def test_the_commands_of_containerlab(pair: Lab, folder: Path) -> None:
    shown = json.loads(run_lab("inspect", "-t", "pair.clab.yml", "-f", "json", folder=folder).stdout)
    assert [(node["name"], node["state"]) for node in shown["bgpnettest"]] == [
        ("clab-bgpnettest-n1", "running"),
        ("clab-bgpnettest-n2", "running"),
        ("clab-bgpnettest-switch", "running"),
    ]
    assert "clab-bgpnettest-n2" in run_lab("inspect", "--name", "bgpnettest", folder=folder).stdout
    label = ["--label", "clab-node-name=n2"]
    done = run_lab("exec", "-t", "pair.clab.yml", *label, "--cmd", "hostname", folder=folder)
    assert (done.returncode, done.stdout) == (0, "n2\n")
    done = run_lab("exec", "--label", "role=edge", "--cmd", "sh -c 'echo $COLOUR'", "-f", "json", folder=folder)
    assert json.loads(done.stdout)["clab-bgpnettest-n1"]["stdout"] == "blue\n"
    assert run_lab("exec", "--label", "role=none", "--cmd", "true", folder=folder).returncode == 1


@pytest.mark.parametrize("between", [[], ["--"]])
def test_the_short_exec(pair: Lab, folder: Path, between: list[str]) -> None:
    done = run_lab("exec", "n1", *between, "sh", "-c", "hostname; cat; exit 5", folder=folder, input="typed")
    assert (done.returncode, done.stdout) == (5, "n1\ntyped")


def test_a_command_ends_with_the_one_who_ran_it(pair: Lab, folder: Path) -> None:
    argv = [sys.executable, "-m", "bgpnet.lab.main", "exec", "n2", "sleep", "1000"]
    env = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}

    def sleeps() -> bool:
        return pair.exec("n2", ["pgrep", "-fx", "sleep 1000"]).returncode == 0

    with subprocess.Popen(argv, cwd=folder, env=env) as process:
        until(sleeps, "the command in the node")
        process.terminate()
        assert process.wait(60) == -signal.SIGTERM
    until(lambda: not sleeps(), "the end of the command in the node")


def test_ctrl_c_is_the_commands_to_handle(pair: Lab, folder: Path) -> None:
    script = "trap 'echo handled; exit 9' INT; echo ready; while :; do sleep 0.05; done"
    argv = [sys.executable, "-m", "bgpnet.lab.main", "exec", "n2", "sh", "-c", script]
    env = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}
    with subprocess.Popen(
        argv, cwd=folder, env=env, stdout=subprocess.PIPE, text=True, start_new_session=True
    ) as process:
        assert process.stdout
        assert process.stdout.readline() == "ready\n"
        os.killpg(process.pid, signal.SIGINT)
        assert process.communicate(timeout=60)[0] == "handled\n"
        assert process.returncode == 9


def test_destroy_by_name_leaves_nothing(pair: Lab, folder: Path) -> None:
    assert run_lab("destroy", "--name", "bgpnettest", folder=folder).stdout == "lab bgpnettest: destroyed\n"
    assert not (folder / "shared").exists()
    assert run_lab("destroy", "--name", "bgpnettest", folder=folder).returncode == 1


def test_a_bind_source_that_was_there_stays(folder: Path) -> None:
    (folder / "shared").mkdir()
    lab = nodes.deploy(parse(PAIR, str(folder / "pair.clab.yml"), {}), lambda text: None)
    lab.destroy()
    assert (folder / "shared").is_dir()


HALF = {
    "an exec line that fails": ("exec: [sh -c 'exit 3']", "exec \"sh -c 'exit 3'\" ended with status 3"),
    "a sysctl there is none of": (
        "sysctls: {net.ipv4.conf.no.such: 1}",
        "sysctl net.ipv4.conf.no.such = 1: No such file",
    ),
    "a directory over a file": (
        "binds: ['/etc:/etc/hostname']",
        "/etc/hostname is a file and a directory cannot be bound",
    ),
    "a bridge that is not there": (
        "kind: bridge",
        "no bridge of that name on this machine, make it first: ip link add",
    ),
}


@pytest.mark.parametrize("case", HALF)
def test_what_fails_half_way_is_undone(folder: Path, case: str) -> None:
    line, expected = HALF[case]
    text = textwrap.dedent(PAIR) + "    - endpoints: ['n1:eth7', 'n2:eth7']\n"
    text = text.replace("    n2:\n", f"    n3:\n      {line}\n    n2:\n")
    with pytest.raises(UsageError) as caught:
        nodes.deploy(parse(text, str(folder / "pair.clab.yml"), {}), lambda said: None)
    assert str(caught.value).startswith("node n3: ")
    assert expected in str(caught.value)
    assert "bgpnettest" not in nodes.names()
    assert not (folder / "shared").exists()


def test_a_bridge_of_this_machine(folder: Path) -> None:
    text = "name: bgpnettest2\ntopology:\n  nodes:\n    bgpnettestbr: {kind: bridge}\n    n1: {kind: linux}\n"
    text += "  links:\n    - endpoints: ['n1:eth1', 'bgpnettestbr:bgpnettest1']\n"
    subprocess.run(["ip", "link", "add", "bgpnettestbr", "type", "bridge"], check=True)
    try:
        lab = nodes.deploy(parse(text, str(folder / "b.clab.yml"), {}), lambda said: None)
        assert Path("/sys/class/net/bgpnettestbr/brif/bgpnettest1").exists()
        lab.destroy()
        assert not Path("/sys/class/net/bgpnettest1").exists()
    finally:
        subprocess.run(["ip", "link", "del", "bgpnettestbr"], check=True)


@pytest.mark.parametrize("delay", [0.0, 0.03, 0.06, 0.1, 0.2])
def test_a_deploy_that_was_killed_can_be_destroyed(folder: Path, delay: float) -> None:
    """Killed by -9 at several instants after its first trace appears: destroy brings everything back to before."""
    text = PAIR.replace("- echo said by exec", "- sleep 1000")
    (folder / "pair.clab.yml").write_text(text)
    env = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}
    argv = [sys.executable, "-m", "bgpnet.lab.main", "deploy"]
    with subprocess.Popen(argv, cwd=folder, env=env, stdout=subprocess.DEVNULL) as process:
        until(lambda: "bgpnettest" in nodes.names(), "the deploy's first trace")
        until_time = time.monotonic() + delay
        until(lambda: time.monotonic() >= until_time, "the delay")
        process.send_signal(signal.SIGKILL)
    done = run_lab("destroy", "--name", "bgpnettest", folder=folder)
    assert (done.returncode, done.stdout, done.stderr) == (0, "lab bgpnettest: destroyed\n", "")


def test_an_interrupted_deploy_undoes_itself(folder: Path) -> None:
    (folder / "pair.clab.yml").write_text(
        PAIR.replace("- echo said by exec", "- sh -c 'touch /srv/shared/x; sleep 1000'")
    )
    env = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}
    # A shell that starts us in the background has us, and so whom we start, ignore the signal.
    argv = ["env", "--default-signal=INT", sys.executable, "-m", "bgpnet.lab.main", "deploy"]
    with subprocess.Popen(argv, cwd=folder, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        until((folder / "shared" / "x").exists, "the deploy's exec line")
        process.send_signal(signal.SIGINT)
        assert process.wait(60) != 0
    assert "bgpnettest" not in nodes.names()


def test_a_file_that_is_not_there_or_wrong(folder: Path) -> None:
    done = run_lab("deploy", "-t", "none.clab.yml", folder=folder)
    assert (done.returncode, done.stderr) == (
        1,
        "bgpnet lab: topology none.clab.yml: No such file or directory: give a file with -t\n",
    )
    (folder / "wrong.clab.yml").write_text("name: a\ntopology:\n  nodes:\n    n1: {kind: frr}\n    n2: {knid: linux}\n")
    done = run_lab("validate", "-t", "wrong.clab.yml", folder=folder)
    assert done.returncode == 1
    assert [line[:57] for line in done.stderr.splitlines()] == [
        "wrong.clab.yml: line 4, topology.nodes.n1.kind = 'frr': u",
        "wrong.clab.yml: line 5, topology.nodes.n2.knid: unknown k",
        "wrong.clab.yml: line 5, topology.nodes.n2.kind: missing: ",
    ]
    assert "choose one with -t" in run_lab("validate", folder=folder).stderr
