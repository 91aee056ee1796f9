"""What every resource has: kind, metadata, spec, and for some a status.

A resource is a frozen msgspec Struct, so YAML, JSON and the CRD schema all come from the same type.
Field names are those of `projectcalico.org/v3`, in their spelling, so that Calico users' files work as they are.
"""

from __future__ import annotations

from msgspec import Struct, field

API_VERSION = "bgpnet.io/v1"


class Metadata(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True, kw_only=True):
    """`resourceVersion` is the datastore's revision, opaque; it is never written into the stored value.

    `namespace` is for the namespaced kinds only.
    """

    name: str = ""
    namespace: str = ""
    labels: dict[str, str] = field(default_factory=dict)
    annotations: dict[str, str] = field(default_factory=dict)
    uid: str = ""
    creationTimestamp: str = ""
    resourceVersion: str = ""


class SecretKeyRef(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True, kw_only=True):
    """Where a secret stands: its name, and the key inside it; optional, as in Kubernetes: it may be missing."""

    name: str
    key: str
    optional: bool | None = None


class Password(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True, kw_only=True):
    """A BGP password is only ever a reference; the secret itself is in no resource."""

    secretKeyRef: SecretKeyRef


class Condition(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True, kw_only=True):
    """One thing that is True, False or Unknown about an object, and why; `lastTransitionTime` is RFC 3339."""

    type: str
    status: str
    reason: str = ""
    message: str = ""
    lastTransitionTime: str = ""
    observedGeneration: int | None = None
