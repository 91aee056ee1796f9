"""What the computed kinds, WorkloadEndpoint and BlockAffinity, must obey by themselves."""

from __future__ import annotations

from collections.abc import Iterator

from bgpnet.errors import Finding
from bgpnet.model.blockaffinity import BlockAffinity
from bgpnet.model.workloadendpoint import WorkloadEndpoint
from bgpnet.rules import common

Computed = WorkloadEndpoint | BlockAffinity


def check(resource: Computed) -> Iterator[Finding]:
    """Their networks are networks; an endpoint's are single addresses."""
    if isinstance(resource, BlockAffinity):
        yield from common.findings(common.network("spec.cidr", resource.spec.cidr))
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
