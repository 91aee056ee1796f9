"""ClusterInformation: `default`, what the cluster says about itself (reference: projectcalico.org/v3)."""

from __future__ import annotations

from msgspec import Struct, field

from bgpnet.model.resource import Metadata


class ClusterInformationSpec(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True, kw_only=True):
    """`datastoreReady` false asks everybody to keep their hands off while the datastore is being moved."""

    clusterGUID: str = ""
    clusterType: str = ""
    calicoVersion: str = ""
    datastoreReady: bool | None = None
    variant: str = ""


class ClusterInformation(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The cluster's one card."""

    metadata: Metadata = field(default_factory=Metadata)
    spec: ClusterInformationSpec = field(default_factory=ClusterInformationSpec)
