"""What the computed kinds, WorkloadEndpoint, BlockAffinity and NodeStatus, must obey by themselves."""

from __future__ import annotations

from collections.abc import Iterator

from bgpnet.errors import Finding
from bgpnet.model.blockaffinity import BlockAffinity
from bgpnet.model.nodestatus import NodeStatus
from bgpnet.model.workloadendpoint import WorkloadEndpoint
from bgpnet.rules import common

Computed = WorkloadEndpoint | BlockAffinity | NodeStatus
PERIOD_LIMIT = 86_400
"""Seconds: a day, v3's."""


def check(resource: Computed) -> Iterator[Finding]:
    """Their networks are networks; an endpoint's are single addresses."""
    if isinstance(resource, BlockAffinity):
        yield from common.findings(common.network("spec.cidr", resource.spec.cidr))
        return
    if isinstance(resource, NodeStatus):
        yield from common.between("spec.updatePeriodSeconds", resource.spec.updatePeriodSeconds, 0, PERIOD_LIMIT)
        return
    for index, text in enumerate(resource.spec.ipNetworks):
        net = common.network(f"spec.ipNetworks[{index}]", text, bare=True)
        if isinstance(net, Finding):
            yield net
        elif net.prefixlen != net.max_prefixlen:
            problem = f"is more than one address; write it as a /{net.max_prefixlen}"
            yield Finding(f"spec.ipNetworks[{index}]", text, problem)


def not_built(resource: Computed) -> Iterator[tuple[str, object, str]]:
    """Nobody stores one."""
    yield from ()


def normalise(resource: Computed) -> Computed:
    """As it is."""
    return resource
