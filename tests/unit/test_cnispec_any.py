"""Whatever a runtime says, it is a request or a refusal of the specification; and both can be written down."""

from __future__ import annotations

import json

from hypothesis import given, settings
from hypothesis import strategies as st

from bgpnet import cnispec
from bgpnet.cnispec import CniRequest
from bgpnet.conflist import ANNOTATIONS
from bgpnet.errors import CniError
from bgpnet.wire import CniCall

CODES = {cnispec.INCOMPATIBLE, cnispec.BAD_ENVIRONMENT, cnispec.UNDECODABLE, cnispec.BAD_CONFIG}
TEXT = st.text(max_size=8) | st.sampled_from(["10.0.0.5", "10.0.0.5/24", "fd00::1", "blue", "\ud800", "", "["])
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-70000, 70000) | st.floats() | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=6,
)
POOLS = st.fixed_dictionaries({}, optional={"ipv4_pools": VALUES})
CALICOS = st.dictionaries(st.sampled_from(["type", "assign_ipv4", "assign_ipv6"]), VALUES)
IPS = st.fixed_dictionaries({}, optional={"ips": VALUES | st.lists(TEXT, max_size=2)})
ATTACHMENT = st.fixed_dictionaries({}, optional={"containerID": VALUES, "ifname": VALUES}) | VALUES
NOTES = st.dictionaries(
    st.sampled_from(["cni.projectcalico.org/ipAddrs", "bgpnet.io/ipv4pools", "bgpnet.io/address", "x"]), TEXT | VALUES
)
CONFIG = st.fixed_dictionaries(
    {"cniVersion": st.sampled_from(cnispec.VERSIONS) | VALUES, "name": st.just("pods") | VALUES},
    optional={
        "mtu": VALUES,
        "ipv4_pools": VALUES,
        "ipam": POOLS | CALICOS | VALUES,
        "readiness_gates": VALUES,
        "args": st.fixed_dictionaries({}, optional={"cni": IPS | VALUES}) | VALUES,
        "runtimeConfig": IPS | st.fixed_dictionaries({ANNOTATIONS: NOTES | VALUES}) | VALUES,
        "prevResult": st.fixed_dictionaries({"ips": st.lists(st.fixed_dictionaries({"address": VALUES}))}) | VALUES,
        "cni.dev/valid-attachments": st.lists(ATTACHMENT, max_size=3) | VALUES,
        "cni.dev/attachments": VALUES,
    },
)
VARIABLE = st.text(max_size=20) | st.sampled_from(["c1", "eth0", "a=b", "IP=10.0.0.5", "IP=", ";;", "\udcff"])
ENV = st.fixed_dictionaries(
    {"CNI_COMMAND": st.sampled_from(cnispec.COMMANDS), "CNI_CONTAINERID": st.just("c1") | VARIABLE},
    optional={"CNI_IFNAME": st.just("eth0") | VARIABLE, "CNI_NETNS": VARIABLE, "CNI_ARGS": VARIABLE},
)


@settings(max_examples=1500, deadline=None)
@given(env=ENV, config=CONFIG)
def test_any_request(env: dict[str, str], config: dict[str, object]) -> None:
    told(CniCall(env, json.dumps(config).encode()))


@settings(max_examples=500, deadline=None)
@given(env=ENV, stdin=st.binary(max_size=60))
def test_any_input(env: dict[str, str], stdin: bytes) -> None:
    told(CniCall(env, stdin))


def told(call: CniCall) -> None:
    """The request has the types that it says; the refusal is one sentence and has a code of the specification."""
    said = parsed(call)
    if isinstance(said, CniError):
        document = json.loads(cnispec.error(cnispec.version_of(call.stdin), said))
        assert document["code"] in CODES
        assert document["cniVersion"] in cnispec.VERSIONS
        assert "\n" not in document["msg"]
        return
    assert said.version in cnispec.VERSIONS
    for one in (*said.previous, *said.pools, *(value for pair in said.annotations or () for value in pair)):
        assert isinstance(one, str)
    for attachment in said.valid or ():
        assert isinstance(attachment.container, str)
        assert isinstance(attachment.ifname, str)
    assert said.command == "GC" or said.valid is None


def parsed(call: CniCall) -> CniRequest | CniError:
    try:
        return cnispec.parse(call)
    except CniError as problem:
        return problem
