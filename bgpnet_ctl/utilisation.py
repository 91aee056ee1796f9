"""How full the pools are, and who has an address: derived from the blocks, which are the only truth."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import msgspec

from bgpnet import ipam
from bgpnet.errors import UsageError
from bgpnet.model import ip, kinds
from bgpnet.model.ipamblock import Allocation, IPAMBlock
from bgpnet.model.ippool import IPPool
from bgpnet.store.repo import Repo
from bgpnet_ctl import params, text
from bgpnet_ctl.render import tree

HEADER = ("GROUPING", "CIDR", "IPS TOTAL", "IPS IN USE", "IPS FREE")
WIDE = (*HEADER, "IPS RESTING", "OWNER", "STATE")
NUMBERS = frozenset({2, 3, 4, 5})


def _blocks(repo: Repo) -> list[IPAMBlock]:
    found = [block for block in repo.list(kinds.IPAMBLOCK)[0] if isinstance(block, IPAMBlock)]
    return sorted(found, key=lambda block: ip.order(block.network))


def _pools(repo: Repo) -> list[IPPool]:
    found = [pool for pool in repo.list(kinds.IPPOOL)[0] if isinstance(pool, IPPool)]
    return sorted(found, key=lambda pool: ip.order(pool.network))


def _counts(net: ip.Network, blocks: list[IPAMBlock]) -> dict[str, Any]:
    """In addresses: in use, resting (released a moment ago), and the rest of the network, which is free."""
    now = time.time()
    used = [ipam.usage(block, now) for block in blocks]
    in_use, resting = sum(usage.in_use for usage in used), sum(usage.resting for usage in used)
    total = net.num_addresses
    return {"cidr": str(net), "total": total, "inUse": in_use, "free": total - in_use - resting, "resting": resting}


def _usage(repo: Repo) -> Iterator[dict[str, Any]]:
    """Each pool with its blocks, then, without a pool, the blocks that lie in none."""
    blocks = _blocks(repo)
    for pool in _pools(repo):
        inside = [block for block in blocks if ip.contains(pool.network, block.network)]
        blocks = [block for block in blocks if not ip.contains(pool.network, block.network)]
        counts = {"pool": pool.metadata.name, **_counts(pool.network, inside)}
        yield {**counts, "blocks": [_block(block) for block in inside]}
    if blocks:
        yield {"pool": None, "blocks": [_block(block) for block in blocks]}


def _block(block: IPAMBlock) -> dict[str, Any]:
    owner = block.spec.owner.name if block.spec.owner else None
    return {**_counts(block.network, [block]), "owner": owner, "state": str(block.spec.state)}


def shown(repo: Repo, show_blocks: bool, output: str) -> str:
    """`ipam show`: a row for each pool, and for each block if wanted."""
    usage = list(_usage(repo))
    if output in (params.YAML, params.JSON):
        if not show_blocks:
            usage = [{key: value for key, value in pool.items() if key != "blocks"} for pool in usage if pool["pool"]]
        return tree(usage, output)
    rows: list[tuple[str, ...]] = []
    for pool in usage:
        if pool["pool"] is not None:
            rows.append(_row("IP Pool", pool))
        if show_blocks:
            rows += [_row("Block", block) for block in pool["blocks"]]
    header = WIDE if output == params.WIDE else HEADER
    return text.boxed(header, [row[: len(header)] for row in rows], right=NUMBERS)


def _row(grouping: str, counts: dict[str, Any]) -> tuple[str, ...]:
    shares = [share(counts[name], counts["total"]) for name in ("inUse", "free", "resting")]
    owner = (counts.get("owner") or "-", counts.get("state", "-"))
    return (grouping, counts["cidr"], str(counts["total"]), *shares, *owner)


def share(count: int, total: int) -> str:
    """`12 (5%)`; rounded, so 0% may be a few and 100% not quite all."""
    return f"{count} ({100 * count / total:.0f}%)"


def holder(repo: Repo, address: str, output: str) -> str:
    """`ipam show --ip`: who has the address, or that nobody has."""
    try:
        wanted = ip.address(address)
    except ValueError as error:
        raise UsageError(f"--ip = '{address}': is not an address; write it like 10.244.0.5") from error
    for block in _blocks(repo):
        if ip.contains(block.network, wanted):
            slot = block.spec.allocations.get(int(wanted) - int(block.network.network_address))
            return _holder(str(wanted), block, slot, output)
    return _holder(str(wanted), None, None, output)


def _holder(address: str, block: IPAMBlock | None, slot: Allocation | None, output: str) -> str:
    about: dict[str, Any] = {}
    if block is not None:
        about["block"] = block.spec.cidr
        about["node"] = block.spec.owner.name if block.spec.owner else None
    if slot is not None:
        about |= msgspec.to_builtins(slot) | {"use": str(slot.use)}
    if output in (params.YAML, params.JSON):
        return tree({"ip": address, "inUse": slot is not None and slot.freedAt is None, **about}, output)
    if slot is None:
        return f"{address} is not assigned\n"
    free = slot.freedAt is not None
    head = [f"{address} is not assigned", "Last held by:"] if free else [f"IP {address} is in use", "Attributes:"]
    return "\n".join([*head, *(f"  {key}: {value}" for key, value in sorted(about.items())), ""])
