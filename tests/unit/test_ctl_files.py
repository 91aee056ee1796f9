"""Files that bgpnetctl writes: whole or not at all; what is no file stays what it is."""

from __future__ import annotations

import os
import stat
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from bgpnet.errors import UsageError
from bgpnet_ctl import files


def device(path: Path, major: int, minor: int) -> Path:
    """A device of this test's own; where that is not allowed, a link to the machine's, which must stay a link."""
    try:
        os.mknod(path, stat.S_IFCHR | 0o666, os.makedev(major, minor))
        path.open("wb").close()
    except PermissionError:  # not root, or a file system without devices
        path.unlink(missing_ok=True)
        path.symlink_to({3: "/dev/null", 7: "/dev/full"}[minor])
    return path


def test_a_file_is_replaced_by_one_of_nobody_elses(tmp_path: Path) -> None:
    target = tmp_path / "a"
    target.write_text("old")
    files.write(str(target), ["new", "er"])
    assert (target.read_text(), stat.S_IMODE(target.stat().st_mode)) == ("newer", 0o600)
    assert os.listdir(tmp_path) == ["a"]


def test_a_device_is_written_to_and_stays_a_device(tmp_path: Path) -> None:
    null, full = device(tmp_path / "null", 1, 3), device(tmp_path / "full", 1, 7)
    before = [path.lstat() for path in (null, full)]
    files.write(str(null), ["x"])
    with pytest.raises(UsageError, match=f"{full} cannot be written: No space left on device"):
        files.write(str(full), ["x"])
    assert [(now.st_ino, now.st_mode) for now in (null.lstat(), full.lstat())] == [
        (then.st_ino, then.st_mode) for then in before
    ]


def test_a_pipe_is_written_to(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    heard: list[str] = []
    reader = threading.Thread(target=lambda: heard.append(pipe.read_text()))
    reader.start()
    files.write(str(pipe), ["x", "y"])
    reader.join(60)
    assert heard == ["xy"]
    assert pipe.is_fifo()


def test_a_link_stays_and_what_it_leads_to_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    link = tmp_path / "latest"
    link.symlink_to("there/file")
    files.write(str(link), ["new"])
    assert link.is_symlink()
    assert (tmp_path / "there" / "file").read_text() == "new"


def test_nothing_is_left_of_what_could_not_be_written(tmp_path: Path) -> None:
    def pieces() -> Iterator[str]:
        yield "half"
        raise KeyboardInterrupt

    target = tmp_path / "a"
    target.write_text("old")
    with pytest.raises(KeyboardInterrupt):
        files.write(str(target), pieces())
    assert (os.listdir(tmp_path), target.read_text()) == (["a"], "old")


@pytest.mark.parametrize("path", ["", "missing/a"])
def test_where_nothing_can_be_written_one_is_told_before(tmp_path: Path, path: str) -> None:
    with pytest.raises(UsageError, match=r"name (a file in it|another)"):
        files.check(f"{tmp_path}/{path}")
