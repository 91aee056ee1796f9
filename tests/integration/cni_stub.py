"""What the plugin's tests lean on: an agent that speaks wire.py and misbehaves on demand, and the two plugins."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from bgpnet import wire
from bgpnet.cni import home as homes
from bgpnet.cni import install
from bgpnet.cni.frozen import freeze

SOURCE = Path(__file__).parents[2] / "bgpnet" / "cni"
WORDS = ["-std=gnu11", "-Wall", "-Wextra", "-Werror", str(SOURCE / "plugin.c"), "-o"]
RESULT = {"cniVersion": "1.0.0", "ips": [{"address": "10.244.0.1/32"}]}
REFUSAL = {"cniVersion": "1.0.0", "code": 11, "msg": "too many at once; try again"}
OK = wire.answer(0, json.dumps(RESULT).encode())


def compiled(folder: Path, *options: str) -> list[str]:
    """The C plugin, compiled into the folder."""
    program = folder / "bgpnet"
    subprocess.run(["musl-gcc", *WORDS, str(program), *options], check=True, timeout=120)
    return [str(program)]


def frozen(folder: Path) -> list[str]:
    """The Python twin, as it is installed into the folder, with a home there."""
    home = homes.find(folder)
    return [str(install.install(freeze(link=home.python), folder, home))]


@dataclass
class Seen:
    """One request as it arrived."""

    kind: wire.Kind
    body: bytes
    inode: int | None

    @property
    def call(self) -> wire.CniCall:
        """The CNI call in it."""
        return wire.unpack_cni(self.body)


Behaviour = Callable[[socket.socket, "Stub"], None]


@dataclass
class Stub:
    """A small agent: keeps what it hears and behaves as told, one thread a connection."""

    path: Path
    behave: Behaviour
    seen: list[Seen] = field(default_factory=list)
    over: threading.Event = field(default_factory=threading.Event)

    def hear(self, peer: socket.socket) -> Seen:
        """Reads one whole request; the descriptor is looked at and closed.

        Raises ConnectionResetError when the plugin hangs up before all of it was read, as one whose deadline is over
        does: who went on reading would find the end again and again, and keep a processor busy until pytest ends.
        """
        head, descriptors, _, _ = socket.recv_fds(peer, wire.REQUEST.size, 4)
        inode = os.fstat(descriptors[0]).st_ino if descriptors else None
        for descriptor in descriptors:
            os.close(descriptor)
        kind, size = wire.request_head(head + _exactly(peer, wire.REQUEST.size - len(head)))
        body = _exactly(peer, size)
        self.seen.append(Seen(kind, body, inode))
        return self.seen[-1]

    def serve(self, listener: socket.socket) -> None:
        """Accepts until the listener is closed."""
        while not self.over.is_set():
            try:
                peer, _ = listener.accept()
            except TimeoutError:
                continue
            threading.Thread(target=self._one, args=(peer,), daemon=True).start()

    def _one(self, peer: socket.socket) -> None:
        peer.settimeout(20)
        with peer:
            try:
                self.behave(peer, self)
            except (BrokenPipeError, ConnectionResetError):
                return  # the plugin has given up on a hostile agent, as it should


def _exactly(peer: socket.socket, count: int) -> bytes:
    """So many bytes; raises ConnectionResetError where there are fewer."""
    found = bytearray()
    while len(found) < count:
        piece = peer.recv(count - len(found))
        if not piece:
            raise ConnectionResetError("the plugin hung up in the middle of its request")
        found += piece
    return bytes(found)


@contextmanager
def stub(path: Path, behave: Behaviour) -> Iterator[Stub]:
    """A stub agent that listens on the path."""
    agent = Stub(path, behave)
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        listener.bind(str(path))
        listener.listen(16)
        listener.settimeout(0.05)
        thread = threading.Thread(target=agent.serve, args=(listener,))
        thread.start()
        try:
            yield agent
        finally:
            agent.over.set()
            thread.join(60)


def answering(reply: bytes) -> Behaviour:
    """Hears the request and says these bytes."""

    def behave(peer: socket.socket, agent: Stub) -> None:
        agent.hear(peer)
        peer.sendall(reply)

    return behave


def silent(peer: socket.socket, agent: Stub) -> None:
    """Hears the request and says nothing until the test is over."""
    agent.hear(peer)
    agent.over.wait(60)


def deaf(_: socket.socket, agent: Stub) -> None:
    """Does not even read."""
    agent.over.wait(60)


def sipping(peer: socket.socket, agent: Stub) -> None:
    """Reads a byte at a time, for ever."""
    while peer.recv(1) and not agent.over.wait(0.02):
        pass


def refusing(peer: socket.socket, _: Stub) -> None:
    """Has heard enough at once: says so, and hangs up on a request that it has not read."""
    peer.recv(1)
    peer.sendall(wire.answer(1, json.dumps(REFUSAL).encode()))


def hesitating(peer: socket.socket, agent: Stub) -> None:
    """Answers a byte at a time, but to the end."""
    agent.hear(peer)
    for byte in OK:
        peer.sendall(bytes([byte]))
        agent.over.wait(0.005)


def endless(peer: socket.socket, agent: Stub) -> None:
    """Answers, and goes on talking."""
    agent.hear(peer)
    peer.sendall(OK)
    while not agent.over.is_set():
        peer.sendall(b"{}" * 32768)


def trickling(peer: socket.socket, agent: Stub) -> None:
    """Answers a byte at a time, for ever."""
    agent.hear(peer)
    for byte in wire.ANSWER.pack(wire.LIMIT, 0) + b" " * wire.LIMIT:
        peer.sendall(bytes([byte]))
        if agent.over.wait(0.05):
            return


@dataclass(frozen=True)
class Done:
    """An execution of the plugin."""

    code: int
    out: bytes
    err: bytes

    @property
    def value(self) -> dict[str, object]:
        """What it printed, as JSON."""
        value = json.loads(self.out)
        assert isinstance(value, dict)
        return value

    @property
    def error(self) -> tuple[object, str]:
        """The CNI error: its code and message; everything the specification wants of it is checked."""
        assert self.code == 1
        assert self.err == b""
        assert self.value.keys() == {"cniVersion", "code", "msg"}
        return self.value["code"], str(self.value["msg"])


Env = Mapping[str, str | bytes]


def execute(plugin: list[str], env: Env, stdin: bytes) -> Done:
    """Executes a plugin as a runtime does."""
    ran = subprocess.run(plugin, env=dict(env), input=stdin, capture_output=True, timeout=60)
    return Done(ran.returncode, ran.stdout, ran.stderr)


def environment(command: str, **changes: str | bytes | None) -> dict[str, str | bytes]:
    """The variables of a call; `netns=None` leaves CNI_NETNS out."""
    env: dict[str, str | bytes | None] = {
        "CNI_COMMAND": command,
        "CNI_CONTAINERID": "c0ffee",
        "CNI_IFNAME": "eth0",
        "CNI_NETNS": "/proc/self/ns/net",
        "CNI_PATH": "/opt/cni/bin",
    }
    env |= {f"CNI_{name.upper()}": value for name, value in changes.items()}
    return {name: value for name, value in env.items() if value is not None}


def config(socket_path: Path | str, **more: object) -> bytes:
    """A network configuration."""
    return json.dumps(
        {"cniVersion": "1.0.0", "name": "k8s-pod-network", "type": "bgpnet", "socket": str(socket_path), **more}
    ).encode()


def shown(path: Path) -> str:
    """A path as a message repeats it."""
    return str(path) if len(str(path)) <= 100 else str(path)[:100] + "..."
