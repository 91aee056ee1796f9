"""What ExaBGP is told by its configuration file, as values; and that file as text. Pure.

One file carries everything: the settings that ExaBGP 5 reads from its environment stand in comments at the top
(`#! name=value`), where the launcher finds them, so that whoever writes the file replaces all of it in one step.
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from bgpnet.errors import Finding, Invalid
from bgpnet.model.bgppeer import NextHopMode
from bgpnet.model.ip import Address

SETTING = "#! "
PROCESS = "agent"
IPV4_UNICAST = "ipv4 unicast"
RESTART_TIME = 120
"""Seconds of graceful restart, as BIRD's default (reference: RFC 4724; Calico leaves it to BIRD)."""
MANY_NEIGHBOURS = 50
"""Above this many neighbours ExaBGP's loop is told to sleep longer when nothing happens."""

ANYWHERE = "0.0.0.0"  # noqa: S104  # asked for by a BGPPeer whose sourceAddress is None
MAX_TTL = 255
PASSWORD_LIMIT = 80  # TCP_MD5SIG_MAXKEYLEN (linux/tcp.h)
RESTART_LIMIT = 4095  # twelve bits on the wire (RFC 4724, section 3)
_QUOTED = frozenset(" \t\r\n#;{}[](),\"'\\")


class PeerKind(StrEnum):
    """What a session comes from, in calicoctl's words: the mesh, a BGPPeer of some nodes, or one of every node."""

    MESH = "node-to-node mesh"
    NODE = "node specific"
    GLOBAL = "global"


@dataclass(frozen=True, slots=True)
class Neighbour:
    """One BGP session. Times in seconds, a restart time of 0 meaning no graceful restart; `port` is where the neighbour
    listens; `password` is TCP MD5's (RFC 2385). local_address: None where the kernel chooses it. hops: how far away the
    peer is at most, by the TTL of its packets (RFC 5082); 0: not checked.

    What follows `hops` is not ExaBGP's, but for import, export and the status. name: the BGPPeer, or in the mesh
    the Node, that it comes from. in_cluster: the peer's address is a Node's. filters: names of BGPFilters, in order.
    allowed_own_as: how often the own AS number may stand in the path of a route from there. client: of this node, which
    is a route reflector.
    """

    address: Address
    local_address: Address | None
    local_as: int
    peer_as: int
    port: int = 179
    passive: bool = False
    hold_time: int = 30
    restart_time: int = RESTART_TIME
    password: str | None = field(default=None, repr=False)
    families: tuple[str, ...] = (IPV4_UNICAST,)
    hops: int = 0
    name: str = ""
    kind: PeerKind = PeerKind.MESH
    in_cluster: bool = True
    filters: tuple[str, ...] = ()
    next_hop_mode: NextHopMode = NextHopMode.AUTO
    keep_next_hop: bool = False
    allowed_own_as: int = 0
    client: bool = False


@dataclass(frozen=True, slots=True)
class SpeakerConf:
    """The whole speaker: who it is, where it listens, and whom it speaks with.

    anywhere: it listens on every address of the machine, not on `local_address` alone.
    """

    router_id: Address
    local_address: Address
    listen_port: int
    neighbours: tuple[Neighbour, ...]
    anywhere: bool = False
    log_level: str = "WARNING"


def environment(conf: SpeakerConf) -> dict[str, str]:
    """The settings ExaBGP takes from its environment (reference: `exabgp env`)."""
    return {
        "exabgp_api_ack": "true",
        "exabgp_api_chunk": "1000000",  # a neighbour's whole table in one piece: no update falls in between
        "exabgp_api_cli": "false",  # it would fork a second Python
        "exabgp_api_compact": "true",
        "exabgp_api_show-routes-format": "v2",  # v1 prints everything again with each route
        "exabgp_daemon_user": "root",  # the default, nobody, must exist and may not bind port 179
        "exabgp_log_destination": "stdout",
        "exabgp_log_level": conf.log_level,
        "exabgp_reactor_speed": "5.0" if len(conf.neighbours) > MANY_NEIGHBOURS else "1.0",
        "exabgp_tcp_bind": ANYWHERE if conf.anywhere else str(conf.local_address),
        "exabgp_tcp_port": str(conf.listen_port),
    }


