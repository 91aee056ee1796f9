"""What one needs to know to reach an etcd cluster: from the datastore URL and the ETCD_ variables, as calicoctl's."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from bgpnet.errors import UsageError

_ENDPOINT = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?)(?::(\d{1,5}))?")
_PORT = 2379


@dataclass(frozen=True, slots=True)
class Tls:
    """Files in PEM: the authority that signed etcd's certificate; our own certificate and key, or neither."""

    ca: str
    cert: str | None = None
    key: str | None = None


@dataclass(frozen=True, slots=True)
class Options:
    """Endpoints as `host:port`; without `tls` plain text, without `user` no authentication."""

    endpoints: tuple[str, ...]
    tls: Tls | None = None
    user: str = ""
    password: str = field(default="", repr=False)

    def __str__(self) -> str:
        return f"etcd at {', '.join(self.endpoints)}"


def read(url: str, environ: Mapping[str, str]) -> Options:
    """The options of `etcd://host:port,host:port,…`; raises UsageError.

    ETCD_CA_CERT_FILE makes it TLS; ETCD_CERT_FILE and ETCD_KEY_FILE, both or none, make it mutual; ETCD_USERNAME and
    ETCD_PASSWORD, both or none. An empty variable counts as not set.
    """
    user, password = _pair(environ, "ETCD_USERNAME", "ETCD_PASSWORD")
    return Options(_endpoints(url), _tls(environ), user, password)


def _endpoints(url: str) -> tuple[str, ...]:
    rest = url.removeprefix("etcd:")
    if "@" in rest:  # the rest is not shown: a password may be in it
        raise UsageError(
            "datastore etcd://…@…: a URL is no place for a password; set ETCD_USERNAME and ETCD_PASSWORD instead"
        )
    endpoints = []
    for each in rest.removeprefix("//").split(","):
        found = _ENDPOINT.fullmatch(each)
        port = int(found[3] or _PORT) if found else 0
        if not found or not rest.startswith("//") or not 0 < port < 1 << 16:
            raise UsageError(
                f"datastore {url!r}: {each!r} is no HOST:PORT; write such as etcd://10.0.0.1:2379,10.0.0.2:2379"
            )
        endpoints.append(f"{found[1]}:{port}")
    return tuple(dict.fromkeys(endpoints))


def _tls(environ: Mapping[str, str]) -> Tls | None:
    cert, key = _pair(environ, "ETCD_CERT_FILE", "ETCD_KEY_FILE")
    ca = environ.get("ETCD_CA_CERT_FILE", "")
    if cert and not ca:
        raise UsageError(
            f"ETCD_CERT_FILE is {cert!r} without ETCD_CA_CERT_FILE; name the authority of etcd's certificate too"
        )
    for name in ("ETCD_CA_CERT_FILE", "ETCD_CERT_FILE", "ETCD_KEY_FILE"):
        if path := environ.get(name):
            _check(name, path)
    return Tls(ca, cert or None, key or None) if ca else None


def _check(name: str, path: str) -> None:
    try:
        text = Path(path).read_bytes()
    except OSError as error:
        raise UsageError(f"{name} is {path!r}: {error.strerror}; name a file that this user may read") from None
    if b"-----BEGIN " not in text:
        raise UsageError(f"{name} is {path!r}: holds no PEM block; name a file that begins with -----BEGIN")


def _pair(environ: Mapping[str, str], first: str, second: str) -> tuple[str, str]:
    one, other = environ.get(first, ""), environ.get(second, "")
    if bool(one) != bool(other):
        there, missing = (first, second) if one else (second, first)
        raise UsageError(f"{there} is set and {missing} is not; set both or none")
    return one, other
