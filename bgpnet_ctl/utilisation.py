"""How full the pools are, and who has an address: derived from the blocks, which are the only truth."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import msgspec

from bgpnet import ipam, resting
from bgpnet.annotations import KEEP
from bgpnet.errors import UsageError
from bgpnet.ipamcheck import counts
from bgpnet.model import ip, kinds
from bgpnet.model.instant import stamp
from bgpnet.model.ipamblock import Allocation, IPAMBlock
from bgpnet.model.ippool import IPPool
from bgpnet.model.ipreservation import IPReservation
from bgpnet.store.repo import Repo
from bgpnet_ctl import params, settings, text
from bgpnet_ctl.render import tree

HEADER = ("GROUPING", "CIDR", "IPS TOTAL", "IPS IN USE", "IPS RESERVED", "IPS FREE")
WIDE = (*HEADER, "IPS RESTING", "OWNER", "STATE")
NUMBERS = frozenset({2, 3, 4, 5, 6})
OUTSIDE = "No IP Pool"
"""The grouping of blocks that lie in no pool."""


@dataclass(frozen=True, slots=True)
class Counting:
    """How to count: what is reserved, for how long a released address rests (seconds), and when it is."""

    kept: list[ip.Network]
    rest: float
    now: float

    def of(self, net: ip.Network, blocks: list[IPAMBlock]) -> dict[str, Any]:
        """In addresses; they add up to the total."""
        one = counts.count(net, blocks, self.kept, self.now, self.rest)
        return {
            "cidr": str(net),
            "total": one.total,
            "inUse": one.in_use,
            "reserved": one.reserved,
            "free": one.free,
            "resting": one.resting,
        }

    def block(self, block: IPAMBlock) -> dict[str, Any]:
        """A block, with its owner and state."""
        owner = block.spec.owner.name if block.spec.owner else None
        return {**self.of(block.network, [block]), "owner": owner, "state": str(block.spec.state)}


def _blocks(repo: Repo) -> list[IPAMBlock]:
    found = [block for block in repo.list(kinds.IPAMBLOCK)[0] if isinstance(block, IPAMBlock)]
    return sorted(found, key=lambda block: ip.order(block.network))


def _pools(repo: Repo) -> list[IPPool]:
    found = [pool for pool in repo.list(kinds.IPPOOL)[0] if isinstance(pool, IPPool)]
    return sorted(found, key=lambda pool: ip.order(pool.network))


def _reservations(repo: Repo) -> list[IPReservation]:
    return [each for each in repo.list(kinds.IPRESERVATION)[0] if isinstance(each, IPReservation)]


def _usage(repo: Repo) -> Iterator[dict[str, Any]]:
    """Each pool with its blocks, then, without a pool, the blocks that lie in none."""
    told = settings.configuration(repo).spec.ipCooldownSeconds
    rest = ipam.REST if told is None else float(told)
    counting = Counting(counts.reservations(_reservations(repo)), rest, time.time())
    blocks = _blocks(repo)
    for pool in _pools(repo):
        inside = [block for block in blocks if ip.contains(pool.network, block.network)]
        blocks = [block for block in blocks if not ip.contains(pool.network, block.network)]
        shown = [counting.block(block) for block in inside]
        disabled = {"disabled": pool.spec.disabled}
        yield {"pool": pool.metadata.name, **counting.of(pool.network, inside), **disabled, "blocks": shown}
    if blocks:
        shown = [counting.block(block) for block in blocks]
        sums = {key: sum(one[key] for one in shown) for key in ("total", "inUse", "reserved", "free", "resting")}
        yield {"pool": None, "cidr": None, **sums, "blocks": shown}


def shown(repo: Repo, show_blocks: bool, output: str) -> str:
    """`ipam show`: a row for each pool, and for each block if wanted."""
    usage = list(_usage(repo))
    if output in (params.YAML, params.JSON):
        if not show_blocks:
            usage = [{key: value for key, value in pool.items() if key != "blocks"} for pool in usage]
        return tree(usage, output)
    rows: list[tuple[str, ...]] = []
    for pool in usage:
        rows.append(_row(OUTSIDE if pool["pool"] is None else "IP Pool", pool))
        if show_blocks:
            rows += [_row("Block", block) for block in pool["blocks"]]
    header = WIDE if output == params.WIDE else HEADER
    return text.boxed(header, [row[: len(header)] for row in rows], right=NUMBERS)


def _row(grouping: str, one: dict[str, Any]) -> tuple[str, ...]:
    shares = [share(one[name], one["total"]) for name in ("inUse", "reserved", "free", "resting")]
    state = one.get("state") or ("disabled" if one.get("disabled") else "-")
    return (grouping, one["cidr"] or "-", str(one["total"]), *shares, one.get("owner") or "-", state)


def share(count: int, total: int) -> str:
    """`12 (5%)`; rounded, so 0% may be a few and 100% not quite all."""
    return f"{count} ({100 * count / total:.0f}%)"


def holder(repo: Repo, address: str, output: str) -> str:
    """`ipam show --ip`: who has the address, or that nobody has."""
    try:
        wanted = ip.address(address)
    except ValueError as error:
        raise UsageError(f"--ip = '{address}': is not an address; write it like 10.244.0.5") from error
    keeper = _keeper(repo, wanted)
    for block in _blocks(repo):
        if ip.contains(block.network, wanted):
            slot = block.spec.allocations.get(int(wanted) - int(block.network.network_address))
            return _holder(str(wanted), block, slot, keeper, output)
    return _holder(str(wanted), None, None, keeper, output)


def _keeper(repo: Repo, wanted: ip.Address) -> str:
    """The reservation that keeps an address; empty when none does."""
    for one in _reservations(repo):
        if any(ip.contains(ip.network(cidr), wanted) for cidr in one.spec.reservedCIDRs):
            return one.metadata.name
    return ""


def _holder(address: str, block: IPAMBlock | None, slot: Allocation | None, keeper: str, output: str) -> str:
    about: dict[str, Any] = {"reservedBy": keeper} if keeper else {}
    if block is not None:
        about["block"] = block.spec.cidr
        about["node"] = block.spec.owner.name if block.spec.owner else None
    if slot is not None:
        about |= msgspec.to_builtins(slot) | {"use": str(slot.use)}
    until = resting.kept_until(slot, time.time()) if slot is not None else 0.0
    if slot is not None and until:
        about["keptUntil"] = stamp(until)
    if output in (params.YAML, params.JSON):
        return tree({"ip": address, "inUse": slot is not None and slot.freedAt is None, **about}, output)
    if slot is None:
        return f"{address} is not assigned\n" + (f"It is reserved by IPReservation({keeper})\n" if keeper else "")
    free = slot.freedAt is not None
    head = [f"{address} is not assigned", "Last held by:"] if free else [f"IP {address} is in use", "Attributes:"]
    if until:
        head.insert(1, f"It is kept for pod {slot.pod} until {stamp(until)}: its annotation {KEEP} asked for that")
    return "\n".join([*head, *(f"  {key}: {value}" for key, value in sorted(about.items())), ""])


def borrowed(output: str) -> str:
    """`ipam show --show-borrowed`: calicoctl's columns, and never a row."""
    if output in (params.YAML, params.JSON):
        return tree([], output)
    header = ("IP", "BORROWING-NODE", "BLOCK", "BLOCK OWNER", "TYPE", "ALLOCATED-TO")
    return text.boxed(header, []) + "No address is borrowed: a node takes addresses from its own blocks alone.\n"
