"""What a BGPConfiguration must obey by itself, and what of it is stored but not acted on yet."""

from __future__ import annotations

import re
from collections.abc import Iterator

from msgspec import structs

from bgpnet import names
from bgpnet.errors import Finding
from bgpnet.model.bgpconfiguration import (
    BGPConfiguration,
    BGPConfigurationSpec,
    CidrBlock,
    PrefixAdvertisement,
)
from bgpnet.rules import common

DEFAULT_ONLY = (
    "nodeToNodeMeshEnabled",
    "asNumber",
    "serviceClusterIPs",
    "serviceExternalIPs",
    "serviceLoadBalancerIPs",
    "nodeMeshPassword",
    "nodeMeshMaxRestartTime",
)
BUILT = frozenset(
    {
        "asNumber",
        "bindMode",
        "communities",
        "ignoredInterfaces",
        "listenPort",
        "logSeverityScreen",
        "nodeMeshMaxRestartTime",
        "nodeMeshPassword",
        "nodeToNodeMeshEnabled",
        "prefixAdvertisements",
        "serviceClusterIPs",
        "serviceExternalIPs",
        "serviceLoadBalancerAggregation",
        "serviceLoadBalancerIPs",
    }
)
SERVICE_RANGES = ("serviceClusterIPs", "serviceExternalIPs", "serviceLoadBalancerIPs")
CHOICES = {
    "serviceLoadBalancerAggregation": ("Enabled", "Disabled"),
    "programClusterRoutes": ("Enabled", "Disabled", "EnabledIPIPOnly", "EnabledNoEncapOnly"),
}
PRIORITY_LIMIT = 2**31 - 2
COMMUNITIES_LIMIT = 500
COMMUNITIES_PER_PREFIX = 50

_COMMUNITY = re.compile(r"[0-9]{1,10}(:[0-9]{1,10}){1,2}\Z", re.ASCII)
_INTERFACE = re.compile(r"[A-Za-z0-9_.*-]{1,15}\Z")


def check(config: BGPConfiguration) -> Iterator[Finding]:
    """Every rule of BGPConfiguration that needs no datastore."""
    spec = config.spec
    yield from _scope(config)
    yield from common.as_number("spec.asNumber", spec.asNumber)
    yield from common.between("spec.listenPort", spec.listenPort, 1, 65535)
    yield from common.between("spec.ipv4NormalRoutePriority", spec.ipv4NormalRoutePriority, 1, PRIORITY_LIMIT)
    yield from common.between("spec.ipv6NormalRoutePriority", spec.ipv6NormalRoutePriority, 1, PRIORITY_LIMIT)
    yield from _mesh(spec)
    for name in SERVICE_RANGES:
        for index, block in enumerate(getattr(spec, name)):
            yield from common.findings(common.network(f"spec.{name}[{index}].cidr", block.cidr, bare=True))
    for name, choices in CHOICES.items():
        value = getattr(spec, name)
        if value is not None and value not in choices:
            yield Finding(f"spec.{name}", value, f"must be one of {', '.join(choices)}")
    yield from _communities(spec)
    yield from _advertisements(spec)
    for index, pattern in enumerate(spec.ignoredInterfaces):
        if pattern == "*" or not _INTERFACE.match(pattern):
            problem = "is not an interface or a pattern such as eth* (1 to 15 of A-Z, a-z, 0-9, '_', '.', '-', '*')"
            yield Finding(f"spec.ignoredInterfaces[{index}]", pattern, f"{problem}; name what to ignore")
    if spec.localWorkloadPeeringIPV4 is not None:
        yield from common.findings(common.address("spec.localWorkloadPeeringIPV4", spec.localWorkloadPeeringIPV4, 4))
    if spec.localWorkloadPeeringIPV6 is not None:
        yield from common.findings(common.address("spec.localWorkloadPeeringIPV6", spec.localWorkloadPeeringIPV6, 6))


def _scope(config: BGPConfiguration) -> Iterator[Finding]:
    name = config.metadata.name
    if name == "default":
        return
    if not (name.startswith("node.") and names.is_subdomain(name.removeprefix("node."))):
        if name:
            yield Finding(
                "metadata.name", name, "must be default, or node.<name of the node> for one node's own settings"
            )
        return
    for field in DEFAULT_ONLY:
        value = getattr(config.spec, field)
        if value is not None and value != ():
            problem = "holds for the whole cluster; set it in BGPConfiguration(default)"
            yield Finding(f"spec.{field}", value if isinstance(value, bool | int | str) else None, problem)


