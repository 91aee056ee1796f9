"""Why a session is not up, in words."""

from __future__ import annotations

import pytest

from bgpnet.bgp import causes

CASES = """
closing connection                  | up   | connection lost: reset, or closed without a word
closing connection                  | down | refused or reset: does BGP listen there, and does it know this node?
notification sent (2,2)             | down | wrong AS number: the peer's is not the one that is configured
notification received (2,2)         | down | the peer says: wrong AS number: it expects another one of this node
notification sent (2,3)             | down | we say: bad BGP identifier: duplicate router id?
notification sent (4,0)             | up   | hold time expired: nothing was heard from the peer
notification received (4,0)         | up   | the peer says: hold time expired
notification received (6,2)         | up   | the peer says: administrative shutdown
notification sent (6,7)             | down | we say: connection collision
notification received (6,77)        | up   | the peer says: ended on purpose
notification received (9,1)         | up   | the peer says: code 9, subcode 1
connection received before we could | down | connection collision
stop, message [removed]             | up   | stop, message [removed]
"""


@pytest.mark.parametrize("row", [row for row in CASES.splitlines() if row])
def test_words(row: str) -> None:
    reason, was, says = (cell.strip() for cell in row.split("|"))
    assert causes.of_down(reason, was_up=was == "up") == says


def test_the_peers_own_words_are_only_repeated_where_they_can_be_printed() -> None:
    assert causes.of_notification(6, 2, 'Shutdown Communication: "back at\n10"') == (
        'the peer says: administrative shutdown (Shutdown Communication: "back at 10")'
    )
    for evil in ("\x00\x1b[2J", "\x07", "\u202e"):
        assert causes.of_notification(6, 2, evil) == "the peer says: administrative shutdown"


def test_a_notification_says_more_than_a_lost_connection() -> None:
    assert causes.is_vague("closing connection")
    assert not causes.is_vague("notification sent (2,2)")
