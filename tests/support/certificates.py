"""Certificates for tests, made by openssl."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from pathlib import Path


def authority(directory: Path, name: str) -> Path:
    """A new authority: its certificate; the key lies beside it."""
    cert = directory / f"{name}.pem"
    subject = ["-subj", f"/CN={name}", "-days", "2", "-out", str(cert)]
    _openssl("req", "-x509", *_key(directory, name), *subject)
    return cert


def certificate(
    directory: Path,
    ca: Path,
    name: str,
    days: int = 2,
    address: str = "127.0.0.1",
    *,
    subject: str = "",
    names: Sequence[str] = (),
) -> tuple[Path, Path]:
    """Certificate and key of the address, signed by the authority; of minus so many days it is expired.

    subject: as openssl writes it; without it, the name. names: what it is for besides the address ("DNS:x", "IP:y").
    """
    request, cert, extensions = (directory / f"{name}.{suffix}" for suffix in ("csr", "pem", "ext"))
    extensions.write_text(f"subjectAltName={','.join([f'IP:{address}', *names])}\n")
    _openssl("req", *_key(directory, name), "-subj", subject or f"/CN={name}", "-out", str(request))
    signed_by = ["-CA", str(ca), "-CAkey", str(ca.with_suffix(".key")), "-CAcreateserial"]
    of = ["-in", str(request), "-out", str(cert), "-extfile", str(extensions)]
    _openssl("x509", "-req", *signed_by, *of, "-days", str(days))
    return cert, directory / f"{name}.key"


def collection(directory: Path) -> Path:
    """Those of etcd, a client, an expired one, one of another address, and one of another authority."""
    ca = authority(directory, "ca")
    certificate(directory, ca, "etcd")
    certificate(directory, ca, "client")
    certificate(directory, ca, "expired", days=-1)
    certificate(directory, ca, "elsewhere", address="127.0.0.9")
    certificate(directory, authority(directory, "other"), "stranger")
    (directory / "junk.pem").write_text("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n")
    return directory


def files(directory: Path, name: str) -> dict[str, str]:
    """What EtcdCluster(tls=…) takes."""
    return {"ca": f"{directory}/ca.pem", "cert": f"{directory}/{name}.pem", "key": f"{directory}/{name}.key"}


def environ(directory: Path, ca: str, client: str) -> dict[str, str]:
    """The ETCD_ variables that name those files; empty for none."""
    named = {"ETCD_CA_CERT_FILE": f"{directory}/{ca}.pem"} if ca else {}
    if client:
        named |= {"ETCD_CERT_FILE": f"{directory}/{client}.pem", "ETCD_KEY_FILE": f"{directory}/{client}.key"}
    return named


def _key(directory: Path, name: str) -> list[str]:
    return ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", str(directory / f"{name}.key")]


def _openssl(*arguments: str) -> None:
    subprocess.run(["openssl", *arguments], check=True, capture_output=True, timeout=30)
