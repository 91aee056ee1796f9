"""Files as Calico's users have them: calicoctl's, and kubectl's of the custom resources."""

from __future__ import annotations

import pytest

from bgpnet import codec
from bgpnet.errors import Invalid
from bgpnet.model.bgpconfiguration import BGPConfiguration
from bgpnet.model.ipamconfiguration import IPAMConfiguration
from bgpnet.model.ippool import IPPool
from bgpnet.model.kinds import kind_of

CALICOCTL = """\
# calicoctl get … -o yaml
apiVersion: projectcalico.org/v3
items:
- apiVersion: projectcalico.org/v3
  kind: IPPool
  metadata:
    creationTimestamp: "2025-03-04T10:11:12Z"
    name: default-ipv4-ippool
    resourceVersion: "812"
    uid: 3f0c1f0a-0a51-4e4b-a4ad-9e0c7c9d1f11
  spec:
    allowedUses:
    - Workload
    - Tunnel
    assignmentMode: Automatic
    blockSize: 26
    cidr: 192.168.0.0/16
    ipipMode: Always
    natOutgoing: true
    nodeSelector: all()
    vxlanMode: Never
- apiVersion: projectcalico.org/v3
  kind: IPReservation
  metadata:
    name: routers
  spec:
    reservedCIDRs:
    - 192.168.2.3
    - 10.0.2.3/32
    - fd00:beef::/120
kind: List
metadata:
  resourceVersion: "920"
---
apiVersion: projectcalico.org/v3
kind: BGPConfiguration
metadata:
  name: default
spec:
  logSeverityScreen: Info
  nodeToNodeMeshEnabled: true
  nodeMeshMaxRestartTime: 120s
  asNumber: 63400
  serviceClusterIPs:
  - cidr: 10.96.0.0/12
  serviceExternalIPs:
  - cidr: 104.244.42.129/32
  - cidr: 172.217.3.0/24
  listenPort: 178
  bindMode: NodeIP
  communities:
  - name: bgp-large-community
    value: 63400:300:100
  prefixAdvertisements:
  - cidr: 172.218.4.0/26
    communities:
    - bgp-large-community
    - 63400:120
  ignoredInterfaces:
  - docker*
---
apiVersion: projectcalico.org/v3
kind: BGPPeer
metadata:
  name: node-rack1-tor
spec:
  peerIP: 192.20.30.40:179
  asNumber: 64567
  nodeSelector: rack == 'rack-1'
  password:
    secretKeyRef:
      name: bgp-secrets
      key: rack1
  filters:
  - first-bgp-filter
  - second-bgp-filter
  maxRestartTime: 2m0s
---
apiVersion: projectcalico.org/v3
kind: BGPFilter
metadata:
  name: first-bgp-filter
spec:
  exportV4:
  - action: Accept
    matchOperator: In
    cidr: 77.0.0.0/16
    source: RemotePeers
  - action: Reject
    interface: "*.calico"
  importV4:
  - action: Reject
    matchOperator: NotIn
    cidr: 44.0.0.0/16
    prefixLength:
      min: 17
      max: 24
  exportV6:
  - action: Reject
    source: RemotePeers
  importV6:
  - action: Accept
    matchOperator: Equal
    cidr: 5000::/64
    communities:
      values: ["65001:100"]
    operations:
    - prependASPath:
        prefix: [65010, 65010]
---
apiVersion: projectcalico.org/v3
kind: Node
metadata:
  name: node-hostname
  labels:
    beta.kubernetes.io/arch: amd64
    kubernetes.io/hostname: node-hostname
spec:
  addresses:
  - address: 10.244.0.1/24
    type: CalicoNodeIP
  - address: 10.244.0.1
    type: InternalIP
  bgp:
    asNumber: 64512
    ipv4Address: 10.244.0.1/24
    ipv4IPIPTunnelAddr: 192.168.0.1
    ipv6Address: 2001:db8:85a3::8a2e:370:7334/120
  orchRefs:
  - nodeName: node-hostname
    orchestrator: k8s
status:
  podCIDRs:
  - 10.244.0.0/24
---
apiVersion: projectcalico.org/v3
kind: ClusterInformation
metadata:
  name: default
spec:
  calicoVersion: v3.31.2
  clusterGUID: ff80c5ce0b8f4e2d9a1f0a4bb1a1d9c2
  clusterType: typha,kdd,k8s,operator,bgp,kubeadm
  datastoreReady: true
  variant: Calico
---
apiVersion: projectcalico.org/v3
kind: IPAMConfiguration
metadata:
  name: default
spec:
  strictAffinity: false
  maxBlocksPerHost: 0
  autoAllocateBlocks: true
"""

