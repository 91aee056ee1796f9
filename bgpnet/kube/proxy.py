"""Which proxy leads to an API server, chosen as kubectl does; httpx knows no networks in NO_PROXY. Pure."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from urllib.parse import urlsplit

_DEFAULT_PORTS = {"http": 80, "https": 443}


def of(server: str, environ: Mapping[str, str]) -> str:
    """The URL in HTTPS_PROXY or HTTP_PROXY for that server, empty for none; raises ValueError for a strange one.

    NO_PROXY takes names (with all below them), addresses, networks, each with a port or without, and `*`; this machine
    itself is never asked for by a proxy.
    """
    parts = urlsplit(server)
    host, port = (parts.hostname or "").rstrip("."), parts.port or _DEFAULT_PORTS.get(parts.scheme, 0)
    variable = f"{parts.scheme.upper()}_PROXY"
    found = environ.get(variable) or environ.get(variable.lower()) or ""
    exempt = environ.get("NO_PROXY") or environ.get("no_proxy") or ""
    if not found or _here(host) or any(_exempt(one.strip().lower(), host, port) for one in exempt.split(",")):
        return ""
    return checked(found, variable)


def checked(url: str, said: str) -> str:
    """The proxy's URL, which may come without its scheme; raises ValueError for one that we cannot speak with."""
    if "://" not in url:
        url = f"http://{url}"
    scheme = urlsplit(url).scheme
    if scheme not in ("http", "https"):
        raise ValueError(f"{said} is a {scheme} proxy, which is not supported; write one of http or https, or unset it")
    return url


def _here(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _exempt(one: str, host: str, port: int) -> bool:
    """Whether an entry of NO_PROXY means the host."""
    if one in ("", "*"):
        return one == "*"
    name, colon, number = one.rpartition(":")
    if colon and number.isdigit() and (":" not in name or name.endswith("]")):
        if int(number) != port:
            return False
        one = name
    one = one.strip("[]")
    try:
        network = ipaddress.ip_network(one, strict=False)
    except ValueError:
        above = one.removeprefix("*")
        return host.endswith(f".{above.lstrip('.')}") or host == above
    try:
        return ipaddress.ip_address(host) in network
    except ValueError:
        return False
