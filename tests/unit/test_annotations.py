"""What annotations ask for, who beats whom, and the one sentence for each that cannot be read."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bgpnet.annotations import ADDRESSES, CONFIGURED, FAMILIES, MAC, POOLS, UNHEEDED, Meta, Wish, one_address, wish
from bgpnet.errors import NoAddress
from bgpnet.model import ip

POD = "shop/cart-0"
ASKED = Wish(("config",), CONFIGURED, ip.address("10.0.0.1"), "CNI_ARGS IP")


def meta(**annotations: str) -> Meta:
    names = {"pools": POOLS, "addresses": ADDRESSES}
    return Meta(annotations={names[key]: value for key, value in annotations.items()})


def test_who_says_nothing_asks_for_what_the_runtime_asks_for() -> None:
    assert wish(ASKED, POD, None, None) == wish(ASKED, POD, Meta(), Meta()) == ASKED
    assert wish(Wish(), POD, Meta(), None) == Wish()


def test_the_pod_beats_its_namespace_which_beats_the_network_configuration() -> None:
    of_pod, of_namespace = meta(pools='["blue", "10.1.0.0/16"]'), meta(pools='["green"]')
    assert wish(ASKED, POD, of_pod, of_namespace).pools == ("blue", "10.1.0.0/16")
    assert wish(ASKED, POD, Meta(), of_namespace).pools == ("green",)
    assert wish(ASKED, POD, of_pod, of_namespace).pools_by == f"annotation {POOLS} of pod {POD}"
    assert wish(ASKED, POD, None, of_namespace).pools_by == f"annotation {POOLS} of namespace shop"


def test_the_pods_address_beats_the_runtimes_and_a_namespace_has_none() -> None:
    told = wish(ASKED, POD, meta(addresses='["10.0.0.9"]'), meta(addresses='["10.0.0.8"]'))
    assert (str(told.address), told.address_by) == ("10.0.0.9", f"annotation {ADDRESSES} of pod {POD}")
    assert wish(ASKED, POD, Meta(), meta(addresses='["10.0.0.8"]')).address == ip.address("10.0.0.1")


@pytest.mark.parametrize("text", ["1A:2b:3c:4D:5e:6f", "1a-2b-3c-4d-5e-6f", "1a2b.3C4d.5e6f"])
def test_the_pods_mac_beats_the_runtimes_and_a_namespace_has_none(text: str) -> None:
    asked = replace(ASKED, mac="0a:58:00:00:00:01")
    assert wish(asked, POD, Meta(annotations={MAC: text}), None).mac == "1a:2b:3c:4d:5e:6f"
    assert wish(asked, POD, Meta(annotations={MAC: ""}), Meta(annotations={MAC: text})).mac == asked.mac


BAD = [
    *(
        (Meta(annotations={MAC: mac}), f"= {mac!r} is no MAC that a pod's interface can have: write one like")
        for mac in (
            "1a:2b:3c:4d:5e",
            "1a:2b:3c:4d:5e:6f:70",
            "1a:2b-3c:4d-5e:6f",
            "1a2b3c4d5e6f",
            "1a2b.3c4d.5e6f.7081",
            "\u0130a:2b:3c:4d:5e:6f",
            "1a:2b:3c:4d:5e:6f\n",
            "0\u0663:00:00:00:00:01",
            "01:00:5e:00:00:01",
            "ff:ff:ff:ff:ff:ff",
            "00:00:00:00:00:00",
            "EE:EE:EE:EE:EE:EE",
        )
    ),
    (
        Meta(annotations={"cni.projectcalico.org/ipAddrsNoIpam": '["10.0.0.1"]'}),
        f"bgpnet gives addresses of its pools only, by {ADDRESSES}; remove it",
    ),
    (
        Meta(annotations={"cni.projectcalico.org/floatingIPs": '["10.0.0.77"]'}),
        "= '[\"10.0.0.77\"]': bgpnet leads no further address to a pod; remove it",
    ),
    (meta(pools="blue"), "= 'blue' is not JSON: write a list of names or CIDRs of pools such as [\"blue\"]"),
    (meta(pools='"blue"'), 'is not a list of names or CIDRs of pools: write one such as ["blue"], or remove it'),
    (meta(pools="[1]"), "= '[1]' is not a list"),
    (meta(pools="{}"), "= '{}' is not a list"),
    (meta(pools="[" * 100_000), "is not JSON"),
    (meta(addresses="10.0.0.5"), "= '10.0.0.5' is not JSON: write a list of addresses such as [\"10.0.0.5\"]"),
    (meta(addresses='["ten"]'), "= 'ten' is not an IP address: write one like 10.0.0.5"),
    (meta(addresses='["10.0.0.5/32"]'), "= '10.0.0.5/32' is not an IP address"),
    (meta(addresses='["fd00::5"]'), "= 'fd00::5' is an IPv6 address, and pods have IPv4 only: leave it out"),
    (meta(addresses='["10.0.0.5", "fd00::5"]'), "= 'fd00::5' is an IPv6 address"),
    (
        meta(addresses='["10.0.0.5", "10.0.0.6"]'),
        "= '10.0.0.5, 10.0.0.6' names 2 addresses, and a pod's interface has one",
    ),
    (meta(addresses="{}"), "= '{}' is not a list of addresses"),
]


@pytest.mark.parametrize(("annotated", "words"), BAD, ids=range(len(BAD)))
def test_what_cannot_be_read_is_one_sentence(annotated: Meta, words: str) -> None:
    with pytest.raises(NoAddress) as refused:
        wish(ASKED, POD, annotated, None)
    assert words in str(refused.value)
    assert len(str(refused.value)) < 500
    assert str(refused.value).startswith(f"annotation {next(iter(annotated.annotations))} of pod {POD} = ")


FAMILIES_REFUSED = [
    ('["IPv6"]', """= '["IPv6"]': pods have IPv4 only; write ["IPv4"], or remove it"""),
    ('["IPv4", "ipv6"]', "pods have IPv4 only"),
    ("IPv6", "= 'IPv6' is not JSON: write a list of IP families such as [\"IPv4\"]"),
    ('"IPv4"', "is not a list of IP families"),
]


@pytest.mark.parametrize(("text", "words"), FAMILIES_REFUSED)
def test_families_without_ipv4_are_refused_of_the_pod_or_else_of_its_namespace(text: str, words: str) -> None:
    said, four = Meta(annotations={FAMILIES: text}), Meta(annotations={FAMILIES: '["IPv6", "IPv4"]'})
    for holder, metas in (("pod shop/cart-0", (said, four)), ("namespace shop", (Meta(), said))):
        with pytest.raises(NoAddress) as refused:
            wish(Wish(), POD, *metas)
        assert str(refused.value).startswith(f"annotation {FAMILIES} of {holder} = ")
        assert words in str(refused.value)
    assert wish(Wish(), POD, four, said) == Wish()


def test_an_address_that_is_asked_for_is_given_whatever_the_families() -> None:
    six = Meta(annotations={FAMILIES: '["IPv6"]'})
    assert wish(ASKED, POD, six, six) == ASKED
    assert str(wish(Wish(), POD, meta(addresses='["10.0.0.5"]'), six).address) == "10.0.0.5"


@pytest.mark.parametrize("text", ["", "[]", " [ ]\n", "null"])
def test_a_list_of_nothing_asks_for_nothing(text: str) -> None:
    empty = Meta(annotations=dict.fromkeys((*UNHEEDED, FAMILIES), text))
    assert wish(ASKED, POD, empty, empty) == ASKED
    with pytest.raises(NoAddress, match="of namespace shop"):
        wish(Wish(), POD, empty, Meta(annotations={FAMILIES: '["IPv6"]'}))


@pytest.mark.parametrize("text", ["[]", " [ ]\n", "null"])
def test_an_empty_list_of_pools_is_any_pool_whatever_the_namespace_says(text: str) -> None:
    blue = meta(pools='["blue"]')
    assert wish(ASKED, POD, meta(pools=text), blue) == replace(ASKED, pools=(), pools_by="")
    assert wish(ASKED, POD, Meta(), meta(pools=text)) == replace(ASKED, pools=(), pools_by="")
    assert wish(ASKED, POD, blue, meta(pools=text)).pools == ("blue",)


def test_what_calico_leaves_aside_is_left_aside() -> None:
    for name in ("ipv6pools", "allowedSourcePrefixes"):
        assert wish(ASKED, POD, Meta(annotations={f"cni.projectcalico.org/{name}": '["0.0.0.0/0"]'}), None) == ASKED
    assert wish(ASKED, POD, Meta(), Meta(annotations=dict.fromkeys(UNHEEDED, '["10.0.0.5"]'))) == ASKED


VALUES = st.recursive(st.none() | st.integers() | st.text(), lambda inner: st.lists(inner, max_size=2))


@given(st.text() | VALUES.map(json.dumps))
def test_any_text_is_read_or_refused(text: str) -> None:
    try:
        told = wish(Wish(), POD, meta(pools=text, addresses=text), Meta(annotations={FAMILIES: text}))
    except NoAddress:
        return
    assert (bool(told.pools), told.address is not None) == (bool(text), bool(text))


def test_an_empty_annotation_is_none() -> None:
    assert wish(ASKED, POD, meta(pools="", addresses=""), None) == ASKED
    namespace = meta(pools='["blue"]')
    assert wish(Wish(), POD, meta(pools=""), namespace).pools == ("blue",)


def test_an_address_that_is_named_twice_is_named_once() -> None:
    assert str(wish(Wish(), POD, meta(addresses='["10.0.0.5", "10.0.0.5"]'), None).address) == "10.0.0.5"


def test_a_prefix_length_where_the_cni_conventions_have_one() -> None:
    for length in ("/0", "/9", "/24", "/32", ""):
        assert one_address("runtimeConfig.ips", [f"10.0.0.5{length}"], length=True) == ip.address("10.0.0.5")
    for length in ("/33", "/99", "/x", "/", "/-1", "/024", "/24/24", "/٢", "/24\n", "/ 24"):
        with pytest.raises(NoAddress, match="a prefix length is 0 to 32; write /32, or the address alone"):
            one_address("runtimeConfig.ips", [f"10.0.0.5{length}"], length=True)
    with pytest.raises(NoAddress, match="names no address"):
        one_address("runtimeConfig.ips", [])
    with pytest.raises(NoAddress, match="fe80::1%eth0"):
        one_address("runtimeConfig.ips", ["fe80::1%eth0"])
