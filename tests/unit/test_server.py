"""The agent's socket, by itself: who hangs up."""

from __future__ import annotations

import socket

from bgpnet.agent.precedence import Precedence
from bgpnet.agent.server import Connection


def test_who_has_said_its_last_word_still_waits_and_who_has_closed_does_not() -> None:
    ours, theirs = socket.socketpair()
    connection = Connection(ours, Precedence())
    theirs.sendall(b"what it said last")
    told = [connection.hung_up]
    theirs.shutdown(socket.SHUT_WR)
    told.append(connection.hung_up)
    theirs.close()
    told.append(connection.hung_up)
    connection.close()
    assert told == [False, False, True]
