"""What every resource obeys: names, labels, annotations."""

from __future__ import annotations

import pytest
from rule_table import agree, findings, rows

from bgpnet.model.resource import Metadata
from bgpnet.rules.common import ANNOTATIONS_LIMIT, metadata

LONG = "a" * 63

CASES = f"""
{{name: blue}}                                        | ok
{{name: a.b-c.d1}}                                    | ok
{{name: {"a" * 253}}}                                 | ok
{{name: 1e3}}                                         | ok
{{name: no}}                                          | ok
{{}}                                                  | metadata.name: is required
{{name: ""}}                                          | metadata.name: is required
{{name: Blue}}                                        | metadata.name: is not a lower-case DNS name
{{name: a_b}}                                         | metadata.name: is not a lower-case DNS name
{{name: -a}}                                          | metadata.name: is not a lower-case DNS name
{{name: a..b}}                                        | metadata.name: is not a lower-case DNS name
{{name: {"a" * 254}}}                                 | metadata.name: is not a lower-case DNS name
{{name: [a]}}                                         | metadata.name: must be text, not a list
{{name: a, generateName: b-}}                         | metadata.generateName: unknown field
{{name: a, namespace: default}}                       | metadata.namespace: namespace should not be specified for a non-
{{name: a, managedFields: [{{manager: x}}], generation: 3, selfLink: /x}} | ok
{{name: a, creationTimestamp: null, uid: u}}          | ok
{{name: a, labels: {{a: b, k8s.io/x: y, A.b_c-d: ""}}}} | ok
{{name: a, labels: {{a: yes, b: 1.10, c: 2026-01-01, d: null}}}} | ok
{{name: a, labels: {{{LONG}: {LONG}}}}}               | ok
{{name: a, labels: {{{LONG}a: b}}}}                   | metadata.labels: is not a key
{{name: a, labels: {{a: {LONG}a}}}}                   | metadata.labels[a]: is not a label value
{{name: a, labels: {{a: "b c"}}}}                     | metadata.labels[a]: is not a label value
{{name: a, labels: {{a: -b}}}}                        | metadata.labels[a]: is not a label value
{{name: a, labels: {{/a: b}}}}                        | metadata.labels: is not a key
{{name: a, labels: {{a/b/c: d}}}}                     | metadata.labels: is not a key
{{name: a, labels: {{a_b/c: d}}}}                     | metadata.labels: is not a key
{{name: a, labels: [a, b]}}
    | metadata.labels: must be a mapping of names to values, not a list
{{name: a, labels: {{a: {{b: c}}}}}}                  | metadata.labels[a]: must be text, not a mapping
{{name: a, annotations: {{a: "any text, {{}} at all"}}}} | ok
{{name: a, annotations: {{"a b": c}}}}                | metadata.annotations: is not a key
"""


@pytest.mark.parametrize(("written", "expected"), rows(CASES))
def test_metadata(written: str, expected: str) -> None:
    found = findings(f"{{apiVersion: bgpnet.io/v1, kind: Node, metadata: {written}}}")
    assert agree(found, expected), found


@pytest.mark.parametrize(("size", "good"), [(ANNOTATIONS_LIMIT - 1, True), (ANNOTATIONS_LIMIT, False)])
def test_annotations_have_a_limit_in_bytes_of_keys_and_values(size: int, good: bool) -> None:
    found = list(metadata(Metadata(name="a", annotations={"k": "é" * (size // 2) + "x" * (size % 2)})))
    assert (found == []) == good
