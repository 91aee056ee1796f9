"""What is wrong with an etcd, or with our way to it, as `bgpnetctl` says it: one sentence, within 10 seconds."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import certificates
import pytest
from etcd_servers import ETCDS, PATIENCE, POOR, USER, EtcdCluster, etcdctl, free_ports, lock

from bgpnet.lab.wait import until

CTL = Path(sys.executable).with_name("bgpnetctl")


class Etcds:
    """Members in every state, and the certificates; each member is started when it is asked for."""

    def __init__(self, directory: Path, program: str) -> None:
        self.pki = certificates.collection(directory)
        self._directory = directory
        self._program = program
        self._running: dict[str, EtcdCluster] = {}

    def url(self, name: str) -> str:
        """Of `plain`, of `locked` (which asks for users), or of the one with that certificate."""
        return self.cluster(name).url

    def cluster(self, name: str) -> EtcdCluster:
        if name not in self._running:
            folder = self._directory / f"member-{name}"
            folder.mkdir()
            tls = None if name in ("plain", "locked") else certificates.files(self.pki, name)
            cluster = self._running[name] = EtcdCluster(folder, self._program, tls=tls).start()
            if tls is None:
                cluster.await_leader()
            else:
                await_port(cluster.endpoints[0])
            if name == "locked":
                lock(cluster)
        return self._running[name]

    def close(self) -> None:
        for cluster in self._running.values():
            cluster.close()


def await_port(endpoint: str) -> None:
    """Wait until somebody listens there: what is wrong with its certificates is said by nobody before."""
    host, _, port = endpoint.rpartition(":")

    def deaf() -> str:
        try:
            socket.create_connection((host, int(port)), 10).close()
        except OSError as problem:
            return f"{endpoint}: {problem}"
        return ""

    until(deaf, PATIENCE)


@pytest.fixture(scope="module", params=ETCDS)
def etcds(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Etcds]:
    made = Etcds(tmp_path_factory.mktemp("etcds"), ETCDS[request.param]())
    yield made
    made.close()


def get_pools(url: str, environ: dict[str, str], *names: str) -> subprocess.CompletedProcess[str]:
    """`bgpnetctl get ippool`, which gives up after 7 seconds, and has the start of a program before them."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("ETCD", "DATASTORE"))}
    started = time.monotonic()
    done = subprocess.run(
        [CTL, "--datastore", url, "get", "ippool", *names], env=clean | environ, capture_output=True, text=True,
        timeout=60,
    )  # fmt: skip
    print(done.stderr)
    assert time.monotonic() - started < 20
    return done


def refused(url: str, environ: dict[str, str], says: str, remedy: str) -> None:
    """One sentence with the endpoint, what is wrong (one or another: `says`), and the remedy."""
    done = get_pools(url, environ)
    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr.startswith(f"etcd at {url.removeprefix('etcd://')}")
    assert done.stderr.count("\n") == 1
    assert any(one in done.stderr for one in says.split(" | "))
    assert remedy in done.stderr.partition("; ")[2]
    assert "hush" not in done.stderr


@pytest.mark.parametrize(
    ("server", "ca", "client", "says", "remedy"),
    [
        ("etcd", "", "", "Socket closed | Connection reset by peer", "whether it asks for TLS (ETCD_CA_CERT_FILE"),
        ("etcd", "ca", "", "Unwrap failed", "it does not accept our certificate, or misses one"),
        ("etcd", "ca", "stranger", "Unwrap failed", "check ETCD_CERT_FILE, ETCD_KEY_FILE"),
        ("etcd", "ca", "expired", "Unwrap failed", "the certificate's dates"),
        ("etcd", "other", "client", "CERTIFICATE_VERIFY_FAILED", "name the authority that signed etcd's certificate"),
        ("etcd", "junk", "client", "security handshaker", "put certificates and a key that openssl reads"),
        ("expired", "ca", "client", "certificate has expired", "renew etcd's certificate"),
        ("elsewhere", "ca", "client", "Hostname Verification", "by a name or address that is in etcd's certificate"),
        ("plain", "ca", "client", "Handshake read failed", "check that etcd speaks TLS there"),
    ],
    ids=[
        "plain text to TLS", "no certificate", "a stranger's certificate", "an expired certificate", "wrong authority",
        "no certificate at all in the file", "etcd's is expired", "etcd's is of another address", "TLS to plain text",
    ],
)  # fmt: skip
def test_tls(etcds: Etcds, server: str, ca: str, client: str, says: str, remedy: str) -> None:
    refused(etcds.url(server), certificates.environ(etcds.pki, ca, client), says, remedy)


