"""BGPConfiguration: what is accepted, what is refused and in which words, what is stored with a warning."""

from __future__ import annotations

import pytest
from rule_table import agree, findings, one, rows, text

from bgpnet.model.bgpconfiguration import BGPConfiguration
from bgpnet.rules.bgpconfiguration import is_community
from bgpnet.rules.table import not_built

MANY = ", ".join(f"65000:{number}" for number in range(51))

CASES = f"""
default {{}}                                              | ok
default {{asNumber: 64512, nodeToNodeMeshEnabled: false, listenPort: 1179}} | ok
node.n1 {{listenPort: 1179, logSeverityScreen: Debug}}    | ok
node.n1.example.com {{listenPort: 179}}                   | ok
other {{}}                                                | metadata.name: must be default, or node.<name of the node>
node. {{}}
    | metadata.name: is not a lower-case DNS name ++ metadata.name: must be default
# AS number
default {{asNumber: 4294967295}}                          | ok
default {{asNumber: "1.10"}}                              | ok
default {{asNumber: 1.10}}                                | ok
default {{asNumber: 65535.65535}}                         | ok
default {{asNumber: 0}}                                   | spec.asNumber: is not an AS number
default {{asNumber: 4294967296}}                          | spec.asNumber: is not an AS number
default {{asNumber: -1}}                                  | spec.asNumber: is not an AS number
default {{asNumber: 65536.1}}                             | spec.asNumber: is not an AS number
default {{asNumber: AS64512}}                             | spec.asNumber: is not an AS number
default {{asNumber: 1e3}}                                 | spec.asNumber: is not an AS number
default {{asNumber: [64512]}}                             | spec.asNumber: must be a whole number such as 26
# port and priorities
default {{listenPort: 0}}                                 | spec.listenPort: must be 1 to 65535
default {{listenPort: 65536}}                             | spec.listenPort: must be 1 to 65535
default {{listenPort: 0x50}}                              | spec.listenPort: must be a whole number
default {{listenPort: 0179}}                              | spec.listenPort: must be a whole number
default {{ipv4NormalRoutePriority: 1024, ipv6NormalRoutePriority: 2147483646}} | ok
default {{ipv4NormalRoutePriority: 0}}                    | spec.ipv4NormalRoutePriority: must be 1 to 2147483646
# choices
default {{logSeverityScreen: info}}                       | spec.logSeverityScreen: must be Info, in this spelling
default {{bindMode: None}}                                | ok
default {{bindMode: NodeIP}}                              | ok
default {{bindMode: Any}}                                 | spec.bindMode: must be None or NodeIP
default {{serviceLoadBalancerAggregation: Off}}
    | spec.serviceLoadBalancerAggregation: must be one of Enabled, Disabled
default {{programClusterRoutes: EnabledIPIPOnly}}         | ok
default {{programClusterRoutes: Maybe}}                   | spec.programClusterRoutes: must be one of Enabled, Disabled,
# mesh
default {{nodeMeshMaxRestartTime: 2m, nodeMeshPassword: {{secretKeyRef: {{name: s, key: k}}}}}} | ok
default {{nodeMeshMaxRestartTime: 120}}
    | spec.nodeMeshMaxRestartTime: is not a length of time; write it with a unit
default {{nodeMeshMaxRestartTime: 2h}}                    | spec.nodeMeshMaxRestartTime: must be 0s to 4095s
default {{nodeToNodeMeshEnabled: false, nodeMeshMaxRestartTime: 2m}} | spec.nodeMeshMaxRestartTime: has no mesh to serve
default {{nodeToNodeMeshEnabled: false, nodeMeshPassword: {{secretKeyRef: {{name: s, key: k}}}}}}
    | spec.nodeMeshPassword: has no mesh
default {{nodeMeshPassword: {{secretKeyRef: {{name: "", key: k}}}}}}
    | spec.nodeMeshPassword.secretKeyRef.name: is not the name of a Secret
default {{nodeMeshPassword: {{secretKeyRef: {{name: s, key: "a b"}}}}}}
    | spec.nodeMeshPassword.secretKeyRef.key: is not a key
default {{nodeMeshPassword: {{secretKeyRef: {{name: s}}}}}} | spec.nodeMeshPassword.secretKeyRef.key: is required
default {{nodeMeshPassword: hunter2}}                     | spec.nodeMeshPassword: must be a mapping of fields, not text
# what only the default object may say
node.n1 {{asNumber: 64512}}
    | spec.asNumber: holds for the whole cluster; set it in BGPConfiguration(default)
node.n1 {{nodeToNodeMeshEnabled: false}}                  | spec.nodeToNodeMeshEnabled: holds for the whole cluster
node.n1 {{nodeToNodeMeshEnabled: true}}                   | spec.nodeToNodeMeshEnabled: holds for the whole cluster
node.n1 {{serviceClusterIPs: [{{cidr: 10.96.0.0/12}}]}}   | spec.serviceClusterIPs: holds for the whole cluster
node.n1 {{serviceExternalIPs: [{{cidr: 10.96.0.0/12}}]}}  | spec.serviceExternalIPs: holds for the whole cluster
node.n1 {{serviceLoadBalancerIPs: [{{cidr: 10.96.0.0/12}}]}} | spec.serviceLoadBalancerIPs: holds for the whole cluster
node.n1 {{nodeMeshMaxRestartTime: 2m}}                    | spec.nodeMeshMaxRestartTime: holds for the whole cluster
node.n1 {{nodeMeshPassword: {{secretKeyRef: {{name: s, key: k}}}}}} | spec.nodeMeshPassword: holds for the whole cluster
# service ranges
default {{serviceClusterIPs: [{{cidr: 10.96.0.0/12}}, {{cidr: 1.2.3.4}}]}} | ok
default {{serviceClusterIPs: [{{cidr: 10.96.0.1/12}}]}}
    | spec.serviceClusterIPs[0].cidr: 10.96.0.1/12 is not a network address; write 10.96.0.0/12
default {{serviceExternalIPs: [{{cidr: here}}]}}          | spec.serviceExternalIPs[0].cidr: is not a CIDR
default {{serviceLoadBalancerIPs: [10.96.0.0/12]}}
    | spec.serviceLoadBalancerIPs[0]: must be a mapping of fields, not text
# communities
default {{communities: [{{name: a, value: "65001:1"}}], prefixAdvertisements: [{{cidr: 10.0.0.0/8, communities: [a]}}]}}
    | ok
node.n1 {{communities: [{{name: a, value: "1:2:3"}}], prefixAdvertisements: [{{cidr: 10.0.0.0/8, communities: [a]}}]}}
    | ok
default {{prefixAdvertisements: [{{cidr: 10.0.0.0/8, communities: ["65001:100", "4200000000:1:2"]}}]}} | ok
default {{communities: [{{name: a, value: "65001:100"}}]}} | spec.communities: are used nowhere
default {{communities: [{{name: a, value: "65536:1"}}], prefixAdvertisements: [{{cidr: 10.0.0.0/8, communities: [a]}}]}}
    | spec.communities[0].value: is not a community
default {{communities: [{{name: "", value: "1:1"}}], prefixAdvertisements: [{{cidr: 10.0.0.0/8}}]}}
    | spec.communities[0].name: is empty
default {{prefixAdvertisements: [{{cidr: 1.0.0.0/8}}], communities: [{{name: a, value: 1:1}}, {{name: a, value: 1:2}}]}}
    | spec.communities[1].name: names two communities
default {{prefixAdvertisements: [{{cidr: 10.0.0.0/8, communities: [b]}}]}}
    | spec.prefixAdvertisements[0].communities[0]: is neither a community nor a name
default {{prefixAdvertisements: [{{cidr: 10.0.0.1/8}}]}}
    | spec.prefixAdvertisements[0].cidr: 10.0.0.1/8 is not a network address; write 10.0.0.0/8
default {{prefixAdvertisements: [{{cidr: 10.0.0.0/8, communities: [{MANY}]}}]}}
    | spec.prefixAdvertisements[0].communities: has 51 entries, at most 50
# interfaces and addresses
default {{ignoredInterfaces: [eth0, docker*, "veth.*-a_b"]}} | ok
default {{ignoredInterfaces: ["*"]}}                      | spec.ignoredInterfaces[0]: is not an interface or a pattern
default {{ignoredInterfaces: [eth0, sixteen_letters_]}}   | spec.ignoredInterfaces[1]: is not an interface or a pattern
default {{ignoredInterfaces: [""]}}                       | spec.ignoredInterfaces[0]: is not an interface or a pattern
default {{ignoredInterfaces: ["eth 0"]}}                  | spec.ignoredInterfaces[0]: is not an interface or a pattern
default {{localWorkloadPeeringIPV4: 169.254.1.1, localWorkloadPeeringIPV6: "fd00::1"}} | ok
default {{localWorkloadPeeringIPV4: "fd00::1"}}           | spec.localWorkloadPeeringIPV4: is not an IPv4 address
default {{localWorkloadPeeringIPV6: 10.0.0.1}}            | spec.localWorkloadPeeringIPV6: is not an IPv6 address
default {{asnumber: 1}}                                   | spec.asnumber: unknown field; did you mean asNumber?
"""


