"""Packet rules on Linux, by the programs nft and iptables-legacy. See kernel/packets.py.

A run of nft costs 3 to 20 ms: nothing that a pod waits for may wait for it.
"""

from __future__ import annotations

import errno
import os
import re
import select
import shutil
import socket
import struct
import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path
from time import monotonic

from msgspec import MsgspecError

from bgpnet.errors import KernelRefused
from bgpnet.kernel import legacy, nftables
from bgpnet.kernel.packets import NOTHING, Barrier, PacketRules, PacketState

DEADLINE = 20.0
"""Seconds that a program may take: it may wait for a lock that kube-proxy holds while it writes thousands of rules."""
FOREIGN = 600.0
"""Seconds after which the other chains of the machine are looked at again: there may be tens of thousands."""
LOOK = 500
"""Milliseconds after which `stop` is looked at."""
NETLINK_NETFILTER, SOL_NETLINK, NETLINK_ADD_MEMBERSHIP = 12, 270, 1
NFNLGRP_NFTABLES = 7
TOLD_OF = re.compile(rb"bgpnet\0|" + re.escape(struct.pack("=H", 4 + len(b"FORWARD\0"))) + rb"..FORWARD\0", re.DOTALL)
"""What a notification about our table, or about a chain FORWARD, has in it: a netlink attribute with its length, for
kube-proxy rewrites its KUBE-FORWARD time and again."""


class LinuxFirewall:
    """Implements kernel.packets.Firewall, in the namespace of the calling thread. One thread at a time."""

    def __init__(self) -> None:
        self._by_nft: bool | None = None
        self._foreign: tuple[Barrier, ...] = ()
        self._looked = float("-inf")

    def read(self) -> PacketState:
        """See kernel.packets.Firewall.read."""
        have = _legacy_tables(needed=not self._nft)
        barriers = [legacy.barrier(have)]
        if not self._nft:
            return PacketState(legacy.parse(have), tuple(one for one in barriers if one), legacy.tunnels(have))
        listing = _nft_listing("table", nftables.TABLE)
        rules, tunnels = _rules(listing), nftables.tunnels(listing)
        if forward := _nft_listing("chain", f"{nftables.FILTER} {nftables.CHAIN}"):
            barriers.append(_barrier(forward))
        return PacketState(rules, (*(one for one in barriers if one), *self._others()), tunnels)

    def put(self, rules: PacketRules, have: PacketRules | None) -> None:
        """See kernel.packets.Firewall.put."""
        if not self._nft:
            _restore(legacy.script(rules, _legacy_tables(needed=True)))
            return
        try:
            _nft_script(nftables.script(rules, have))
            if have is not None or _rules(_nft_listing("table", nftables.TABLE)) == rules:
                return
        except KernelRefused:
            if have == NOTHING:
                raise
        _nft_script(nftables.rebuilt(rules))  # what was known of it is old, or it has in it what is in the way

    def accept(self, barrier: Barrier) -> None:
        """See kernel.packets.Firewall.accept."""
        if barrier.tool == legacy.TOOL:
            _restore(legacy.accept(_legacy_tables(needed=True)))
        elif forward := _nft_listing("chain", f"{nftables.FILTER} {nftables.CHAIN}"):
            _nft_script(nftables.accept(forward))

    def dropped(self) -> Mapping[str, int]:
        """See kernel.packets.Firewall.dropped."""
        listing = _nft_listing("table", nftables.TABLE) if self._nft else b""
        try:
            return nftables.dropped(listing) if listing else {}
        except MsgspecError:
            return {}

    def follow(self, changed: Callable[[], None], stop: Callable[[], bool]) -> None:
        """See kernel.packets.Firewall.follow."""
        with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, NETLINK_NETFILTER) as heard:
            heard.bind((0, 0))  # without an address of its own it would be told nothing
            heard.setsockopt(SOL_NETLINK, NETLINK_ADD_MEMBERSHIP, NFNLGRP_NFTABLES)
            poll = select.poll()
            poll.register(heard, select.POLLIN)
            while not stop():
                if poll.poll(LOOK) and _hears_of_us(heard):
                    changed()

    @property
    def _nft(self) -> bool:
        """Whether the kernel has nftables. Raises KernelRefused without the program."""
        if self._by_nft is None:
            done = _run("nft", "-c", "-f", "-", stdin=f"add table {nftables.TABLE}\n", package="nftables")
            self._by_nft = "not supported" not in done.stderr
        return self._by_nft

    def _others(self) -> tuple[Barrier, ...]:
        if self._foreign or monotonic() - self._looked >= FOREIGN:  # what was complained of may be mended by now
            done = _run("nft", "list", "chains", package="nftables")
            places = nftables.foreign(done.stdout) if done.returncode == 0 else ()
            self._foreign = tuple(one for one in map(_strangers, places) if one)
            self._looked = monotonic()
        return self._foreign


