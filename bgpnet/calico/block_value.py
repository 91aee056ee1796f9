"""A block's value as Calico's etcd has it, and its sequence numbers in our range. Pure."""

from __future__ import annotations

import msgspec

EXACT = 2**53
"""Ours stay below it, so that every JSON reader keeps them; Calico's begin at the nanoseconds since 1970."""


class Attribute(msgspec.Struct, frozen=True, kw_only=True):
    """Who an address is for; the oldest blocks call the handle `primary`."""

    handle_id: str | None = None
    primary: str | None = None
    secondary: dict[str, str] | None = None
    released_at: str | None = msgspec.field(default=None, name="releasedAt")


class Value(msgspec.Struct, frozen=True, kw_only=True):
    """A block's value in etcd (libcalico-go/lib/backend/model/block.go); what else is there is passed over."""

    cidr: str
    affinity: str | None = None
    host_affinity: str | None = msgspec.field(default=None, name="hostAffinity")
    affinity_claim_time: str | None = None
    affinity_claimed: str | None = msgspec.field(default=None, name="affinityClaimTime")
    allocations: list[int | None] | None = None
    unallocated: list[int] | None = None
    attributes: list[Attribute] | None = None
    sequence_number: int | None = msgspec.field(default=None, name="sequenceNumber")
    sequences: dict[str, int] | None = msgspec.field(default=None, name="sequenceNumberForAllocation")
    deleted: bool | None = None


class Sequences:
    """Calico's sequence numbers in our range: their order stays, and who has the same has the same."""

    def __init__(self, value: Value) -> None:
        given = value.sequences or {}
        self._given = {int(key): each for key, each in given.items() if key.isdecimal()}
        newest = max(value.sequence_number or 0, *self._given.values(), 0)
        distinct = sorted({newest, *self._given.values()}, reverse=True)
        self.newest = newest if newest < EXACT else min(newest // 1000, EXACT - 1)
        self._ours = {
            each: each if newest < EXACT else max(self.newest - below, 0) for below, each in enumerate(distinct)
        }

    def of(self, ordinal: int) -> int:
        """The allocation's own; where Calico kept none, older than all."""
        given = self._given.get(ordinal)
        return self._ours[given] if given is not None else max(self.newest - len(self._ours), 0)