@pytest.mark.parametrize(("written", "expected"), rows(CASES))
def test_configuration(written: str, expected: str) -> None:
    name, spec = written.split(" ", 1)
    found = findings(text("BGPConfiguration", spec, name))
    assert agree(found, expected), found


WARNINGS = """
default {asNumber: 64512, nodeToNodeMeshEnabled: true, listenPort: 179, bindMode: None} | ok
default {logSeverityScreen: Debug, bindMode: NodeIP}      | ok
default {nodeMeshMaxRestartTime: 90s, nodeMeshPassword: {secretKeyRef: {name: s, key: k}}} | ok
node.n1 {listenPort: 1179}                                | ok
default {serviceClusterIPs: [{cidr: 10.96.0.0/12}], serviceLoadBalancerAggregation: Disabled} | ok
default {prefixAdvertisements: [{cidr: 10.0.0.0/8, communities: ["1:1"]}]} | ok
default {ignoredInterfaces: [eth0]}                       | ok
node.n1 {serviceLoadBalancerAggregation: Disabled}        | spec.serviceLoadBalancerAggregation = "Disabled"
default {ipv4NormalRoutePriority: 1024}                   | spec.ipv4NormalRoutePriority = 1024
"""


@pytest.mark.parametrize(("written", "expected"), rows(WARNINGS))
def test_what_is_not_built_is_said(written: str, expected: str) -> None:
    name, spec = written.split(" ", 1)
    said = list(not_built(one("BGPConfiguration", spec, name)))
    if expected == "ok":
        assert said == []
    else:
        (sentence,) = said
        assert sentence.startswith(f"BGPConfiguration({name}): {expected} is stored but not acted on yet: ")


def test_an_address_alone_becomes_its_prefix() -> None:
    config = one("BGPConfiguration", "{serviceExternalIPs: [{cidr: 1.2.3.4}, {cidr: 'FD00::/64'}]}", "default")
    assert isinstance(config, BGPConfiguration)
    assert [block.cidr for block in config.spec.serviceExternalIPs] == ["1.2.3.4/32", "fd00::/64"]


COMMUNITIES = """
0:0                  | ok
65535:65535          | ok
65536:0              | no
0:65536              | no
4294967295:1:1       | ok
1:4294967295:4294967295 | ok
4294967296:1:1       | no
1                    | no
1:2:3:4              | no
a:b                  | no
-1:1                 | no
1:                   | no
"""


@pytest.mark.parametrize(("written", "expected"), rows(COMMUNITIES))
def test_community(written: str, expected: str) -> None:
    assert is_community(written) == (expected == "ok")
