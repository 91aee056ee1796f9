"""What must hold of the kinds that configure BGP (see constraints.py). Pure."""

from __future__ import annotations

from typing import Any

from bgpnet.kube.crd.cel import (
    AS_NUMBER,
    BARE_NETWORK,
    COMMUNITY,
    DNS_NAME,
    INTERFACE_PATTERN,
    OPTIONAL_NETWORK,
    PASSWORD_KEY,
    address,
    between,
    duration,
    exactly_one,
    rule,
    rules,
    said,
)
from bgpnet.model.bgpconfiguration import BGPConfigurationSpec
from bgpnet.model.bgpfilter import FilterRule
from bgpnet.model.bgppeer import BGPPeerSpec
from bgpnet.rules import bgpconfiguration, bgpfilter, bgppeer, common

Constraints = dict[str, dict[str, Any]]


def of_configuration() -> Constraints:
    """Of BGPConfiguration."""
    whole = [
        rule(
            "self.metadata.name == 'default' || !has(self.spec) || "
            f"!({said(BGPConfigurationSpec, field, 'self.spec')})",
            f"spec.{field} holds for the whole cluster; set it in BGPConfiguration default",
            f".spec.{field}",
        )
        for field in bgpconfiguration.DEFAULT_ONLY
    ]
    return {
        "": rules(
            rule(
                "self.metadata.name == 'default' || self.metadata.name.startsWith('node.')",
                "metadata.name must be default, or node.<name of the node> for one node's own settings",
            ),
            *whole,
        ),
        "spec": rules(
            *(
                rule(
                    f"!(has(self.nodeToNodeMeshEnabled) && !self.nodeToNodeMeshEnabled && has(self.{field}))",
                    "has no mesh to serve; remove it or set spec.nodeToNodeMeshEnabled: true",
                    f".{field}",
                )
                for field in ("nodeMeshPassword", "nodeMeshMaxRestartTime")
            ),
            rule(
                "!has(self.communities) || self.communities.size() == 0 || "
                "(has(self.prefixAdvertisements) && self.prefixAdvertisements.size() > 0)",
                "are used nowhere; name them in spec.prefixAdvertisements or remove them",
                ".communities",
            ),
        ),
        "spec.asNumber": AS_NUMBER,
        "spec.listenPort": between(1, 65535),
        "spec.ipv4NormalRoutePriority": between(1, bgpconfiguration.PRIORITY_LIMIT),
        "spec.ipv6NormalRoutePriority": between(1, bgpconfiguration.PRIORITY_LIMIT),
        "spec.nodeMeshMaxRestartTime": duration(common.RESTART_LIMIT),
        **_password("spec.nodeMeshPassword"),
        **{f"spec.{name}[].cidr": BARE_NETWORK for name in bgpconfiguration.SERVICE_RANGES},
        **{f"spec.{name}": {"enum": list(choices)} for name, choices in bgpconfiguration.CHOICES.items()},
        "spec.communities": {
            "maxItems": bgpconfiguration.COMMUNITIES_LIMIT,
            "x-kubernetes-list-type": "map",
            "x-kubernetes-list-map-keys": ["name"],
        },
        "spec.communities[].name": {"minLength": 1},
        "spec.communities[].value": COMMUNITY,
        "spec.prefixAdvertisements[].cidr": BARE_NETWORK,
        "spec.prefixAdvertisements[].communities": {"maxItems": bgpconfiguration.COMMUNITIES_PER_PREFIX},
        "spec.ignoredInterfaces[]": {**INTERFACE_PATTERN, "not": {"enum": ["*"]}},
        "spec.localWorkloadPeeringIPV4": address(4),
        "spec.localWorkloadPeeringIPV6": address(6),
    }


