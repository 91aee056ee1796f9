"""Objects that somebody wrote past the rules: unreadable, which is said, and never an agent's end."""

from __future__ import annotations

import pytest

from bgpnet import stored
from bgpnet.errors import Invalid
from bgpnet.model import kinds
from bgpnet.model.ipreservation import IPReservation, IPReservationSpec
from bgpnet.model.kinds import Resource, kind_of
from bgpnet.model.releaserequest import ReleaseRequest, ReleaseRequestSpec
from bgpnet.model.resource import Metadata

NAMED = Metadata(name="odd")


@pytest.mark.parametrize(
    "resource",
    [
        IPReservation(metadata=NAMED, spec=IPReservationSpec(reservedCIDRs=("10.0.0.0/33",))),
        IPReservation(metadata=NAMED, spec=IPReservationSpec(reservedCIDRs=("10.0.0.0/24", "everything"))),
        ReleaseRequest(metadata=NAMED, spec=ReleaseRequestSpec(node="n1", address="zzz", sequence=1)),
    ],
    ids=["a mask that is too long", "a word", "no address"],
)
def test_an_address_that_is_none_makes_the_object_unreadable(resource: Resource) -> None:
    data = stored.encode(resource)
    with pytest.raises(Invalid, match="cannot be read"):
        stored.decode_stored(kind_of(resource), data, "1")


def test_what_is_well_formed_is_read() -> None:
    there = IPReservation(metadata=NAMED, spec=IPReservationSpec(reservedCIDRs=("10.0.0.0/24", "10.0.1.7")))
    assert stored.decode_stored(kinds.IPRESERVATION, stored.encode(there), "1").metadata.name == "odd"
