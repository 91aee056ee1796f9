"""Where the metrics are read: `GET /metrics` on a TCP port, by HTTP/1.0; nothing else is served there.

It asks the agent's own socket, as `bgpnetctl node status` does, and at most once a second: who scrapes without end
gets the same answer again, and delays no pod.
"""

from __future__ import annotations

import logging
import socket
import threading
from collections.abc import Callable
from contextlib import suppress
from time import monotonic

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


class Exposition:
    """The port. `ask` gives the agent's status; it raises BgpnetError."""

    def __init__(self, host: str, port: int, ask: Callable[[], dict[str, object]]) -> None:
        self._place, self._ask = (host, port), ask
        self._kept, self._since = b"", -FRESH

    def run(self, stop: threading.Event) -> None:
        """Serve until stopped; without the port, say so once and try again."""
        told = False
        while not stop.is_set():
            try:
                listener = socket.create_server(self._place, backlog=BACKLOG)
            except OSError as problem:
                if not told:
                    where = f"{self._place[0]}:{self._place[1]}"
                    log.warning("no metrics on %s: %s; set metrics_host and metrics_port", where, problem.strerror)
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
            return _response("405 Method Not Allowed", b"write GET /metrics\n")
        if words[1].split(b"?", 1)[0] != b"/metrics":
            return _response("404 Not Found", b"what there is is /metrics\n")
        try:
            body = self._metrics()
        except BgpnetError as problem:
            return _response("503 Service Unavailable", f"{problem}\n".encode())
        return _response("200 OK", body, bodiless=words[0] == b"HEAD")

    def _metrics(self) -> bytes:
        if monotonic() - self._since >= FRESH:
            self._kept = metrics.text(self._ask()).encode()
            self._since = monotonic()
        return self._kept


def serve(host: str, port: int, agent_socket: str, stop: threading.Event) -> None:
    """The metrics of the agent that answers on that socket."""
    Exposition(host, port, lambda: AgentClient(agent_socket).ask("status")).run(stop)


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
