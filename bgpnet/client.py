"""The agent's socket, seen from outside: for the CLI, the lab, and whoever calls CNI without a program (wire.py)."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bgpnet import wire
from bgpnet.errors import AgentAway, BgpnetError

TIMEOUT = 10.0
"""Seconds for a question and its answer."""


def listens(path: str | Path) -> bool:
    """Whether an agent lives at that socket, even one too busy to answer: the kernel knows a file that nobody has."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.setblocking(False)
        try:
            probe.connect(str(path))
        except BlockingIOError:  # its backlog is full
            return True
        except OSError:
            return False
    return True


class AgentClient:
    """Asks one agent; a connection a call. `timeout` is of the whole call, in seconds."""

    def __init__(self, socket_path: str | Path, timeout: float = TIMEOUT) -> None:
        self.socket_path = str(socket_path)
        self.timeout = timeout

    def ask(self, question: str, **arguments: object) -> dict[str, Any]:
        """The agent's answer to a question; raises AgentAway, or BgpnetError with the agent's own sentence."""
        body = json.dumps({"ask": question, **arguments}).encode()
        status, answer = self._exchange(wire.request(wire.Kind.QUESTION, body), None)
        if status:
            raise BgpnetError(answer.decode("utf-8", "replace"))
        try:
            value = json.loads(answer)
        except ValueError as error:
            raise self._stranger(f"its answer is not JSON: {error}") from error
        if not isinstance(value, dict):
            raise self._stranger(f"its answer is a {type(value).__name__}, not an object")
        return value

    def call_cni(self, env: Mapping[str, str], stdin: bytes, netns_fd: int | None) -> tuple[int, bytes]:
        """Calls CNI as the plugin would: its exit code, and what it would print; raises AgentAway.

        `env` is the CNI_ variables; `netns_fd` is CNI_NETNS, opened, and stays the caller's.
        """
        body = wire.pack_cni(wire.CniCall(env, stdin))
        return self._exchange(wire.request(wire.Kind.CNI, body), netns_fd)

    def _exchange(self, request: bytes, descriptor: int | None) -> tuple[int, bytes]:
        """One request, one answer, within the timeout."""
        deadline = time.monotonic() + self.timeout
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as agent:
            try:
                self._send(agent, request, descriptor, deadline)
                size, status = wire.answer_head(self._receive(agent, wire.ANSWER.size, deadline))
                return status, self._receive(agent, size, deadline)
            except wire.BadFrame as error:
                raise self._stranger(str(error)) from error
            except (TimeoutError, BlockingIOError) as error:
                raise self._away(f"no answer within {self.timeout:g} s", "see its log, then try again") from error
            except EOFError as error:
                raise self._away("it hung up before it had answered", "see its log, then try again") from error
            except OSError as error:
                raise self._away(error.strerror or str(error), "start it with `bgpnet agent`") from error

    def _send(self, agent: socket.socket, request: bytes, descriptor: int | None, deadline: float) -> None:
        """Connects and sends; a peer that hangs up meanwhile may have answered, so that is not an error yet."""
        agent.settimeout(_left(deadline))
        agent.connect(self.socket_path)
        rest = memoryview(request)
        try:
            if descriptor is not None:
                rest = rest[socket.send_fds(agent, [rest], [descriptor]) :]
            while rest:
                agent.settimeout(_left(deadline))
                rest = rest[agent.send(rest) :]
        except (BrokenPipeError, ConnectionResetError):
            return

    def _receive(self, agent: socket.socket, size: int, deadline: float) -> bytes:
        """So many bytes; raises EOFError where the agent hangs up before."""
        answer = bytearray()
        while len(answer) < size:
            agent.settimeout(_left(deadline))
            piece = agent.recv(size - len(answer))
            if not piece:
                raise EOFError
            answer += piece
        return bytes(answer)

    def _away(self, reason: str, remedy: str) -> AgentAway:
        return AgentAway(
            f"no agent answers on {self.socket_path} ({reason}): {remedy}, or set BGPNET_RUN_DIR to where its socket is"
        )

    def _stranger(self, reason: str) -> AgentAway:
        return AgentAway(
            f"what answers on {self.socket_path} is not a bgpnet agent of this version ({reason}): restart the agent"
        )


def _left(deadline: float) -> float:
    """Seconds until the deadline; raises TimeoutError when there are none."""
    left = deadline - time.monotonic()
    if left <= 0:
        raise TimeoutError
    return left
