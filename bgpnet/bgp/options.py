"""What a BGPPeer says of its sessions, whoever they are with. Pure."""

from __future__ import annotations

from math import ceil
from typing import TypedDict

from bgpnet.bgp.conf import RESTART_LIMIT, RESTART_TIME
from bgpnet.model.bgppeer import BGPPeerSpec, NextHopMode
from bgpnet.rules import common

HOLD_TIME = 30
"""Seconds; ExaBGP sends a keepalive after a third of them."""


class Options(TypedDict):
    """Fields of a Neighbour."""

    hold_time: int
    restart_time: int
    hops: int
    filters: tuple[str, ...]
    next_hop_mode: NextHopMode
    keep_next_hop: bool
    allowed_own_as: int


def options(spec: BGPPeerSpec) -> Options:
    """They hold for the session from either end."""
    return Options(
        hold_time=hold_time(spec.keepaliveTime),
        restart_time=restart_time(spec.maxRestartTime),
        hops=spec.ttlSecurity or 0,
        filters=spec.filters,
        next_hop_mode=spec.nextHopMode or NextHopMode.AUTO,
        keep_next_hop=spec.keepOriginalNextHop,
        allowed_own_as=spec.numAllowedLocalASNumbers or 0,
    )


def restart_time(text: str | None) -> int:
    """Whole seconds, a part of one counting as one."""
    return RESTART_TIME if text is None else min(ceil(common.length(text)), RESTART_LIMIT)


def hold_time(keepalive: str | None) -> int:
    """Three times the time between keepalives, which is all that ExaBGP can be told."""
    return HOLD_TIME if keepalive is None else min(3 * max(ceil(common.length(keepalive)), 1), common.HOLD_LIMIT)
