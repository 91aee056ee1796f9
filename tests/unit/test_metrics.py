"""What a scraper reads, and who asks for it in another way."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from time import monotonic

import pytest
import worlds

from bgpnet import exposition
from bgpnet.agent import metrics, scrape
from bgpnet.agent.plan import plan
from bgpnet.agent.status import status
from bgpnet.errors import BgpnetError, KernelRefused
from bgpnet.lab.wait import until
from bgpnet.port import Port

PEER = {
    "address": "192.0.2.2",
    "name": 'a"b',
    "type": "global",
    "asNumber": 65001,
    "state": "start",
    "since": "2023-11-14T22:13:20.000Z",
    "cause": "wrong AS",
    "received": 3,
    "advertised": 0,
    "refused": {"own block": 2},
}
STATUS = {
    "node": "node1",
    "version": "1.2",
    "asNumber": 64512,
    "ready": True,
    "datastore": "in sync",
    "speaker": "away: no",
    "warnings": ["x"],
    "pods": 2,
    "blocks": [
        {"in_use": 1, "resting": 2, "reserved": 3, "free": 58},
        {"in_use": 4, "resting": 0, "reserved": 0, "free": 60},
    ],
    "peers": [PEER],
}
EXPECTED = """
bgpnet_info{node="node1",version="1.2",as_number="64512"} 1
bgpnet_ready 1
bgpnet_datastore_in_sync 1
bgpnet_speaker_connected 0
bgpnet_warnings 1
bgpnet_pods 2
bgpnet_ipam_blocks 2
bgpnet_ipam_addresses{state="in_use"} 5
bgpnet_ipam_addresses{state="resting"} 2
bgpnet_ipam_addresses{state="reserved"} 3
bgpnet_ipam_addresses{state="free"} 118
bgpnet_bgp_session_up{peer="192.0.2.2",name="a\\"b",type="global"} 0
bgpnet_bgp_session_info{peer="192.0.2.2",name="a\\"b",type="global",as_number="65001",cause="wrong AS"} 1
bgpnet_bgp_session_since_seconds{peer="192.0.2.2",name="a\\"b",type="global"} 1700000000
bgpnet_bgp_prefixes_received{peer="192.0.2.2",name="a\\"b",type="global"} 3
bgpnet_bgp_prefixes_advertised{peer="192.0.2.2",name="a\\"b",type="global"} 0
bgpnet_bgp_prefixes_refused{peer="192.0.2.2",name="a\\"b",type="global",reason="own block"} 2
"""


def test_the_text() -> None:
    said = metrics.text(STATUS).splitlines()
    assert [line for line in said if not line.startswith("#")] == EXPECTED.split("\n")[1:-1]
    assert "# TYPE bgpnet_bgp_session_up gauge" in said


def test_every_status_can_be_told() -> None:
    world = worlds.run(worlds.fresh(), worlds.found(worlds.state()), worlds.told(worlds.BLOCK))
    assert 'bgpnet_info{node="node1"' in metrics.text(status(world, plan(world)))


def test_what_was_dropped_is_counted_where_it_can_be() -> None:
    said = metrics.text(STATUS, {"VXLAN from a pod": 3})
    assert 'bgpnet_packets_dropped_total{reason="VXLAN from a pod"} 3' in said.splitlines()
    assert "# TYPE bgpnet_packets_dropped_total counter" in said
    counts = [scrape.Status(lambda: {"VXLAN from a pod": 3}), scrape.Status(refusing)]
    pages = [scrape.metrics_pages(scrape.Status(lambda: STATUS), one)["/metrics"].make() for one in counts]
    assert pages == [said, metrics.text(STATUS)]


def refusing() -> dict[str, int]:
    raise KernelRefused("the program nft is missing")


@contextmanager
def served(asked: list[int]) -> Iterator[int]:
    """A port where it is served; it fails when it is asked for the first time."""

    def ask() -> dict[str, object]:
        asked.append(1)
        if len(asked) == 1:
            raise BgpnetError("no agent answers")
        return STATUS

    with socket.create_server(("127.0.0.1", 0)) as free:
        port = int(free.getsockname()[1])
    stop = threading.Event()
    status = scrape.Status(ask)
    pages = {**scrape.metrics_pages(status), **scrape.health_pages(status)}
    thread = threading.Thread(target=Port("127.0.0.1", port, pages, "set another").run, args=(stop,))
    thread.start()
    try:
        yield port
    finally:
        stop.set()
        thread.join(60)
        assert not thread.is_alive()


def asks(port: int, request: bytes) -> bytes:
    """The whole answer; whoever serves it may have only begun to start."""
    found: list[socket.socket] = []

    def missing() -> str:
        try:
            found.append(socket.create_connection(("127.0.0.1", port), 60))
        except ConnectionRefusedError:
            return "nobody listens"
        return ""

    until(missing, 60)
    (client,) = found
    with client:
        client.sendall(request)
        client.shutdown(socket.SHUT_WR)
        data = b""
        while more := client.recv(65536):
            data += more
    return data


def test_http() -> None:
    asked: list[int] = []
    with served(asked) as port:
        get = b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n"
        assert asks(port, get).startswith(b"HTTP/1.0 503 ")
        began = monotonic()
        first = asks(port, get)
        assert first.startswith(b"HTTP/1.0 200 OK\r\nContent-Type: text/plain; version=0.0.4; charset=utf-8\r\n")
        assert first.endswith(metrics.text(STATUS).encode())
        assert asks(port, get.replace(b"GET", b"HEAD")).endswith(b"\r\n\r\n")
        assert asks(port, get.replace(b"/metrics", b"/secrets")).startswith(b"HTTP/1.0 404 ")
        for nonsense in (b"", b"POST /metrics HTTP/1.1\r\n\r\n", b"\xff" * 4_000, b"GET /metrics\r\n\r\n"):
            assert asks(port, nonsense).startswith(b"HTTP/1.0 405 ")
        assert asks(port, get.replace(b"/metrics", b"/livez")).startswith(b"HTTP/1.0 200 OK")
        assert asks(port, get.replace(b"/metrics", b"/readyz")).startswith(b"HTTP/1.0 200 OK")
        assert 2 <= len(asked) <= 2 + (monotonic() - began) / scrape.FRESH


def test_a_node_that_is_not_ready_says_why() -> None:
    with pytest.raises(BgpnetError, match=r"\Ano pool\nno disk\Z"):
        scrape.ready({"ready": False, "reasons": ["no pool", "no disk"]})


@pytest.mark.parametrize("value", [0.0, 5, 1700000000.25])
def test_numbers_keep_their_value(value: float) -> None:
    assert float(exposition.number(value)) == value