def read_environment(text: str) -> dict[str, str]:
    """The settings in the text of a configuration file; the way back from `render`."""
    settings: dict[str, str] = {}
    for line in text.splitlines():
        if not line.startswith(SETTING):
            break
        name, _, value = line.removeprefix(SETTING).partition("=")
        settings[name] = value
    return settings


def render(conf: SpeakerConf, relay: Sequence[str]) -> str:
    """The text of the configuration file; `relay` is how ExaBGP starts its helper (an absolute path, then arguments).

    Raises Invalid for what ExaBGP could not read or would silently cut.
    """
    if findings := [*_relay_findings(relay), *(one for each in conf.neighbours for one in _findings(each))]:
        raise Invalid("SpeakerConf", findings)
    settings = "".join(f"{SETTING}{name}={value}\n" for name, value in environment(conf).items())
    process = f"process {PROCESS} {{\n    run {' '.join(relay)};\n    encoder json;\n    respawn true;\n}}\n"
    neighbours = (_neighbour(conf, each) for each in conf.neighbours)
    return "\n".join(
        [settings + "# Written by the bgpnet agent, and written again when something changes.\n", process, *neighbours]
    )


def _neighbour(conf: SpeakerConf, one: Neighbour) -> str:
    password = _password(one.password) if one.password else ""
    ttl = f"    incoming-ttl {MAX_TTL + 1 - one.hops};\n    outgoing-ttl {MAX_TTL};\n" if one.hops else ""
    families = " ".join(f"{family};" for family in one.families)
    graceful = one.restart_time or "disable"  # 0 would mean the hold time
    return f"""neighbor {one.address} {{
    router-id {conf.router_id};
    local-address {one.local_address or "auto"};
    local-as {one.local_as};
    peer-as {one.peer_as};
    connect {one.port};
    passive {"true" if one.passive else "false"};
    hold-time {one.hold_time};
{password}{ttl}    manual-eor true;
    adj-rib-in true;
    adj-rib-out true;
    group-updates true;
    family {{ {families} }}
    capability {{ graceful-restart {graceful}; route-refresh enable; asn4 enable; add-path disable; }}
    api {{
        processes [ {PROCESS} ];
        neighbor-changes;
        receive {{ parsed; update; notification; open; refresh; }}
    }}
}}
"""


def _password(password: str) -> str:
    """In base64, so that no character of it means something to ExaBGP's parser."""
    return f'    md5-password "{b64encode(password.encode()).decode()}";\n    md5-base64 true;\n'


def _relay_findings(relay: Sequence[str]) -> list[Finding]:
    found = []
    if not relay or not relay[0].startswith("/"):
        found.append(
            Finding("relay", " ".join(relay), "ExaBGP starts only what has an absolute path; name the program with it")
        )
    found += [
        Finding(
            "relay", word, "ExaBGP cannot read spaces, quotes or braces here; install to and run from a plainer path"
        )
        for word in relay
        if not word or _QUOTED & set(word)
    ]
    return found


def _findings(one: Neighbour) -> list[Finding]:
    where = f"neighbours[{one.address}]"
    found = []
    if not 0 <= one.restart_time <= RESTART_LIMIT:
        found.append(Finding(f"{where}.restart_time", one.restart_time, f"set 0 to {RESTART_LIMIT} seconds"))
    if not (one.hold_time == 0 or 3 <= one.hold_time <= 65535):
        found.append(Finding(f"{where}.hold_time", one.hold_time, "set 0, or 3 to 65535 seconds"))
    if not 0 <= one.hops <= MAX_TTL:
        found.append(Finding(f"{where}.hops", one.hops, f"set 0 (no check) to {MAX_TTL}"))
    if one.password is not None and not 0 < len(one.password.encode()) <= PASSWORD_LIMIT:
        found.append(
            Finding(f"{where}.password", None, f"has {len(one.password.encode())} bytes; set 1 to {PASSWORD_LIMIT}")
        )
    if not one.families:
        found.append(Finding(f"{where}.families", None, "is empty; name at least one, such as ipv4 unicast"))
    return found
