"""The conversation with the kernel, with a kernel that is played: torn dumps, silence, lost and late answers."""

from __future__ import annotations

import errno
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from bgpnet.errors import KernelRefused
from bgpnet.kernel import encode, rtnl
from bgpnet.kernel.netlink import BATCH, DUMP_TRIES, Netlink, Refusal
from bgpnet.kernel.state import Owner
from bgpnet.model import ip

LINK = rtnl.LINK.pack(0, 0, 3, 1, 0)
Answers = Callable[[int, list[rtnl.Message]], list[bytes]]


@contextmanager
def kernel(answers: Answers, deadline: float = 60.0) -> Iterator[Netlink]:
    """A Netlink whose kernel answers the nth request, of so many messages, with these datagrams."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)

    def play() -> None:
        number = 0
        while asked := theirs.recv(1 << 20):
            number += 1
            for datagram in answers(number, list(rtnl.messages(asked))):
                theirs.send(datagram)

    thread = threading.Thread(target=play)
    thread.start()
    netlink = Netlink(ours, 1, deadline)
    try:
        yield netlink
    finally:
        netlink.close()
        thread.join()
        theirs.close()


def answer(kind: int, seq: int, body: bytes, flags: int = 0) -> bytes:
    return rtnl.HEADER.pack(16 + len(body), kind, flags, seq, 0) + body


def done(seq: int, flags: int = 0, code: int = 0) -> bytes:
    return answer(rtnl.NLMSG_DONE, seq, struct.pack("=i", -code), flags)


def result(seq: int, code: int) -> bytes:
    return answer(rtnl.NLMSG_ERROR, seq, struct.pack("=i", -code) + bytes(16), rtnl.NLM_F_CAPPED)


def test_a_torn_dump_is_read_again() -> None:
    def answers(number: int, asked: list[rtnl.Message]) -> list[bytes]:
        torn = rtnl.NLM_F_DUMP_INTR if number < 3 else 0
        found = [answer(rtnl.RTM_NEWLINK, asked[0].seq, LINK, torn)] * number
        return [*found, done(asked[0].seq)]

    with kernel(answers) as netlink:
        assert len(netlink.dump(rtnl.RTM_GETLINK, LINK)) == 3
    with kernel(answers) as netlink:
        assert len(netlink.dump(rtnl.RTM_GETLINK, LINK, torn=True)) == 1


def test_a_table_that_never_stands_still_is_refused() -> None:
    tries = []

    def answers(number: int, asked: list[rtnl.Message]) -> list[bytes]:
        tries.append(number)
        return [done(asked[0].seq, rtnl.NLM_F_DUMP_INTR)]

    with kernel(answers) as netlink, pytest.raises(KernelRefused, match="changes faster than it can be read"):
        netlink.dump(rtnl.RTM_GETLINK, LINK)
    assert len(tries) == DUMP_TRIES


@pytest.mark.parametrize("code", [errno.ENOENT, errno.EOPNOTSUPP, errno.EAFNOSUPPORT])
def test_a_table_or_family_that_is_not_there_is_empty(code: int) -> None:
    with kernel(lambda number, asked: [done(asked[0].seq, code=code)]) as netlink:
        assert netlink.dump(rtnl.RTM_GETROUTE, b"") == []
    with kernel(lambda number, asked: [result(asked[0].seq, code)]) as netlink:
        assert netlink.dump(rtnl.RTM_GETROUTE, b"") == []


def test_a_dump_that_is_refused() -> None:
    with (
        kernel(lambda number, asked: [result(asked[0].seq, errno.EPERM)]) as netlink,
        pytest.raises(KernelRefused, match=r"does not list .*: Operation not permitted"),
    ):
        netlink.dump(rtnl.RTM_GETROUTE, b"")


def test_a_silent_kernel_is_waited_for_until_the_deadline() -> None:
    with kernel(lambda number, asked: [], deadline=0.05) as netlink:
        for ask in (lambda: netlink.send([LINK]), lambda: netlink.dump(18, LINK), lambda: netlink.query(LINK)):
            with pytest.raises(KernelRefused, match=r"did not answer a netlink request within 0\.05 s"):
                ask()


def test_answers_to_an_earlier_question_are_not_taken_for_this_ones() -> None:
    def answers(number: int, asked: list[rtnl.Message]) -> list[bytes]:
        old = [result(asked[-1].seq - 1, errno.EPERM), answer(rtnl.RTM_NEWLINK, asked[-1].seq - 1, LINK)]
        return [*old, result(asked[-1].seq, 0)]

    with kernel(answers) as netlink:
        assert netlink.send([encode.delete_link(5)]) == [None]


def test_every_refusal_is_of_its_message_and_only_the_last_asks_for_an_answer() -> None:
    datagrams: list[list[rtnl.Message]] = []

    def answers(number: int, asked: list[rtnl.Message]) -> list[bytes]:
        datagrams.append(asked)
        refused = [result(one.seq, errno.EEXIST) for one in asked if one.seq % 10 == 0]
        return [*refused, *([] if asked[-1].seq % 10 == 0 else [result(asked[-1].seq, 0)])]

    batch = [encode.drop_route(Owner.LOCAL, ip.network(f"10.{n >> 8}.{n & 255}.0/24")) for n in range(BATCH + 3)]
    with kernel(answers) as netlink:
        outcome = netlink.send(batch)
    assert [len(asked) for asked in datagrams] == [BATCH, 3]
    assert [bool(one.flags & rtnl.NLM_F_ACK) for one in datagrams[0]] == [False] * (BATCH - 1) + [True]
    assert [at + 1 for at, one in enumerate(outcome) if one is not None] == [
        n for n in range(1, BATCH + 4) if n % 10 == 0
    ]
    assert isinstance(outcome[9], Refusal)
    assert outcome[9].errno == errno.EEXIST


def test_nothing_to_send_is_nothing_sent() -> None:
    with kernel(lambda number, asked: []) as netlink:
        assert netlink.send([]) == []


def test_what_is_not_there_is_none() -> None:
    with kernel(lambda number, asked: [result(asked[0].seq, errno.ENODEV)]) as netlink:
        assert netlink.query(encode.get_link(name="nowhere0")) is None
