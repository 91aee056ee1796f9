"""The agent's socket, by itself: who hangs up, and what becomes of its file."""

from __future__ import annotations

import shutil
import socket
import stat
from pathlib import Path

import pytest

from bgpnet.agent.events import Asked, Event
from bgpnet.agent.precedence import Precedence
from bgpnet.agent.server import Connection, Server
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
    path = tmp_path / "agent.sock"
    served(path)
    path.unlink()
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as other:
        other.bind(str(path))
        other.listen()
        until(lambda: "" if f"another agent answers on {path}" in caplog.text else "not yet", 30)
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
