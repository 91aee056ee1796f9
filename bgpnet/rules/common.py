"""Rules that several kinds share; each says where, what it found, what is wrong, and what to write instead."""

from __future__ import annotations

import re
from collections.abc import Iterator
from decimal import Decimal

from bgpnet import names, selector
from bgpnet.errors import Finding
from bgpnet.model import ip
from bgpnet.model.resource import Metadata, Password

ANNOTATIONS_LIMIT = 256 * 1024  # bytes, keys and values together, as Kubernetes counts them
AS_LIMIT = 2**32 - 1
HOLD_LIMIT = 65535  # seconds: the hold time has 16 bits (RFC 4271, 4.2)
RESTART_LIMIT = 4095  # seconds: the restart time has 12 bits (RFC 4724, 3)

_LABEL = re.compile(r"[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?\Z")
_DURATION = re.compile(r"(?:0|(?:[0-9]+(?:\.[0-9]+)?(?:ns|us|µs|ms|s|m|h))+)\Z", re.ASCII)
_PART = re.compile(r"([0-9]+(?:\.[0-9]+)?)(ns|us|µs|ms|s|m|h)")
_UNITS = {"ns": "0.000000001", "us": "0.000001", "µs": "0.000001", "ms": "0.001", "s": "1", "m": "60", "h": "3600"}


def metadata(meta: Metadata) -> Iterator[Finding]:
    """Name, labels and annotations: what every resource obeys (Kubernetes' syntax, as in v3)."""
    if not meta.name:
        yield Finding("metadata.name", None, "is required; give the object a name such as blue")
    elif not names.is_subdomain(meta.name):
        yield Finding(
            "metadata.name", meta.name, "is not a lower-case DNS name (a-z, 0-9, '-', '.', at most 253); rename"
        )
    for key, value in meta.labels.items():
        yield from _qualified("metadata.labels", key)
        if value and not _LABEL.match(value):
            yield Finding(
                f"metadata.labels[{key}]",
                value,
                "is not a label value: at most 63 of A-Z, a-z, 0-9, '-', '_', '.'; shorten",
            )
    yield from _annotations(meta.annotations)


def _annotations(annotations: dict[str, str]) -> Iterator[Finding]:
    size = 0
    for key, value in annotations.items():
        yield from _qualified("metadata.annotations", key)
        size += len(key.encode("utf-8", "replace")) + len(value.encode("utf-8", "replace"))
    if size > ANNOTATIONS_LIMIT:
        yield Finding(
            "metadata.annotations", None, f"hold {size} bytes, at most {ANNOTATIONS_LIMIT} are allowed; shorten"
        )


def _qualified(path: str, key: str) -> Iterator[Finding]:
    prefix, slash, name = key.rpartition("/")
    if not _LABEL.match(name) or (slash and not names.is_subdomain(prefix.lower())):
        yield Finding(
            path, key, "is not a key: [dns.name/]name with at most 63 of A-Z, a-z, 0-9, '-', '_', '.'; rename"
        )


def network(path: str, text: str, bare: bool = False) -> ip.Network | Finding:
    """A CIDR with no host bits, or what is wrong with it. bare: an address alone means its /32 or /128."""
    if "/" not in text and not bare:
        return Finding(path, text, f"has no prefix length; write it like {text}/16")
    net = masked(text if "/" in text else f"{text}/{128 if ':' in text else 32}")
    if net is None:
        return Finding(path, text, "is not a CIDR; write one like 10.244.0.0/16 or fd00:10::/64")
    if net.network_address != ip.address(text.partition("/")[0]):
        return Finding(path, text, f"{text} is not a network address; write {net}")
    return net


def usual_network(text: str) -> str:
    """The CIDR in its usual spelling, an address alone as its /32 or /128; what is no CIDR as it is."""
    net = network("", text, bare=True)
    return text if isinstance(net, Finding) else str(net)


def only_default(name: str) -> Iterator[Finding]:
    """There is one object of the kind, `default`."""
    if name and name != "default":
        yield Finding("metadata.name", name, "must be default: a cluster has one object of this kind; rename")


def masked(text: str) -> ip.Network | None:
    """The network that a CIDR lies in, host bits or not; None when it is no CIDR."""
    addr, _, length = text.partition("/")
    if not (length.isascii() and length.isdigit()) or "%" in addr:
        return None
    try:
        return ip.interface(text).network
    except ValueError:
        return None


