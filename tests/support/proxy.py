"""A TCP proxy on loopback that can swallow what the server answers, for tests."""

from __future__ import annotations

import socket
import threading
from contextlib import suppress


class Proxy:
    """Forwards to the endpoint until `close`."""

    def __init__(self, endpoint: str) -> None:
        host, _, port = endpoint.rpartition(":")
        self._target = host, int(port)
        self._server = socket.create_server(("127.0.0.1", 0))
        self._swallows = threading.Event()
        self._open: set[socket.socket] = set()
        self.endpoint = f"127.0.0.1:{self._server.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def swallow(self) -> None:
        """From now on answers do not come through."""
        self._swallows.set()

    def cut(self) -> None:
        """End the connections; new ones are forwarded whole again, also one that comes while the old ones end."""
        self._swallows = threading.Event()
        for each in list(self._open):
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Stop listening, and end the connections."""
        with suppress(OSError):
            self._server.shutdown(socket.SHUT_RDWR)
        self._server.close()
        self.cut()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client = self._server.accept()[0]
                try:
                    server = socket.create_connection(self._target)
                except OSError:  # whoever comes next may find it again
                    client.close()
                    continue
                self._open |= {client, server}
                threading.Thread(target=self._pump, args=(client, server, False), daemon=True).start()
                threading.Thread(target=self._pump, args=(server, client, True), daemon=True).start()

    def _pump(self, source: socket.socket, target: socket.socket, answers: bool) -> None:
        swallows = self._swallows
        with suppress(OSError):
            while data := source.recv(1 << 16):
                if not (answers and swallows.is_set()):
                    target.sendall(data)
        for each in (source, target):
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
        self._open.discard(source)
        source.close()
