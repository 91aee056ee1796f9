"""IPReservation, IPAMConfiguration, ClusterInformation: what is accepted, what is refused, what is not acted on."""

from __future__ import annotations

import pytest
from rule_table import agree, findings, one, rows, text

from bgpnet.model.ipreservation import IPReservation
from bgpnet.rules.table import not_built

RESERVATIONS = """
{}                                                          | ok
{reservedCIDRs: []}                                         | ok
{reservedCIDRs: [10.0.0.0/28]}                              | ok
{reservedCIDRs: [10.0.0.1, 10.0.0.2/32]}                    | ok
{reservedCIDRs: ["fd00::1", "fd00::/120"]}                  | ok
{reservedCIDRs: [10.0.0.0/8, 10.1.0.0/16]}                  | ok
{reservedCIDRs: [0.0.0.0/0]}                                | ok
{reservedCIDRs: 10.0.0.0/28}                                | spec.reservedCIDRs: must be a list, not text
{reservedCIDRs: [10.0.0.1/28]}                              | spec.reservedCIDRs[0]: 10.0.0.1/28 is not a network
{reservedCIDRs: [10.0.0.0/28, 10.0.0]}                      | spec.reservedCIDRs[1]: is not a CIDR
{reservedCIDRs: [10.0.0.0/33]}                              | spec.reservedCIDRs[0]: is not a CIDR
{reservedCIDRs: [""]}                                       | spec.reservedCIDRs[0]: is not a CIDR
{reservedCIDRs: [10.0.0.1-10.0.0.9]}                        | spec.reservedCIDRs[0]: is not a CIDR
{reservedCIDRs: ["fd00::1%eth0"]}                           | spec.reservedCIDRs[0]: is not a CIDR
{reservedCIDRs: [gateway, 10.0.0.9/30]}
    | spec.reservedCIDRs[0]: is not a CIDR ++ spec.reservedCIDRs[1]: 10.0.0.9/30 is not a network address
{reservedCidrs: [10.0.0.0/28]}                              | spec.reservedCidrs: unknown field; did you mean reservedC
"""

IPAM = """
default {}                                                  | ok
default {strictAffinity: true}                              | ok
default {strictAffinity: false, autoAllocateBlocks: true, maxBlocksPerHost: 0} | ok
default {strictAffinity: true, autoAllocateBlocks: false}   | ok
default {strictAffinity: true, maxBlocksPerHost: 20}        | ok
default {strictAffinity: true, maxBlocksPerHost: 1000000}   | ok
default {strictAffinity: true, maxBlocksPerHost: 1000001}   | spec.maxBlocksPerHost: must be 0 to 1000000
default {strictAffinity: true, maxBlocksPerHost: -1}        | spec.maxBlocksPerHost: must be 0 to 1000000
default {maxBlocksPerHost: 1}                               | spec.maxBlocksPerHost: needs strictAffinity
default {strictAffinity: false, maxBlocksPerHost: 4}        | spec.maxBlocksPerHost: needs strictAffinity
default {autoAllocateBlocks: false}                         | spec.autoAllocateBlocks: needs strictAffinity
default {strictAffinity: false, autoAllocateBlocks: false, maxBlocksPerHost: 4}
    | spec.autoAllocateBlocks: needs strictAffinity ++ spec.maxBlocksPerHost: needs strictAffinity
default {ipCooldownSeconds: 0}                              | ok
default {ipCooldownSeconds: 1200}                           | ok
default {ipCooldownSeconds: 1201}                           | spec.ipCooldownSeconds: must be 0 to 1200
default {ipCooldownSeconds: -1}                             | spec.ipCooldownSeconds: must be 0 to 1200
default {kubeVirtVMAddressPersistence: Enabled}             | ok
default {kubeVirtVMAddressPersistence: Disabled}            | ok
default {kubeVirtVMAddressPersistence: "on"}                | spec.kubeVirtVMAddressPersistence: must be Enabled or
default {strictAffinity: "true"}                            | spec.strictAffinity: must be true or false, without quotes
default {maxBlocksPerHost: many}                            | spec.maxBlocksPerHost: must be a whole number
default {strictAfinity: true}                               | spec.strictAfinity: unknown field; did you mean strictAff
ipam {}                                                     | metadata.name: must be default: a cluster has one object
default2 {maxBlocksPerHost: 1}
    | metadata.name: must be default ++ spec.maxBlocksPerHost: needs strictAffinity
"""

