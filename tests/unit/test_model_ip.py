"""Networks that remember their hash are the same networks."""

from __future__ import annotations

import re
from ipaddress import IPv4Network, IPv6Network, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bgpnet.model import ip


@given(st.ip_addresses(v=4).map(lambda one: IPv4Network((int(one) >> 8 << 8, 24))) | st.just(IPv4Network("0.0.0.0/0")))
def test_a_network_equals_the_standard_librarys_own(own: IPv4Network) -> None:
    made = ip.network(str(own))
    assert made == own
    assert own == made
    assert hash(made) == hash(own)
    assert hash(made) == hash(own)  # as it was remembered
    assert {own: 1}[made] == {made: 1}[own] == 1
    assert (repr(made), str(made)) == (repr(own), str(own))
    assert sorted([made, own]) == [own, made]


@given(st.ip_addresses())
def test_so_does_a_host_and_the_other_family(address: ip.Address) -> None:
    own = ip_network(address)
    assert ip.host(address) == ip.network(str(own)) == own
    assert hash(ip.host(address)) == hash(own)
    assert isinstance(ip.host(address), IPv4Network if address.version == 4 else IPv6Network)
    assert ip.host(address) != IPv6Network("2001:db8::/64")


@pytest.mark.parametrize("text", ["10.0.0.1/8", "10.0.0.0/33", "nothing", "", "2001:db8::1/64", "::/129", "1.2.3.4:5"])
def test_what_is_no_network_is_refused_in_the_same_words(text: str) -> None:
    with pytest.raises(ValueError, match="^" + re.escape(words(text)) + "$"):
        ip.network(text)


def words(text: str) -> str:
    """What the standard library says of it."""
    try:
        return str(ip_network(text))
    except ValueError as refusal:
        return str(refusal)
