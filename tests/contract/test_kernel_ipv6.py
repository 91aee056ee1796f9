"""IPv6 on a pod's link, which bgpnet does not route: what a pod may tell its node by it. The real kernel."""

from __future__ import annotations

import socket
import struct
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace

import pytest
from kernels import LinuxMachine, eventually, heard, ip_command, linux_machine, wiring

from bgpnet.kernel import netns, rtnl, table

pytestmark = pytest.mark.root


@pytest.fixture
def machine() -> Iterator[LinuxMachine]:
    with linux_machine() as made:
        yield made


def test_a_pod_cannot_make_itself_its_nodes_ipv6_router(machine: LinuxMachine) -> None:
    pod = machine.netns()
    wish = wiring(pod)
    machine.kernel.wire(wish)
    machine.add_link("up1")  # a stranger's, whose advertisement counts
    with netns.inside(pod):
        advertise("eth0")
    advertise("p-up1")
    assert eventually(lambda: " dev up1 " in ip_command("-6 route show default"))
    assert wish.link not in ip_command("-6 route show default")


def test_the_hosts_end_is_not_up_from_the_beginning(machine: LinuxMachine) -> None:
    """Who is in the pod already has the pod's end up, and advertises, before we have it deaf: in 11 of 25 tries."""
    wish = wiring(machine.netns())
    with heard() as found:
        machine.kernel.wire(wish)
    told = [table.read_link(one) for one in found if one.kind == rtnl.RTM_NEWLINK]
    up = [one.up for one in told if one.name == wish.link]
    assert (up[0], up[-1]) == (False, True)


DEAFEN = """
ip link add cali1 type veth peer name p1 && echo 0 >/proc/sys/net/ipv6/conf/cali1/{} || exit 9
mount --bind /proc/sys /proc/sys && mount -o remount,bind,ro /proc/sys || exit 9
exec "$0" -c 'from bgpnet.kernel import sysctl; sysctl.deafen("none"); sysctl.deafen("cali1")'
"""
"""In a namespace of its own: a machine without IPv6 has no file for the link, a container may not write it."""


@pytest.mark.parametrize(("seen_to", "said"), [("accept_ra", ""), ("autoconf", "cannot be set to 0: Read-only file")])
def test_who_may_not_write_sysctls_wires_no_pod_that_could_be_a_router(seen_to: str, said: str) -> None:
    argv = ["unshare", "-n", "-m", "sh", "-c", DEAFEN.format(seen_to), sys.executable]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=60)
    assert done.returncode == (1 if said else 0), done.stderr
    assert said in done.stderr


def advertise(dev: str) -> None:
    """A router advertisement (RFC 4861, 4.2), as a frame: a new link's own address is not to be had for a second."""
    source, everybody = (socket.inet_pton(socket.AF_INET6, one) for one in ("fe80::1", "ff02::1"))
    text = struct.pack("!BBHBBHII", 134, 0, 0, 64, 0, 1800, 0, 0)
    whole = sum(struct.unpack("!28H", source + everybody + struct.pack("!II", len(text), 58) + text))
    check = ~(whole + (whole >> 16)) & 0xFFFF
    header = struct.pack("!IHBB", 6 << 28, len(text), 58, 255) + source + everybody
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as sender:
        sender.bind((dev, 0x86DD))
        frame = bytes.fromhex("333300000001 02 00 00 00 00 01 86dd") + header + text[:2] + check.to_bytes(2, "big")
        sender.send(frame + text[4:])


@pytest.mark.parametrize("mtu", [1480, 1000])
def test_the_node_has_no_ipv6_address_on_a_pods_link(machine: LinuxMachine, mtu: int) -> None:
    """Nor any IPv6 where the MTU is too small for it, which is no reason to refuse the pod."""
    pod = machine.netns()
    wish = replace(wiring(pod), mtu=mtu)
    machine.kernel.wire(wish)
    machine.add_link("up1")
    assert eventually(lambda: "inet6 fe80::" in ip_command("-6 address show dev up1"))
    assert ip_command(f"-6 address show dev {wish.link}") == ""
    with netns.inside(pod):
        assert ("inet6 fe80::" in ip_command("-6 address show dev eth0")) == (mtu == 1480)
    assert [one for one in machine.kernel.differences(wish) if "accept_ra" in one] == []