@pytest.mark.parametrize(
    ("server", "user", "password", "says", "remedy"),
    [
        ("locked", USER[0], "hush-wrong", "invalid user ID or password", "correct ETCD_USERNAME and ETCD_PASSWORD"),
        ("locked", "nobody", "hush-wrong", "invalid user ID or password", "correct ETCD_USERNAME and ETCD_PASSWORD"),
        ("locked", "", "", "user name is empty", "it asks for a user: set ETCD_USERNAME and ETCD_PASSWORD"),
        ("locked", *POOR, "permission denied", "grant the user of ETCD_USERNAME a role that reads and writes /bgpnet/"),
        ("plain", *USER, "authentication is not enabled", "unset ETCD_USERNAME and ETCD_PASSWORD"),
    ],
    ids=["wrong password", "unknown user", "no user", "no permission", "a user where etcd knows none"],
)
def test_users(etcds: Etcds, server: str, user: str, password: str, says: str, remedy: str) -> None:
    refused(etcds.url(server), {"ETCD_USERNAME": user, "ETCD_PASSWORD": password}, says, remedy)


def test_a_port_where_nobody_listens() -> None:
    url = f"etcd://127.0.0.1:{free_ports(1)[0]}"
    refused(url, {}, "Connection refused", "check that etcd runs there and that the addresses are right")


def test_a_name_that_nobody_knows() -> None:
    refused("etcd://etcd.invalid:2379", {}, "resolving etcd.invalid:2379", "correct the host names")


def test_a_server_that_accepts_and_says_nothing() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        url = f"etcd://127.0.0.1:{server.getsockname()[1]}"
        refused(url, {}, "timed out", "nothing answers there")


def test_a_port_that_swallows_every_packet() -> None:
    """A full queue of a listening socket does so: SYNs are dropped."""
    with ExitStack() as sockets:
        server = sockets.enter_context(socket.create_server(("127.0.0.1", 0), backlog=0))
        for _ in range(4):
            client = sockets.enter_context(socket.socket())
            client.setblocking(False)
            client.connect_ex(server.getsockname())
        url = f"etcd://127.0.0.1:{server.getsockname()[1]}"
        refused(url, {}, "(UNAVAILABLE)", "nothing answers there; check the address, the routes and the firewalls")


def test_a_server_that_speaks_http_and_is_no_etcd() -> None:
    with ThreadingHTTPServer(("127.0.0.1", 0), BaseHTTPRequestHandler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = f"etcd://127.0.0.1:{server.server_port}"
        refused(url, {}, "Failed parsing HTTP/2", "something else than etcd answers there")
        server.shutdown()


def test_a_store_of_other_programs_is_as_good_as_empty(etcds: Etcds) -> None:
    for key in ("/calico/resources/v3/projectcalico.org/ippools/blue", "/registry/pods/default/web", "bgpnet"):
        etcdctl(etcds.cluster("plain"), "put", key, value=b"k8s\x00\xff")
    done = get_pools(etcds.url("plain"), {})
    assert (done.returncode, done.stderr) == (0, "")
    assert "blue" not in done.stdout


def test_what_others_wrote_under_our_keys_is_named(etcds: Etcds) -> None:
    keys = [b"/bgpnet/v1/ippools/blue", b"/bgpnet/v1/ippools/\xff\xfe", b"/bgpnet/v1/ippools/red"]
    for key, value in zip(keys, [b"k8s\x00\xff", b"{}", b'{"kind":"Pod"}'], strict=True):
        etcdctl(etcds.cluster("plain"), "put", key, value=value)
    everything = get_pools(etcds.url("plain"), {})
    assert everything.returncode == 0
    assert [line.split(": ")[1] for line in everything.stderr.splitlines()] == [
        "/bgpnet/v1/ippools/blue", "/bgpnet/v1/ippools/red", r"/bgpnet/v1/ippools/\udcff\udcfe",
    ]  # fmt: skip
    one = get_pools(etcds.url("plain"), {}, "blue")
    assert one.returncode == 1
    assert one.stderr.startswith("/bgpnet/v1/ippools/blue: value: the stored object cannot be read")
    assert one.stderr.count("\n") == 1
