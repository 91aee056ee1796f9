"""The notes of DELs that were made without an agent: how old they are, and what nobody finished."""

from __future__ import annotations

import os
from pathlib import Path
from time import time

import pytest
from test_attach import call, told
from test_verbs import ready

from bgpnet import wire
from bgpnet.agent.effects import UnwirePod, Warn
from bgpnet.agent.events import CniAsked, Event
from bgpnet.agent.server import UNFINISHED, Server
from bgpnet.agent.step import step
from bgpnet.cnispec import Attachment
from bgpnet.lab.wait import until
from bgpnet.model import instant

C1 = Attachment("c1", "eth0")


@pytest.mark.parametrize(("after", "counts"), [(-3600.0, False), (-0.2, False), (-0.05, True), (60.0, True)])
def test_a_note_from_before_its_pod_is_not_carried_out(after: float, counts: bool) -> None:
    world = ready("c1")
    noted = instant.seconds(world.pods[C1].since) + after
    left, effects = step(world, CniAsked(9, call("DEL", "c1"), noted))
    if counts:
        assert [type(one) for one in effects] == [UnwirePod]
        return
    assert left.pods == world.pods
    [warning, *answer] = effects
    assert told(answer) == [(9, 0, {})]
    assert isinstance(warning, Warn)
    assert warning.sentence.startswith("c1:eth0 in tombstones/ is the note of a DEL from before 20")


def test_a_del_of_now_and_a_note_of_nobody_are_carried_out() -> None:
    world = ready("c1")
    assert [type(one) for one in step(world, CniAsked(9, call("DEL", "c1")))[1]] == [UnwirePod]
    assert [type(one) for one in step(world, CniAsked(9, call("DEL", "c2"), 0.0))[1]] == [UnwirePod]


def test_notes_come_with_their_time_and_what_a_killed_plugin_left_is_swept(tmp_path: Path) -> None:
    notes, asked = tmp_path / "tombstones", list[Event]()
    notes.mkdir()
    (notes / "c1:eth0").write_bytes(wire.pack_cni(call("DEL", "c1")))
    os.utime(notes / "c1:eth0", (1e9, 1e9))
    for name, age in ((".new-1", UNFINISHED + 60), (".new-2", UNFINISHED - 60), (".other", UNFINISHED + 60)):
        (notes / name).write_bytes(b"")
        os.utime(notes / name, (time() - age, time() - age))
    server = Server(tmp_path / "agent.sock", lambda event: asked.append(event))  # type: ignore[arg-type]  # no question comes
    server.listen()
    until(lambda: "" if asked else "nobody asks", 30)
    [event] = asked
    assert isinstance(event, CniAsked)
    assert (event.call, event.noted) == (call("DEL", "c1"), 1e9)
    assert sorted(path.name for path in notes.iterdir()) == [".new-2", ".other", "c1:eth0"]


@pytest.mark.parametrize("verb", ["GC", "ADD", "CHECK", "STATUS"])
def test_a_note_of_another_verb_than_del_is_removed_and_not_carried_out(tmp_path: Path, verb: str) -> None:
    """A GC that lists no attachment would delete every pod."""
    notes, asked = tmp_path / "tombstones", list[Event]()
    notes.mkdir()
    (notes / "a").write_bytes(wire.pack_cni(call(verb, "c1")))
    (notes / "b").write_bytes(wire.pack_cni(call("DEL", "c1")))
    Server(tmp_path / "agent.sock", lambda event: asked.append(event)).listen()  # type: ignore[arg-type]  # no question comes
    until(lambda: "" if asked else "nobody asks", 30)
    assert [one.call.env["CNI_COMMAND"] for one in asked if isinstance(one, CniAsked)] == ["DEL"]
    assert [path.name for path in notes.iterdir()] == ["b"]