KUBECTL = """\
apiVersion: crd.projectcalico.org/v1
kind: IPPool
metadata:
  annotations:
    projectcalico.org/metadata: '{"creationTimestamp":null,"labels":{"zone":"a"},"annotations":{"by":"me"}}'
    kubectl.kubernetes.io/last-applied-configuration: |
      {"apiVersion":"crd.projectcalico.org/v1","kind":"IPPool"}
  creationTimestamp: "2025-03-04T10:11:12Z"
  finalizers:
  - example.com/hold
  generation: 2
  labels:
    app: net
  managedFields:
  - manager: Go-http-client
    operation: Update
  name: default-ipv4-ippool
  resourceVersion: "13013"
  uid: 7c9a8b0e-5a5e-4f2f-8df1-9f2a1d8ed6ef
spec:
  blockSize: 26
  cidr: 192.168.0.0/16
  ipipMode: CrossSubnet
  vxlanMode: Never
---
apiVersion: crd.projectcalico.org/v1
kind: IPAMConfig
metadata:
  name: default
  annotations:
    projectcalico.org/metadata: '{"creationTimestamp":null}'
spec:
  autoAllocateBlocks: true
  maxBlocksPerHost: 0
  strictAffinity: true
"""


def test_what_calicoctl_prints_is_taken_as_it_is() -> None:
    found = codec.decode(CALICOCTL)
    assert [kind_of(each).name for each in found] == [
        "IPPool",
        "IPReservation",
        "BGPConfiguration",
        "BGPPeer",
        "BGPFilter",
        "Node",
        "ClusterInformation",
        "IPAMConfiguration",
    ]
    config = found[2]
    assert isinstance(config, BGPConfiguration)
    assert config.spec.prefixAdvertisements[0].communities == ("bgp-large-community", "63400:120")
    assert codec.decode(codec.to_yaml(found)) == found


def test_custom_resources_come_with_calicos_metadata_and_without_the_servers() -> None:
    pool, config = codec.decode(KUBECTL)
    assert isinstance(pool, IPPool)
    assert isinstance(config, IPAMConfiguration)
    assert pool.metadata.labels == {"app": "net", "zone": "a"}
    assert set(pool.metadata.annotations) == {"by", "kubectl.kubernetes.io/last-applied-configuration"}
    assert (pool.metadata.uid, pool.metadata.resourceVersion) == ("", "")
    assert config.metadata.annotations == {}


def test_what_is_not_kept_is_said() -> None:
    pool, _ = codec.examine(KUBECTL)
    (note,) = pool.notes
    assert note.startswith("IPPool(default-ipv4-ippool): metadata.finalizers is accepted and not kept: deleting an")


def test_calicos_own_file_keeps_its_revision() -> None:
    (pool, *_) = codec.decode(CALICOCTL)
    assert pool.metadata.resourceVersion == "812"


@pytest.mark.parametrize("inner", ["{", "[]", '"text"', "'{\"labels\": [1]}'"])
def test_a_broken_annotation_is_refused_by_its_path(inner: str) -> None:
    quoted = inner if inner.startswith("'") else f"'{inner}'"
    written = f"""{{apiVersion: crd.projectcalico.org/v1, kind: Node,
        metadata: {{name: a, annotations: {{projectcalico.org/metadata: {quoted}}}}}}}"""
    with pytest.raises(Invalid) as caught:
        codec.decode(written)
    assert [each.path for each in caught.value.findings] == ["metadata.annotations[projectcalico.org/metadata]"]


def test_the_custom_resources_name_is_only_theirs() -> None:
    with pytest.raises(Invalid, match="kind = 'IPAMConfig': unknown kind; write IPAMConfiguration"):
        codec.decode(KUBECTL.replace("crd.projectcalico.org/v1", "projectcalico.org/v3"))
