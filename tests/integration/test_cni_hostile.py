"""Both CNI programs and whoever means them harm: agents, readers, inputs, and a kernel at its limits."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest
from cni_stub import (
    OK,
    REFUSAL,
    RESULT,
    Behaviour,
    Stub,
    answering,
    compiled,
    config,
    deaf,
    endless,
    environment,
    execute,
    frozen,
    hesitating,
    refusing,
    shown,
    silent,
    sipping,
    stub,
    trickling,
)

from bgpnet import wire
from bgpnet.cni.frozen import freeze

VERSIONS = ["0.3.1", "0.4.0", "1.0.0", "1.1.0"]
HANGING = "the agent did not answer within 0.3 s; see its log, then try again"
HUNG_UP = "the agent hung up before it had answered; see its log, then try again"
STRANGER = "what answered is not a bgpnet agent of this version; name its socket, or restart it"


@pytest.fixture(scope="module", params=["c", "python"])
def plugin(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    folder = tmp_path_factory.mktemp("cni")
    return frozen(folder) if request.param == "python" else compiled(folder, "-O2", "-static")


@pytest.mark.parametrize(
    ("behave", "code", "message"),
    [
        (silent, 11, HANGING),
        (deaf, 11, HANGING),
        (sipping, 11, HANGING),
        (trickling, 11, HANGING),
        (lambda _peer, _agent: None, 11, HUNG_UP),
        (answering(b""), 11, HUNG_UP),
        (answering(b"\0\0\0"), 11, HUNG_UP),
        (answering(OK[:-1]), 11, HUNG_UP),
        (answering(b"HTTP/1.1 400 Bad Request\r\n\r\n"), 6, STRANGER),
        (answering(wire.ANSWER.pack(wire.LIMIT + 1, 0) + b" " * (wire.LIMIT + 1)), 6, STRANGER),
        (answering(wire.answer(2, b"{}")), 6, STRANGER),
        (answering(wire.answer(0, b"")), 6, STRANGER),
        (answering(wire.answer(1, b"")), 6, STRANGER),
        (answering(wire.answer(0, b"nonsense")), 6, STRANGER),
        (answering(wire.answer(1, os.urandom(wire.LIMIT))), 6, STRANGER),
        (answering(wire.answer(0, b'{"ips":[]}')), 6, STRANGER),
        (answering(wire.answer(0, b'{"cniVersion":1}')), 6, STRANGER),
        (answering(wire.answer(1, b'{"cniVersion":"1.0.0"}')), 6, STRANGER),
        (answering(wire.answer(1, b'{"cniVersion":"1.0.0","code":0,"msg":"x"}')), 6, STRANGER),
        (answering(wire.answer(1, b'{"cniVersion":"1.0.0","code":-7,"msg":"x"}')), 6, STRANGER),
        (answering(wire.answer(1, b'{"cniVersion":"1.0.0","code":1234567890,"msg":"x"}')), 6, STRANGER),
        (answering(wire.answer(1, b'{"cniVersion":"1.0.0","code":"7","msg":"x"}')), 6, STRANGER),
        (answering(wire.answer(1, b'{"cniVersion":"1.0.0","code":7,"msg":null}')), 6, STRANGER),
        (answering(wire.answer(1, b'{"code":7,"msg":"x"}')), 6, STRANGER),
    ],
    ids=["silent", "deaf", "sipping", "trickling", "closing", "nothing", "half a head", "half a body", "http", "huge",
         "status 2", "empty result", "empty error", "not json", "noise", "no version", "version 1", "no code", "code 0",
         "code -7", "code huge", "code as text", "no message", "error without version"],
)  # fmt: skip
def test_a_hostile_agent_gets_an_error_in_time(
    plugin: list[str], tmp_path: Path, behave: Behaviour, code: int, message: str
) -> None:
    seconds = 0.3 if message == HANGING else 30  # who is slow only because the machine is busy is waited for
    text = config(tmp_path / "agent.sock", timeout=seconds, filler="x" * 500_000)
    started = time.monotonic()
    with stub(tmp_path / "agent.sock", behave):
        done = execute(plugin, environment("ADD"), text)
        spent = time.monotonic() - started
    assert done.error == (code, f"socket = {shown(tmp_path / 'agent.sock')}: {message}")
    assert code == 6 or message != HANGING or spent >= 0.3
    assert spent < 20


@pytest.mark.parametrize("command", ["DEL", "CHECK", "GC", "STATUS"])
@pytest.mark.parametrize(
    ("behave", "code", "message"),
    [
        (silent, 11, HANGING),
        (deaf, 11, HANGING),
        (trickling, 11, HANGING),
        (lambda _peer, _agent: None, 11, HUNG_UP),
        (answering(OK[:-1]), 11, HUNG_UP),
        (answering(wire.answer(0, b"{}")), 6, STRANGER),
        (answering(wire.answer(1, b"")), 6, STRANGER),
        (answering(os.urandom(1 << 20)), 6, STRANGER),
    ],
    ids=["silent", "deaf", "trickling", "closing", "half a body", "no version", "empty error", "noise"],
)
def test_whatever_the_verb_a_hostile_agent_gets_an_error(
    plugin: list[str], tmp_path: Path, command: str, behave: Behaviour, code: int, message: str
) -> None:
    seconds = 0.3 if message == HANGING else 9
    text = config(tmp_path / "agent.sock", timeout=seconds, filler="x" * 500_000, cniVersion="1.1.0")
    with stub(tmp_path / "agent.sock", behave):
        done = execute(plugin, environment(command), text)
    if command == "DEL" and message == HUNG_UP:
        assert (done.code, done.out, len(notes(tmp_path))) == (0, b"", 1)
        return
    wanted = 50 if code == 11 and command == "STATUS" else code
    assert done.error == (wanted, f"socket = {shown(tmp_path / 'agent.sock')}: {message}")


def notes(folder: Path) -> list[Path]:
    there = folder / "tombstones"
    return sorted(there.iterdir()) if there.exists() else []


def test_a_del_whose_agent_ends_is_asked_again_of_its_successor(plugin: list[str], tmp_path: Path) -> None:
    """containerd deletes at once what could not be added, often from an agent that is just being killed."""

    def behave(peer: socket.socket, agent: Stub) -> None:
        agent.hear(peer)
        if len(agent.seen) > 1:
            peer.sendall(wire.answer(0, b""))

    with stub(tmp_path / "agent.sock", behave) as agent:
        done = execute(plugin, environment("DEL"), config(tmp_path / "agent.sock"))
    assert (done.code, done.out, notes(tmp_path)) == (0, b"", [])
    assert [one.call.env["CNI_COMMAND"] for one in agent.seen] == ["DEL", "DEL"]


@pytest.mark.parametrize("behave", [hesitating, endless])
def test_an_agent_that_is_odd_but_honest_is_heard(plugin: list[str], tmp_path: Path, behave: Behaviour) -> None:
    with stub(tmp_path / "agent.sock", behave):
        done = execute(plugin, environment("ADD"), config(tmp_path / "agent.sock"))
    assert (done.code, done.value, done.err) == (0, RESULT, b"")


def test_a_refusal_is_heard_although_the_request_was_not(plugin: list[str], tmp_path: Path) -> None:
    with stub(tmp_path / "agent.sock", refusing):
        done = execute(plugin, environment("ADD"), config(tmp_path / "agent.sock", filler="x" * 900_000))
    assert done.error == (11, REFUSAL["msg"])


def test_who_listens_and_never_accepts_does_not_hold_it(plugin: list[str], tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "agent.sock"))
        listener.listen(16)
        done = execute(plugin, environment("ADD"), config(tmp_path / "agent.sock", timeout=0.3))
    assert done.error == (11, f"socket = {shown(tmp_path / 'agent.sock')}: {HANGING}")


@pytest.mark.parametrize(
    ("kind", "reason"),
    [("file", "Connection refused"), ("folder", "Connection refused"), ("pipe", "Connection refused"),
     ("datagram", "Protocol wrong type for socket"), ("loop", "Too many levels of symbolic links"),
     ("under a file", "Not a directory")],
)  # fmt: skip
def test_what_is_no_agents_socket(plugin: list[str], tmp_path: Path, kind: str, reason: str) -> None:
    path = tmp_path / "agent.sock"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as datagram:
        if kind in ("file", "under a file"):
            path.write_text("")
        elif kind == "folder":
            path.mkdir()
        elif kind == "pipe":
            os.mkfifo(path)
        elif kind == "datagram":
            datagram.bind(str(path))
        elif kind == "loop":
            path.symlink_to(path)
        if kind == "under a file":
            path = path / "agent.sock"
        code, message = execute(plugin, environment("ADD"), config(path)).error
    assert (code, f"no agent answers ({reason}); start it with" in message) == (11, True), message


@pytest.mark.root
def test_a_kernel_that_does_not_take_the_request_is_not_waited_for(plugin: list[str]) -> None:
    """A user may have no more descriptors under way than open (unix(7), ETOOMANYREFS)."""
    user, limit = 64123, 24
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        place.chmod(0o777)
        program = place / "plugin"
        found = Path(plugin[-1]).read_bytes()
        program.write_bytes(freeze() if found.startswith(b"#!") else found)  # that user sees no home here
        program.chmod(0o755)
        argv = ["prlimit", f"--nofile={limit}", *plugin[:-1], str(program)]
        busy = subprocess.Popen([sys.executable, "-c", UNDER_WAY, str(2 * limit)], user=user, stdin=-1, stdout=-1)
        with busy, stub(place / "agent.sock", deaf):
            assert busy.stdout
            assert busy.stdout.readline() == b"sent\n"
            (place / "agent.sock").chmod(0o777)
            ran = subprocess.run(
                argv, env=environment("ADD"), input=config(place / "agent.sock"), capture_output=True, user=user
            )
            busy.communicate()
    said = json.loads(ran.stdout)
    assert (ran.returncode, said["code"], ran.stderr) == (1, 11, b"")
    assert "the request cannot be sent (Too many references: cannot splice); try again" in said["msg"]


UNDER_WAY = """
import socket, sys
here, there = socket.socketpair()
for _ in range(int(sys.argv[1])):
    socket.send_fds(here, [b"x"], [0])
