"""What a ReleaseRequest must obey by itself."""

from __future__ import annotations

from collections.abc import Iterator

from bgpnet.errors import Finding
from bgpnet.model.releaserequest import ReleaseRequest
from bgpnet.rules import common


def check(request: ReleaseRequest) -> Iterator[Finding]:
    """Its address is one."""
    yield from common.findings(common.address("spec.address", request.spec.address))


def not_built(request: ReleaseRequest) -> Iterator[tuple[str, object, str]]:
    """Everything in a request is acted on."""
    yield from ()


def normalise(request: ReleaseRequest) -> ReleaseRequest:
    """As it is."""
    return request
