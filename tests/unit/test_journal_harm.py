"""A journal that somebody does something to: under a running agent it is written anew, at a start it is kept aside."""

from __future__ import annotations

import logging
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from bgpnet.agent.journal import Boot, Journal, Kept, encode
from bgpnet.errors import JournalFailed

FIRST, SECOND, THIRD = (Kept((f"10.0.0.{number}/32",)) for number in (1, 2, 3))


def cut(path: Path) -> None:
    os.truncate(path, 0)


def cut_short(path: Path) -> None:
    os.truncate(path, path.stat().st_size - 5)


def lengthen(path: Path) -> None:
    with path.open("ab") as file:
        file.write(b"more")


def replace(path: Path) -> None:
    other = path.with_name("other")
    other.write_bytes(path.read_bytes())
    other.rename(path)


def remove_folder(path: Path) -> None:
    shutil.rmtree(path.parent)


@pytest.mark.parametrize("harm", [Path.unlink, cut, cut_short, lengthen, replace, remove_folder])
def test_what_is_durable_is_in_the_file_whatever_was_done_to_it(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, harm: Callable[[Path], None]
) -> None:
    path = tmp_path / "state" / "journal"
    one = Journal(path, "boot")
    one.start([], [])
    one.append([FIRST])
    assert caplog.messages == []
    harm(path)
    one.append([SECOND])
    [told] = caplog.messages
    assert told.startswith(f"journal {path} ")
    assert told.endswith(": it is written anew")
    contents = one.load()
    assert contents is not None
    assert (contents.boot, contents.kept) == ("boot", SECOND)
    one.append([THIRD])  # and to the same file
    contents = one.load()
    assert contents is not None
    assert contents.kept == THIRD
    assert len(caplog.messages) == 1
    one.close()


OF_A_LATER_VERSION = encode(Boot("boot")) + b'8fd5b4fb {"line":"later"}\n'


@pytest.mark.parametrize("data", [b"no journal\n", encode(FIRST), OF_A_LATER_VERSION])
def test_one_that_cannot_be_read_is_kept_aside_by_name(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, data: bytes
) -> None:
    path = tmp_path / "journal"
    path.write_bytes(data)
    one = Journal(path, "boot")
    assert one.load() is None
    one.start([], [])
    one.close()
    assert (tmp_path / "journal.damaged").read_bytes() == data
    [told] = [record for record in caplog.records if record.levelno == logging.WARNING]
    assert told.getMessage().endswith(f"and the kernel; it is kept as {path}.damaged")


def test_one_that_cannot_be_kept_aside_is_no_reason_not_to_start(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "journal"
    path.write_bytes(b"no journal\n")
    (tmp_path / "journal.damaged").mkdir()
    assert Journal(path, "boot").load() is None
    assert f"it cannot be kept as {path}.damaged: Is a directory" in caplog.text


def test_an_empty_one_is_none(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "journal").touch()
    assert Journal(tmp_path / "journal", "boot").load() is None
    assert (os.listdir(tmp_path), caplog.messages) == (["journal"], [])


@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir])
def test_what_is_no_file_is_one_sentence_at_once(tmp_path: Path, make: Callable[[Path], None]) -> None:
    make(tmp_path / "journal")
    with pytest.raises(JournalFailed, match="journal is no regular file: remove it, and start the agent again"):
        Journal(tmp_path / "journal", "boot").load()
