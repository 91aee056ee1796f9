"""The World made anew: `replace` of bgpnet.agent.world is dataclasses.replace, and quick."""

from __future__ import annotations

import dataclasses

import pytest
from worlds import fresh, pod

from bgpnet.agent.world import Phase, replace


def test_it_is_as_dataclasses_would_make_it() -> None:
    world = fresh()
    one = pod("c1", "10.244.0.1")
    other = replace(world, pods={one.attachment: one}, now=5.0)
    assert other == dataclasses.replace(world, pods={one.attachment: one}, now=5.0)
    assert world == fresh()
    assert replace(one, phase=Phase.LOST) == dataclasses.replace(one, phase=Phase.LOST)


def test_a_field_that_does_not_exist_is_refused() -> None:
    with pytest.raises(TypeError, match="a World has no nowhere"):
        replace(fresh(), nowhere=1)


def test_a_world_stays_as_it_is() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        replace(fresh(), now=1.0).now = 2.0
