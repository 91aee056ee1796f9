"""A pod's second interface, in a kernel that the tests did not begin in: User Mode Linux has policy routing, too."""

from __future__ import annotations

import pytest
from kernels import linux_machine, ping, wiring

from bgpnet.kernel import netns

pytestmark = [pytest.mark.root, pytest.mark.uml]


def test_both_interfaces_answer_and_the_second_one_outlives_the_first() -> None:
    with linux_machine() as machine:
        pod = machine.netns()
        first, second = wiring(pod, 1), wiring(pod, 2, ifname="net1")
        for wish in (first, second):
            machine.kernel.wire(wish)
            assert machine.kernel.differences(wish) == []
        assert [ping("10.0.0.1"), ping("10.0.0.2")] == ["", ""]
        machine.kernel.unwire(first.link, first.alias)
        machine.kernel.reap()
        assert ping("10.0.0.2") == ""
        with netns.inside(pod):
            assert ping("192.0.2.1", "10.0.0.2") == ""
