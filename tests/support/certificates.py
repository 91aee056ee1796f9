"""Certificates for tests, made by openssl."""

from __future__ import annotations

import subprocess
from pathlib import Path


def authority(directory: Path, name: str) -> Path:
    """A new authority: its certificate; the key lies beside it."""
    cert = directory / f"{name}.pem"
    subject = ["-subj", f"/CN={name}", "-days", "2", "-out", str(cert)]
    _openssl("req", "-x509", *_key(directory, name), *subject)
    return cert


def certificate(directory: Path, ca: Path, name: str, days: int = 2) -> tuple[Path, Path]:
    """Certificate and key of 127.0.0.1, signed by the authority; of minus so many days it is expired."""
    request, cert, extensions = (directory / f"{name}.{suffix}" for suffix in ("csr", "pem", "ext"))
    extensions.write_text("subjectAltName=IP:127.0.0.1\n")
    _openssl("req", *_key(directory, name), "-subj", f"/CN={name}", "-out", str(request))
    signed_by = ["-CA", str(ca), "-CAkey", str(ca.with_suffix(".key")), "-CAcreateserial"]
    of = ["-in", str(request), "-out", str(cert), "-extfile", str(extensions)]
    _openssl("x509", "-req", *signed_by, *of, "-days", str(days))
    return cert, directory / f"{name}.key"


def _key(directory: Path, name: str) -> list[str]:
    return ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", str(directory / f"{name}.key")]


def _openssl(*arguments: str) -> None:
    subprocess.run(["openssl", *arguments], check=True, capture_output=True, timeout=30)
