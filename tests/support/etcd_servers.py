"""Real etcd clusters on this machine's loopback, for tests: members that can be killed, stopped and frozen."""

from __future__ import annotations

import atexit
import os
import random
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import cache
from pathlib import Path

from programs import built

from bgpnet.errors import StoreUnreachable
from bgpnet.store.etcd import EtcdStore
from bgpnet.store.etcd_options import Options

PATIENCE = 120.0
"""Seconds in which a cluster has to answer; a fraction of one on a machine that has nothing else to do."""
FAST = ("--heartbeat-interval", "50", "--election-timeout", "250", "--unsafe-no-fsync")
"""A leader within a fraction of a second. Without fsync a killed process loses nothing; a power cut is not tested."""


class Member:
    """One etcd process and its directory, which outlives it."""

    def __init__(self, command: Sequence[str], log: Path) -> None:
        self._command = command
        self._log = log
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it, if it does not run; it dies with the thread that starts it (PR_SET_PDEATHSIG, prctl(2))."""
        assert threading.current_thread() is threading.main_thread(), "a member would die with this thread"
        if self.process is None:
            with self._log.open("ab") as log:
                command = ["setpriv", "--pdeathsig", "KILL", *self._command]
                self.process = subprocess.Popen(command, stdout=log, stderr=log)

    def send(self, number: signal.Signals) -> None:
        """Send it a signal: SIGSTOP freezes it, SIGCONT thaws it."""
        assert self.process
        self.process.send_signal(number)

    def stop(self, number: signal.Signals = signal.SIGKILL) -> None:
        """End it, by SIGKILL or SIGTERM."""
        if self.process is not None:
            self.process.send_signal(number)
            self.process.send_signal(signal.SIGCONT)
            try:
                self.process.wait(30)
            except subprocess.TimeoutExpired:  # a member without quorum does not always heed SIGTERM
                self.process.kill()
                self.process.wait(30)
            self.process = None


class EtcdCluster:
    """So many members; started by `start`, gone with `close`."""

    def __init__(
        self,
        directory: Path,
        program: str,
        size: int = 1,
        extra: Sequence[str] = (),
        tls: Mapping[str, str] | None = None,
    ) -> None:
        """`tls`: the files ca, cert and key by which clients are served and asked for their certificates."""
        ports = free_ports(2 * size)
        scheme = "https" if tls else "http"
        if tls:
            extra = [*extra, "--trusted-ca-file", tls["ca"], "--cert-file", tls["cert"], "--key-file", tls["key"]]
            extra += ["--client-cert-auth"]
        self.endpoints = tuple(f"127.0.0.1:{port}" for port in ports[:size])
        peers = [f"http://127.0.0.1:{port}" for port in ports[size:]]
        everyone = ",".join(f"m{number}={peer}" for number, peer in enumerate(peers))
        self.members = [
            Member(
                [
                    *(program, "--name", f"m{number}", "--data-dir", str(directory / f"m{number}")),
                    *("--listen-client-urls", f"{scheme}://{self.endpoints[number]}"),
                    *("--advertise-client-urls", f"{scheme}://{self.endpoints[number]}"),
                    *("--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer),
                    *("--initial-cluster", everyone, "--initial-cluster-token", directory.name, *FAST, *extra),
                ],
                directory / f"m{number}.log",
            )
            for number, peer in enumerate(peers)
        ]

    @property
    def url(self) -> str:
        """The datastore URL of all members."""
        return f"etcd://{','.join(self.endpoints)}"

    @property
    def options(self) -> Options:
        """All members, in plain text, as nobody."""
        return Options(self.endpoints)

    def start(self) -> EtcdCluster:
        """Start all members."""
        for member in self.members:
            member.start()
        return self

    def await_leader(self, options: Options | None = None) -> EtcdCluster:
        """Wait until it answers: on a busy machine a start takes longer than a call goes on trying."""
        store = EtcdStore(options or self.options)
        deadline = time.monotonic() + PATIENCE
        while True:
            try:
                store.get("/ready")
            except StoreUnreachable:
                assert time.monotonic() < deadline, f"no etcd at {self.url} within {PATIENCE:.0f} s"
            else:
                store.close()
                return self

    def close(self) -> None:
        """End all members."""
        for member in self.members:
            member.stop()


_GIVEN: set[int] = set()
"""Ports that `free_ports` has given away: not every server listens at once, and two must not be given one."""


def free_ports(count: int) -> list[int]:
    """Ports that nobody has now, and that the kernel gives to no connection while their server is killed and starts.

    By chance, also where Hypothesis makes `random` repeat itself: two runs on a machine want different ones.
    """
    first = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    ports: list[int] = []
    for port in random.SystemRandom().sample(range(10_000, max(first, 11_000)), 500):
        with suppress(OSError), socket.create_server(("", port)):
            ports.extend({port} - _GIVEN)
        if len(ports) == count:
            _GIVEN.update(ports)
            return ports
    raise AssertionError(f"no {count} ports are free between 10000 and {first}")


def debian_etcd() -> str:
    """The program of Debian's etcd-server (3.4)."""
    found = shutil.which("etcd")
    assert found, "etcd is missing; run `scripts/install test`, or `apt-get install etcd-server`"
    return found


def current_etcd() -> str:
    """The program of the current etcd, which `make test` has built from its Go module."""
    return built("etcd", "etcd")


ETCDS = {"etcd-3.4": debian_etcd, "etcd-current": current_etcd}
"""The programs by the name that tests show."""


def etcdctl(cluster: EtcdCluster, *arguments: str | bytes, value: bytes | None = None) -> bytes:
    """Have etcdctl do that: what it prints. `value` is what it is to put."""
    patience = ("--dial-timeout=60s", "--command-timeout=60s")  # not 2 and 5 seconds
    done = subprocess.run(
        ["etcdctl", "--endpoints", cluster.endpoints[0], *patience, *arguments], input=value,
        env={**os.environ, "ETCDCTL_API": "3"}, capture_output=True, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, f"etcdctl {arguments!r}: {done.stderr!r}"
    return done.stdout


ROOT, USER, POOR = ("root", "hush-root"), ("bgpnet", "hush-bgpnet"), ("poor", "hush-poor")
"""Users and their passwords: of all rights, of those to /bgpnet/, and of none."""


def lock(cluster: EtcdCluster) -> EtcdCluster:
    """Have it ask for users: ROOT, USER and POOR."""
    for command in (
        *(f"user add {name}:{password}" for name, password in (ROOT, USER, POOR)),
        "role add bgpnet",
        "role grant-permission bgpnet readwrite /bgpnet/ --prefix",
        "user grant-role bgpnet bgpnet",
        "user grant-role root root",
        "auth enable",
    ):
        etcdctl(cluster, *command.split())
    return cluster


@cache
def shared_cluster(program: str) -> EtcdCluster:
    """One member for all tests that break nothing, until this process ends."""
    directory = tempfile.TemporaryDirectory(prefix="etcd-")
    cluster = EtcdCluster(Path(directory.name), program).start().await_leader()
    atexit.register(directory.cleanup)
    atexit.register(cluster.close)
    return cluster


def empty_store(program: str, history: int) -> EtcdStore:
    """A store in the shared cluster, with nothing in it."""
    store = EtcdStore(shared_cluster(program).options, history)
    for entry in store.list("/").entries:
        store.delete(entry.key, None)
    return store