def _mesh(spec: BGPConfigurationSpec) -> Iterator[Finding]:
    yield from common.password("spec.nodeMeshPassword", spec.nodeMeshPassword)
    yield from common.duration("spec.nodeMeshMaxRestartTime", spec.nodeMeshMaxRestartTime, common.RESTART_LIMIT)
    if spec.nodeToNodeMeshEnabled is not False:
        return
    for name in ("nodeMeshPassword", "nodeMeshMaxRestartTime"):
        if getattr(spec, name) is not None:
            yield Finding(
                f"spec.{name}", None, "has no mesh to serve; remove it or set spec.nodeToNodeMeshEnabled: true"
            )


def is_community(text: str) -> bool:
    """`aa:nn` in two 16-bit parts (RFC 1997), or `aa:nn:mm` in three 32-bit parts (RFC 8092)."""
    if not _COMMUNITY.match(text):
        return False
    parts = [int(part) for part in text.split(":")]
    return all(part < (2**16 if len(parts) == 2 else 2**32) for part in parts)


def _communities(spec: BGPConfigurationSpec) -> Iterator[Finding]:
    if len(spec.communities) > COMMUNITIES_LIMIT:
        count = len(spec.communities)
        yield Finding(
            "spec.communities", None, f"has {count} entries, at most {COMMUNITIES_LIMIT} are allowed; remove some"
        )
    if spec.communities and not spec.prefixAdvertisements:
        yield Finding(
            "spec.communities", None, "are used nowhere; name them in spec.prefixAdvertisements or remove them"
        )
    seen: set[str] = set()
    for index, community in enumerate(spec.communities):
        path = f"spec.communities[{index}]"
        if not community.name:
            yield Finding(f"{path}.name", community.name, "is empty; give the community a name")
        elif community.name in seen:
            yield Finding(f"{path}.name", community.name, "names two communities; give each a name of its own")
        seen.add(community.name)
        if not is_community(community.value):
            yield Finding(
                f"{path}.value", community.value, "is not a community; write it like 65001:100 or 65001:1:100"
            )


def _advertisements(spec: BGPConfigurationSpec) -> Iterator[Finding]:
    known = {community.name for community in spec.communities}
    for index, advertisement in enumerate(spec.prefixAdvertisements):
        path = f"spec.prefixAdvertisements[{index}]"
        yield from common.findings(common.network(f"{path}.cidr", advertisement.cidr, bare=True))
        count = len(advertisement.communities)
        if count > COMMUNITIES_PER_PREFIX:
            problem = f"has {count} entries, at most {COMMUNITIES_PER_PREFIX} are allowed; remove some"
            yield Finding(f"{path}.communities", None, problem)
        for place, community in enumerate(advertisement.communities):
            if community not in known and not is_community(community):
                problem = "is neither a community nor a name from spec.communities; write 65001:100 or define the name"
                yield Finding(f"{path}.communities[{place}]", community, problem)


def not_built(config: BGPConfiguration) -> Iterator[tuple[str, object, str]]:
    """(path, value, what happens instead) of each value that is kept but not acted on."""
    for field in structs.fields(BGPConfigurationSpec):
        value = getattr(config.spec, field.name)
        if field.name not in BUILT and value != field.default:
            yield f"spec.{field.name}", value, "no effect"
    if config.metadata.name != "default" and config.spec.serviceLoadBalancerAggregation is not None:
        value = config.spec.serviceLoadBalancerAggregation
        yield "spec.serviceLoadBalancerAggregation", value, "no effect for one node; write it in default"


def normalise(config: BGPConfiguration) -> BGPConfiguration:
    """Every CIDR in its usual spelling; what is wrong stays for `check`."""
    spec = config.spec
    ranges = {
        name: tuple(CidrBlock(cidr=common.usual_network(block.cidr)) for block in getattr(spec, name))
        for name in SERVICE_RANGES
    }
    advertisements = tuple(
        PrefixAdvertisement(cidr=common.usual_network(entry.cidr), communities=entry.communities)
        for entry in spec.prefixAdvertisements
    )
    return structs.replace(config, spec=structs.replace(spec, prefixAdvertisements=advertisements, **ranges))
