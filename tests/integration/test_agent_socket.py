"""The agent's socket in life: plugins that are killed, a socket that is removed, too many clients, notes that stay."""

from __future__ import annotations

import os
import resource
import signal
import socket
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
from agents import Machine, cluster, eventually

from bgpnet import wire
from bgpnet.agent import journal
from bgpnet.agent.answers import GIVEN_UP

pytestmark = pytest.mark.root


@contextmanager
def running(folder: Path, **more: object) -> Iterator[Machine]:
    """One node with an agent, and no speaker."""
    with cluster(folder, 1, f"agsock{os.getpid()}", **more) as made:  # type: ignore[arg-type]  # as cluster's
        made[0].agent.start()
        made[0].ready()
        yield made[0]


@pytest.fixture
def one(tmp_path: Path) -> Iterator[Machine]:
    """One node with an agent; addresses rest to the end."""
    with running(tmp_path, rest=600) as made:
        yield made


def journalled(machine: Machine) -> set[str]:
    """The containers that the journal knows."""
    contents = journal.decode((machine.state / "journal").read_bytes())
    assert contents is not None
    return {attachment.container for attachment in contents.pods}


def asking(one: Machine, name: str) -> socket.socket:
    """A client that has asked for a pod, as the plugin does, and can hang up as one that a runtime kills."""
    one.netns(name)
    env = {
        "CNI_COMMAND": "ADD",
        "CNI_CONTAINERID": f"c-{name}",
        "CNI_NETNS": f"/run/netns/{name}",
        "CNI_IFNAME": "eth0",
        "CNI_ARGS": f"K8S_POD_NAMESPACE=test;K8S_POD_NAME={name}",
    }
    call = wire.CniCall(env, b'{"cniVersion": "1.0.0", "name": "bgpnet", "type": "bgpnet"}')
    client = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    client.connect(str(one.root / "run/bgpnet/agent.sock"))
    with (one.root / "run/netns" / name).open() as netns:
        socket.send_fds(client, [wire.request(wire.Kind.CNI, wire.pack_cni(call))], [netns.fileno()])
    return client


def test_an_add_whose_plugin_was_killed_before_it_was_heard_is_not_carried_out(one: Machine) -> None:
    pod = one.add("p")
    os.kill(one.agent.pid, signal.SIGSTOP)
    asking(one, "late").close()
    one.run("ip", "netns", "del", "late")
    os.kill(one.agent.pid, signal.SIGCONT)
    eventually(lambda: f"container c-late: {GIVEN_UP}" in one.log(), one.log)
    one.delete(one.add("next"))
    assert journalled(one) == {pod.container}
    eventually(lambda: one.cali() == [pod.link], lambda: one.cali())
    eventually(lambda: one.cluster.live() == {pod.address: pod.container}, lambda: one.cluster.live())


def test_an_add_whose_plugin_was_killed_while_it_waited_gives_its_address_back(tmp_path: Path) -> None:
    with running(tmp_path, pool="10.9.0.0/28", size=30) as one:
        made, pods = one.cluster, [one.add("first")]
        with made.unwritten():
            while any(row["free"] for row in one.status()["blocks"]):
                pods.append(one.add(f"p{len(pods)}"))
            client = asking(one, "late")
            assert one.cni("STATUS", "", "", cniVersion="1.1.0").code == 0  # it was heard before
            client.close()
        eventually(lambda: f"container c-late interface eth0 (pod test/late): {GIVEN_UP}" in one.log(), one.log)
        live = {pod.address: pod.container for pod in pods}
        assert journalled(one) == set(live.values())
        eventually(lambda: made.live() == live, lambda: made.live())
        assert len(one.cali()) == len(pods)
        one.soon_added("next")


@pytest.mark.parametrize("what", ["agent.sock", ""])
def test_a_socket_that_is_removed_under_the_agent_is_made_anew(one: Machine, what: str) -> None:
    pod = one.add("p")
    one.run("rm", "-r", f"/run/bgpnet/{what}")
    answer = one.cni("DEL", pod.container, pod.name, pod=pod.name)
    assert answer.code == 0, answer.raw  # by a note, unless the socket is back by now
    one.ready()
    one.soon_added("next")
    assert "/run/bgpnet/agent.sock was removed: it is made anew" in one.log()
    assert one.run("stat", "-c", "%A %U", "/run/bgpnet", "/run/bgpnet/agent.sock").split("\n")[1] == "srw------- root"
    eventually(lambda: journalled(one) == {f"{one.name}-next"}, lambda: journalled(one))


def test_a_run_dir_that_cannot_be_used_is_a_sentence(tmp_path: Path) -> None:
    with cluster(tmp_path, 1, f"agrun{os.getpid()}") as made:
        one = made[0]
        one.run("sh", "-c", "mkdir -p /run/bgpnet && mount -t tmpfs -o ro,mode=700 none /run/bgpnet")
        one.agent.start()
        assert one.agent.wait() == 1
        said = "the agent's socket /run/bgpnet/agent.sock cannot be made: /run/bgpnet/agent.sock: Read-only file system"
        assert said in one.log()
        assert "Traceback" not in one.log()


def test_half_open_clients_neither_end_the_agent_nor_keep_plugins_away(tmp_path: Path) -> None:
    with cluster(tmp_path, 1, f"agfds{os.getpid()}") as made, ExitStack() as stack:
        one = made[0]
        one.agent = one.process("agent", "prlimit", "--nofile=100:600", sys.executable, "-m", "bgpnet", "agent")
        one.agent.start()
        one.ready()
        assert resource.prlimit(one.agent.pid, resource.RLIMIT_NOFILE) == (600, 600)
        for _ in range(700):
            client = stack.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM))
            client.connect(str(one.root / "run/bgpnet/agent.sock"))
            client.sendall(b"B")
        one.delete(one.add("p"))
        assert one.agent.running
        assert "Too many open files" not in one.log()


def test_a_note_that_cannot_be_removed_does_not_end_a_later_pod_of_the_same_container(one: Machine) -> None:
    pod, note = one.add("p"), f"/run/bgpnet/tombstones/{one.name}-p:eth0"
    one.agent.end()
    assert one.cni("DEL", pod.container, pod.name, pod=pod.name).code == 0
    one.run("mount", "--bind", note, note)  # a file that is a mount cannot be removed
    one.agent.start()
    one.ready()
    eventually(lambda: one.cali() == [], lambda: one.cali())
    eventually(lambda: f"the note of a DEL {note} cannot be removed" in one.log(), one.log)
    again = one.added("p", pod.container, one.cni("ADD", pod.container, pod.name, pod=pod.name))
    one.restart_agent()
    eventually(lambda: f"{pod.container}:eth0 in tombstones/ is the note of a DEL from before" in one.log(), one.log)
    one.add("other")
    assert again.link in one.cali()
    assert again.container in journalled(one)
    one.delete(again)
