"""IPAMConfiguration: `default`, how nodes take blocks (reference: projectcalico.org/v3)."""

from __future__ import annotations

from enum import StrEnum

from msgspec import Struct, field

from bgpnet.model.resource import Metadata


class Persistence(StrEnum):
    """Whether the pods of one virtual machine share its address."""

    ENABLED = "Enabled"
    DISABLED = "Disabled"


class IPAMConfigurationSpec(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The defaults are v3's; `maxBlocksPerHost` 0 and `ipCooldownSeconds` None mean what is built in."""

    strictAffinity: bool = False
    autoAllocateBlocks: bool = True
    maxBlocksPerHost: int = 0
    ipCooldownSeconds: int | None = None
    kubeVirtVMAddressPersistence: Persistence | None = None


class IPAMConfiguration(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The cluster's one set of IPAM settings."""

    metadata: Metadata = field(default_factory=Metadata)
    spec: IPAMConfigurationSpec = field(default_factory=IPAMConfigurationSpec)
