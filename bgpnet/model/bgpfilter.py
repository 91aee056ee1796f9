"""BGPFilter: which routes go to a peer and come from it, and how they change (reference: projectcalico.org/v3).

Four ordered lists; the first rule whose conditions all hold decides. No rule holds: import accepts, export goes on
to what is exported without a filter.
"""

from __future__ import annotations

from enum import StrEnum

from msgspec import Struct, field

from bgpnet.model.resource import Metadata


class MatchOperator(StrEnum):
    """How a route's prefix is held against `cidr`."""

    EQUAL = "Equal"
    NOT_EQUAL = "NotEqual"
    IN = "In"
    NOT_IN = "NotIn"


class RouteSource(StrEnum):
    """RemotePeers: only routes that were learned by BGP."""

    REMOTE_PEERS = "RemotePeers"


class PeerType(StrEnum):
    """Which sessions a rule is for."""

    EBGP = "eBGP"
    IBGP = "iBGP"


class Action(StrEnum):
    """What becomes of a route."""

    ACCEPT = "Accept"
    REJECT = "Reject"


class PrefixLength(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True, kw_only=True):
    """Both ends are included; None means that of `cidr`, or the family's longest."""

    min: int | None = None
    max: int | None = None


class CommunityMatch(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True, kw_only=True):
    """Exactly one value, as v3 has it."""

    values: tuple[str, ...] = ()


class AddCommunity(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """`aa:nn` or `aa:nn:mm`."""

    value: str


class PrependASPath(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True, kw_only=True):
    """The path begins with these, in this order."""

    prefix: tuple[int, ...] = ()


class SetPriority(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The route's metric."""

    value: int


class Operation(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True, kw_only=True):
    """One change of a route: exactly one of the three."""

    addCommunity: AddCommunity | None = None
    prependASPath: PrependASPath | None = None
    setPriority: SetPriority | None = None


class FilterRule(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True, kw_only=True):
    """All conditions that are said must hold; `priority` is the route's metric."""

    cidr: str = ""
    matchOperator: MatchOperator | None = None
    prefixLength: PrefixLength | None = None
    source: RouteSource | None = None
    interface: str = ""
    peerType: PeerType | None = None
    communities: CommunityMatch | None = None
    asPathPrefix: tuple[int, ...] = ()
    priority: int | None = None
    action: Action
    operations: tuple[Operation, ...] = ()


class BGPFilterSpec(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True, kw_only=True):
    """The rules of each direction and family."""

    exportV4: tuple[FilterRule, ...] = ()
    importV4: tuple[FilterRule, ...] = ()
    exportV6: tuple[FilterRule, ...] = ()
    importV6: tuple[FilterRule, ...] = ()


class BGPFilter(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Rules that a BGPPeer names in `spec.filters`."""

    metadata: Metadata = field(default_factory=Metadata)
    spec: BGPFilterSpec = field(default_factory=BGPFilterSpec)
