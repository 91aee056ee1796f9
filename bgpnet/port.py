"""A TCP port that answers `GET` by HTTP/1.0: a few pages, each a function; nothing else is served there.

A page that fails answers 503 with the sentence; the others go on.
"""

from __future__ import annotations

import logging
import socket
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from time import monotonic

from bgpnet.errors import BgpnetError

log = logging.getLogger("bgpnet.port")

PATIENCE = 2.0
"""Seconds that who asks has for its request, and again for taking the answer; the next one waits meanwhile."""
RETRY = 10.0
"""Seconds until a port that cannot be had is tried again."""
LONGEST = 8192
"""Bytes of a request."""
BACKLOG = 16
TEXT = "text/plain; charset=utf-8"


@dataclass(frozen=True, slots=True)
class Page:
    """What is answered at a path. make: gives the text; it raises BgpnetError where there is none now."""

    make: Callable[[], str]
    content_type: str = TEXT


class Port:
    """The port. pages: by their paths. remedy: what to do where the port cannot be had."""

    def __init__(self, host: str, port: int, pages: Mapping[str, Page], remedy: str) -> None:
        self._place, self._pages, self._remedy = (host, port), pages, remedy

    def run(self, stop: threading.Event) -> None:
        """Serve until stopped; without the port, say so once and try again."""
        told = False
        while not stop.is_set():
            try:
                listener = socket.create_server(self._place, backlog=BACKLOG)
            except OSError as problem:
                if not told:
                    paths, where = ", ".join(self._pages), f"{self._place[0]}:{self._place[1]}"
                    log.warning("no %s on %s: %s; %s", paths, where, problem.strerror, self._remedy)
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
        paths = " or ".join(self._pages)
        if len(words) != 3 or words[0] not in (b"GET", b"HEAD"):
            return _response("405 Method Not Allowed", f"write GET {paths}\n")
        page = self._pages.get(words[1].split(b"?", 1)[0].decode("latin-1"))
        if page is None:
            return _response("404 Not Found", f"what there is is {paths}\n")
        try:
            body = page.make()
        except BgpnetError as problem:
            return _response("503 Service Unavailable", f"{problem}\n")
        return _response("200 OK", body, page.content_type, bodiless=words[0] == b"HEAD")


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


def _response(status: str, text: str, content_type: str = TEXT, *, bodiless: bool = False) -> bytes:
    body = text.encode()
    head = f"HTTP/1.0 {status}\r\nContent-Type: {content_type}\r\nContent-Length: {len(body)}\r\n\r\n"
    return head.encode() + (b"" if bodiless else body)
