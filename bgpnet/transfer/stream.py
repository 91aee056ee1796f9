"""A whole datastore as a YAML stream: one document an object, and a header that says what must be there. Pure.

The same contents are the same bytes: no dates, kinds and names in a fixed order.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import msgspec
import yaml

from bgpnet import codec
from bgpnet.document import reader
from bgpnet.document.shape import Shaper, convert
from bgpnet.errors import BgpnetError, UsageError
from bgpnet.model.kinds import BY_NAME, Resource, kind_of, subject
from bgpnet.model.resource import API_VERSION
from bgpnet.transfer import contents
from bgpnet.transfer.contents import Contents, Problem

MAGIC = "# bgpnet datastore export, format "
FORMAT = 1
_SUM = re.compile(r"# (\d+) objects, sha256 ([0-9a-f]{64})")


def write(resources: Sequence[Resource]) -> Iterator[str]:
    """The stream, piece by piece: the header, then each object."""
    everything = contents.ordered(resources)
    yield f"{MAGIC}{FORMAT}\n# {len(everything)} objects, sha256 {contents.checksum(everything)}\n"
    for resource in everything:
        yield "---\n" + yaml.dump(
            contents.tree(resource),
            Dumper=_Dumper,
            sort_keys=False,
            allow_unicode=True,
            width=120,
            default_flow_style=None,
        )


class _Dumper(getattr(yaml, "CSafeDumper", yaml.SafeDumper)):  # type: ignore[misc] # libyaml's where it was built in
    """Writes equal values out twice: an anchor would tie one object to another."""

    def ignore_aliases(self, data: object) -> bool:
        return True


@dataclass(frozen=True, slots=True)
class Promise:
    """What a stream's header says is in it."""

    count: int
    checksum: str

    def __str__(self) -> str:
        return f"{self.count} objects with sha256 {self.checksum}"


def promise(text: str, source: str) -> Promise | None:
    """What the header says; None for a text that is no export. Raises UsageError for a format of another version."""
    lines = text.removeprefix("\ufeff").split("\n", 2)
    if not lines[0].startswith(MAGIC):
        return None
    if lines[0].strip() != f"{MAGIC}{FORMAT}":
        raise UsageError(
            f"{source} is a datastore export of format {lines[0].removeprefix(MAGIC).strip()!r}, this bgpnetctl reads"
            f" {FORMAT}: upgrade bgpnetctl"
        )
    found = _SUM.fullmatch(lines[1].strip()) if len(lines) > 1 else None
    if found is None:
        raise UsageError(f"{source} is damaged: its second line says no number of objects and sha256; export it again")
    return Promise(int(found[1]), found[2])


def read(text: str, source: str) -> Contents:
    """The objects of an export, exactly as they were; raises BgpnetError when that is not what its header says.

    A text without the header is read as files are: normalised, and its findings are its problems.
    """
    promised = promise(text, source)
    if promised is None:
        return _file(text, source)
    found = _export(text)
    actual = Promise(len(found.resources), contents.checksum(found.resources))
    if actual != promised:
        why = f" ({found.broken[0]})" if found.broken else ""
        raise BgpnetError(
            f"{source} is truncated or was changed: its header says {promised}, what it holds is {actual}{why}; export"
            " again, or take out its first two lines to have it as it is"
        )
    return found


def _export(text: str) -> Contents:
    reading = reader.read(text)
    found = Contents(broken=[Problem(each.path, each.problem) for each in reading.findings])
    for number, document in enumerate(reading.documents, 1):
        resource = _resource(document)
        if isinstance(resource, str):
            found.broken.append(Problem(f"document {number}", resource))
        else:
            found.resources.append(resource)
    return found


def _resource(document: object) -> Resource | str:
    """An object as `write` wrote it, or what is wrong with it; nothing is normalised."""
    kind = BY_NAME.get(str(document.get("kind"))) if isinstance(document, dict) else None
    if not isinstance(document, dict) or kind not in contents.ORDER or document.get("apiVersion") != API_VERSION:
        return f"is no object of {API_VERSION}"
    body = {key: value for key, value in document.items() if key not in ("apiVersion", "kind")}
    shaper = Shaper(kind.name)
    shaped = shaper.shape(body, kind.type)
    if shaper.findings:
        return str(shaper.findings[0])
    try:
        return convert(shaped, kind.type)
    except msgspec.ValidationError as error:
        return str(error)


def _file(text: str, source: str) -> Contents:
    found = Contents()
    for examined in codec.examine(text, source):
        found.broken += [Problem(examined.subject, str(each)) for each in examined.findings]
        resource = examined.resource
        if resource is None or examined.findings:
            continue
        if kind_of(resource) in contents.ORDER:
            found.resources.append(contents.bare(resource))
        else:
            found.broken.append(Problem(subject(resource), "is derived from the blocks; take it out"))
    found.resources = contents.ordered(found.resources)
    return found
