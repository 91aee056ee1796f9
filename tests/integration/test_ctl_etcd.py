"""`bgpnetctl` and a real etcd that asks for certificates: reached through variables, a file, and texts in a file."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from certificates import authority, certificate
from etcd_servers import EtcdCluster, debian_etcd

from bgpnet.store.etcd_options import Options, Tls

POOL = "{apiVersion: bgpnet.io/v1, kind: IPPool, metadata: {name: NAME}, spec: {cidr: CIDR}}"
HEAD = "apiVersion: projectcalico.org/v3\nkind: CalicoAPIConfig\nmetadata:\nspec:\n  datastoreType: etcdv3\n"


@pytest.fixture(scope="module")
def pki(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("pki")
    ca = authority(directory, "ca")
    certificate(directory, ca, "etcd")
    certificate(directory, ca, "client")
    return directory


@pytest.fixture(scope="module")
def etcd(tmp_path_factory: pytest.TempPathFactory, pki: Path) -> Iterator[EtcdCluster]:
    tls = {"ca": f"{pki}/ca.pem", "cert": f"{pki}/etcd.pem", "key": f"{pki}/etcd.key"}
    cluster = EtcdCluster(tmp_path_factory.mktemp("etcd"), debian_etcd(), tls=tls).start()
    cluster.await_leader(Options(cluster.endpoints, Tls(tls["ca"], f"{pki}/client.pem", f"{pki}/client.key")))
    yield cluster
    cluster.close()


def run(*args: str, stdin: str = "", **environ: str) -> subprocess.CompletedProcess[str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("BGPNET_", "ETCD_"))}
    argv = [sys.executable, "-m", "bgpnet_ctl", *args]
    return subprocess.run(
        argv, env=kept | environ, input=stdin, capture_output=True, text=True, timeout=60, check=False
    )


def variables(etcd: EtcdCluster, pki: Path) -> dict[str, str]:
    names = {"CA_CERT_FILE": "ca.pem", "CERT_FILE": "client.pem", "KEY_FILE": "client.key"}
    return {f"ETCD_{name}": f"{pki}/{file}" for name, file in names.items()} | {
        "ETCD_ENDPOINTS": f"https://{etcd.endpoints[0]}",
        "DATASTORE_TYPE": "etcdv3",
    }


def files(etcd: EtcdCluster, pki: Path) -> str:
    return (
        f"{HEAD}  etcdEndpoints: https://{etcd.endpoints[0]}\n  etcdCACertFile: {pki}/ca.pem\n"
        f"  etcdCertFile: {pki}/client.pem\n  etcdKeyFile: {pki}/client.key\n"
    )


def texts(etcd: EtcdCluster, pki: Path, cert: str = "client.pem") -> str:
    said = {"etcdCACert": "ca.pem", "etcdCert": cert, "etcdKey": "client.key"}
    blocks = [
        f"  {name}: |\n" + "".join(f"    {line}\n" for line in (pki / file).read_text().splitlines())
        for name, file in said.items()
    ]
    return f"{HEAD}  etcdEndpoints: https://{etcd.endpoints[0]}\n{''.join(blocks)}"


def test_the_same_etcd_by_every_way_of_saying_it(etcd: EtcdCluster, pki: Path, tmp_path: Path) -> None:
    one = POOL.replace("NAME", "a").replace("CIDR", "10.0.0.0/16")
    assert run("create", "-f", "-", stdin=one, **variables(etcd, pki)).returncode == 0
    for number, text in enumerate((files(etcd, pki), texts(etcd, pki))):
        config = tmp_path / f"{number}.cfg"
        config.write_text(text)
        config.chmod(0o600)
        got = run("-c", str(config), "get", "ippool", "-o", "name")
        assert (got.stdout, got.stderr) == ("ippool/a\n", "")
        got = run("-c", str(config), "--datastore", f"etcd://{etcd.endpoints[0]}", "get", "ippool", "-o", "name")
        assert got.stdout == "ippool/a\n"
    got = run("get", "ippool", "-o", "name", "--datastore", f"etcd://{etcd.endpoints[0]}", **variables(etcd, pki))
    assert got.stdout == "ippool/a\n"


def test_without_certificates_one_sentence_and_soon(etcd: EtcdCluster) -> None:
    began = time.monotonic()
    refused = run("--datastore", f"etcd://{etcd.endpoints[0]}", "get", "ippool")
    assert time.monotonic() - began < 20
    assert (refused.returncode, refused.stdout) == (1, "")
    assert len(refused.stderr.splitlines()) == 1
    assert "ETCD_CA_CERT_FILE" in refused.stderr


def test_a_key_of_another_certificate_is_refused_and_not_shown(etcd: EtcdCluster, pki: Path, tmp_path: Path) -> None:
    config = tmp_path / "wrong.cfg"
    config.write_text(texts(etcd, pki, cert="ca.pem"))
    config.chmod(0o600)
    refused = run("-c", str(config), "get", "ippool")
    assert (refused.returncode, refused.stdout, len(refused.stderr.splitlines())) == (1, "", 1)
    assert "ETCD_KEY_FILE" in refused.stderr
    key = (pki / "client.key").read_text().splitlines()[1]
    assert key not in refused.stderr
