"""Why a session is not up, in words, from what ExaBGP and the peer say of it. Pure.

A TCP connection that the kernel drops for a wrong MD5 signature looks to both ends like one that nobody answers.
"""

from __future__ import annotations

import re

NO_ANSWER = "no answer: filtered, or wrong password"
REFUSED = "refused or reset: does BGP listen there, and does it know this node?"
LOST = "connection lost: reset, or closed without a word"

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
    if reason.startswith("closing connection"):
        return LOST if was_up else REFUSED
    if reason.startswith(("connection received", "closing outgoing")):
        return "connection collision"
    return reason


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
