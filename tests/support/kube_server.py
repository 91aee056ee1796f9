"""A real Kubernetes API server and its etcd on this machine's loopback, for tests: killed, frozen and started again.

with api_server(folder) as server:     # or shared_api_server(), for tests that break nothing
    server.kubeconfig                  # an administrator's
    server.kill(); server.start()      # the same port, the same objects; `restart` does both
    server.pause(); server.resume()    # it answers nothing for a while; server.etcd.members[0].send(…) likewise
    server.client.account("test", "agent", rules)    # a ServiceAccount that may do what the rules say (RBAC)
    server.user("mary")                # the kubeconfig of a user; server.client.allow(…) binds rules to her
"""

from __future__ import annotations

import atexit
import json
import signal
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path

from etcd_servers import EtcdCluster, Member, current_etcd, etcdctl, free_ports
from kube_client import Client, Refused
from kube_credentials import ADMIN, ADMINS, ISSUER, Credentials
from programs import built

from bgpnet.lab.wait import until

SERVICES = "10.96.0.0/16"
"""Where the ClusterIPs are."""
PATIENCE = 120.0
"""Seconds in which a server has to be ready; 4 on a machine that has nothing else to do."""


def flags(credentials: Credentials, address: str, port: int, etcd: str) -> list[str]:
    """kube-apiserver's command line, without what is the one server's own."""
    cert, key = credentials.server
    kubelets_cert, kubelets_key = credentials.user(ADMIN, ADMINS)
    values = {
        "advertise-address": address,
        "allow-privileged": "true",
        "authorization-mode": "Node,RBAC",
        "cert-dir": credentials.folder,
        "client-ca-file": credentials.ca,
        "enable-admission-plugins": "NodeRestriction",
        "etcd-servers": etcd,
        "kubelet-client-certificate": kubelets_cert,
        "kubelet-client-key": kubelets_key,
        "kubelet-preferred-address-types": "InternalIP",
        "secure-port": port,
        "service-account-issuer": ISSUER,
        "service-account-key-file": credentials.accounts,
        "service-account-signing-key-file": credentials.accounts,
        "service-cluster-ip-range": SERVICES,
        "tls-cert-file": cert,
        "tls-private-key-file": key,
    }
    return [f"--{name}={value}" for name, value in values.items()]


class ApiServer:
    """etcd and kube-apiserver; started by `start`, gone with `close`. They die with the thread that starts them."""

    def __init__(self, folder: Path, program: str = "", etcd: str = "", extra: Sequence[str] = ()) -> None:
        """extra: flags of kube-apiserver. program and etcd: without them, the current ones."""
        self.folder = folder
        self.etcd = EtcdCluster(folder, etcd or current_etcd())
        self.port = free_ports(1)[0]
        self.credentials = Credentials(folder / "credentials")
        self.client = Client(self.port, self.credentials)
        self._log = folder / "kube-apiserver.log"
        more = ["--bind-address=127.0.0.1", "--endpoint-reconciler-type=none"]  # a Service may not lead to the loopback
        asked = flags(self.credentials, "127.0.0.1", self.port, f"http://{self.etcd.endpoints[0]}")
        self.process = Member([program or built("kubernetes", "kube-apiserver"), *asked, *more, *extra], self._log)

    @property
    def url(self) -> str:
        """Where it listens."""
        return self.client.url

    @property
    def kubeconfig(self) -> Path:
        """That of an administrator, who may do everything."""
        return self.credentials.user_kubeconfig(self.url, ADMIN, ADMINS)

    def user(self, name: str, *groups: str) -> Path:
        """The kubeconfig of a user who may do what RBAC says: without a binding, next to nothing."""
        return self.credentials.user_kubeconfig(self.url, name, *groups)

    # its life

    def start(self) -> ApiServer:
        """Start what does not run; waits until it is ready."""
        self.etcd.start()
        self.process.start()
        return self.await_ready()

    def await_ready(self) -> ApiServer:
        """Wait until /readyz says ok."""
        until(self._missing, PATIENCE)
        return self

    def kill(self) -> None:
        """kill -9: its connections are reset, etcd lives on."""
        self.process.stop()

    def stop(self) -> None:
        """SIGTERM: it ends its watches and goes, as with a rolling update."""
        self.process.stop(signal.SIGTERM)

    def restart(self) -> None:
        """kill -9, and a new one that is ready."""
        self.kill()
        self.start()

    def pause(self) -> None:
        """It accepts connections and answers nothing."""
        self.process.send(signal.SIGSTOP)

    def resume(self) -> None:
        """It goes on."""
        self.process.send(signal.SIGCONT)

    def close(self) -> None:
        """End both."""
        self.process.stop()
        self.etcd.close()

    def log(self) -> str:
        """The end of what it wrote."""
        return self._log.read_text(errors="replace")[-5000:]

    def compact(self) -> None:
        """Have etcd forget all but the present: watches from an older revision meet 410 Gone."""
        said = json.loads(etcdctl(self.etcd, "get", "/", "-w", "json"))
        etcdctl(self.etcd, "compact", str(said["header"]["revision"]))

    def _missing(self) -> str:
        try:
            return "" if self.client.raw("GET", "/readyz") == b"ok" else "not ready"
        except (OSError, Refused) as problem:
            ended = self.process.process is None or self.process.process.poll() is not None
            assert not ended, f"kube-apiserver has ended: {self.log()}"
            return f"{self.url}/readyz: {problem}"


@contextmanager
def api_server(folder: Path, extra: Sequence[str] = ()) -> Iterator[ApiServer]:
    """One of the test's own, ready, in that folder."""
    server = ApiServer(folder, extra=extra)
    try:
        yield server.start()
    finally:
        server.close()


@cache
def shared_api_server() -> ApiServer:
    """One for all tests that break nothing, until this process ends."""
    directory = tempfile.TemporaryDirectory(prefix="kube-apiserver-")
    server = ApiServer(Path(directory.name))
    atexit.register(directory.cleanup)
    atexit.register(server.close)
    return server.start()
