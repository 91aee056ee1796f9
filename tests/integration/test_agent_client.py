"""The agent's socket from Python: what AgentClient passes, and what it says of agents that are away or hostile."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from cni_stub import (
    OK,
    RESULT,
    Behaviour,
    answering,
    deaf,
    silent,
    stub,
    trickling,
)

from bgpnet import wire
from bgpnet.client import AgentClient
from bgpnet.errors import AgentAway, BgpnetError


def test_a_client_calls_cni_and_asks(tmp_path: Path) -> None:
    client = AgentClient(tmp_path / "agent.sock", timeout=30)
    with stub(tmp_path / "agent.sock", answering(OK)) as agent, open("/proc/self/ns/net") as netns:
        status, body = client.call_cni({"CNI_COMMAND": "ADD"}, b"{}", netns.fileno())
        assert client.ask("status", node="a") == RESULT
        assert (status, json.loads(body)) == (0, RESULT)
        first, second = agent.seen
        assert first.call == wire.CniCall({"CNI_COMMAND": "ADD"}, b"{}")
        assert first.inode == os.fstat(netns.fileno()).st_ino
        assert (second.kind, json.loads(second.body)) == (wire.Kind.QUESTION, {"ask": "status", "node": "a"})


def test_a_question_refused_carries_the_agents_sentence(tmp_path: Path) -> None:
    client = AgentClient(tmp_path / "agent.sock", timeout=30)
    refusal = answering(wire.answer(1, b"no such question: use status"))
    with stub(tmp_path / "agent.sock", refusal), pytest.raises(BgpnetError, match=r"\Ano such question: use status\Z"):
        client.ask("nonsense")


@pytest.mark.parametrize(
    ("behave", "reason"),
    [
        (None, "No such file or directory"),
        (silent, "no answer within 0.2 s"),
        (deaf, "no answer within 0.2 s"),
        (trickling, "no answer within 0.2 s"),
        (answering(b"\0"), "it hung up before it had answered"),
        (answering(b"HTTP/1.1 400 Bad Request\r\n\r\n"), "is not a bgpnet agent"),
        (answering(wire.answer(0, b"[]")), "its answer is a list, not an object"),
        (answering(wire.answer(0, b"nonsense")), "its answer is not JSON"),
    ],
)
def test_a_client_says_that_the_agent_is_away(tmp_path: Path, behave: Behaviour | None, reason: str) -> None:
    client = AgentClient(tmp_path / "agent.sock", timeout=0.2 if reason == "no answer within 0.2 s" else 30)
    if behave is None:
        with pytest.raises(AgentAway, match=reason):
            client.ask("status")
        return
    with stub(tmp_path / "agent.sock", behave), pytest.raises(AgentAway, match=reason):
        client.ask("status", filler="x" * 500_000)
