"""The lines of fields in a text."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bgpnet import codec
from bgpnet.document import marks, reader
from bgpnet.errors import Invalid

TEXT = """\
# a comment
---
---
apiVersion: bgpnet.io/v1
kind: BGPFilter
metadata:
  name: a
  labels:
    a.b/c: d

    a: e
spec:
  exportV4:
  - action: Accept
    cidr: 10.0.0.0/8
    prefixLength: {min: 1,
      max: 2}
  -
    action: Reject
---
- {apiVersion: bgpnet.io/v1,
   kind: Node}
"""


@pytest.mark.parametrize(
    ("document", "path", "line"),
    [
        (0, "", 4),
        (0, "kind", 5),
        (0, "metadata.name", 7),
        (0, "metadata.labels[a.b/c]", 9),
        (0, "metadata.labels[a]", 11),
        (0, "metadata.labels", 8),
        (0, "spec.exportV4[0]", 14),
        (0, "spec.exportV4[0].cidr", 15),
        (0, "spec.exportV4[0].prefixLength.max", 17),
        (0, "spec.exportV4[1].action", 19),
        (0, "spec.exportV4[0].matchOperator", 14),
        (0, "spec.exportV4[9].cidr", 13),
        (0, "status", 4),
        (0, "the object", 4),
        (1, "[0].kind", 22),
        (1, "[0].metadata.name", 21),
    ],
)
def test_a_field_has_its_line_and_a_missing_one_that_of_its_holder(document: int, path: str, line: int) -> None:
    assert marks.read(TEXT)[document].line_of(path) == line


@settings(deadline=None)
@given(st.text(st.sampled_from("abk: -{}[]\"'#&*!|>\n\t%@`,?0") | st.characters(), max_size=60), st.text(max_size=8))
def test_any_text_has_marks_for_every_document_that_is_read_whole(written: str, path: str) -> None:
    found = marks.read(written)
    reading = reader.read(written)
    assert len(found) >= len(reading.documents) or written.lstrip("\ufeff").lstrip().startswith(("{", "["))
    assert all(
        1 <= mark.line_of(path) <= written.count("\n") + written.count("\r") + 2 + len(written) for mark in found
    )


def lines(written: str) -> list[tuple[str, int | None]]:
    with pytest.raises(Invalid) as caught:
        codec.decode(written)
    return [(finding.path, finding.line) for finding in caught.value.findings]


def test_findings_have_lines() -> None:
    pool = "apiVersion: bgpnet.io/v1\nkind: IPPool\nmetadata:\n  name: a\nspec:\n  cidr: 10.0.0.1/8\n  blocksize: 26\n"
    assert lines(pool) == [("spec.blocksize", 7), ("spec.cidr", 6)]
    assert lines(pool + "---\nkind: x\n") == [
        ("IPPool(a) spec.blocksize", 7),
        ("IPPool(a) spec.cidr", 6),
        ("document 2 apiVersion", 9),
        ("document 2 kind", 9),
    ]


def test_findings_of_lists_and_json_have_lines() -> None:
    node = '{"apiVersion": "bgpnet.io/v1", "kind": "Node",\n "metadata": {"name": "a"}, "spec": {\n\t"bgp": {}}}'
    assert lines(f'{{"kind": "List", "items": [\n{node}]}}') == [("spec.bgp", 4)]
    assert lines(f"[{node},\n{node}]") == [("Node(a) spec.bgp", 3), ("Node(a) spec.bgp", 6)]
    assert lines(node.replace('"a"', '"\\ud83d\\ude00"')) == [("metadata.name", None), ("spec.bgp", None)]


def test_text_that_is_not_yaml_has_a_line() -> None:
    assert lines("a: b\nb: [1\nc: d\n")[0][1] == 3
    assert lines("a: b\nb: *c\n") == [("line 2, column 4", 2)]
