"""Why a session is not up, in words."""

from __future__ import annotations

import pytest

from bgpnet.bgp import causes

CASES = """
closing connection | up | connection lost: closed without a word | connection lost
closing connection (ECONNRESET) | up | connection lost: reset by the peer | connection lost
closing connection (ETIMEDOUT) | up | connection lost: the network between swallows everything | connection lost
closing connection | down | reset: who listens there hangs up; does it know this node? | reset
closing connection (ECONNRESET) | down | reset: who listens there hangs up; does it know this node? | reset
closing connection (ECONNREFUSED) | down | refused: nobody listens for BGP there | refused
closing connection (EHOSTUNREACH) | down | unreachable: no way leads to its address, or nobody has it | unreachable
closing connection (ETIMEDOUT) | down | no answer: filtered, or wrong password | no answer
notification sent (2,2) | down | wrong AS number: the peer's is not the one that is configured | wrong AS
notification received (2,2) | down | the peer says: wrong AS number: it expects another one of this node | wrong AS
notification sent (2,3) | down | we say: bad BGP identifier: duplicate router id? | duplicate router-id
notification sent (4,0) | up | hold time expired: nothing was heard from the peer | hold time expired
notification received (4,0) | up | the peer says: hold time expired | hold time expired
notification received (6,2) | up | the peer says: administrative shutdown | ended by the peer
notification sent (6,7) | down | we say: connection collision | collision
notification received (6,77) | up | the peer says: ended on purpose | ended by the peer
notification received (9,1) | up | the peer says: code 9, subcode 1 | ended by the peer
connection received before we could | down | connection collision | collision
stop, message [removed] | up | stop, message [removed] | other
"""


@pytest.mark.parametrize("row", [row for row in CASES.splitlines() if row])
def test_words(row: str) -> None:
    reason, was, says, cause = (cell.strip() for cell in row.split("|"))
    assert causes.of_down(reason, was_up=was == "up") == says
    assert causes.cause(says) == cause


def test_the_peers_own_words_are_only_repeated_where_they_can_be_printed() -> None:
    assert causes.of_notification(6, 2, 'Shutdown Communication: "back at\n10"') == (
        'the peer says: administrative shutdown (Shutdown Communication: "back at 10")'
    )
    for evil in ("\x00\x1b[2J", "\x07", "\u202e"):
        assert causes.of_notification(6, 2, evil) == "the peer says: administrative shutdown"


def test_a_notification_says_more_than_a_lost_connection() -> None:
    assert causes.is_vague("closing connection")
    assert not causes.is_vague("notification sent (2,2)")


def test_what_is_no_end_has_a_cause_too_and_the_peers_own_words_are_none() -> None:
    for info, cause in {"Established": "established", "Passive": "waiting to be dialled", "?": "other"}.items():
        assert causes.cause(info) == cause
    lie = causes.of_notification(6, 2, "wrong AS number")
    assert causes.cause(lie) == causes.Cause.PEER
