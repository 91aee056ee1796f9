"""What tests of `bgpnetctl ipam` need: an agent on a real socket that says what it is told, an owner that answers."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from msgspec import structs

from bgpnet import wire
from bgpnet.errors import StoreError
from bgpnet.model import kinds
from bgpnet.model.ipamblock import IPAMBlock
from bgpnet.model.releaserequest import ReleaseRequest, ReleaseRequestStatus
from bgpnet.store.factory import open_store
from bgpnet.store.repo import Repo

EVERY = 0.02
"""Seconds between two looks of an owner."""


class Agent:
    """Answers every question with what `says` has now, until it is ended."""

    def __init__(self, folder: Path, says: Callable[[], dict[str, Any]]) -> None:
        self.says = says
        self.asked: list[str] = []
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._listener.bind(str(folder / "agent.sock"))
        self._listener.listen()
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def _serve(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            with client, client.makefile("rb") as stream:
                client.settimeout(30)
                _, length = wire.request_head(stream.read(wire.REQUEST.size))
                self.asked.append(json.loads(stream.read(length))["ask"])
                client.sendall(wire.answer(0, json.dumps(self.says()).encode()))

    def end(self) -> None:
        """Close the socket."""
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join(30)


class Owner:
    """A node's agent, as far as ReleaseRequests go: releases what is asked of it, or refuses with the reason."""

    def __init__(self, url: str, node: str, refusal: str = "") -> None:
        self._url, self._node, self._refusal = url, node, refusal
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        store = open_store(self._url)
        repo = Repo(store)
        while not self._stop.wait(EVERY):
            for request in repo.list(kinds.RELEASEREQUEST)[0]:
                if isinstance(request, ReleaseRequest) and request.spec.node == self._node and request.status is None:
                    with suppress(StoreError):
                        self._answer(repo, request)
        store.close()

    def _answer(self, repo: Repo, request: ReleaseRequest) -> None:
        if self._refusal:
            status = ReleaseRequestStatus(outcome="Refused", reason=self._refusal, answeredAt="t")
        else:
            for block in repo.list(kinds.IPAMBLOCK)[0]:
                if isinstance(block, IPAMBlock):
                    repo.write(_released(block, request))
            status = ReleaseRequestStatus(outcome="Released", answeredAt="t")
        repo.write(structs.replace(request, status=status))

    def end(self) -> None:
        """Stop answering."""
        self._stop.set()
        self._thread.join(30)


def _released(block: IPAMBlock, request: ReleaseRequest) -> IPAMBlock:
    slots = {
        at: structs.replace(one, freedAt="2026-01-01T00:00:00.000Z") if one.sequence == request.spec.sequence else one
        for at, one in block.spec.allocations.items()
    }
    return structs.replace(block, spec=structs.replace(block.spec, allocations=slots))
