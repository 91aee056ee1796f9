"""Reserved addresses: merged once, asked often."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bgpnet import reservations
from bgpnet.model import ip
from bgpnet.model.ipreservation import IPReservation, IPReservationSpec
from bgpnet.model.resource import Metadata
from bgpnet.reservations import NONE, Reservations


def reserved(*cidrs: str) -> Reservations:
    """By two objects, alternately."""
    halves = (cidrs[::2], cidrs[1::2])
    return reservations.of(
        IPReservation(metadata=Metadata(name=f"r{n}"), spec=IPReservationSpec(reservedCIDRs=half))
        for n, half in enumerate(halves)
    )


BLOCK = ip.network("10.0.0.64/26")


@pytest.mark.parametrize(
    ("cidrs", "ordinals"),
    [
        ((), set()),
        (("10.0.0.64",), {0}),
        (("10.0.0.127/32",), {63}),
        (("10.0.0.63/32", "10.0.0.128/32"), set()),
        (("10.0.0.62/31", "10.0.0.64/31"), {0, 1}),
        (("10.0.0.72/29", "10.0.0.74"), set(range(8, 16))),
        (("10.0.0.0/8",), set(range(64))),
        (("fd00::40/122",), set()),
    ],
)
def test_the_reserved_ordinals_of_a_block(cidrs: tuple[str, ...], ordinals: set[int]) -> None:
    assert reservations.ordinals(reserved(*cidrs), BLOCK) == ordinals


@pytest.mark.parametrize(
    ("cidrs", "covered"),
    [
        ((), False),
        (("10.0.0.0/8",), True),
        (("10.0.0.64/26",), True),
        (("10.0.0.64/27", "10.0.0.96/27"), True),
        (("10.0.0.64/27", "10.0.0.96/28", "10.0.0.112/28"), True),
        (("10.0.0.64/27", "10.0.0.96/28", "10.0.0.112/29"), False),
        (("fd00::/8",), False),
    ],
)
def test_a_block_that_several_reserve_together_is_reserved(cidrs: tuple[str, ...], covered: bool) -> None:
    assert reservations.covers(reserved(*cidrs), BLOCK) is covered


@pytest.mark.parametrize(
    ("cidrs", "count"),
    [
        ((), 0),
        (("10.0.0.0/8",), 4),
        (("10.0.0.0/25",), 2),
        (("10.0.0.0/26", "10.0.0.128/26"), 2),
        (("10.0.0.0/27",), 0),
        (("10.0.1.0/24",), 0),
    ],
)
def test_how_many_blocks_of_a_pool_are_wholly_reserved(cidrs: tuple[str, ...], count: int) -> None:
    assert reservations.whole_blocks(reserved(*cidrs), ip.network("10.0.0.0/24"), 26) == count


def test_equal_reservations_are_one_key() -> None:
    assert reserved("10.0.0.0/27", "10.0.0.32/27") == reserved("10.0.0.0/26")
    assert hash(reserved("10.0.0.0/27", "10.0.0.32/27")) == hash(reserved("10.0.0.0/26"))
    assert reserved() == NONE


NETS = st.builds(
    lambda length, place: str(ip.network(f"10.0.0.{place >> (32 - length) << (32 - length)}/{length}")),
    st.integers(24, 32),
    st.integers(0, 255),
)


@settings(deadline=None, max_examples=150)
@given(cidrs=st.lists(NETS, max_size=6), block=NETS)
def test_against_every_address_by_itself(cidrs: list[str], block: str) -> None:
    value, net = reserved(*cidrs), ip.network(block)
    plain = {n for n in range(net.num_addresses) if any(ip.contains(ip.network(one), net[n]) for one in cidrs)}
    assert reservations.ordinals(value, net) == plain
    assert reservations.covers(value, net) == (len(plain) == net.num_addresses)
