"""BGPFilter: what is accepted, what is refused and in which words."""

from __future__ import annotations

import pytest
from rule_table import agree, findings, one, rows, text

from bgpnet.model.bgpfilter import BGPFilter
from bgpnet.rules.table import not_built

TEN = "[" + ", ".join(["{setPriority: {value: 1}}"] * 10) + "]"
ELEVEN = "[" + ", ".join(["{setPriority: {value: 1}}"] * 11) + "]"

CASES = f"""
# lists
{{}}                                                            | ok
{{exportV4: []}}                                                | ok
{{exportV4: [{{action: Accept}}]}}                              | ok
{{importV4: [{{action: Reject}}], exportV6: [{{action: Accept}}], importV6: [{{action: Reject}}]}} | ok
{{exportV4: {{action: Accept}}}}                                | spec.exportV4: must be a list, not a mapping
{{exportv4: [{{action: Accept}}]}}                              | spec.exportv4: unknown field; did you mean exportV4?
# action
{{exportV4: [{{cidr: 10.0.0.0/8, matchOperator: In}}]}}
    | spec.exportV4[0].action: is required and not there; write it
{{exportV4: [{{action: accept}}]}}
    | spec.exportV4[0].action: must be Accept, in this spelling
{{exportV4: [{{action: Drop}}]}}                                | spec.exportV4[0].action: must be Accept or Reject
{{exportV4: [{{action: Accept}}, {{action: ""}}]}}              | spec.exportV4[1].action: must be Accept or Reject
# cidr and matchOperator
{{exportV4: [{{action: Accept, cidr: 10.0.0.0/8, matchOperator: Equal}}]}}     | ok
{{exportV4: [{{action: Accept, cidr: 10.0.0.0/8, matchOperator: NotEqual}}]}}  | ok
{{importV4: [{{action: Accept, cidr: 10.0.0.0/8, matchOperator: In}}]}}        | ok
{{importV4: [{{action: Accept, cidr: 0.0.0.0/0, matchOperator: NotIn}}]}}      | ok
{{exportV6: [{{action: Accept, cidr: "fd00::/8", matchOperator: In}}]}}        | ok
{{importV6: [{{action: Accept, cidr: "FD00:0::/64", matchOperator: Equal}}]}}  | ok
{{exportV4: [{{action: Accept, cidr: 10.0.0.0/8}}]}}
    | spec.exportV4[0].matchOperator: is required with cidr; write Equal, NotEqual, In or NotIn
{{exportV4: [{{action: Accept, matchOperator: In}}]}}
    | spec.exportV4[0].matchOperator: has no cidr to compare with
{{exportV4: [{{action: Accept, cidr: "", matchOperator: In}}]}}
    | spec.exportV4[0].matchOperator: has no cidr to compare with
{{exportV4: [{{action: Accept, cidr: 10.0.0.0/8, matchOperator: in}}]}}
    | spec.exportV4[0].matchOperator: must be In, in this spelling
{{exportV4: [{{action: Accept, cidr: 10.0.0.1/8, matchOperator: In}}]}}
    | spec.exportV4[0].cidr: 10.0.0.1/8 is not a network address; write 10.0.0.0/8
{{exportV4: [{{action: Accept, cidr: 10.0.0.0, matchOperator: In}}]}}          | spec.exportV4[0].cidr: has no prefix
{{exportV4: [{{action: Accept, cidr: ten/8, matchOperator: In}}]}}             | spec.exportV4[0].cidr: is not a CIDR
{{exportV4: [{{action: Accept, cidr: "fd00::/8", matchOperator: In}}]}}
    | spec.exportV4[0].cidr: must be an IPv4 network; move the rule
{{importV6: [{{action: Accept, cidr: 10.0.0.0/8, matchOperator: In}}]}}
    | spec.importV6[0].cidr: must be an IPv6 network; move the rule
# prefixLength
{{exportV4: [{{action: Accept, cidr: 10.0.0.0/8, matchOperator: In, prefixLength: {{min: 16, max: 24}}}}]}}  | ok
{{exportV4: [{{action: Accept, cidr: 10.0.0.0/8, matchOperator: In, prefixLength: {{min: 0}}}}]}}            | ok
{{exportV4: [{{action: Accept, cidr: 10.0.0.0/8, matchOperator: In, prefixLength: {{max: 32}}}}]}}           | ok
{{exportV4: [{{action: Accept, cidr: 10.0.0.0/8, matchOperator: In, prefixLength: {{}}}}]}}                  | ok
{{exportV4: [{{action: Accept, cidr: 10.0.0.0/8, matchOperator: In, prefixLength: {{min: 24, max: 24}}}}]}}  | ok
{{exportV4: [{{action: Accept, cidr: 10.0.0.0/8, matchOperator: In, prefixLength: {{max: 33}}}}]}}
    | spec.exportV4[0].prefixLength.max: must be 0 to 32
{{exportV4: [{{action: Accept, cidr: 10.0.0.0/8, matchOperator: In, prefixLength: {{min: -1}}}}]}}
    | spec.exportV4[0].prefixLength.min: must be 0 to 32
{{exportV6: [{{action: Accept, cidr: "fd00::/8", matchOperator: In, prefixLength: {{min: 48, max: 128}}}}]}} | ok
{{exportV6: [{{action: Accept, cidr: "fd00::/8", matchOperator: In, prefixLength: {{max: 129}}}}]}}
    | spec.exportV6[0].prefixLength.max: must be 0 to 128
{{exportV4: [{{action: Accept, cidr: 10.0.0.0/8, matchOperator: In, prefixLength: {{min: 25, max: 24}}}}]}}
    | spec.exportV4[0].prefixLength.min: is more than max, 24; swap
{{exportV4: [{{action: Accept, prefixLength: {{min: 16}}}}]}}
    | spec.exportV4[0].prefixLength: needs a cidr
{{exportV4: [{{action: Accept, prefixLength: 16}}]}}
    | spec.exportV4[0].prefixLength: must be a mapping of fields, not text
# source, interface, peerType
{{exportV4: [{{action: Accept, source: RemotePeers}}]}}         | ok
{{importV4: [{{action: Accept, source: RemotePeers}}]}}         | ok
{{exportV4: [{{action: Accept, source: Kernel}}]}}              | spec.exportV4[0].source: must be
{{exportV4: [{{action: Accept, interface: eth0}}]}}             | ok
{{exportV4: [{{action: Accept, interface: "cali*"}}]}}          | ok
{{exportV4: [{{action: Accept, interface: "*"}}]}}              | ok
{{exportV4: [{{action: Accept, interface: "*.calico-v_1.0"}}]}} | ok
{{exportV4: [{{action: Accept, interface: sixteencharacter}}]}} | spec.exportV4[0].interface: is not an interface
{{exportV4: [{{action: Accept, interface: "eth 0"}}]}}          | spec.exportV4[0].interface: is not an interface
{{exportV4: [{{action: Accept, interface: "eth/0"}}]}}          | spec.exportV4[0].interface: is not an interface
{{exportV4: [{{action: Accept, peerType: eBGP}}, {{action: Reject, peerType: iBGP}}]}} | ok
{{exportV4: [{{action: Accept, peerType: ebgp}}]}}              | spec.exportV4[0].peerType: must be eBGP, in this
# communities
{{exportV4: [{{action: Accept, communities: {{values: ["65001:100"]}}}}]}}     | ok
{{exportV4: [{{action: Accept, communities: {{values: ["4294967295:1:2"]}}}}]}} | ok
{{exportV4: [{{action: Accept, communities: {{values: []}}}}]}}
    | spec.exportV4[0].communities.values: has 0 entries, but must have exactly one
{{exportV4: [{{action: Accept, communities: {{}}}}]}}
    | spec.exportV4[0].communities.values: has 0 entries, but must have exactly one
{{exportV4: [{{action: Accept, communities: {{values: ["1:1", "1:2"]}}}}]}}
    | spec.exportV4[0].communities.values: has 2 entries, but must have exactly one
{{exportV4: [{{action: Accept, communities: {{values: ["65536:1"]}}}}]}}
    | spec.exportV4[0].communities.values[0]: is not a community
{{exportV4: [{{action: Accept, communities: ["1:1"]}}]}}
    | spec.exportV4[0].communities: must be a mapping of fields, not a list
# asPathPrefix, priority
{{importV4: [{{action: Reject, asPathPrefix: [65001]}}]}}       | ok
{{importV4: [{{action: Reject, asPathPrefix: [1.10, "2.1", 4294967295]}}]}} | ok
{{importV4: [{{action: Reject, asPathPrefix: [65001, 0]}}]}}    | spec.importV4[0].asPathPrefix[1]: is not an AS number
{{importV4: [{{action: Reject, asPathPrefix: [AS65001]}}]}}     | spec.importV4[0].asPathPrefix[0]: is not an AS number
{{importV4: [{{action: Reject, asPathPrefix: [4294967296]}}]}}  | spec.importV4[0].asPathPrefix[0]: is not an AS number
{{importV4: [{{action: Reject, asPathPrefix: 65001}}]}}         | spec.importV4[0].asPathPrefix: must be a list
{{exportV4: [{{action: Accept, priority: 1}}]}}                 | ok
{{exportV4: [{{action: Accept, priority: 2147483646}}]}}        | ok
{{exportV4: [{{action: Accept, priority: 0}}]}}                 | spec.exportV4[0].priority: must be 1 to 2147483646
{{exportV4: [{{action: Accept, priority: 2147483647}}]}}        | spec.exportV4[0].priority: must be 1 to 2147483646
# operations
{{exportV4: [{{action: Accept, operations: []}}]}}              | ok
{{exportV4: [{{action: Reject, operations: []}}]}}              | ok
{{exportV4: [{{action: Accept, operations: [{{addCommunity: {{value: "65001:1"}}}}]}}]}}             | ok
{{exportV4: [{{action: Accept, operations: [{{addCommunity: {{value: "65001:1:2"}}}}]}}]}}           | ok
{{exportV4: [{{action: Accept, operations: [{{prependASPath: {{prefix: [65001, 1.10]}}}}]}}]}}       | ok
{{exportV4: [{{action: Accept, operations: [{{setPriority: {{value: 512}}}}]}}]}}                    | ok
{{exportV4: [{{action: Accept, operations: {TEN}}}]}}           | ok
{{exportV4: [{{action: Accept, operations: {ELEVEN}}}]}}
    | spec.exportV4[0].operations: has 11 entries, at most 10 are allowed
{{exportV4: [{{action: Reject, operations: [{{setPriority: {{value: 1}}}}]}}]}}
    | spec.exportV4[0].operations: change routes that go on; write action: Accept
{{exportV4: [{{action: Accept, operations: [{{}}]}}]}}
    | spec.exportV4[0].operations[0]: must be exactly one of addCommunity, prependASPath, setPriority
{{exportV4: [{{action: Accept, operations: [{{setPriority: {{value: 1}}, addCommunity: {{value: "1:1"}}}}]}}]}}
    | spec.exportV4[0].operations[0]: must be exactly one of addCommunity, prependASPath, setPriority
{{exportV4: [{{action: Accept, operations: [{{addCommunity: {{value: blackhole}}}}]}}]}}
    | spec.exportV4[0].operations[0].addCommunity.value: is not a community
{{exportV4: [{{action: Accept, operations: [{{addCommunity: {{}}}}]}}]}}
    | spec.exportV4[0].operations[0].addCommunity.value: is required and not there
{{exportV4: [{{action: Accept, operations: [{{prependASPath: {{prefix: []}}}}]}}]}}
    | spec.exportV4[0].operations[0].prependASPath.prefix: has 0 entries, but must have 1 to 10
{{exportV4: [{{action: Accept, operations: [{{prependASPath: {{prefix: [1,2,3,4,5,6,7,8,9,10]}}}}]}}]}} | ok
{{exportV4: [{{action: Accept, operations: [{{prependASPath: {{prefix: [1,2,3,4,5,6,7,8,9,10,11]}}}}]}}]}}
    | spec.exportV4[0].operations[0].prependASPath.prefix: has 11 entries, but must have 1 to 10
{{exportV4: [{{action: Accept, operations: [{{prependASPath: {{prefix: [0]}}}}]}}]}}
    | spec.exportV4[0].operations[0].prependASPath.prefix[0]: is not an AS number
{{exportV4: [{{action: Accept, operations: [{{setPriority: {{value: 0}}}}]}}]}}
    | spec.exportV4[0].operations[0].setPriority.value: must be 1 to 2147483646
{{exportV4: [{{action: Accept, operations: [{{setCommunity: {{value: "1:1"}}}}]}}]}}
    | spec.exportV4[0].operations[0].setCommunity: unknown field
# all at once, in all lists
{{exportV4: [{{action: accept}}], importV6: [{{action: Accept, priority: 0, matchOperator: In}}]}}
    | spec.exportV4[0].action: must be Accept ++ spec.importV6[0].priority: must be 1 to
    ++ spec.importV6[0].matchOperator: has no cidr
"""


@pytest.mark.parametrize(("spec", "expected"), rows(CASES))
def test_filter(spec: str, expected: str) -> None:
    found = findings(text("BGPFilter", spec))
    assert agree(found, expected), found


def test_the_lists_of_ipv6_have_a_warning() -> None:
    rule = "[{action: Accept}, {action: Reject}]"
    lists = ", ".join(f"{name}: {rule}" for name in ("exportV4", "importV4", "exportV6", "importV6"))
    sentences = list(not_built(one("BGPFilter", f"{{{lists}}}")))
    assert sentences == [
        f'BGPFilter(x): spec.{name} = ["Accept","Reject"] is stored but not acted on yet: '
        "no session carries IPv6 routes"
        for name in ("exportV6", "importV6")
    ]


def test_cidrs_are_spelled_as_usual_and_numbers_are_numbers() -> None:
    rule = '{action: Accept, cidr: "FD00:0::/8", matchOperator: In, asPathPrefix: [1.10]}'
    resource = one("BGPFilter", f"{{exportV6: [{rule}]}}")
    assert isinstance(resource, BGPFilter)
    assert (resource.spec.exportV6[0].cidr, resource.spec.exportV6[0].asPathPrefix) == ("fd00::/8", (65546,))