def _hears_of_us(heard: socket.socket) -> bool:
    """Whether what has arrived is about rules that we look after."""
    found = False
    try:
        while True:
            said = heard.recv(1 << 18, socket.MSG_DONTWAIT)
            found = found or TOLD_OF.search(said) is not None
    except BlockingIOError:
        return found
    except OSError as problem:
        if problem.errno != errno.ENOBUFS:
            raise
        return True


def _nft_listing(kind: str, name: str) -> bytes:
    """As JSON; empty when there is no such thing."""
    done = _run("nft", "-j", "list", kind, *name.split(), package="nftables")
    if done.returncode == 0:
        return done.stdout.encode()
    if "No such file or directory" in done.stderr:
        return b""
    raise _refusal("nft", f"list {kind} {name}", done)


def _rules(listing: bytes) -> PacketRules | None:
    try:
        return nftables.parse(listing) if listing else NOTHING
    except MsgspecError:
        return None  # nft 1.0.6 prints half of a table with flags: as little ours as any other that we did not put


def _barrier(listing: bytes) -> Barrier | None:
    try:
        return nftables.barrier(listing)
    except MsgspecError as problem:
        raise KernelRefused(
            f"nft prints what is not understood of chain {nftables.CHAIN} in table {nftables.FILTER} ({problem}): "
            "see it with nft list chain, and use nftables 1.0 or newer"
        ) from problem


def _strangers(place: tuple[str, str]) -> Barrier | None:
    """None, too, where nft cannot print it, or not in words that are understood: it is somebody else's, only a warning
    hangs on it, and our own rules must not wait for it.
    """
    try:
        listing = _nft_listing("chain", " ".join(place))
        found = nftables.strangers(place, listing) if listing else None
        return None if found is None or nftables.knows_pods(_nft_listing("table", place[0])) else found
    except (KernelRefused, MsgspecError):
        return None


def _nft_script(script: str) -> None:
    done = _run("nft", "-f", "-", stdin=script, package="nftables")
    if done.returncode != 0:
        raise _refusal("nft", script.strip().splitlines()[-1].strip(), done)


def _legacy_tables(*, needed: bool) -> legacy.Tables:
    """What iptables-legacy has; asked only where there are such tables, because asking would make them."""
    try:
        there = Path("/proc/thread-self/net/ip_tables_names").read_text()
    except FileNotFoundError:
        there = ""
    except OSError as problem:
        raise KernelRefused(f"{problem.filename} cannot be read: {problem.strerror}; see to that") from problem
    if not there.strip() and not needed:
        return {}
    if not there.strip():
        _program(legacy.TOOL, "iptables")
        return {}
    done = _run("iptables-legacy-save", package="iptables")
    if done.returncode != 0:
        raise _refusal("iptables-legacy-save", "", done)
    return legacy.tables(done.stdout)


def _restore(script: str) -> None:
    if not script:
        return
    words = ("iptables-legacy-restore", "--noflush", "-w", str(int(DEADLINE / 2)))
    done = _run(*words, stdin=script, package="iptables")
    if done.returncode != 0:
        raise _refusal(words[0], "", done)


def _program(name: str, package: str) -> str:
    """Where it is; raises KernelRefused, with the command that installs it."""
    found = shutil.which(name, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")
    if not found:
        raise KernelRefused(
            f"packet rules (natOutgoing, source checks) cannot be put: the program {name} is missing: "
            f"apt-get install {package}"
        )
    return found


def _run(program: str, *words: str, stdin: str = "", package: str) -> subprocess.CompletedProcess[str]:
    """Raises KernelRefused when it is missing, cannot be started, or takes too long."""
    argv = [_program(program, package), *words]
    try:
        return subprocess.run(argv, input=stdin, capture_output=True, text=True, timeout=DEADLINE, check=False)
    except subprocess.TimeoutExpired:
        raise KernelRefused(
            f"{program} {' '.join(words)} took longer than {DEADLINE:g} s: see who else writes rules (ps aux)"
        ) from None
    except OSError as problem:  # no descriptors, processes or memory are left
        raise KernelRefused(
            f"{program} {' '.join(words)} cannot be started: {problem.strerror}; see to that"
        ) from problem


def _refusal(program: str, what: str, done: subprocess.CompletedProcess[str]) -> KernelRefused:
    reason = next((line.strip() for line in done.stderr.splitlines() if line.strip()), f"status {done.returncode}")
    remedy = "give the agent CAP_NET_ADMIN" if "not permitted" in reason else "see that the kernel has what it needs"
    return KernelRefused(f"packet rules: {program} refuses {what or 'them'}: {reason}; {remedy}")
