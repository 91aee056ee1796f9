"""What `-f` names: files, directories and standard input, read and decoded as a whole before anything happens."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

from bgpnet import codec
from bgpnet.errors import BgpnetError, Invalid, UsageError
from bgpnet.model.kinds import Kind, Resource, kind_of
from bgpnet_ctl.session import Refused, warn

SUFFIXES = (".yaml", ".yml", ".json")


def read(filenames: tuple[str, ...], recursive: bool = False, skip_empty: bool = False) -> list[Resource]:
    """Every resource of every source, in order; skip_empty: none at all is no reason to complain.

    What is accepted and not kept is warned about. Raises UsageError for a source that cannot be read, and Refused with
    every source's findings, one line each.
    """
    resources: list[Resource] = []
    problems: list[str] = []
    for source, text in texts(filenames, recursive, skip_empty):
        objects = codec.examine(text, source)
        try:
            resources += codec.settle(objects, source)
        except Invalid as error:
            problems.append(str(error))
        for note in (note for each in objects for note in each.notes):
            warn(note)
    if problems:
        raise Refused("\n".join(f"failed to execute command: {problem}" for problem in problems))
    if not resources and not skip_empty:
        raise Refused(f"No resources specified: write at least one into {', '.join(filenames)}")
    return resources


def named(filenames: tuple[str, ...], recursive: bool = False) -> list[tuple[Kind, str]]:
    """The kind and name of every resource of every source; raises as `read` does."""
    return [(kind_of(resource), resource.metadata.name) for resource in read(filenames, recursive)]


def texts(filenames: tuple[str, ...], recursive: bool = False, may_be_empty: bool = False) -> Iterator[tuple[str, str]]:
    """The name and text of every source; raises UsageError, or BgpnetError for what is not UTF-8."""
    for filename in filenames:
        if filename == "-":
            yield "standard input", _text("standard input", sys.stdin.buffer.read())
            continue
        try:
            for path in _files(Path(filename), recursive, may_be_empty):
                yield str(path), _text(str(path), path.read_bytes())
        except OSError as error:
            raise UsageError(f"failed to execute command: {error.filename or filename}: {error.strerror}") from error


def _files(path: Path, recursive: bool, may_be_empty: bool) -> list[Path]:
    if not path.is_dir():
        return [path]
    found = sorted(
        entry for entry in path.glob("**/*" if recursive else "*") if entry.suffix in SUFFIXES and entry.is_file()
    )
    if not found and not may_be_empty:
        raise UsageError(f"failed to execute command: {path} has no file that ends in {', '.join(SUFFIXES)}")
    return found


def _text(source: str, data: bytes) -> str:
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise BgpnetError(
            f"failed to execute command: {source} is not UTF-8 at byte {error.start}: save it so"
        ) from error
