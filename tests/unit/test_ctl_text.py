"""Tables as text."""

from __future__ import annotations

from bgpnet.model.kinds import KINDS, WORKLOADENDPOINT
from bgpnet_ctl import text, views


def test_plain_columns_are_three_apart_and_at_least_five_wide() -> None:
    assert text.plain(["A", "NAME"], [["x", "long-name"], ["yz", "n"]]) == (
        "A    NAME\n"  #
        "x    long-name\n"
        "yz   n\n"
        "\n"
    )


def test_plain_without_rows_is_the_header() -> None:
    assert text.plain(["NAME", "CIDR"], []) == "NAME   CIDR\n\n"


def test_boxed_centres_the_header_and_sets_numbers_to_the_right() -> None:
    assert text.boxed(["KIND", "COUNT OF"], [["pool", "7"], ["a", "12345"]], right=frozenset({1})) == (
        "+------+----------+\n"
        "| KIND | COUNT OF |\n"
        "+------+----------+\n"
        "| pool |        7 |\n"
        "| a    |    12345 |\n"
        "+------+----------+\n"
    )


def test_boxed_paints_after_it_has_measured() -> None:
    painted = text.boxed(["A"], [["up"]], paint=lambda _, cell: f"<{cell}>")
    assert painted.splitlines()[3] == "| <up> |"
    assert painted.splitlines()[0] == "+----+"


def test_every_kind_has_its_columns_and_they_begin_with_the_name() -> None:
    assert set(views.OF_KIND) == set(KINDS)
    for view in views.VIEWS:
        assert view.type is view.kind.type
        assert next(iter(view.narrow)) == ("WORKLOAD" if view.kind is WORKLOADENDPOINT else "NAME")
        assert set(view.narrow) <= set(view.wide or view.narrow)
