"""The CustomResourceDefinitions: current, with bgpnetctl's columns, names that shadow nothing."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from bgpnet.kube.crd import definitions
from bgpnet.kube.crd.columns import COLUMNS
from bgpnet.kube.crd.constraints import OF_KIND
from bgpnet.model.kinds import BY_ALIAS, KINDS, Kind
from bgpnet.rules.limits import ITEMS
from bgpnet_ctl.views import OF_KIND as VIEWS

FOLDER = Path(__file__).parents[2] / "manifests" / "crds"
STORED = [kind for kind in KINDS if not kind.computed]
UNSAYABLE = {"NUMEXPORTV4", "NUMIMPORTV4", "NUMEXPORTV6", "NUMIMPORTV6", "INUSE", "RESTING", "FREE"}
"""Columns that count: JSONPath cannot."""

named = pytest.mark.parametrize("kind", STORED, ids=[kind.name for kind in STORED])


def test_the_files_are_current() -> None:
    there = {path.name: path.read_text() for path in FOLDER.iterdir()}
    assert there == definitions.files(), "run `make manifests`, and commit what it writes"


def test_every_stored_kind_has_one() -> None:
    assert set(OF_KIND) == set(COLUMNS) == set(STORED)
    assert len(definitions.files()) == len(STORED) + 1


@named
def test_columns_are_those_of_bgpnetctl(kind: Kind) -> None:
    view, columns = VIEWS[kind], COLUMNS[kind]
    wide = [heading for heading in view.wide or view.narrow if heading not in {"NAME", *UNSAYABLE}]
    narrow = [heading for heading in view.narrow if heading not in {"NAME", *UNSAYABLE}]
    assert [column.heading for column in columns] == wide
    assert [column.heading for column in columns if not column.wide] == narrow


@named
def test_every_column_and_constraint_is_of_a_field(kind: Kind) -> None:
    schema = definitions.definition(kind)["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    for column in COLUMNS[kind]:
        shown = "array" if column.heading == "CIDRS" else column.type
        assert field(schema, column.path.removeprefix("."))["type"] == shown
    for path, constraint in OF_KIND[kind].items():
        assert constraint.items() <= field(schema, path).items(), path


def field(schema: dict[str, object], path: str) -> dict[str, object]:
    """The schema of `spec.lists[].name`."""
    found = schema
    for step in path.replace("[]", ".[]").replace("{}", ".{}").split(".") if path else []:
        below = found["items"] if step == "[]" else found["additionalProperties"] if step == "{}" else None
        properties = found.get("properties", {})
        assert isinstance(properties, dict)
        found = below if isinstance(below, dict) else properties[step]
    return found


def test_names_mean_one_thing() -> None:
    names = [definitions.definition(kind)["spec"]["names"] for kind in STORED]
    short = [alias for each in names for alias in each.get("shortNames", [])]
    assert len(set(short)) == len(short)
    assert not {"no", "nos", "node", "nodes"} & set(short)
    for kind, each in zip(STORED, names, strict=True):
        assert all(BY_ALIAS[alias] is kind for alias in [each["plural"], each["singular"], *each.get("shortNames", [])])


def test_no_reference_and_no_anchor() -> None:
    for name, text in definitions.files().items():
        assert "$ref" not in text, name
        assert yaml.safe_load(text)["kind"] in ("CustomResourceDefinition", "Kustomization")
        assert "&id" not in text, name


def test_status_is_apart_where_there_is_one() -> None:
    apart = {kind.name for kind in STORED if "subresources" in definitions.definition(kind)["spec"]["versions"][0]}
    assert apart == {"IPPool", "Node", "ReleaseRequest"}


LISTS = re.compile(r"^spec[.](im|ex)portV[46]\[\]")
OWN = {
    "spec.allowedUses",  # a set of three
    "spec.communities",
    "spec.prefixAdvertisements[].communities",
    "spec.{list}[].communities.values",
    "spec.{list}[].operations",
    "spec.{list}[].operations[].prependASPath.prefix",
}
"""Limits that a kind's own rules know."""


@named
def test_no_list_has_a_limit_that_our_rules_do_not_know(kind: Kind) -> None:
    schema = definitions.definition(kind)["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    assert {path for path in limited(schema, "") if LISTS.sub("spec.{list}[]", path) not in OWN} <= set(
        ITEMS.get(kind, {})
    )


def limited(schema: dict[str, Any], path: str) -> Iterator[str]:
    """The paths of all lists with a limit."""
    if "maxItems" in schema:
        yield path
    for name, below in schema.get("properties", {}).items():
        yield from limited(below, f"{path}.{name}".removeprefix("."))
    for word, step in (("items", "[]"), ("additionalProperties", "{}")):
        if isinstance(schema.get(word), dict):
            yield from limited(schema[word], f"{path}{step}")