def of_peer() -> Constraints:
    """Of BGPPeer."""
    bracket = r"^\\[[^\\]]*\\]:[0-9]{1,5}$"
    port = (
        "int(self.substring(self.lastIndexOf(':') + 1)) >= 1 && int(self.substring(self.lastIndexOf(':') + 1)) <= 65535"
    )
    peers = " || ".join(said(BGPPeerSpec, name) for name in bgppeer.PEERS)
    return {
        "spec": rules(
            *(
                rule(
                    f"!({said(BGPPeerSpec, one)} && {said(BGPPeerSpec, other)})",
                    f"cannot go with spec.{other}: {remedy}",
                    f".{one}",
                )
                for one, other, remedy in bgppeer.EXCLUSIVE
            ),
            rule(
                peers, "is missing: set peerIP, peerSelector or localWorkloadSelector to say who the peer is", ".peerIP"
            ),
            rule(
                f"!({said(BGPPeerSpec, 'localWorkloadSelector')}) || {said(BGPPeerSpec, 'asNumber')}",
                "is required with spec.localWorkloadSelector; write the workloads' AS",
                ".asNumber",
            ),
            rule(
                f"!({said(BGPPeerSpec, 'reachableBy')}) || {said(BGPPeerSpec, 'peerIP')}",
                "is the way to spec.peerIP, which is empty; set it or remove this",
                ".reachableBy",
            ),
        ),
        "spec.peerIP": {
            "maxLength": 48,
            **rules(
                rule(
                    "self == '' || isIP(self) || "
                    "(self.matches('^[0-9.]+:[0-9]{1,5}$') && "
                    f"isIP(self.substring(0, self.indexOf(':'))) && {port}) || "
                    f"(self.matches('{bracket}') && isIP(self.substring(1, self.indexOf(']'))) && {port})",
                    "is not a peer's address; write it like 192.0.2.1, 192.0.2.1:1179, 2001:db8::1 or "
                    "[2001:db8::1]:1179",
                )
            ),
        },
        "spec.node": {"maxLength": 253, "pattern": f"^$|{DNS_NAME}"},
        "spec.asNumber": {**AS_NUMBER, "minimum": 0},
        "spec.localASNumber": {**AS_NUMBER, "minimum": 0},
        "spec.maxRestartTime": duration(common.RESTART_LIMIT),
        "spec.keepaliveTime": duration(common.HOLD_LIMIT // 3, 1),
        "spec.numAllowedLocalASNumbers": between(0, bgppeer.COUNT_LIMIT),
        "spec.ttlSecurity": between(0, 255),
        "spec.reachableBy": address(),
        "spec.filters[]": {"maxLength": 253, "pattern": DNS_NAME},
        **_password("spec.password"),
    }


def of_filter() -> Constraints:
    """Of BGPFilter."""
    found: Constraints = {}
    for name, version in bgpfilter.LISTS:
        found |= _filter_rule(f"spec.{name}", version)
    return found


def _filter_rule(path: str, version: int) -> Constraints:
    longest = bgpfilter.LONGEST[version]
    item, family = f"{path}[]", f"must be an IPv{version} network; move the rule to the list of its own family"
    return {
        item: rules(
            rule(
                f"!({said(FilterRule, 'cidr')}) || has(self.matchOperator)",
                "is required with cidr; write Equal, NotEqual, In or NotIn",
                ".matchOperator",
            ),
            rule(
                f"!has(self.matchOperator) || {said(FilterRule, 'cidr')}",
                "has no cidr to compare with; write cidr, too, or remove matchOperator",
                ".matchOperator",
            ),
            rule(
                f"!has(self.prefixLength) || {said(FilterRule, 'cidr')}",
                "needs a cidr; write cidr and matchOperator, too, or remove it",
                ".prefixLength",
            ),
            rule(
                "!has(self.operations) || self.operations.size() == 0 || self.action == 'Accept'",
                "change routes that go on; write action: Accept, or remove the operations",
                ".operations",
            ),
        ),
        f"{item}.cidr": {
            **OPTIONAL_NETWORK,
            **rules(
                OPTIONAL_NETWORK,
                rule(f"!isCIDR(self) || cidr(self).ip().family() == {version}", family),
            ),
        },
        f"{item}.prefixLength": rules(
            rule("!has(self.min) || !has(self.max) || self.min <= self.max", "is more than max; swap the two", ".min")
        ),
        f"{item}.prefixLength.min": between(0, longest),
        f"{item}.prefixLength.max": between(0, longest),
        f"{item}.interface": {"maxLength": 15, "pattern": f"^$|{INTERFACE_PATTERN['pattern']}"},
        f"{item}.communities.values": {"minItems": 1, "maxItems": 1},
        f"{item}.communities.values[]": COMMUNITY,
        f"{item}.asPathPrefix[]": AS_NUMBER,
        f"{item}.priority": between(1, bgpconfiguration.PRIORITY_LIMIT),
        f"{item}.operations": {"maxItems": bgpfilter.OPERATIONS_LIMIT},
        f"{item}.operations[]": exactly_one("addCommunity", "prependASPath", "setPriority"),
        f"{item}.operations[].addCommunity.value": COMMUNITY,
        f"{item}.operations[].prependASPath.prefix": {"minItems": 1, "maxItems": bgpfilter.PREPEND_LIMIT},
        f"{item}.operations[].prependASPath.prefix[]": AS_NUMBER,
        f"{item}.operations[].setPriority.value": between(1, bgpconfiguration.PRIORITY_LIMIT),
    }


def _password(path: str) -> Constraints:
    return {
        f"{path}.secretKeyRef.name": {"maxLength": 253, "pattern": DNS_NAME},
        f"{path}.secretKeyRef.key": PASSWORD_KEY,
    }
