"""What an IPAMBlock must obey by itself: its name, its numbers, and each ordinal in one place only."""

from __future__ import annotations

from collections.abc import Iterator

from bgpnet import names
from bgpnet.errors import Finding
from bgpnet.model.ipamblock import IPAMBlock
from bgpnet.rules import common

REMEDY = "blocks are written by the agents; look at it with `bgpnetctl ipam check`"


def check(block: IPAMBlock) -> Iterator[Finding]:
    """Every rule of IPAMBlock that needs no datastore."""
    net = common.network("spec.cidr", block.spec.cidr)
    if isinstance(net, Finding):
        yield net
        return
    if block.metadata.name != names.block(net):
        yield Finding("metadata.name", block.metadata.name, f"must be {names.block(net)}, as spec.cidr is {net}")
    for path, ordinals in (("spec.allocations", block.spec.allocations), ("spec.free", block.spec.free)):
        outside = sorted(ordinal for ordinal in ordinals if not 0 <= ordinal < net.num_addresses)
        if outside:
            yield Finding(path, outside, f"are outside the block's 0 to {net.num_addresses - 1}; {REMEDY}")
    both = sorted(set(block.spec.allocations) & set(block.spec.free))
    if both:
        yield Finding("spec.free", both, f"are allocated, too; {REMEDY}")
    if len(set(block.spec.free)) != len(block.spec.free):
        yield Finding("spec.free", None, f"names an ordinal twice; {REMEDY}")


def not_built(block: IPAMBlock) -> Iterator[tuple[str, object, str]]:
    """Everything in a block is acted on."""
    yield from ()


def normalise(block: IPAMBlock) -> IPAMBlock:
    """As it is: agents write the usual spelling."""
    return block
