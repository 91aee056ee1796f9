"""Resources as kubectl shows them, and manifests that the API server itself refuses, with the field named."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
from kubectl import Kubectl
from resources import POOL, ctl
from workloads import name

pytestmark = [
    pytest.mark.kubernetes,
    pytest.mark.root,
    pytest.mark.timeout(600),
    pytest.mark.usefixtures("bgpnet"),
]


@dataclass(frozen=True, slots=True)
class Bad:
    """What must not be in the spec of an object, and what the API server says of it."""

    kind: str
    spec: str
    field: str
    reason: str


REFUSED = (
    Bad("IPPool", "{cidr: 10.1.2.3/16}", "spec.cidr", "is not a network"),
    Bad("IPPool", "{cidr: 10.1.0.0-10.1.255.255}", "spec.cidr", "is not a network"),
    Bad("IPPool", "{cidr: 10.1.0.0/16, blockSize: 33}", "spec.blockSize", "must be 20 to 32 for an IPv4 pool"),
    Bad("IPPool", "{cidr: 10.1.0.0/28}", "spec.cidr", "is smaller than one block"),
    Bad("IPPool", "{cidr: 10.1.0.0/16, ipipMode: Always, vxlanMode: CrossSubnet}", "spec.vxlanMode", "ipipMode"),
    Bad("IPPool", "{cidr: 10.1.0.0/16, ipipMode: Sometimes}", "spec.ipipMode", '"Always", "CrossSubnet", "Never"'),
    Bad("IPPool", "{cidr: 10.1.0.0/16, ipMode: Always}", "spec.ipMode", "unknown field"),
    Bad("IPPool", "{}", "spec.cidr", "Required value"),
    Bad("BGPPeer", "{peerIP: tor, asNumber: 64512}", "spec.peerIP", "address"),
)


def header(text: str) -> list[str]:
    """The columns of a table."""
    return text.splitlines()[0].split()


@pytest.mark.parametrize("wide", [(), ("-o", "wide")], ids=["narrow", "wide"])
@pytest.mark.parametrize("kind", ["ippools", "nodes"])
def test_kubectl_has_the_columns_of_bgpnetctl(kubectl: Kubectl, kind: str, wide: tuple[str, ...]) -> None:
    assert header(kubectl("get", f"{kind}.bgpnet.io", *wide)) == header(ctl(kubectl, "get", kind, *wide))


def test_their_rows_say_what_there_is(kubectl: Kubectl) -> None:
    text = kubectl("get", "ippools,nodes.bgpnet.io", "-o", "wide", "--no-headers")
    rows = {row[0]: row[1:] for row in map(str.split, filter(None, text.splitlines()))}
    spec = kubectl.get("ippool", POOL)["spec"]
    shown = [spec["ipipMode"], spec["vxlanMode"], "false", "false", spec["nodeSelector"], "Automatic"]
    pool = rows.pop(f"ippool.bgpnet.io/{POOL}")
    assert pool == [spec["cidr"], str(spec["natOutgoing"]).lower(), *shown]
    addresses = {
        f"node.bgpnet.io/{name(one)}": each["address"]
        for one in kubectl.items("nodes")
        for each in one["status"]["addresses"]
        if each["type"] == "InternalIP"
    }
    assert {node: row[0].partition("/")[0] for node, row in rows.items()} == addresses


@pytest.mark.parametrize("bad", REFUSED, ids=lambda bad: f"{bad.kind} {bad.spec}")
def test_the_api_server_refuses_and_names_the_field(kubectl: Kubectl, bad: Bad) -> None:
    text = f"{{apiVersion: bgpnet.io/v1, kind: {bad.kind}, metadata: {{name: bad}}, spec: {bad.spec}}}"
    done = kubectl.try_("create", "-f", "-", stdin=text)
    assert done.returncode == 1
    assert bad.field in done.stderr
    assert bad.reason in done.stderr
    assert kubectl.try_("get", bad.kind, "bad").returncode == 1