print("sent", flush=True)
sys.stdin.read()
"""


@pytest.mark.parametrize("command", ["ADD", "DEL", "STATUS"])
def test_a_closed_output_harms_nobody(plugin: list[str], tmp_path: Path, command: str) -> None:
    text = config(tmp_path / "agent.sock", cniVersion="1.1.0")
    with stub(tmp_path / "agent.sock", answering(OK)) as agent:
        argv = ["sh", "-c", 'exec "$@" >&-', "sh", *plugin]
        ran = subprocess.run(argv, env=environment(command), input=text, stderr=-1, timeout=60)
    assert (ran.returncode in (0, 1), ran.stderr, len(agent.seen)) == (True, b"", 1)


def test_a_reader_who_does_not_read_does_not_hold_it(plugin: list[str], tmp_path: Path) -> None:
    text = config(tmp_path / "agent.sock", timeout=0.3)
    answer = wire.answer(0, json.dumps(RESULT).encode().rjust(wire.LIMIT))
    reader, writer = os.pipe()
    with open(reader, "rb"), open(writer, "wb") as out, stub(tmp_path / "agent.sock", answering(answer)):
        ran = subprocess.run(plugin, env=environment("ADD"), input=text, stdout=out, stderr=-1, timeout=60)
    assert (ran.returncode, ran.stderr) == (1, b"")


def test_an_input_that_dribbles_does_not_hold_it(plugin: list[str]) -> None:
    """VERSION waits for two seconds; nothing else can be told before the input has ended."""
    argv = ["sh", "-c", 'while printf " " 2>/dev/null; do sleep 0.05; done | "$@"', "sh", *plugin]
    ran = subprocess.run(
        argv, env={"CNI_COMMAND": "VERSION", "PATH": "/bin:/usr/bin"}, stdout=-1, stderr=-1, timeout=60
    )
    assert (ran.returncode, json.loads(ran.stdout)["supportedVersions"], ran.stderr) == (0, VERSIONS, b"")


def test_a_full_backlog_does_not_hold_it(plugin: list[str], tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listener, socket.socket(socket.AF_UNIX) as first:
        listener.bind(str(tmp_path / "agent.sock"))
        listener.listen(0)
        first.connect(str(tmp_path / "agent.sock"))
        done = execute(plugin, environment("ADD"), config(tmp_path / "agent.sock", timeout=0.3))
    assert done.error == (11, f"socket = {shown(tmp_path / 'agent.sock')}: {HANGING}")


def test_an_input_without_an_end_does_not_hold_it(plugin: list[str], tmp_path: Path) -> None:
    with subprocess.Popen(plugin, env={"CNI_COMMAND": "VERSION"}, stdin=-1, stdout=-1) as ran:
        assert ran.stdout
        assert b"supportedVersions" in ran.stdout.readline()


def test_a_del_that_is_not_answered_fails_and_leaves_no_tombstone(plugin: list[str], tmp_path: Path) -> None:
    with stub(tmp_path / "agent.sock", silent):
        done = execute(plugin, environment("DEL"), config(tmp_path / "agent.sock", timeout=0.3))
    assert done.error == (11, f"socket = {shown(tmp_path / 'agent.sock')}: {HANGING}")
    assert not (tmp_path / "tombstones").exists()


def test_a_reader_who_left_is_not_waited_for(plugin: list[str], tmp_path: Path) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    text = config(tmp_path / "agent.sock")
    answer = wire.answer(0, json.dumps(RESULT).encode().rjust(wire.LIMIT))
    with stub(tmp_path / "agent.sock", answering(answer)), open(writer, "wb") as out:
        ran = subprocess.run(plugin, env=environment("ADD"), input=text, stdout=out, stderr=-1, timeout=60)
    assert (ran.returncode, ran.stderr) == (1, b"")
