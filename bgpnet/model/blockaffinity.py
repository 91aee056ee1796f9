"""BlockAffinity: whose a block is, derived from the owner of its IPAMBlock (`bgpnet.derived`), never stored.

Blocks are the truth about their owner: an affinity is always `confirmed`, the other states are of v3's two-step claim.
"""

from __future__ import annotations

from enum import StrEnum

from msgspec import Struct, field

from bgpnet.model.resource import Metadata


class AffinityState(StrEnum):
    """v3's states."""

    CONFIRMED = "confirmed"
    PENDING = "pending"
    PENDING_DELETION = "pendingDeletion"


class BlockAffinitySpec(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True, kw_only=True):
    """type: `host`, or `virtual` for a load balancer."""

    state: AffinityState
    node: str
    type: str = ""
    cidr: str
    deleted: bool = False


class BlockAffinity(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A block's owner."""

    metadata: Metadata = field(default_factory=Metadata)
    spec: BlockAffinitySpec
