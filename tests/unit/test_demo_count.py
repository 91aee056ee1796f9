"""What the demo counts of a ping that runs while agents are killed."""

from __future__ import annotations

import pytest

from bgpnet.lab.demo import UNDER_WAY, counted


def printed(sent: int, *answered: int) -> str:
    """As iputils' ping prints it."""
    replies = "".join(f"64 bytes from 10.244.1.0: icmp_seq={one} ttl=62 time=0.5 ms\n" for one in answered)
    return (
        f"PING 10.244.1.0\n{replies}\n{sent} packets transmitted, {len(answered)} received, 0% packet loss, time 9ms\n"
    )


@pytest.mark.parametrize(
    ("told", "counts"),
    [
        (printed(4, 1, 2, 3, 4), (4, 4)),
        (printed(4, 1, 3, 4), (4, 3)),
        (printed(4, 2, 3, 4), (4, 3)),
        (printed(4 + UNDER_WAY, 1, 2, 3, 4), (4, 4)),
        (printed(5 + UNDER_WAY, 1, 2, 3, 4), (5 + UNDER_WAY, 4)),
        (printed(9), (9, 0)),
        ("ping: no such host", (0, 0)),
    ],
    ids=[
        "all came back",
        "one did not",
        "the first did not",
        "under way at the end",
        "none at the end",
        "none",
        "no sum",
    ],
)
def test_what_is_under_way_when_ping_is_ended_is_not_lost(told: str, counts: tuple[int, int]) -> None:
    assert counted(told) == counts
