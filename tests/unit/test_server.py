"""The agent's socket, by itself: who hangs up, what becomes of its file, and what descriptors are for."""

from __future__ import annotations

import json
import os
import shutil
import socket
import stat
from contextlib import ExitStack
from pathlib import Path

import pytest
from descriptors import no_descriptors

from bgpnet import wire
from bgpnet.agent.events import Asked, Event
from bgpnet.agent.precedence import Precedence
from bgpnet.agent.server import READING, Connection, Server
from bgpnet.client import AgentClient
from bgpnet.errors import AgentAway, UsageError
from bgpnet.lab.wait import until


def test_who_has_said_its_last_word_still_waits_and_who_has_closed_does_not() -> None:
    ours, theirs = socket.socketpair()
    connection = Connection(ours, Precedence())
    theirs.sendall(b"what it said last")
    told = [connection.hung_up]
    theirs.shutdown(socket.SHUT_WR)
    told.append(connection.hung_up)
    theirs.close()
    told.append(connection.hung_up)
    connection.close()
    assert told == [False, False, True]


def test_a_socket_that_was_removed_is_made_anew_and_its_clients_are_served(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "run" / "agent.sock"
    served(path)
    shutil.rmtree(path.parent)
    until(lambda: answered(path), 30)
    assert stat.filemode(path.stat().st_mode) == "srw-------"
    assert stat.filemode(path.parent.stat().st_mode) == "drwx------"
    path.unlink()
    path.write_text("somebody else's")
    until(lambda: answered(path), 30)
    assert caplog.text.count(f"{path} was removed: it is made anew") == 2


def test_another_agent_that_answers_keeps_the_place_while_it_lives(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path, others = tmp_path / "agent.sock", tmp_path / "other.sock"
    served(path)
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as other:
        other.bind(str(others))
        other.listen(0)
        waiting = client(others)  # its backlog is full
        others.rename(path)
        until(lambda: "" if f"another agent answers on {path}" in caplog.text else "not yet", 30)
    waiting.close()
    until(lambda: answered(path), 30)


def served(path: Path) -> None:
    """A server that answers every question."""

    def emit(event: Event | Asked) -> None:
        assert isinstance(event, Asked)
        server.answer(event.number, 0, b"{}")

    server = Server(path, emit, look=0.05)
    server.listen()


def answered(path: Path) -> str:
    """What is wrong with the answer."""
    try:
        AgentClient(path, timeout=5).ask("status")
    except AgentAway as problem:
        return str(problem)
    return ""


@pytest.mark.parametrize(
    ("made", "path", "said"),
    [
        ("run/agent.sock/", "run/agent.sock", "run/agent.sock: Is a directory"),
        ("run", "run/agent.sock", "run: File exists"),
        ("run", "run/more/agent.sock", "run/more: Not a directory"),
        ("run/", f"run/{'long' * 30}/agent.sock", "AF_UNIX path too long"),
    ],
)
def test_a_socket_that_cannot_be_made_is_a_sentence(tmp_path: Path, made: str, path: str, said: str) -> None:
    if made.endswith("/"):
        (tmp_path / made).mkdir(parents=True)
    else:
        (tmp_path / made).write_text("")
    with pytest.raises(UsageError) as refused:
        Server(tmp_path / path, lambda event: None).listen()
    assert f"{tmp_path / path} cannot be made: {tmp_path}/" in str(refused.value)
    assert f"{said}; see to that, or choose another --run-dir" in str(refused.value)


@pytest.mark.parametrize("command", ["ADD", "DEL"])
def test_a_namespace_that_no_descriptor_is_left_for_is_refused_for_now_and_a_del_needs_none(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, command: str
) -> None:
    precedence, asked = Precedence(), list[Event | Asked]()
    server = Server(tmp_path / "agent.sock", asked.append, precedence)
    server.listen()
    call = wire.CniCall({"CNI_COMMAND": command}, b'{"cniVersion": "0.4.0"}')
    request = wire.request(wire.Kind.CNI, wire.pack_cni(call))
    with client(tmp_path / "agent.sock") as one, (tmp_path / "netns").open("w") as netns:
        one.sendall(request[:1])
        until(lambda: "" if precedence.is_anybody_there else "it has not come", 30)
        with no_descriptors():
            socket.send_fds(one, [request[1:]], [netns.fileno()])
            if command == "DEL":
                until(lambda: "" if asked else "nobody asks", 30)
                return
            answer = one.recv(4096)
    said = json.loads(answer[wire.ANSWER.size :])
    assert (wire.answer_head(answer[: wire.ANSWER.size])[1], said["code"], said["cniVersion"]) == (1, 11, "0.4.0")
    assert "raise that limit" in said["msg"]
    assert said["msg"] in caplog.text
    assert asked == []


def test_no_more_are_read_at_once_than_there_are_descriptors_for(tmp_path: Path) -> None:
    path = tmp_path / "agent.sock"
    served(path)
    with ExitStack() as stack:
        before = open_files()
        slow = [stack.enter_context(client(path)) for _ in range(READING + 50)]
        for one in slow:
            one.sendall(b"B")
        late = stack.enter_context(client(path))
        late.sendall(wire.request(wire.Kind.QUESTION, b'{"ask": "status"}'))
        theirs = before + len(slow) + 1
        until(lambda: "" if open_files() >= theirs + READING else "not all are read", 30)
        assert open_files() < theirs + READING + 25
        for one in slow:
            one.close()
        assert late.recv(4096).endswith(b"{}")


def open_files() -> int:
    """How many descriptors this process has."""
    return len(os.listdir("/proc/self/fd"))


def client(path: Path) -> socket.socket:
    """Connected; whoever asks has a deadline."""
    made = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    made.settimeout(30)
    made.connect(str(path))
    return made