CLUSTERS = """
default {}                                                  | ok
default {clusterGUID: 6b1e8bb8a3a94f1a9cd14a0e1f3f7d55}     | ok
default {clusterGUID: 6B1E8BB8A3A94F1A9CD14A0E1F3F7D55}     | ok
default {clusterGUID: 6b1e8bb8-a3a9-4f1a-9cd1-4a0e1f3f7d55} | spec.clusterGUID: is not 32 hexadecimal digits
default {clusterGUID: abc}                                  | spec.clusterGUID: is not 32 hexadecimal digits
default {clusterGUID: 6b1e8bb8a3a94f1a9cd14a0e1f3f7d5g}     | spec.clusterGUID: is not 32 hexadecimal digits
default {clusterType: "k8s,bgp,kdd"}                        | ok
default {clusterType: k8s}                                  | ok
default {clusterType: "typha,kdd,k8s,operator,bgp,kubeadm"} | ok
default {clusterType: "k8s, bgp"}                           | spec.clusterType: is not a list of words
default {clusterType: "k8s,,bgp"}                           | spec.clusterType: is not a list of words
default {clusterType: "k8s,"}                               | spec.clusterType: is not a list of words
default {calicoVersion: v3.31.2, variant: Calico}           | ok
default {datastoreReady: true}                              | ok
default {datastoreReady: false}                             | ok
default {datastoreReady: "true"}                            | spec.datastoreReady: must be true or false, without quotes
default {datastoreReady: ready}                             | spec.datastoreReady: must be true or false
default {calicoVersion: [v3]}                               | spec.calicoVersion: must be text, not a list
default {clusterName: prod}                                 | spec.clusterName: unknown field
cluster {}                                                  | metadata.name: must be default: a cluster has one object
"""


@pytest.mark.parametrize(("spec", "expected"), rows(RESERVATIONS))
def test_reservation(spec: str, expected: str) -> None:
    found = findings(text("IPReservation", spec))
    assert agree(found, expected), found


@pytest.mark.parametrize(("written", "expected"), rows(IPAM))
def test_ipam_configuration(written: str, expected: str) -> None:
    name, _, spec = written.partition(" ")
    found = findings(text("IPAMConfiguration", spec, name))
    assert agree(found, expected), found


@pytest.mark.parametrize(("written", "expected"), rows(CLUSTERS))
def test_cluster_information(written: str, expected: str) -> None:
    name, _, spec = written.partition(" ")
    found = findings(text("ClusterInformation", spec, name))
    assert agree(found, expected), found


WARNINGS = """
IPReservation {}                                        | none
IPReservation {reservedCIDRs: [10.0.0.1]}               | none
IPAMConfiguration {strictAffinity: true}                | none
IPAMConfiguration {}                                    | spec.strictAffinity = false blocks are exclusive, no node
IPAMConfiguration {strictAffinity: true, autoAllocateBlocks: false, maxBlocksPerHost: 2, ipCooldownSeconds: 0} | none
IPAMConfiguration {strictAffinity: true, kubeVirtVMAddressPersistence: Disabled} | none
IPAMConfiguration {strictAffinity: true, kubeVirtVMAddressPersistence: Enabled}
    | spec.kubeVirtVMAddressPersistence = "Enabled" every pod has its own address
ClusterInformation {}                                   | none
ClusterInformation {datastoreReady: true}               | none
ClusterInformation {datastoreReady: false}              | spec.datastoreReady = false the agents and the CNI plugin go
ClusterInformation {clusterType: k8s}                   | spec.clusterType = "k8s" it is shown to whoever asks
ClusterInformation {calicoVersion: v3.31.2}             | spec.calicoVersion = "v3.31.2" bgpnetctl does not hold
"""


@pytest.mark.parametrize(("written", "expected"), rows(WARNINGS))
def test_what_is_not_built_is_said(written: str, expected: str) -> None:
    kind, _, spec = written.partition(" ")
    name = "x" if kind == "IPReservation" else "default"
    said = [each.replace("is stored but not acted on yet: ", "") for each in not_built(one(kind, spec, name))]
    assert len(said) == (expected != "none")
    assert all(sentence.startswith(f"{kind}({name}): {expected}") for sentence in said)


def test_reserved_addresses_are_spelled_as_networks() -> None:
    resource = one("IPReservation", '{reservedCIDRs: [10.0.0.1, "FD00:0::/64"]}')
    assert isinstance(resource, IPReservation)
    assert resource.spec.reservedCIDRs == ("10.0.0.1/32", "fd00::/64")
