"""Sysctls by their path below /proc/sys, in the calling process's network namespace.

A container that is not privileged has /proc/sys read-only. Where the machine's /proc/sys/net is mounted at HOSTS as
well, it is used instead: whose mount it is does not matter, as the kernel shows every process those of its own network
namespace below net/ (net/sysctl_net.c).
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from functools import cache
from pathlib import Path

from bgpnet.errors import KernelRefused
from bgpnet.kernel import refusals

OWN = Path("/proc/sys")
HOSTS = Path("/host/proc/sys")
ROUTERS = "net/ipv6/conf/{}/accept_ra"
"""Whether a link's router advertisements count."""
DELAY = "net/ipv4/neigh/{}/proxy_delay"
"""Within which time proxy_arp answers on a link, in hundredths of a second."""


@cache
def root() -> Path:
    """The folder below which sysctls are read and written; it is the same for the process's life."""
    return find_root(OWN, HOSTS)


@cache
def _root() -> str:
    return str(root())


def find_root(own: Path, hosts: Path) -> Path:
    """The machine's, where our own is read-only and the machine's is there."""
    try:
        read_only = os.statvfs(own / "net").f_flag & os.ST_RDONLY
    except OSError:
        read_only = 0
    return hosts if read_only and (hosts / "net").is_dir() else own


def read(names: Iterable[str]) -> dict[str, str]:
    """The named sysctls' values; one that does not exist (its link is not there) is left out."""
    found = {}
    for name in names:
        try:
            found[name] = (root() / name).read_text().strip()
        except (FileNotFoundError, NotADirectoryError):
            continue
        except OSError as problem:
            raise KernelRefused(f"sysctl {name} cannot be read: {problem.strerror}") from problem
    return found


def write(name: str, value: str) -> None:
    """Raises KernelRefused with the remedy."""
    try:
        (root() / name).write_text(value)
    except OSError as problem:
        raise refusals.no_sysctl(name, value, problem.strerror or str(problem)) from problem


def deafen(link: str) -> None:
    """No router advertisement counts on this link: what is behind it may not tell the node where IPv6 leads.

    Where nobody forwards IPv6 the kernel heeds every one (net/ipv6/ndisc.c, ndisc_router_discovery), and netlink cannot
    forbid it. Nothing where there is no IPv6. Without pathlib, as every ADD does it. Raises KernelRefused, unless
    somebody who may write has seen to it (`net.ipv6.conf.default.accept_ra = 0`).
    """
    name = ROUTERS.format(link)
    try:
        descriptor = os.open(f"{_root()}/{name}", os.O_WRONLY)
        try:
            os.write(descriptor, b"0")
        finally:
            os.close(descriptor)
    except FileNotFoundError:
        return
    except OSError as problem:
        if read([name]).get(name) != "0":
            raise refusals.no_sysctl(name, "0", problem.strerror or str(problem)) from problem
