"""The relay between two pipes and real sockets, with the test as ExaBGP."""

from __future__ import annotations

import os
import select
import socket
import stat
import threading
from collections.abc import Iterator
from pathlib import Path
from time import monotonic

import pytest

from bgpnet.bgp.relay import Relay, listen, main

PATIENCE = 60.0


class Speaker:
    """ExaBGP's ends of the two pipes, and the relay between them in a thread."""

    def __init__(self, path: Path, limit: int) -> None:
        source, self.mouth = os.pipe()
        self.ear, sink = os.pipe()
        self.path = str(path)
        self._heard = b""
        self._sink = sink
        self.listener = listen(self.path)
        self.thread = threading.Thread(target=self._run, args=(source, sink, limit))
        self.thread.start()

    def _run(self, source: int, sink: int, limit: int) -> None:
        Relay(source, sink, self.listener, limit).run()
        os.close(source)
        os.close(sink)
        self.listener.close()

    def say(self, text: str) -> None:
        os.write(self.mouth, text.encode())

    def hear(self) -> str:
        """The next command."""
        until = monotonic() + PATIENCE
        while b"\n" not in self._heard:
            assert select.select([self.ear], [], [], until - monotonic())[0], "no command came"
            self._heard += os.read(self.ear, 65536)
        line, _, self._heard = self._heard.partition(b"\n")
        return line.decode()

    def hears_nothing_yet(self) -> bool:
        return not self._heard and not select.select([self.ear], [], [], 0)[0]

    def agent(self) -> Agent:
        return Agent(self.path)

    def end(self) -> None:
        os.close(self.mouth)
        self.thread.join(PATIENCE)
        os.close(self.ear)
        assert not self.thread.is_alive()


class Agent:
    def __init__(self, path: str) -> None:
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.settimeout(PATIENCE)
        self.socket.connect(path)
        self._file = self.socket.makefile("r")

    def say(self, text: str) -> None:
        self.socket.sendall(text.encode())

    def hear(self) -> str:
        """The next line; empty at the end."""
        return self._file.readline().rstrip("\n")

    def close(self) -> None:
        self._file.close()
        self.socket.close()


@pytest.fixture
def speaker(tmp_path: Path) -> Iterator[Speaker]:
    speaker = Speaker(tmp_path / "speaker.sock", limit=1 << 20)
    yield speaker
    speaker.end()


def converse(speaker: Speaker, agent: Agent) -> None:
    agent.say("version\n")
    assert speaker.hear() == "version"
    speaker.say("exabgp 5.0.15\ndone\n")
    assert [agent.hear(), agent.hear()] == ["exabgp 5.0.15", "done"]


def test_whole_lines_both_ways(speaker: Speaker) -> None:
    agent = speaker.agent()
    agent.say("first\nsec")
    assert speaker.hear() == "first"
    agent.say("ond\n")
    assert speaker.hear() == "second"
    speaker.say("do")
    speaker.say("ne\nerror\n")
    assert [agent.hear(), agent.hear()] == ["done", "error"]
    agent.close()


def test_the_socket_is_the_users_alone_and_replaces_a_stale_one(tmp_path: Path) -> None:
    path = tmp_path / "speaker.sock"
    for _ in range(2):
        listener = listen(str(path))
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        listener.close()
    assert [one.name for one in tmp_path.iterdir()] == ["speaker.sock"]


def test_half_a_command_of_a_dying_agent_never_arrives(speaker: Speaker) -> None:
    dying = speaker.agent()
    dying.say("whole\nneighbor 10.0.0.1 announce attrib")
    assert speaker.hear() == "whole"
    dying.close()
    speaker.say("done\n")
    agent = speaker.agent()
    converse(speaker, agent)
    agent.close()


def test_the_newest_agent_wins(speaker: Speaker) -> None:
    old = speaker.agent()
    converse(speaker, old)
    new = speaker.agent()
    assert old.hear() == ""
    converse(speaker, new)
    old.close()
    new.close()


def test_a_successor_hears_no_answer_to_its_predecessor(speaker: Speaker) -> None:
    old = speaker.agent()
    old.say("show adj-rib in json\nshow adj-rib out json\n")
    assert [speaker.hear(), speaker.hear()] == ["show adj-rib in json", "show adj-rib out json"]
    speaker.say("old route\n")
    assert old.hear() == "old route"
    new = speaker.agent()
    assert old.hear() == ""
    new.say("version\n")
    speaker.say("another old route\ndone\nan old route out\n")
    assert speaker.hears_nothing_yet()
    speaker.say("done\nlive event\n")
    assert (speaker.hear(), new.hear()) == ("version", "live event")
    old.close()
    new.close()


@pytest.mark.timeout(120)
def test_exabgp_is_drained_when_nobody_is_there(speaker: Speaker) -> None:
    for _ in range(100):
        speaker.say("x" * 65000 + "\n")
    agent = speaker.agent()
    converse(speaker, agent)
    agent.close()


@pytest.mark.timeout(120)
def test_exabgp_is_drained_when_the_agent_does_not_read_and_the_agent_is_sent_away(speaker: Speaker) -> None:
    asleep = speaker.agent()
    converse(speaker, asleep)
    for _ in range(100):  # 6.5 MB: more than the socket takes and the limit of this relay keeps
        speaker.say("x" * 65000 + "\n")
    read = 0
    while line := asleep.hear():
        read += len(line)
    assert read < 100 * 65000
    agent = speaker.agent()
    converse(speaker, agent)
    asleep.close()
    agent.close()


def test_commands_wait_with_the_agent_while_exabgp_does_not_read(speaker: Speaker) -> None:
    agent = speaker.agent()
    sent = 0
    while sent < 1 << 26 and select.select([], [agent.socket], [], 0.2)[1]:
        sent += agent.socket.send(b"c" * 999 + b"\n")
    assert sent < 1 << 26
    agent.close()
    whole = 0
    while whole < sent // 1000:
        assert speaker.hear() == "c" * 999
        whole += 1


def test_it_ends_with_exabgp(tmp_path: Path) -> None:
    speaker = Speaker(tmp_path / "speaker.sock", limit=1)
    agent = speaker.agent()
    converse(speaker, agent)
    speaker.end()
    assert agent.hear() == ""
    agent.close()


def test_usage() -> None:
    assert main([]) == 2
