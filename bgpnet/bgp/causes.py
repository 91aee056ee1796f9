"""Why a session is not up, in words, from what ExaBGP and the peer say of it. Pure.

A TCP connection that the kernel drops for a wrong MD5 signature looks to both ends like one that nobody answers.
"""

from __future__ import annotations

import re
from enum import StrEnum

NO_ANSWER = "no answer: filtered, or wrong password"
REFUSED = "refused: nobody listens for BGP there"
CLOSED = "reset: who listens there hangs up; does it know this node?"
UNREACHABLE = "unreachable: no way leads to its address, or nobody has it"
AWAY = "the speaker is away"


class Cause(StrEnum):
    """What a session's state comes from, to be counted by: the same words in status and metrics."""

    ESTABLISHED = "established"
    CONNECT = "connecting"
    PASSIVE = "waiting to be dialled"
    SPEAKER = "speaker away"
    NO_ANSWER = "no answer"
    REFUSED = "refused"
    RESET = "reset"
    UNREACHABLE = "unreachable"
    LOST = "connection lost"
    WRONG_AS = "wrong AS"
    ROUTER_ID = "duplicate router-id"
    HOLD = "hold time expired"
    COLLISION = "collision"
    PEER = "ended by the peer"
    OURS = "ended by us"
    OTHER = "other"


_SENTENCES = {
    "Established": Cause.ESTABLISHED,
    "Connect": Cause.CONNECT,
    "Passive": Cause.PASSIVE,
    AWAY: Cause.SPEAKER,
    NO_ANSWER: Cause.NO_ANSWER,
    REFUSED: Cause.REFUSED,
    CLOSED: Cause.RESET,
    UNREACHABLE: Cause.UNREACHABLE,
}
_CONTAINED = {
    "connection lost": Cause.LOST,
    "wrong AS number": Cause.WRONG_AS,
    "duplicate router id": Cause.ROUTER_ID,
    "hold time expired": Cause.HOLD,
    "connection collision": Cause.COLLISION,
    "the peer says": Cause.PEER,
    "we say": Cause.OURS,
}
_SYSTEM = {
    "ECONNREFUSED": REFUSED,
    "ECONNRESET": CLOSED,
    "EPIPE": CLOSED,
    "ETIMEDOUT": NO_ANSWER,
    "EHOSTUNREACH": UNREACHABLE,
    "ENETUNREACH": UNREACHABLE,
    "EHOSTDOWN": UNREACHABLE,
}
"""What the kernel calls the end of an attempt to connect (errno, which launcher.py adds to ExaBGP's words)."""

_CLOSING = re.compile(r"closing connection(?: \((\w+)\))?")

_NOTIFICATION = re.compile(r"notification (sent|received) \((\d+),(\d+)\)")
_WORDS = {
    (1, None): "message header error",
    (2, 1): "another version of BGP",
    (2, 2): "wrong AS number",
    (2, 3): "bad BGP identifier: duplicate router id?",
    (2, 6): "hold time not accepted",
    (2, 7): "a capability is not supported",
    (2, None): "OPEN message error",
    (3, None): "malformed UPDATE",
    (4, None): "hold time expired",
    (5, None): "message out of turn",
    (6, 1): "more prefixes than it takes",
    (6, 2): "administrative shutdown",
    (6, 3): "peer removed from the configuration",
    (6, 4): "administrative reset",
    (6, 5): "connection rejected",
    (6, 6): "other configuration change",
    (6, 7): "connection collision",
    (6, 8): "out of resources",
    (6, 9): "hard reset",
    (6, 10): "BFD down",
    (6, None): "ended on purpose",
}
"""NOTIFICATION codes and subcodes (RFC 4271, 6; RFC 4486; RFC 8538; RFC 9384); None: any other subcode."""


def of_down(reason: str, *, was_up: bool) -> str:
    """What ExaBGP calls a reason for `down`, said better."""
    told = _NOTIFICATION.search(reason)
    if told:
        code, subcode = int(told[2]), int(told[3])
        return of_notification(code, subcode) if told[1] == "received" else _ours(code, subcode)
    if closing := _CLOSING.match(reason):
        return _lost(closing[1]) if was_up else _SYSTEM.get(closing[1] or "", CLOSED)
    if reason.startswith(("connection received", "closing outgoing")):
        return "connection collision"
    return reason


def cause(info: str) -> Cause:
    """Which of the causes a sentence of this file is; what the peer says in its own words (in brackets) is none."""
    sentence = info.partition(" (")[0]
    if sentence in _SENTENCES:
        return _SENTENCES[sentence]
    return next((one for words, one in _CONTAINED.items() if words in sentence), Cause.OTHER)


def _lost(errno: str | None) -> str:
    how = {"ECONNRESET": "reset by the peer", "ETIMEDOUT": "the network between swallows everything"}
    return f"connection lost: {how.get(errno or '', 'closed without a word')}"


def of_notification(code: int, subcode: int, message: str = "") -> str:
    """What the peer says at the end of a session; of its own words only what a terminal may print."""
    said = " ".join(message.split())
    words = f" ({said})" if said and said.isprintable() and said.isascii() else ""
    hint = ": it expects another one of this node" if (code, subcode) == (2, 2) else ""
    return f"the peer says: {_words(code, subcode)}{hint}{words}"


def is_vague(reason: str) -> bool:
    """Whether a reason says no more than that there is no connection."""
    return _NOTIFICATION.search(reason) is None


def _ours(code: int, subcode: int) -> str:
    if (code, subcode) == (2, 2):
        return "wrong AS number: the peer's is not the one that is configured"
    if code == 4:
        return "hold time expired: nothing was heard from the peer"
    return f"we say: {_words(code, subcode)}"


def _words(code: int, subcode: int) -> str:
    return _WORDS.get((code, subcode)) or _WORDS.get((code, None)) or f"code {code}, subcode {subcode}"
