"""What is kept for values that never change."""

from __future__ import annotations

import pytest

from bgpnet.agent.same import Same, latest


def test_equal_contents_are_not_the_same() -> None:
    one: dict[str, int] = {}
    assert Same(one) == Same(one)
    assert hash(Same(one)) == hash(Same(one))
    assert Same(one) != Same(dict(one))


def test_the_latest_is_made_once_for_the_same_arguments() -> None:
    asked: list[tuple[int, ...]] = []

    @latest
    def doubled(numbers: tuple[int, ...]) -> list[int]:
        asked.append(numbers)
        return [2 * one for one in numbers]

    assert [doubled((1, 2)), doubled((1, 2)), doubled((3,)), doubled((1, 2))] == [[2, 4], [2, 4], [6], [2, 4]]
    assert asked == [(1, 2), (3,), (1, 2)]


def test_what_raises_is_asked_again() -> None:
    @latest
    def inverse(number: float) -> float:
        return 1 / number

    assert inverse(2) == 0.5
    with pytest.raises(ZeroDivisionError):
        inverse(0)
    with pytest.raises(ZeroDivisionError):
        inverse(0)
    assert inverse(2) == 0.5
