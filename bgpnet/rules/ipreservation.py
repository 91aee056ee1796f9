"""What an IPReservation must obey by itself, and the usual spelling of it."""

from __future__ import annotations

from collections.abc import Iterator

from msgspec import structs

from bgpnet.errors import Finding
from bgpnet.model.ipreservation import IPReservation
from bgpnet.rules import common


def check(reservation: IPReservation) -> Iterator[Finding]:
    """Every rule of IPReservation that needs no datastore."""
    for index, text in enumerate(reservation.spec.reservedCIDRs):
        yield from common.findings(common.network(f"spec.reservedCIDRs[{index}]", text, bare=True))


def not_built(reservation: IPReservation) -> Iterator[tuple[str, object, str]]:
    """Everything in a reservation is acted on."""
    yield from ()


def normalise(reservation: IPReservation) -> IPReservation:
    """Every CIDR in its usual spelling, an address as its /32 or /128; what is wrong stays for `check`."""
    cidrs = tuple(map(common.usual_network, reservation.spec.reservedCIDRs))
    return structs.replace(reservation, spec=structs.replace(reservation.spec, reservedCIDRs=cidrs))
