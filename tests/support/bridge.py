"""A port of this machine's loopback, reached from the loopback of a lab's node: through a socket in a folder of both.

with Bridge(port, folder / "api.sock"):                        # on this machine
    python tests/support/bridge.py PORT /seen/in/the/node.sock   # inside the node, until it is killed
"""

from __future__ import annotations

import socket
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Self


class Bridge:
    """This machine's end: whoever connects to the path is connected to the port."""

    def __init__(self, port: int, path: Path) -> None:
        path.unlink(missing_ok=True)
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(path))
        self._listener.listen(64)
        threading.Thread(
            target=_accept, args=(self._listener, lambda: socket.create_connection(("127.0.0.1", port), 5)), daemon=True
        ).start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()


def _accept(listener: socket.socket, connect: Callable[[], socket.socket]) -> None:
    with suppress(OSError):
        while True:
            client = listener.accept()[0]
            threading.Thread(target=_join, args=(client, connect), daemon=True).start()


def _join(client: socket.socket, connect: Callable[[], socket.socket]) -> None:
    with client, suppress(OSError), connect() as server:
        server.settimeout(None)
        back = threading.Thread(target=_pump, args=(server, client), daemon=True)
        back.start()
        _pump(client, server)
        back.join()


def _pump(source: socket.socket, target: socket.socket) -> None:
    with suppress(OSError):
        while data := source.recv(1 << 16):
            target.sendall(data)
    for each in (source, target):
        with suppress(OSError):
            each.shutdown(socket.SHUT_RDWR)


def main(port: int, path: str) -> None:
    """The node's end: whoever connects to the port is connected to the path."""

    def connect() -> socket.socket:
        there = socket.socket(socket.AF_UNIX)
        there.settimeout(5)
        there.connect(path)
        return there

    _accept(socket.create_server(("127.0.0.1", port), backlog=64), connect)


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2])
