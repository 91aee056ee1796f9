"""ExaBGP's helper process: a pipe between ExaBGP's standard streams and one agent at a unix socket.

    python -m bgpnet.bgp.relay SOCKET

It lives as long as ExaBGP and knows nothing of BGP. It always drains ExaBGP, which stops (and loses its sessions) when
its helper does not read. Only whole lines pass, either way: a dying agent leaves no half command. The newest agent has
the line; it hears nothing before the commands of its predecessor are answered, so every answer it sees is its own. An
agent that does not read is sent away at LIMIT and finds everything again when it comes back.

Standard library only, and little of it: this is a second Python on every node.
"""

from __future__ import annotations

import os
import select
import socket
import sys

LIMIT = 32 << 20
"""Bytes kept for an agent that does not read."""

COMMANDS = 1 << 20
"""Bytes of commands kept for ExaBGP while it does not read; more are left with the agent. Also the longest command."""

CHUNK = 1 << 18
ANSWERS = (b"done", b"error")
IN, OUT = select.POLLIN, select.POLLOUT


class Relay:
    """The pump. `source` and `sink` are ExaBGP's output and input; `listener` is where agents come."""

    def __init__(self, source: int, sink: int, listener: socket.socket, limit: int = LIMIT) -> None:
        self.source, self.sink, self.listener, self.limit = source, sink, listener, limit
        self.agent: socket.socket | None = None
        self.from_exabgp = b""  # a line that has not ended yet
        self.from_agent = b""  # likewise
        self.to_agent = bytearray()
        self.to_exabgp = bytearray()
        self.owed = 0  # answers that ExaBGP owes to whoever asked
        self.strange = False  # the answers owed are a predecessor's
        for fd in (source, sink, listener.fileno()):
            os.set_blocking(fd, False)

    def run(self) -> None:
        """Pump until ExaBGP is gone."""
        while self._turn():
            pass
        self._part()

    def _turn(self) -> bool:
        """Wait, then do one round; false when ExaBGP is gone."""
        poll = select.poll()
        for fd, events in self._interests():
            poll.register(fd, events)
        for fd, _ in poll.poll():
            if fd == self.source:
                if not self._hear():
                    return False
            elif fd == self.sink:
                if not self._tell():
                    return False
            elif fd == self.listener.fileno():
                self._welcome()
            elif self.agent is not None and fd == self.agent.fileno():
                self._serve(self.agent)
        return True

    def _interests(self) -> list[tuple[int, int]]:
        found = [(self.source, IN), (self.listener.fileno(), IN)]
        if self.to_exabgp:
            found.append((self.sink, OUT))
        if self.agent is not None and not self.strange:
            hearing = IN if len(self.to_exabgp) < COMMANDS else 0
            found.append((self.agent.fileno(), hearing | (OUT if self.to_agent else 0)))
        return found

    def _hear(self) -> bool:
        """Take what ExaBGP says; false at its end."""
        data = os.read(self.source, CHUNK)
        if not data:
            return False
        whole, newline, rest = data.rpartition(b"\n")
        if not newline:
            self.from_exabgp += data
            return True
        text = self.from_exabgp + whole + newline
        self.from_exabgp = rest
        if self.strange:
            text = self._after_answers(text)
        else:
            self.owed = max(0, self.owed - sum(line in ANSWERS for line in text.split(b"\n")))
        if self.agent is not None and not self.strange:
            self.to_agent += text
            self._flush(self.agent)
        return True

    def _after_answers(self, text: bytes) -> bytes:
        """Drop lines until the predecessor's commands are answered; what follows is the successor's."""
        lines = text.split(b"\n")
        for number, line in enumerate(lines):
            if line in ANSWERS:
                self.owed -= 1
                if self.owed <= 0:
                    self.strange = False
                    return b"\n".join(lines[number + 1 :])
        return b""

    def _tell(self) -> bool:
        """Pass commands on; false when ExaBGP takes no more, ever."""
        try:
            del self.to_exabgp[: os.write(self.sink, self.to_exabgp[:CHUNK])]
        except BlockingIOError:
            return True
        except BrokenPipeError:
            return False
        return True

    def _welcome(self) -> None:
        try:
            agent, _ = self.listener.accept()
        except BlockingIOError:
            return
        agent.setblocking(False)
        self._part()
        self.agent = agent

    def _part(self) -> None:
        """The agent is gone: forget its half line and what it has not read."""
        if self.agent is not None:
            self.agent.close()
        self.agent = None
        self.from_agent = b""
        self.to_agent.clear()
        self.strange = self.owed > 0

    def _serve(self, agent: socket.socket) -> None:
        if self.to_agent and not self._flush(agent):
            return
        try:
            data = agent.recv(CHUNK)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        whole, newline, rest = data.rpartition(b"\n")
        if newline:
            commands = self.from_agent + whole + newline
            self.owed += commands.count(b"\n")
            self.to_exabgp += commands
            self.from_agent = rest
            self._tell()
        else:
            self.from_agent += data
        if not data or len(self.from_agent) > COMMANDS:
            self._part()

    def _flush(self, agent: socket.socket) -> bool:
        """Pass on what the agent takes; false when it is gone, or sent away for not reading."""
        try:
            del self.to_agent[: agent.send(self.to_agent)]
        except BlockingIOError:
            pass
        except OSError:
            self._part()
            return False
        if len(self.to_agent) > self.limit:
            self._part()
            return False
        return True


def listen(path: str) -> socket.socket:
    """The socket for agents, of this user only; a stale one is replaced. Raises OSError."""
    fresh = f"{path}.new"
    if os.path.lexists(fresh):
        os.unlink(fresh)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    before = os.umask(0o177)
    try:
        listener.bind(fresh)
    finally:
        os.umask(before)
    listener.listen(8)
    os.rename(fresh, path)
    return listener


def main(arguments: list[str]) -> int:
    """Pump until ExaBGP is gone; 2 when called wrongly."""
    if len(arguments) != 1:
        sys.stderr.write("usage: python -m bgpnet.bgp.relay SOCKET\n")
        return 2
    Relay(sys.stdin.fileno(), sys.stdout.fileno(), listen(arguments[0])).run()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
