"""Who reaches whom, as the lab's demo and tests ask it."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest
from kernels import linux_machine

from bgpnet.lab.probe import DEADLINE, PORT, Place, listeners, reach

pytestmark = pytest.mark.root


def test_a_connection_that_was_given_up_is_not_taken_for_the_next_one() -> None:
    """Or all that come after it would be taken for the one before."""
    with linux_machine():
        here = Place("here", Path("/proc/thread-self/ns/net"), "127.0.0.1", is_pod=True)
        with listeners([here]) as listening:
            for _ in range(2):
                socket.create_connection((here.address, PORT), DEADLINE).close()
            assert reach(here, here, listening).ok
