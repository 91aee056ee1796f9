"""IPReservation: addresses that are never assigned by themselves (reference: projectcalico.org/v3)."""

from __future__ import annotations

from msgspec import Struct, field

from bgpnet.model.resource import Metadata


class IPReservationSpec(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True, kw_only=True):
    """CIDRs or addresses of either family; who asks for one of them by name still gets it."""

    reservedCIDRs: tuple[str, ...] = ()


class IPReservation(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A set of addresses kept out of automatic assignment."""

    metadata: Metadata = field(default_factory=Metadata)
    spec: IPReservationSpec = field(default_factory=IPReservationSpec)
