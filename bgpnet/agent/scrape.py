"""Where metrics and health are read: `GET` on a TCP port each, by HTTP/1.0; nothing else is served there.

They ask the agent's own socket, as `bgpnetctl node status` does, and at most once a second: who scrapes without end
gets the same answer again, and delays no pod.
"""

from __future__ import annotations

import logging
import socket
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from time import monotonic
from typing import Any

from bgpnet.agent import metrics
from bgpnet.client import AgentClient
from bgpnet.errors import BgpnetError

log = logging.getLogger("bgpnet.agent")

PATIENCE = 2.0
"""Seconds that a scraper has for its request, and again for taking the answer; the next one waits meanwhile."""
FRESH = 1.0
"""Seconds that an answer serves."""
RETRY = 10.0
"""Seconds until a port that cannot be had is tried again."""
LONGEST = 8192
"""Bytes of a request."""
BACKLOG = 16
ANSWER = 4.0
"""Seconds that the agent has for its answer: less than a probe waits."""
OK, UNAVAILABLE = "200 OK", "503 Service Unavailable"


Ask = Callable[[], dict[str, object]]
"""Gives the agent's status; raises BgpnetError."""
Page = Callable[[Mapping[str, Any]], tuple[str, str]]
"""HTTP's status, and the text, for an agent's status."""


def _metrics(status: Mapping[str, Any]) -> tuple[str, str]:
    return OK, metrics.text(status)


def _alive(_: Mapping[str, Any]) -> tuple[str, str]:
    """The loop has answered; more is not asked of it, for a restart cures nothing else."""
    return OK, "ok\n"


def _ready(status: Mapping[str, Any]) -> tuple[str, str]:
    """The node's own work is done; peers that are away make no node unready."""
    return (OK, "ok\n") if status["ready"] else (UNAVAILABLE, "".join(f"{one}\n" for one in status["reasons"]))


METRICS: Mapping[bytes, Page] = {b"/metrics": _metrics}
HEALTH: Mapping[bytes, Page] = {b"/livez": _alive, b"/readyz": _ready}


class Exposition:
    """The port, and the pages on it. what: their name, which is also that of the settings."""

    def __init__(self, what: str, host: str, port: int, ask: Ask, pages: Mapping[bytes, Page]) -> None:
        self._what, self._place, self._ask, self._pages = what, (host, port), ask, pages
        self._kept: Mapping[str, Any] = {}
        self._since = -FRESH

    def run(self, stop: threading.Event) -> None:
        """Serve until stopped; without the port, say so once and try again."""
        told = False
        while not stop.is_set():
            try:
                listener = socket.create_server(self._place, backlog=BACKLOG)
            except OSError as problem:
                if not told:
                    where = f"{self._place[0]}:{self._place[1]}"
                    what = self._what
                    log.warning("no %s on %s: %s; set %s_host and %s_port", what, where, problem.strerror, what, what)
                told = True
                stop.wait(RETRY)
                continue
            with listener:
                listener.settimeout(1.0)
                while not stop.is_set():
                    with suppress(OSError):  # nobody came, or who came is gone
                        self._serve(listener.accept()[0])

    def _serve(self, client: socket.socket) -> None:
        with client:
            head = _head(client)
            client.settimeout(PATIENCE)
            client.sendall(self._answer(head))

    def _answer(self, head: bytes) -> bytes:
        words = head.split(b"\r\n", 1)[0].split(b" ")
        if len(words) != 3 or words[0] not in (b"GET", b"HEAD"):
            return _response("405 Method Not Allowed", b"write GET " + b" or ".join(self._pages) + b"\n")
        page = self._pages.get(words[1].split(b"?", 1)[0])
        if page is None:
            return _response("404 Not Found", b"what there is is " + b" and ".join(self._pages) + b"\n")
        try:
            status, text = page(self._status())
        except BgpnetError as problem:
            return _response(UNAVAILABLE, f"{problem}\n".encode())
        return _response(status, text.encode(), bodiless=words[0] == b"HEAD")

    def _status(self) -> Mapping[str, Any]:
        if monotonic() - self._since >= FRESH:
            self._kept = self._ask()
            self._since = monotonic()
        return self._kept


def serve(host: str, port: int, agent_socket: str, stop: threading.Event) -> None:
    """The metrics of the agent that answers on that socket."""
    Exposition("metrics", host, port, _asking(agent_socket), METRICS).run(stop)


def health(host: str, port: int, agent_socket: str, stop: threading.Event) -> None:
    """Whether the agent that answers on that socket lives, and whether it is ready."""
    Exposition("health", host, port, _asking(agent_socket), HEALTH).run(stop)


def _asking(agent_socket: str) -> Ask:
    return lambda: AgentClient(agent_socket, ANSWER).ask("status")


def _head(client: socket.socket) -> bytes:
    """The request up to its empty line, or what there is of it; raises OSError (TimeoutError) from a slow client."""
    deadline, data = monotonic() + PATIENCE, b""
    while b"\r\n\r\n" not in data and len(data) < LONGEST:
        left = deadline - monotonic()
        if left <= 0:
            raise TimeoutError
        client.settimeout(left)
        more = client.recv(LONGEST)
        if not more:
            break
        data += more
    return data


def _response(status: str, body: bytes, *, bodiless: bool = False) -> bytes:
    head = f"HTTP/1.0 {status}\r\nContent-Type: {metrics.CONTENT_TYPE}\r\nContent-Length: {len(body)}\r\n\r\n"
    return head.encode() + (b"" if bodiless else body)
