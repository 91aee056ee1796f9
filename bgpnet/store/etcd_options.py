"""What one needs to know to reach an etcd cluster: where it is, and what its users have to show, as calicoctl's."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path

from bgpnet.errors import UsageError

_ENDPOINT = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?)(?::(\d{1,5}))?")
_PORT = 2379
_BEGIN = "-----BEGIN "


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


@dataclass(frozen=True, slots=True)
class Said:
    """What the environment or a configuration file says of users and certificates; "" where it says nothing.

    The last three are PEM texts, the three before them paths. called: how a field is called where it was said.
    """

    username: str = ""
    password: str = field(default="", repr=False)
    ca_cert_file: str = ""
    cert_file: str = ""
    key_file: str = ""
    ca_cert: str = field(default="", repr=False)
    cert: str = field(default="", repr=False)
    key: str = field(default="", repr=False)
    called: Mapping[str, str] = field(default_factory=dict, repr=False)

    def name(self, of: str) -> str:
        """How people know the field `of`: `ETCD_KEY_FILE`, where nobody said otherwise."""
        return self.called.get(of, f"ETCD_{of.upper()}")

    def secure(self) -> str:
        """The field that makes it TLS, "" where none does."""
        return next((each for each in ("ca_cert", "ca_cert_file") if getattr(self, each)), "")


_OF_ENVIRONMENT = ("username", "password", "ca_cert_file", "cert_file", "key_file")
_FIELDS = tuple(each.name for each in fields(Said) if each.name != "called")


def variable(environ: Mapping[str, str], name: str) -> tuple[str, str]:
    """What a variable says, and under which of its two names: `CALICO_ETCD_ENDPOINTS` before `ETCD_ENDPOINTS`."""
    full = f"CALICO_{name}"
    return (environ[full], full) if environ.get(full) else (environ.get(name, ""), name)


def of_environment(environ: Mapping[str, str]) -> Said:
    """ETCD_USERNAME, ETCD_PASSWORD, ETCD_CA_CERT_FILE, ETCD_CERT_FILE and ETCD_KEY_FILE; an empty one is not set."""
    found = {of: variable(environ, f"ETCD_{of.upper()}") for of in _OF_ENVIRONMENT}
    values = {of: value for of, (value, _) in found.items()}
    return Said(**values, called={of: name for of, (_, name) in found.items()})


def read(url: str, said: Said | Mapping[str, str]) -> Options:
    """The options of `etcd://host:port,host:port,…` and of what is said, or of an environment; raises UsageError.

    An authority makes it TLS; a certificate and key, both or none, make it mutual; user and password, both or none.
    """
    if not isinstance(said, Said):
        said = of_environment(said)
    user, password = _pair(said, "username", "password")
    return Options(_endpoints(url), _tls(said), user, password)


def url_of(endpoints: str, called: str, said: Said) -> str:
    """The URL of calicoctl's list, `http://host:port,…` or `https://…` or bare; raises UsageError.

    The scheme must go with what is said of certificates: it is not repeated in the URL.
    """
    if "@" in endpoints:  # the value is not shown: a password may be in it
        user, password = said.name("username"), said.name("password")
        raise UsageError(f"{called}: an endpoint is no place for a password; set {user} and {password} instead")
    found = [each.strip().rpartition("://") for each in endpoints.split(",") if each.strip()]
    schemes = {scheme.lower() for scheme, _, _ in found}
    if not found or not schemes <= {"", "http", "https"}:
        raise UsageError(f"{called} is {endpoints!r}: write such as https://10.0.0.1:2379,https://10.0.0.2:2379")
    if len(schemes) > 1:
        raise UsageError(f"{called} is {endpoints!r}: mixes schemes; write https:// before all of them, or before none")
    url = "etcd://" + ",".join(rest.removesuffix("/") for _, _, rest in found)
    try:
        _endpoints(url)
    except UsageError:
        problem = "write a list of HOST:PORT such as https://10.0.0.1:2379,https://10.0.0.2:2379"
        raise UsageError(f"{called} is {endpoints!r}: {problem}") from None
    _agree(schemes.pop(), endpoints, called, said)
    return url


def _agree(scheme: str, endpoints: str, called: str, said: Said) -> None:
    secure = said.secure()
    if scheme == "https" and not secure:
        problem = f"https needs the authority of etcd's certificate; set {said.name('ca_cert_file')}"
        raise UsageError(f"{called} is {endpoints!r}: {problem}")
    if scheme == "http" and secure:
        problem = f"http does not go with {said.name(secure)}; write https://, or take that out"
        raise UsageError(f"{called} is {endpoints!r}: {problem}")


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


def _tls(said: Said) -> Tls | None:
    for of in ("ca_cert", "cert", "key"):
        if getattr(said, of) and getattr(said, f"{of}_file"):
            raise UsageError(f"{said.name(of)} and {said.name(f'{of}_file')} are both set; keep one of the two")
    has_cert, has_key = (said.cert or said.cert_file), (said.key or said.key_file)
    if bool(has_cert) != bool(has_key):
        there, missing = ("cert", "key") if has_cert else ("key", "cert")
        there = there if getattr(said, there) else f"{there}_file"
        raise UsageError(f"{said.name(there)} is set and {said.name(f'{missing}_file')} is not; set both or none")
    if has_cert and not said.secure():
        named = "cert" if said.cert else "cert_file"
        value = "" if said.cert else f" is {said.cert_file!r}"
        remedy = "name the authority of etcd's certificate too"
        raise UsageError(f"{said.name(named)}{value} without {said.name('ca_cert_file')}; {remedy}")
    files = [_file(said, of) for of in ("ca_cert", "cert", "key")]
    return Tls(files[0], files[1] or None, files[2] or None) if files[0] else None


def _file(said: Said, of: str) -> str:
    """A path from which the PEM can be read, as often as wanted."""
    text, path = getattr(said, of), getattr(said, f"{of}_file")
    if text:
        if _BEGIN not in text:  # it is not shown: it may be a key
            raise UsageError(f"{said.name(of)}: holds no PEM block; write the text that begins with {_BEGIN.strip()}")
        return _in_memory(text)
    if path:
        _check(said.name(f"{of}_file"), path)
    return str(path)


def _in_memory(text: str) -> str:
    """A file that is in no file system: gRPC's credentials are read from files, and a key must not lie about."""
    descriptor = os.memfd_create("bgpnet-pem")
    os.write(descriptor, text.encode())
    return f"/proc/self/fd/{descriptor}"


def _check(name: str, path: str) -> None:
    try:
        text = Path(path).read_bytes()
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise UsageError(f"{name} is {path!r}: {reason}; name a file that this user may read") from None
    if _BEGIN.encode() not in text:
        raise UsageError(f"{name} is {path!r}: holds no PEM block; name a file that begins with {_BEGIN.strip()}")


def _pair(said: Said, first: str, second: str) -> tuple[str, str]:
    one, other = getattr(said, first), getattr(said, second)
    if bool(one) != bool(other):
        there, missing = (first, second) if one else (second, first)
        raise UsageError(f"{said.name(there)} is set and {said.name(missing)} is not; set both or none")
    return one, other
