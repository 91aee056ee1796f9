"""ReleaseRequest: somebody asks a block's owner to release an address. Only the owner releases, and only it answers.

Its name is the address with dashes, and the allocation's sequence: `10-0-0-5-1763690823500000`. Who asked deletes it
once it is answered, or withdraws it; what nobody fetches the owner deletes ten minutes after its answer.
"""

from __future__ import annotations

from enum import StrEnum

from msgspec import Struct, field

from bgpnet.model.resource import Metadata


class Outcome(StrEnum):
    """The owner's answer."""

    RELEASED = "Released"
    REFUSED = "Refused"


class ReleaseRequestSpec(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True, kw_only=True):
    """The allocation that is meant, by its sequence, and the owner of its block. requestedAt: RFC 3339."""

    node: str
    address: str
    sequence: int
    container: str = ""
    ifname: str = ""
    reason: str = ""
    requestedAt: str = ""
    requestedBy: str = ""


class ReleaseRequestStatus(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True, kw_only=True):
    """The answer; reason: one sentence. answeredAt: RFC 3339."""

    outcome: Outcome
    reason: str = ""
    answeredAt: str = ""


class ReleaseRequest(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One address to be released."""

    metadata: Metadata = field(default_factory=Metadata)
    spec: ReleaseRequestSpec
    status: ReleaseRequestStatus | None = None
