"""Mounts as the kernel lists them, and which folders have another name elsewhere."""

from __future__ import annotations

import pytest

from bgpnet.mountinfo import Mount, is_bound, parse

DISK = "27 1 254:0 / / rw,relatime - ext4 /dev/vda rw"
OVERLAY = "27 1 0:40 / / rw - overlay overlay rw,lowerdir=/a"


@pytest.mark.parametrize(
    ("mounts", "bound"),
    [
        ([DISK], False),
        ([OVERLAY], False),  # a node that is a container, as kind's; or a container's own folder
        ([DISK, "30 27 254:1 / /opt rw - xfs /dev/vdb rw"], False),
        ([DISK, "30 27 254:1 / /opt rw - xfs /dev/vdb rw", "31 27 254:1 / /srv/opt rw - xfs /dev/vdb rw"], True),
        ([OVERLAY, "30 27 254:1 / /opt rw shared:1 - xfs /dev/vdb rw"], True),
        ([OVERLAY, "30 27 254:0 /srv/n1/opt/cni/bin /opt/cni/bin rw - ext4 /dev/vda rw"], True),
        ([OVERLAY, "30 27 254:0 /opt/cni/bin /opt/cni/bin rw - ext4 /dev/vda rw"], False),
        (["27 1 0:30 /@ / rw - btrfs /dev/vda rw", "30 27 0:30 /@/opt /opt rw - btrfs /dev/vda rw"], False),
        ([DISK, "30 27 254:0 /usr /opt rw - ext4 /dev/vda rw", "31 27 254:1 / /opt rw - xfs /dev/vdb rw"], False),
        ([DISK, "30 27 254:1 /x /optional rw - ext4 /dev/vda rw"], False),
        ([], True),
    ],
)
def test_a_folder_that_is_bound_from_elsewhere_may_have_another_name(mounts: list[str], bound: bool) -> None:
    assert is_bound("/opt/cni/bin", parse("\n".join(mounts))) is bound


def test_a_line_with_spaces_and_optional_fields() -> None:
    line = r"36 35 98:0 /mnt1\040x /mnt\0112 rw,noatime shared:1 master:2 - ext3 /dev/root rw"
    assert parse(line) == [Mount("98:0", "/mnt1 x", "/mnt\t2", "ext3")]