def interface(path: str, text: str, version: int) -> ip.Interface | Finding:
    """An address with the length of its subnet, of that family."""
    example = "10.0.0.5/24" if version == 4 else "fd00::5/64"
    addr = address(path, text.partition("/")[0], version)
    if isinstance(addr, Finding):
        return Finding(path, text, f"is not an IPv{version} address with its prefix length; write it like {example}")
    length = text.partition("/")[2]
    if not (length.isascii() and length.isdigit() and int(length[:4]) <= addr.max_prefixlen):
        return Finding(
            path, text, f"has no valid prefix length; write it like {example}: the subnet decides CrossSubnet"
        )
    if addr.is_unspecified or addr.is_multicast or addr.is_loopback:
        return Finding(path, text, "cannot be reached from another node; write the address that the other nodes reach")
    return ip.interface(f"{addr}/{int(length)}")


def address(path: str, text: str, version: int | None = None) -> ip.Address | Finding:
    """An address alone; version None: of either family."""
    family = f"an IPv{version} address" if version else "an IP address"
    example = "fd00::1" if version == 6 else "10.0.0.1"
    try:
        addr = ip.address(text)
    except ValueError:
        return Finding(path, text, f"is not {family}; write one like {example}")
    if (version and addr.version != version) or "%" in text:
        return Finding(path, text, f"is not {family}; write one like {example}")
    return addr


def findings(*parsed: object) -> Iterator[Finding]:
    """Those of the results which are findings."""
    for result in parsed:
        if isinstance(result, Finding):
            yield result


def between(path: str, value: int | None, low: int, high: int) -> Iterator[Finding]:
    """The value, where there is one, lies in low to high, both included."""
    if value is not None and not low <= value <= high:
        yield Finding(path, value, f"must be {low} to {high}")


def as_number(path: str, value: int | None) -> Iterator[Finding]:
    """An AS number of 32 bits; 0 is reserved (RFC 7607)."""
    if value is not None and not 1 <= value <= AS_LIMIT:
        yield Finding(path, value, f"is not an AS number; write 1 to {AS_LIMIT}, or dotted like 1.10")


def node_selector(path: str, text: str) -> Iterator[Finding]:
    """A selector over labels of nodes: it parses, and does not say global()."""
    yield from _selector(path, text, allow_global=False)


def label_selector(path: str, text: str) -> Iterator[Finding]:
    """A selector over labels: it parses."""
    yield from _selector(path, text, allow_global=True)


def _selector(path: str, text: str, allow_global: bool) -> Iterator[Finding]:
    try:
        parsed = selector.parse(text)
    except ValueError as error:
        yield Finding(path, text, f"is not a selector ({error}); write one like role == 'edge'")
        return
    if parsed.mentions_global and not allow_global:
        yield Finding(path, text, "global() is for policies only; write all() to select everything")


def duration(path: str, text: str | None, most: int, least: int = 0) -> Iterator[Finding]:
    """A length of time such as 90s, 2m or 1h30m, between two numbers of seconds."""
    if text is None:
        return
    if not _DURATION.match(text):
        yield Finding(path, text, "is not a length of time; write it with a unit, like 120s or 2m")
        return
    if not least <= length(text) <= most:
        yield Finding(path, text, f"must be {least}s to {most}s")


def length(text: str) -> Decimal:
    """A length of time such as 1h30m, in seconds; the text is one that `duration` finds nothing wrong with."""
    return sum((Decimal(number) * Decimal(_UNITS[unit]) for number, unit in _PART.findall(text)), Decimal(0))


def password(path: str, given: Password | None) -> Iterator[Finding]:
    """A reference to a secret names both the secret and the key in it."""
    if given is None:
        return
    if not names.is_subdomain(given.secretKeyRef.name):
        yield Finding(
            f"{path}.secretKeyRef.name", given.secretKeyRef.name, "is not the name of a Secret; write its name"
        )
    if not re.fullmatch(r"[-._a-zA-Z0-9]{1,253}", given.secretKeyRef.key):
        yield Finding(
            f"{path}.secretKeyRef.key", given.secretKeyRef.key, "is not a key of a Secret; write the key in it"
        )
