"""What an IPAMConfiguration must obey by itself, and what of it is stored but not acted on yet.

Our blocks are exclusive: strictAffinity true is how it always is, and false changes nothing.
"""

from __future__ import annotations

from collections.abc import Iterator

from bgpnet.errors import Finding
from bgpnet.model.ipamconfiguration import IPAMConfiguration, Persistence
from bgpnet.rules import common

BLOCKS_LIMIT = 1_000_000
COOLDOWN_LIMIT = 1200
"""Seconds."""


def check(config: IPAMConfiguration) -> Iterator[Finding]:
    """Every rule of IPAMConfiguration that needs no datastore."""
    spec = config.spec
    yield from common.only_default(config.metadata.name)
    yield from common.between("spec.maxBlocksPerHost", spec.maxBlocksPerHost, 0, BLOCKS_LIMIT)
    yield from common.between("spec.ipCooldownSeconds", spec.ipCooldownSeconds, 0, COOLDOWN_LIMIT)
    if spec.strictAffinity:
        return
    if spec.maxBlocksPerHost > 0:
        problem = "needs strictAffinity; write spec.strictAffinity: true, or maxBlocksPerHost: 0"
        yield Finding("spec.maxBlocksPerHost", spec.maxBlocksPerHost, problem)
    if not spec.autoAllocateBlocks:
        problem = "needs strictAffinity; write spec.strictAffinity: true, or autoAllocateBlocks: true"
        yield Finding("spec.autoAllocateBlocks", False, problem)


def not_built(config: IPAMConfiguration) -> Iterator[tuple[str, object, str]]:
    """(path, value, what happens instead) of each value that is kept but not acted on."""
    spec = config.spec
    if not spec.strictAffinity:
        yield "spec.strictAffinity", False, "blocks are exclusive, no node borrows an address from another's block"
    if spec.kubeVirtVMAddressPersistence is Persistence.ENABLED:
        yield "spec.kubeVirtVMAddressPersistence", spec.kubeVirtVMAddressPersistence, "every pod has its own address"


def normalise(config: IPAMConfiguration) -> IPAMConfiguration:
    """As it is."""
    return config
