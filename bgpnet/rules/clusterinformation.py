"""What a ClusterInformation must obey by itself, and what of it is stored but not acted on yet."""

from __future__ import annotations

import re
from collections.abc import Iterator

from bgpnet.errors import Finding
from bgpnet.model.clusterinformation import ClusterInformation
from bgpnet.rules import common

_GUID = re.compile(r"[0-9a-fA-F]{32}\Z")
_TYPES = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*(,[A-Za-z0-9][A-Za-z0-9_.-]*)*\Z")


def check(info: ClusterInformation) -> Iterator[Finding]:
    """Every rule of ClusterInformation that needs no datastore."""
    spec = info.spec
    yield from common.only_default(info.metadata.name)
    if spec.clusterGUID and not _GUID.match(spec.clusterGUID):
        problem = "is not 32 hexadecimal digits; write the cluster's GUID without dashes, or leave it out"
        yield Finding("spec.clusterGUID", spec.clusterGUID, problem)
    if spec.clusterType and not _TYPES.match(spec.clusterType):
        problem = "is not a list of words with commas and no blanks between them; write it like k8s,bgp"
        yield Finding("spec.clusterType", spec.clusterType, problem)


def not_built(info: ClusterInformation) -> Iterator[tuple[str, object, str]]:
    """(path, value, what happens instead) of each value that is kept but not acted on."""
    spec = info.spec
    for name in ("clusterGUID", "clusterType", "variant"):
        if getattr(spec, name):
            yield f"spec.{name}", getattr(spec, name), "it is shown to whoever asks, and nothing depends on it"
    if spec.calicoVersion:
        yield "spec.calicoVersion", spec.calicoVersion, "bgpnetctl does not hold its own version against it"
    if spec.datastoreReady is False:
        yield "spec.datastoreReady", False, "the agents and the CNI plugin go on as if it were true"


def normalise(info: ClusterInformation) -> ClusterInformation:
    """As it is."""
    return info
