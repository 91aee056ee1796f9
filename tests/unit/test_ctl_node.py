"""`node status` with an agent on a real socket, and `node release`."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from bgpnet import wire
from bgpnet.model import kinds
from bgpnet.model.node import Identity, Node, NodeBGP, NodeSpec, NodeStatus
from bgpnet.model.resource import Metadata
from bgpnet.store.factory import open_store
from bgpnet.store.repo import Repo
from bgpnet_ctl.main import cli
from bgpnet_ctl.status import since

Run = Callable[..., Result]
Agent = Callable[[dict[str, Any]], None]

STATUS: dict[str, Any] = {
    "node": "node1",
    "version": "9.8.7",
    "ready": True,
    "reasons": [],
    "tunnel": "10.244.0.0",
    "blocks": [{"cidr": "10.244.0.0/26", "in_use": 3, "free": 61, "state": "inUse"}],
    "pods": 2,
    "peers": [
        {
            "address": "192.0.2.2",
            "type": "node-to-node mesh",
            "state": "up",
            "since": "2020-01-01T12:00:00.000Z",
            "info": "Established",
            "received": 1,
            "advertised": 1,
            "asNumber": 64512,
        },
        {"address": "192.0.2.13", "type": "node-to-node mesh", "state": "start", "since": "", "info": "Connect"},
    ],
    "warnings": [],
    "speaker": "connected",
    "datastore": "in sync",
}


@pytest.fixture
def run(tmp_path: Path) -> Run:
    def run(*args: str, stdin: str | None = None) -> Result:
        env = {"BGPNET_DATASTORE": f"sqlite://{tmp_path}/store.db", "BGPNET_RUN_DIR": str(tmp_path)}
        return CliRunner(env=env).invoke(cli, args, input=stdin, prog_name="bgpnetctl", catch_exceptions=False)

    return run


@pytest.fixture
def agent(tmp_path: Path) -> Iterator[Agent]:
    """An agent that answers every question with the status it was given."""
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    listener.bind(str(tmp_path / "agent.sock"))
    listener.listen()
    listener.settimeout(30)
    threads: list[threading.Thread] = []

    def serve(status: dict[str, Any]) -> None:
        client, _ = listener.accept()
        with client, client.makefile("rb") as stream:
            client.settimeout(30)
            kind, length = wire.request_head(stream.read(wire.REQUEST.size))
            asked = json.loads(stream.read(length))
            ok = kind is wire.Kind.QUESTION and asked["ask"] == "status"
            client.sendall(wire.answer(0 if ok else 1, json.dumps(status).encode()))

    def start(status: dict[str, Any]) -> None:
        threads.append(threading.Thread(target=serve, args=(status,)))
        threads[-1].start()

    yield start
    for thread in threads:
        thread.join(30)
    listener.close()


def test_status_is_a_table_of_sessions(run: Run, agent: Agent) -> None:
    agent(STATUS)
    shown = run("node", "status")
    assert shown.exit_code == 0
    assert shown.stdout == (
        "bgpnet agent is running.\n"
        "\n"
        "IPv4 BGP status\n"
        "+--------------+-------------------+-------+------------+-------------+\n"
        "| PEER ADDRESS |     PEER TYPE     | STATE |   SINCE    |     INFO    |\n"
        "+--------------+-------------------+-------+------------+-------------+\n"
        "| 192.0.2.2    | node-to-node mesh | up    | 2020-01-01 | Established |\n"
        "| 192.0.2.13   | node-to-node mesh | start |            | Connect     |\n"
        "+--------------+-------------------+-------+------------+-------------+\n"
        "\n"
    )


def test_what_is_not_taken_is_counted_by_peer_and_reason(run: Run, agent: Agent) -> None:
    peer = STATUS["peers"][0] | {"refused": {"outside the pools": 2, "default route": 1}}
    agent(STATUS | {"peers": [peer]})
    assert run("node", "status").stdout.endswith(
        "+\n\nNot taken of what 192.0.2.2 announces: 2 outside the pools, 1 default route\n\n"
    )


def test_what_is_not_as_it_should_be_stands_below_the_table(run: Run, agent: Agent) -> None:
    agent(
        STATUS
        | {
            "ready": False,
            "reasons": ["there is no IPPool; create one"],
            "warnings": ["IPPool(a): spec.natOutgoing is not acted on"],
            "speaker": "away: connection refused",
            "datastore": "away: disk full",
        }
    )
    assert run("node", "status").stdout.endswith(
        "+\n"
        "\n"
        "Not ready: there is no IPPool; create one\n"
        "The BGP speaker is away: connection refused\n"
        "The datastore is away: disk full\n"
        "Warning: IPPool(a): spec.natOutgoing is not acted on\n"
        "\n"
    )


def test_no_peers_and_both_families(run: Run, agent: Agent) -> None:
    agent(STATUS | {"peers": []})
    assert "IPv4 BGP status\nNo IPv4 peers found.\n" in run("node", "status").stdout
    agent(STATUS | {"peers": [{"address": "2001:db8::2", "state": "up"}]})
    shown = run("node", "status").stdout
    assert "No IPv4 peers found.\n\nIPv6 BGP status\n+--" in shown
    assert "| 2001:db8::2  |" in shown


def test_json_is_the_agents_answer(run: Run, agent: Agent) -> None:
    agent(STATUS)
    assert json.loads(run("node", "status", "-o", "json").stdout) == STATUS
    agent(STATUS)
    assert "asNumber: 64512" in run("node", "status", "-o", "yaml").stdout


def test_an_older_and_a_newer_agent_are_understood(run: Run, agent: Agent) -> None:
    agent({"node": "n", "colour": "blue"})
    assert run("node", "status").stdout.startswith("bgpnet agent is running.\n")


def test_an_agent_that_makes_no_sense_is_one_sentence(run: Run, agent: Agent) -> None:
    agent({"peers": 7})
    odd = run("node", "status")
    assert odd.exit_code == 1
    assert odd.stderr.startswith("the agent's status cannot be read (Expected `array`")


def test_an_agent_that_is_not_there(run: Run, tmp_path: Path) -> None:
    away = run("node", "status")
    assert (away.exit_code, away.stdout) == (1, "")
    first, second = away.stderr.splitlines()
    assert first == "bgpnet agent is not running."
    assert f"{tmp_path}/agent.sock" in second


def test_version_asks_the_agent_but_does_not_need_it(run: Run, agent: Agent) -> None:
    agent(STATUS)
    assert "Agent Version:     9.8.7\n" in run("version").stdout
    alone = run("version", "--run-dir", "/nonexistent")
    assert alone.exit_code == 0
    assert alone.stdout.startswith("Client Version:    ")
    assert "Agent Version:     unknown (" in alone.stdout


def test_since_is_a_time_of_day_for_a_day() -> None:
    now = datetime(2026, 5, 2, 12, 0, tzinfo=timezone(timedelta(hours=2)))
    assert since("2026-05-02T09:59:59.500Z", now) == "11:59:59"
    assert since("2026-05-01T10:00:01Z", now) == "12:00:01"
    assert since("2026-05-01T09:59:59Z", now) == "2026-05-01"
    assert since("", now) == ""
    assert since("soon", now) == "soon"


def hold(tmp_path: Path, uuid: str) -> None:
    identity = Identity(uuid=uuid, heartbeat=datetime.now(UTC).isoformat())
    spec = NodeSpec(bgp=NodeBGP(ipv4Address="10.0.0.1/24"))
    store = open_store(f"sqlite://{tmp_path}/store.db")
    node = Node(
        metadata=Metadata(name="n1"), spec=spec, status=NodeStatus(identity=identity, podCIDRs=("10.1.0.0/24",))
    )
    Repo(store).write(node)
    store.close()


def stored(tmp_path: Path) -> Node:
    store = open_store(f"sqlite://{tmp_path}/store.db")
    node = Repo(store).get(kinds.NODE, "n1")
    store.close()
    assert isinstance(node, Node)
    return node


def test_release_clears_the_identity_and_nothing_else(run: Run, tmp_path: Path) -> None:
    hold(tmp_path, "1234-abcd")
    released = run("node", "release", "n1", "--yes")
    assert released.exit_code == 0
    assert "Node n1 is held by machine 1234-abcd, last heard of at " in released.stdout
    node = stored(tmp_path)
    assert node.status == NodeStatus(podCIDRs=("10.1.0.0/24",))
    assert node.spec.bgp == NodeBGP(ipv4Address="10.0.0.1/24")
    again = run("node", "release", "n1", "--yes")
    assert (again.exit_code, again.stdout) == (0, "Node n1 is held by no machine: there is nothing to release.\n")


def test_a_status_printed_a_while_ago_is_not_put_back(run: Run, tmp_path: Path) -> None:
    hold(tmp_path, "1234-abcd")
    printed = run("get", "node", "n1", "-o", "yaml").stdout
    assert "uuid: 1234-abcd" in printed
    assert run("node", "release", "n1", "--yes").exit_code == 0
    applied = run("apply", "-f", "-", stdin=printed.replace("10.0.0.1/24", "10.0.0.9/24"))
    assert applied.exit_code == 0
    node = stored(tmp_path)
    assert node.spec.bgp == NodeBGP(ipv4Address="10.0.0.9/24")
    assert node.status is not None
    assert node.status.identity is None


def test_release_does_not_guess_a_yes(run: Run, tmp_path: Path) -> None:
    hold(tmp_path, "1234-abcd")
    refused = run("node", "release", "n1", stdin="y\n")
    assert refused.exit_code == 2
    assert "write bgpnetctl node release n1 --yes" in refused.stderr
    status = stored(tmp_path).status
    assert status is not None
    assert status.identity is not None


def test_release_of_a_node_that_does_not_exist(run: Run, tmp_path: Path) -> None:
    open_store(f"sqlite://{tmp_path}/store.db").close()
    missing = run("node", "release", "n9", "--yes")
    assert missing.exit_code == 1
    assert missing.stderr.startswith("resource does not exist: Node(n9)")
